//! Exec events of fanotify: the kernel hands over an open file of what is being executed, whether its process still
//! lives or not, and the filesystem of that file tells the container. Innocent files are ignored by the kernel itself
//! after their first exec; what is left goes to detection as attempts.

pub mod bounds;
pub mod breaker;
pub mod far_reader;
pub mod handing;
pub mod innocents;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::MaskFlags;

use self::breaker::Breaker;
use self::handing::{BATCH, Handing, QUEUE, UNOPENED, path_of};
use self::innocents::{Innocent, Innocents};
use crate::event::{Attempt, FileId, Missing, Monotonic, MountNumber, Pid};
use crate::host::clock;
use crate::host::file::{file_id, file_status, mount_number, mount_of_descriptor};
use crate::host::process::Proc;
use crate::sensor::canary::Canary;
use crate::sensor::fanotify_group::{EVENTS, Group, Way};
use crate::sensor::ledger::Ledger;
use crate::sensor::mounts::Mounts;
use crate::sensor::pace::{Mode, Pace};
use crate::sensor::{Control, ControlInlet, FileIs, FileTriage, Outlet};
use crate::sys::fanotify::Event;
use crate::sys::file::FileStatus;
use crate::sys::process::run_at_once;

/// Our own exec must be reported within this time.
const CANARY: Duration = Duration::from_secs(2);
/// Events handled before orders and losses have their turn.
const DRAIN: usize = 4096;

/// The reader's state; [`Reader::run`] is its thread.
pub struct Reader {
    group: Arc<Group>,
    mounts: Arc<Mounts>,
    proc: Arc<Proc>,
    triage: Arc<dyn FileTriage>,
    handing: Handing,
    ledger: Arc<Ledger>,
    control: ControlInlet,
    innocents: Innocents,
    breaker: Breaker,
    events: Vec<Event>,
    pace: Pace,
    canary: Option<Canary>,
    /// Its process, while its exec is awaited.
    awaited: Option<Pid>,
    /// An event was lost: it may have told that somebody wrote to a file whose execs are ignored.
    lost: bool,
    own: Pid,
}

impl Reader {
    /// Takes over the group's events.
    pub fn new(
        group: Arc<Group>,
        mounts: Arc<Mounts>,
        proc: Arc<Proc>,
        triage: Arc<dyn FileTriage>,
        (outlet, ledger): (Outlet, Arc<Ledger>),
        control: ControlInlet,
    ) -> Self {
        let innocents = Innocents::new(group.way, Arc::clone(&proc));
        Self {
            group,
            mounts,
            proc,
            triage,
            handing: Handing::new(outlet),
            ledger,
            control,
            innocents,
            breaker: Breaker::default(),
            events: Vec::new(),
            pace: Pace::new(Mode::Lazy, clock::now()),
            canary: None,
            awaited: None,
            lost: false,
            own: Pid(nix::unistd::getpid().as_raw()),
        }
    }

    /// Waits until the kernel has reported an exec of our own; what else arrives is handled meanwhile.
    ///
    /// # Errors
    /// One sentence: none was reported.
    pub fn prove(&mut self) -> Result<(), String> {
        // Our own executable is marked.
        let canary = Canary::start().map_err(|e| format!("start the canary: {e}"))?;
        self.awaited = Some(canary.pid());
        self.canary = Some(canary);
        let deadline = clock::now().plus(CANARY);
        while self.awaited.is_some() && clock::now() < deadline {
            let left = clock::poll_timeout(deadline.since(clock::now()));
            let mut fds = [PollFd::new(self.group.fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, left);
            self.drain();
        }
        self.group.end_proof();
        if self.awaited.take().is_some() { Err("the marks are set, but no exec is reported".into()) } else { Ok(()) }
    }

    /// Reads until told to stop.
    pub fn run(mut self) {
        if let Err(e) = run_at_once() {
            log::warn!("fanotify's reader runs like any other thread: {e}");
        }
        // By now the connector has looked at it.
        self.canary = None;
        while !self.turn() {}
    }

    fn turn(&mut self) -> bool {
        let timeout = if self.handing.losses.is_empty() { PollTimeout::NONE } else { PollTimeout::from(10u8) };
        let mut fds = [
            PollFd::new(self.group.fd(), PollFlags::POLLIN),
            PollFd::new(self.control.wake.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, timeout);
        let [_, orders] = fds;
        if orders.any().unwrap_or(false) {
            for order in self.control.drain() {
                match order {
                    Control::Stop => return true,
                    Control::Ignore(file) => self.ignore(&file),
                    Control::Forget => self.regard_all(),
                    Control::Eager
                    | Control::Lazy
                    | Control::Names
                    | Control::Prove
                    | Control::Sweep(_)
                    | Control::Pulse => {}
                }
            }
        }
        let count = self.drain();
        if std::mem::take(&mut self.lost) || self.innocents.are_to_begin_anew(clock::now()) {
            self.regard_all();
        }
        self.handing.losses.tell(&self.handing.outlet);
        let rest = self.pace.rest(clock::now(), count, || None);
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        false
    }

    /// Handles all that is there; how many events.
    fn drain(&mut self) -> usize {
        let mut count = 0;
        let mut attempts = Vec::new();
        let mut behind = Some(self.handing.empty);
        while count < DRAIN {
            let began = clock::now();
            let mut events = std::mem::take(&mut self.events);
            if let Err(e) = self.group.read(&mut events)
                && e.kind() != std::io::ErrorKind::Interrupted
            {
                log::debug!("read fanotify events: {e}");
                self.lose(1, UNOPENED);
                self.events = events;
                break;
            }
            let read = events.len();
            if read == 0 {
                self.events = events;
                self.handing.empty = began;
                behind = None;
                break;
            }
            if count == 0 {
                self.ledger.set_behind(behind);
            }
            count += read;
            let at = clock::now();
            for event in events.drain(..) {
                attempts.extend(self.event(event, at));
            }
            self.events = events;
            if attempts.len() + EVENTS > BATCH {
                self.handing.hand_over(std::mem::take(&mut attempts));
            }
        }
        self.handing.hand_over(attempts);
        if count > 0 {
            self.ledger.set_behind(behind);
        }
        count
    }

    fn lose(&mut self, count: u64, what: &'static str) {
        self.lost = true;
        self.handing.lose(count, what);
    }

    fn event(&mut self, event: Event, at: Monotonic) -> Option<Attempt> {
        let mask = MaskFlags::from_bits_retain(event.mask);
        if mask.contains(MaskFlags::FAN_Q_OVERFLOW) {
            // One event stands for all that found no room; how many is told by the EXECs that they leave alone.
            self.lose(0, QUEUE);
            return None;
        }
        let pid = Pid(event.pid);
        let Some(file) = event.file else {
            self.lose(1, UNOPENED);
            return None;
        };
        if pid == self.own {
            return None;
        }
        if self.awaited == Some(pid) {
            self.awaited = None;
            return None;
        }
        let Ok(status) = file_status(file.as_fd(), c"") else {
            self.lose(1, "an event whose file does not tell what it is");
            return None;
        };
        let (id, links) = (file_id(status), status.nlink);
        if mask.contains(MaskFlags::FAN_CLOSE_WRITE) {
            self.innocents.written(&self.group, file.as_fd(), id.inode());
        }
        // Before Linux 4.0 opens of directories are reported too, once something was written on their mount.
        if !self.group.is_exec(mask) || !status.is_regular {
            return None;
        }
        let mount = self.mount_of(&file, status);
        let mounted = self.mounts.of(id.dev, mount);
        let path = path_of(&file);
        let innocent =
            mounted.as_deref().map(|on| Innocent { file: file.as_fd(), id, links, path: &path, on, pid: Some(pid) });
        match self.judge(&path, id, &file, innocent.as_ref()) {
            FileIs::Innocent => {
                if let Some(innocent) = innocent
                    && !self.innocents.ignore(&self.group, &innocent)
                    && self.group.way == Way::Open
                    && self.breaker.opened(innocent.on.id, id.ino, at)
                {
                    // Before Linux 5.8 the file's state leads to its filesystem; what bears the mark is its mount.
                    let number = mount.or_else(|| mount_of_descriptor(file.as_fd()).map(MountNumber));
                    self.mounts.rest(innocent.on, id.dev, number, at.plus(breaker::REST));
                    self.mounts.requests.flooded();
                }
                None
            }
            FileIs::ByArguments => None,
            is @ (FileIs::Toolchain | FileIs::Unjudged | FileIs::Doubted) => {
                let (unjudged, doubted) = (is != FileIs::Toolchain, is == FileIs::Doubted);
                let of_host = mounted.as_ref().is_some_and(|m| m.of_host);
                let mounted = mounted.map(|m| m.id);
                let is_known = mounted.is_some_and(|id| self.triage.owns(id));
                let mut look = (!is_known).then(|| self.proc.look(pid, at));
                let on_host = of_host && look.as_ref().is_some_and(|look| self.triage.lives_on_host(look));
                if let Some(look) = &mut look {
                    look.let_go(Missing::Gone);
                }
                let look = look.map(Arc::new);
                if on_host && !unjudged {
                    return None;
                }
                let script = head(&file).starts_with(b"#!");
                let open = (unjudged || self.handing.is_to_be_read(id, at)).then(|| Arc::new(file));
                let by_open = self.group.way == Way::Open;
                let attempt = Attempt::new(pid, (self.handing.empty, at), id, path.into());
                Some(Attempt { open, unjudged, doubted, script, by_open, on_host, mount, mounted, look, ..attempt })
            }
        }
    }

    /// Has the execs of a file ignored that was read, unless what was read may have changed: then that is for its next exec to
    /// find out.
    fn ignore(&mut self, file: &OwnedFd) {
        let Ok(status) = file_status(file.as_fd(), c"") else { return };
        let (id, links, path) = (file_id(status), status.nlink, path_of(file));
        let Some(mounted) = self.mounts.of(id.dev, self.mount_of(file, status)) else { return };
        let innocent = Innocent { file: file.as_fd(), id, links, path: &path, on: &mounted, pid: None };
        if self.triage.judge(&path, id) == FileIs::Innocent && self.innocents.holds(&innocent, self.triage.rested(id)) {
            self.innocents.ignore(&self.group, &innocent);
        }
    }

    /// What a file is. Of what was opened for whatever purpose, most is nothing that could be executed.
    fn judge(&mut self, path: &[u8], id: FileId, file: &OwnedFd, innocent: Option<&Innocent<'_>>) -> FileIs {
        let mut is = self.triage.judge(path, id);
        let is_unknown = matches!(is, FileIs::Unjudged | FileIs::Doubted);
        if is_unknown && self.group.way == Way::Open && !may_be_program(file) {
            return FileIs::Innocent;
        }
        if is == FileIs::Unjudged {
            match innocent.and_then(|i| i.on.layers.as_ref()?.layer_file(path, id)) {
                Some(layer) if self.triage.adopt(id, layer) => is = self.triage.judge(path, id),
                Some(_) => {}
                None if self.innocents.may_change(innocent) => is = FileIs::Doubted,
                None => {}
            }
        }
        if is == FileIs::Innocent {
            let may_have_changed = match innocent {
                Some(innocent) => self.innocents.may_have_changed(&self.group, innocent, self.triage.rested(id)),
                // Nobody knows on what it lies. By open events very much is heard of.
                None => self.group.way != Way::Open,
            };
            if may_have_changed {
                self.triage.invalidate(id);
                return FileIs::Doubted;
            }
        }
        is
    }

    /// The mount through which a file was opened. Where its state does not tell (before 5.8), that is asked only if its
    /// device says nothing.
    fn mount_of(&self, file: &OwnedFd, status: FileStatus) -> Option<MountNumber> {
        let asked = || {
            let known = self.mounts.knows_device(status.dev);
            if known { None } else { mount_of_descriptor(file.as_fd()).map(MountNumber) }
        };
        mount_number(status).or_else(asked)
    }

    /// Begins anew: what is innocent is ignored again at its next exec.
    fn regard_all(&mut self) {
        if let Err(e) = self.group.regard_all() {
            log::debug!("take the ignore marks away: {e}");
        }
        self.innocents.forget_marks(clock::now());
        self.mounts.forget_ignored();
    }
}

/// Whether a file begins as a program or a script does.
fn may_be_program(file: &OwnedFd) -> bool {
    let head = head(file);
    head == *b"\x7fELF" || head.starts_with(b"#!")
}

/// The first bytes of a file, zeros where there are none. It was opened just now, so that they are in memory.
fn head(file: &OwnedFd) -> [u8; 4] {
    let mut head = [0; 4];
    let _ = nix::sys::uio::pread(file, &mut head, 0);
    head
}
