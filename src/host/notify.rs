//! What the service manager is told, by sd_notify(3)'s protocol: that the watcher watches, what it watches, and that it
//! still moves. Without a manager that asks nothing is sent.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

/// Signs of life where no manager asks for them: they date the watcher's end if it is killed.
const UNASKED: Duration = Duration::from_secs(60);
/// A manager that does not read must not hang the watcher.
const SEND: Duration = Duration::from_secs(5);

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment has it: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let text = |name| std::env::var(name).ok();
        Self::new(std::env::var_os("NOTIFY_SOCKET"), text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id())
    }

    fn new(socket: Option<OsString>, usec: Option<String>, pid: Option<String>, own: u32) -> Self {
        let socket = socket.and_then(|name| connect(name.as_bytes()));
        // The variables may be those of a parent (sd_watchdog_enabled(3)).
        let meant = pid.is_none_or(|pid| pid.parse() == Ok(own));
        let usec = usec.filter(|_| meant).and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0);
        Self { socket, watchdog: usec.map(Duration::from_micros) }
    }

    /// How often a sign of life is due: three times in the watchdog's time, so that a late one is no restart.
    pub fn interval(&self) -> Duration {
        self.watchdog.map_or(UNASKED, |watchdog| (watchdog / 3).clamp(Duration::from_millis(100), UNASKED))
    }

    /// The watcher watches; `status` is a line for people.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// It reads its configuration again; [`Notifier::ready`] follows.
    pub fn reloading(&self) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let now = now.map_or(0, |now| i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Closing the open sessions");
    }

    /// It moves.
    pub fn alive(&self, status: &str) {
        self.send(&format!("WATCHDOG=1\nSTATUS={}", one_line(status)));
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            log::warn!("tell the service manager: {error}");
        }
    }
}

/// Gives a sign of life at each interval until `stop` is disconnected, as long as `pulse` finds that the watcher moves
/// and says what it watches; else it says what does not move. `pulse` gets the time that it may take.
pub fn keep_alive(notifier: &Notifier, stop: &Receiver<()>, mut pulse: impl FnMut(Duration) -> Result<String, String>) {
    let interval = notifier.interval();
    let mut said = None;
    while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        match pulse(interval) {
            Ok(status) => {
                notifier.alive(&status);
                said = None;
            }
            // What is being stopped does not answer.
            Err(_) if stop.try_recv() == Err(TryRecvError::Disconnected) => return,
            // Without a sign of life the manager's watchdog restarts the service.
            Err(why) if said.as_ref() != Some(&why) => {
                log::error!("no sign of life is given: {why}");
                said = Some(why);
            }
            Err(_) => {}
        }
    }
}

/// A socket that can reach `name`: a path, or behind an `@` a name of the abstract namespace.
fn connect(name: &[u8]) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_write_timeout(Some(SEND)).ok()?;
    Some((socket, address.ok()?))
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crossbeam_channel::bounded;

    use super::*;

    fn manager() -> (tempfile::TempDir, UnixDatagram, OsString) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (directory, socket, path.into())
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes.get(..length).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn says_what_the_protocol_has() {
        let (_directory, socket, path) = manager();
        let notifier = Notifier::new(Some(path), Some("3000000".into()), None, 1);
        assert_eq!(notifier.interval(), Duration::from_secs(1));
        notifier.ready("a\nREADY=0");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=a READY=0");
        notifier.reloading();
        assert!(heard(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        notifier.stopping();
        assert!(heard(&socket).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("ccwatch-notify-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::new(Some(format!("@{name}").into()), None, None, 1).alive("x");
        assert_eq!(heard(&socket), "WATCHDOG=1\nSTATUS=x");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let interval =
            |usec: &str, pid: Option<&str>| Notifier::new(None, Some(usec.into()), pid.map(String::from), 7).interval();
        assert_eq!(interval("9000000", Some("7")), Duration::from_secs(3));
        assert_eq!(interval("9000000", Some("8")), UNASKED);
        assert_eq!(interval("0", None), UNASKED);
        assert_eq!(interval("1", None), Duration::from_millis(100));
        Notifier::new(Some("nonsense".into()), None, None, 7).ready("nobody listens");
    }

    #[test]
    fn no_sign_of_life_from_a_watcher_that_is_stuck() {
        let (_directory, socket, path) = manager();
        let notifier = Notifier::new(Some(path), Some("300000".into()), None, 1);
        let (running, stop) = bounded::<()>(0);
        let mut beats = [Ok("one"), Err("detection"), Ok("two")].into_iter();
        let mut running = Some(running);
        keep_alive(&notifier, &stop, |_| {
            let beat = beats.next().unwrap();
            if beats.len() == 0 {
                running = None;
            }
            beat.map(str::to_owned).map_err(str::to_owned)
        });
        assert_eq!([heard(&socket), heard(&socket)], ["WATCHDOG=1\nSTATUS=one", "WATCHDOG=1\nSTATUS=two"]);
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err(), "the silent beat sent nothing");
    }
}
