//! Exec events of far filesystems: this thread has a process of our own read them, as a server can hold each reading for
//! as long as it likes. Of those who are held it waits for the word, while another one reads on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::MaskFlags;

use super::handing::{Handing, QUEUE, UNOPENED, path_of};
use crate::event::{Attempt, Missing, Monotonic, MountNumber, Pid, SensorKind};
use crate::host::clock;
use crate::host::file::{file_id, file_status, mount_number, mount_of_descriptor};
use crate::host::process::Proc;
use crate::sensor::fanotify_group::Group;
use crate::sensor::far::errand::{Order, Report};
use crate::sensor::far::messenger::Messenger;
use crate::sensor::health::PartHealth;
use crate::sensor::mounts::Mounts;
use crate::sensor::{ControlInlet, FileIs, FileTriage, Outlet};
use crate::sys::process::run_early;

/// A server that has not answered by then holds whoever asks it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who may be held before nobody reads any more.
const HELD: usize = 4;
/// One that cannot be started is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// A messenger that reads.
struct Reading {
    messenger: Messenger,
    /// When it was sent: what was there before is among what it brings, unless it says that there is more.
    sent: Monotonic,
    /// It has not moved since.
    since: Monotonic,
}

/// The thread's state; [`Reader::run`] is it.
pub struct Reader {
    group: Arc<Group>,
    mounts: Arc<Mounts>,
    proc: Arc<Proc>,
    triage: Arc<dyn FileTriage>,
    health: PartHealth,
    handing: Handing,
    control: ControlInlet,
    idle: Option<Messenger>,
    reading: Option<Reading>,
    held: Vec<Reading>,
    /// No messenger is started before this.
    rest: Monotonic,
    /// Whether it was told that somebody is held.
    told: bool,
}

impl Reader {
    /// Takes over the group's events.
    pub fn new(
        group: Arc<Group>,
        mounts: Arc<Mounts>,
        (proc, triage): (Arc<Proc>, Arc<dyn FileTriage>),
        outlet: Outlet,
        control: ControlInlet,
    ) -> Self {
        Self {
            group,
            mounts,
            proc,
            triage,
            health: PartHealth::new(SensorKind::Fanotify, "far"),
            handing: Handing::new(outlet),
            control,
            idle: None,
            reading: None,
            held: Vec::new(),
            rest: Monotonic::default(),
            told: false,
        }
    }

    /// Reads until told to stop.
    pub fn run(mut self) {
        if let Err(e) = run_early() {
            log::debug!("the reader of far filesystems runs like any other thread: {e}");
        }
        while !self.turn() {}
    }

    fn turn(&mut self) -> bool {
        let (ordered, readable) = self.wait();
        if ordered && self.control.is_stopped() {
            return true;
        }
        let now = clock::now();
        self.hear_held();
        self.hear_reading(now);
        if readable && self.may_send(now) {
            self.send(now);
        }
        self.tell(now);
        self.handing.losses.tell(&self.handing.outlet);
        false
    }

    fn may_send(&self, now: Monotonic) -> bool {
        self.reading.is_none() && self.held.len() < HELD && now >= self.rest
    }

    /// Whether there are orders, and events.
    fn wait(&self) -> (bool, bool) {
        let now = clock::now();
        let mut fds = vec![PollFd::new(self.control.wake.as_fd(), PollFlags::POLLIN)];
        // Asked for nothing it still tells of errors, of which it has none.
        fds.push(PollFd::new(self.group.fd(), if self.may_send(now) { PollFlags::POLLIN } else { PollFlags::empty() }));
        let messengers = self.reading.iter().chain(&self.held);
        fds.extend(messengers.map(|reading| PollFd::new(reading.messenger.fd(), PollFlags::POLLIN)));
        let due = self.reading.as_ref().map(|reading| reading.since.plus(PATIENCE));
        let rest = Some(self.rest).filter(|rest| *rest > now);
        let again = (!self.handing.losses.is_empty() || self.told == self.held.is_empty())
            .then(|| now.plus(Duration::from_millis(10)));
        let due = [due, rest, again].into_iter().flatten().min();
        let timeout = due.map_or(PollTimeout::NONE, |due| clock::poll_timeout(due.since(now)));
        let _ = poll(&mut fds, timeout);
        let is_ready = |n: usize| fds.get(n).and_then(PollFd::any).unwrap_or(false);
        (is_ready(0), is_ready(1))
    }

    fn send(&mut self, now: Monotonic) {
        let sent = Messenger::or_start(self.idle.take()).and_then(|messenger| {
            messenger.send(&Order::Read, &[self.group.fd()])?;
            Ok(messenger)
        });
        match sent {
            Ok(messenger) => self.reading = Some(Reading { messenger, sent: now, since: now }),
            Err(e) => {
                log::debug!("read the events of far filesystems: {e}");
                self.rest = now.plus(AGAIN);
            }
        }
    }

    fn hear_reading(&mut self, now: Monotonic) {
        let Some(mut reading) = self.reading.take() else { return };
        match self.hear(&mut reading) {
            Ok(true) => self.idle = Some(reading.messenger),
            Ok(false) if now.since(reading.since) < PATIENCE => self.reading = Some(reading),
            Ok(false) => self.held.push(reading),
            Err(_) => self.handing.lose(1, "a process that read events has ended"),
        }
    }

    /// Whoever was held and is not any more ends; what he brings is taken.
    fn hear_held(&mut self) {
        for mut reading in std::mem::take(&mut self.held) {
            match self.hear(&mut reading) {
                Ok(true) => {}
                Ok(false) => self.held.push(reading),
                Err(_) => self.handing.lose(1, "a process that read events has ended"),
            }
        }
    }

    /// Takes what a messenger brings; whether it has done its errand.
    fn hear(&mut self, reading: &mut Reading) -> io::Result<bool> {
        let mut attempts = Vec::new();
        let done = loop {
            match reading.messenger.report() {
                Ok(Some((Report::Event { mask, pid }, files))) => {
                    let at = clock::now();
                    attempts.extend(self.event(MaskFlags::from_bits_retain(mask), Pid(pid), files, at));
                    // It moves.
                    reading.since = at;
                }
                Ok(Some((Report::Read { error, more }, _))) => {
                    if error != 0 && error != libc::EINTR {
                        self.handing.lose(1, UNOPENED);
                    }
                    if !more {
                        self.handing.empty = reading.sent;
                    }
                    break Ok(true);
                }
                Ok(Some(_)) => break Err(io::ErrorKind::InvalidData.into()),
                Ok(None) => break Ok(false),
                Err(e) => break Err(e),
            }
        };
        self.handing.hand_over(attempts);
        done
    }

    fn event(&mut self, mask: MaskFlags, pid: Pid, files: Vec<OwnedFd>, at: Monotonic) -> Option<Attempt> {
        if mask.contains(MaskFlags::FAN_Q_OVERFLOW) {
            self.handing.lose(0, QUEUE);
            return None;
        }
        // Without the file only its pid is known (FAN_REPORT_FD_ERROR): the server chooses whether it can be opened.
        let files = <[OwnedFd; 2]>::try_from(files).ok();
        let Some((status, [place, parcel])) = files.and_then(|f| Some((file_status(f[0].as_fd(), c"").ok()?, f)))
        else {
            self.handing.lose(1, UNOPENED);
            return None;
        };
        let id = file_id(status);
        let mount = mount_number(status).or_else(|| mount_of_descriptor(place.as_fd()).map(MountNumber));
        let mounted = self.mounts.of(id.dev, mount).map(|on| on.id);
        let path = path_of(&place);
        // Nothing that was read of it before counts: its server may show everybody something else.
        let unjudged = self.triage.judge(&path, id) != FileIs::Toolchain;
        let is_known = mounted.is_some_and(|id| self.triage.owns(id));
        let look = (!is_known).then(|| {
            let mut look = self.proc.look(pid, at);
            look.let_go(Missing::Gone);
            Arc::new(look)
        });
        let open = (unjudged || self.handing.is_to_be_read(id, at)).then(|| Arc::new(parcel));
        // Whether it is a script only its server knows.
        let attempt = Attempt::new(pid, (self.handing.empty, at), id, path.into());
        Some(Attempt { open, unjudged, doubted: unjudged, mount, mounted, look, ..attempt })
    }

    /// Tells when somebody is held, and when nobody is any more.
    fn tell(&mut self, now: Monotonic) {
        let held = !self.held.is_empty();
        if held == self.mounts.far.is_heard() {
            self.mounts.far.set_silent(held.then_some(now));
            self.mounts.requests.heed_far();
        }
        let lacks = held.then(|| {
            "the server of a FUSE or network filesystem does not answer: what is executed on such filesystems is seen by \
             the process connector alone"
                .to_owned()
        });
        if held != self.told && self.health.set(lacks, &self.handing.outlet) {
            self.told = held;
        }
    }
}
