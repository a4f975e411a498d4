//! The sensors: who executed something, and where that was not seen. A sensor knows no policy: it resolves on the
//! spot what [`Triage`] knows to be none of our business and hands everything else to detection.

pub mod canary;
pub mod counters;
pub mod exec_look;
pub mod fanotify;
pub mod fanotify_group;
pub mod far;
pub mod haste;
pub mod health;
pub mod images;
pub mod last_names;
pub mod ledger;
pub mod lineage;
pub mod losses;
pub mod mounts;
pub mod pace;
pub mod proc_connector;
pub mod proc_event;
pub mod proc_socket;
pub mod procfs_poll;
pub mod status;
pub mod taskstats;
pub mod urgency;
pub mod without;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};
use crate::event::claim::UnderWay;
use crate::event::{BegunReads, Comm, Fact, FileId, Look, Monotonic, MountedId, Pid, SensorKind, Sighting};
use crate::host::clock;
use crate::host::mountinfo::Mount;
use crate::host::process::Proc;

/// Facts on their way to detection; a sighting may hold two descriptors.
pub const CHANNEL: usize = 256;
/// Open files of attempts on their way to detection.
pub const FILES: usize = 256;
/// Orders that wait for a sensor.
const ORDERS: usize = 1024;
/// So many of which leave room for those that must not be lost.
const FEW: usize = 32;

/// What is known before detection is asked: cheap, and without I/O of its own.
pub trait Triage: Send + Sync {
    /// Whether the cgroup of a look names a container.
    fn is_contained(&self, look: &Look) -> bool;
    /// Whether the first part of a look, and its place, show a process of the host.
    fn is_host(&self, look: &Look) -> bool;
    /// Counts `execs` like this one for its container.
    fn count(&self, look: &Look, execs: u64);
    /// Counts an exec of a file that lies there, for the container whose that is.
    fn count_on(&self, mounted: MountedId, at: Monotonic);
    /// The name of a process that executed this file and was found to be innocent, where nothing has changed since.
    fn innocent_name(&self, file: FileId) -> Option<Comm>;
    /// Whether its name, its path and what was read of its file say that detection will not want it.
    fn is_innocent(&self, look: &Look) -> bool;
    /// Whether detection will not want what ended under this name and shows nothing else.
    fn is_innocent_end(&self, comm: Comm) -> bool;
    /// Whether a whole look may show a runtime on its way into a container: its root directory still is the host's. It
    /// copies itself anew for each, and nothing would be learned of reading that.
    fn may_be_entering(&self, look: &Look) -> bool;
    /// Detection wants this exec: what else dies with the process is being read from now on.
    fn begin(&self, look: &Look) -> BegunReads;
    /// Detection will not hear of it: what was begun is left, and what was opened for it is closed.
    fn leave(&self, begun: BegunReads);
}

/// Whether a whole look shows a runtime on its way into a container. Its parent is still outside, unlike that of what a
/// container starts through the host's root directory.
fn is_entering(proc: &Proc, triage: &dyn Triage, look: &Look) -> bool {
    triage.may_be_entering(look) && look.stat.as_ref().is_ok_and(|stat| is_outside(proc, triage, stat.ppid))
}

fn is_outside(proc: &Proc, triage: &dyn Triage, pid: Pid) -> bool {
    let mut look = proc.open_look(pid, clock::now());
    proc.read_cgroup(&mut look);
    look.cgroup.is_ok() && !triage.is_contained(&look)
}

/// What a file is, as far as its exec is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileIs {
    /// No compiler, and nothing that compiles in its own process: its execs need not be reported.
    Innocent,
    /// Its arguments tell: nothing is known without them, and it is not to be ignored.
    ByArguments,
    /// A compiler, assembler or linker, or a part of one.
    Toolchain,
    /// Its name says nothing, and its content is not known yet.
    Unjudged,
    /// Its content was known, and may be another by now: it is to be read again, from now on.
    Doubted,
}

/// What fanotify's threads ask, and tell.
pub trait FileTriage: Send + Sync {
    /// What this file is, by its path and by what was read of it before. Without I/O.
    fn judge(&self, path: &[u8], id: FileId) -> FileIs;
    /// A file that an overlay shows is this one of an image layer: what was read of it for another container holds. False
    /// where that is nothing yet.
    fn adopt(&self, id: FileId, layer: FileId) -> bool;
    /// How long a file had lain unchanged when what is known of it was read.
    fn rested(&self, id: FileId) -> Duration;
    /// What was read of a file may have changed without a trace: it is to be read again.
    fn invalidate(&self, id: FileId);
    /// A filesystem was mounted; it is marked when this returns. May read files.
    fn mounted(&self, id: MountedId, mount: &Mount);
    /// The same of a mount in a container's own namespace: it belongs to whom `root` belongs, on which the namespace's
    /// root directory lies, else to whom the process belongs.
    fn mounted_within(&self, id: MountedId, root: Option<MountedId>, look: &Look);
    /// Whether a process, and with it its mounts, is the host's.
    fn lives_on_host(&self, look: &Look) -> bool;
    /// Whether a container's process sees the host's processes, and through them the host's files.
    fn shares_host(&self, look: &Look) -> bool;
    /// It is gone, and so is every exec on it.
    fn unmounted(&self, id: MountedId);
    /// Whose a mount namespace is, for people: `root` and the process as in [`FileTriage::mounted_within`].
    fn name_of(&self, root: Option<MountedId>, look: &Look) -> Option<String>;
    /// The outermost container of a process, for people; `None` where no runtime made one.
    fn outermost_of(&self, look: &Look) -> Option<String>;
    /// Whether it is known whose it is.
    fn owns(&self, id: MountedId) -> bool;
}

/// What flows from detection and the coverage keeper to the sensors.
#[derive(Debug)]
pub enum Control {
    /// This file was read and is innocent: its execs need not be reported.
    Ignore(Arc<OwnedFd>),
    /// The database has changed: no file is known to be innocent any more.
    Forget,
    /// An open file tells nothing by itself: the names under which processes end are wanted.
    Names,
    /// Nothing was heard of execs that another sensor saw: to be proven by one of our own.
    Prove,
    /// Some container is covered by nothing else: look at once; for poll: walk in rounds.
    Eager,
    /// Every container is covered by another sensor; for poll: walk only when asked.
    Lazy,
    /// Walk over all processes once, to repair a loss of this sensor.
    Sweep(SensorKind),
    /// Nothing: that it is taken is the sign of life.
    Pulse,
    /// End.
    Stop,
}

/// Where a sensor puts what it saw. Never blocks: what does not fit is counted and told as a loss.
#[derive(Debug, Clone)]
pub struct Outlet {
    facts: Sender<Fact>,
    /// Open files of attempts.
    pub files: UnderWay,
}

/// The channel from the sensors to detection.
pub fn channel() -> (Outlet, Receiver<Fact>) {
    let (facts, receiver) = bounded(CHANNEL);
    (Outlet { facts, files: UnderWay::new(FILES) }, receiver)
}

impl Outlet {
    /// Hands over one exec; false when it had to be dropped.
    pub fn exec(&self, sighting: Sighting) -> bool {
        self.try_tell(Fact::Exec(Box::new(sighting))).is_ok()
    }

    /// Hands over what is not an exec; gives it back where there is no room, to be told later.
    ///
    /// # Errors
    /// The fact itself.
    pub fn try_tell(&self, fact: Fact) -> std::result::Result<(), Box<Fact>> {
        match self.facts.try_send(fact) {
            // Disconnected: detection has stopped, and so will the sensor.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(fact)) => Err(Box::new(fact)),
        }
    }

    /// Hands over what must not be dropped, from a thread that may wait.
    pub fn tell(&self, fact: Fact) {
        let _ = self.facts.send(fact);
    }
}

/// The sending end of a sensor's control channel.
#[derive(Debug, Clone)]
pub struct Controls {
    sender: Sender<Control>,
    wake: Arc<EventFd>,
    asked: Weak<AtomicBool>,
}

/// A sensor's end of it: `wake` becomes readable when there is something to obey.
#[derive(Debug)]
pub struct ControlInlet {
    receiver: Receiver<Control>,
    /// To be polled.
    pub wake: Arc<EventFd>,
    /// A sign of life is asked for.
    asked: Arc<AtomicBool>,
}

/// Whether a thread takes its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// It has answered the last question.
    Yes,
    /// It has not.
    No,
    /// It has ended: its end of the channel is gone.
    Ended,
}

/// Makes a control channel.
///
/// # Errors
/// No descriptor is left.
pub fn controls() -> Result<(Controls, ControlInlet)> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let wake = EventFd::from_value_and_flags(0, flags).map_err(|e| Error::os("create", "eventfd", e))?;
    let (wake, asked, (sender, receiver)) = (Arc::new(wake), Arc::<AtomicBool>::default(), bounded(ORDERS));
    let controls = Controls { sender, wake: Arc::clone(&wake), asked: Arc::downgrade(&asked) };
    Ok((controls, ControlInlet { receiver, wake, asked }))
}

impl Controls {
    /// Sends one order; false where the sensor is gone or does not keep up.
    pub fn send(&self, control: Control) -> bool {
        self.sender.try_send(control).is_ok() && self.wake.write(1).is_ok()
    }

    /// Has the execs of this file ignored, where few such orders wait: each keeps what it lies on mounted, and its next exec
    /// brings it again.
    pub fn ignore(&self, file: Arc<OwnedFd>) {
        if self.sender.len() < FEW {
            self.send(Control::Ignore(file));
        }
    }

    /// Whether there was a sign of life since the last call; asks for the next one, which wakes the thread once.
    pub fn pulse(&self) -> Moves {
        let Some(asked) = self.asked.upgrade() else { return Moves::Ended };
        if asked.swap(true, Ordering::AcqRel) {
            return Moves::No;
        }
        // Where there is no room for it, the orders that wait have woken the thread.
        self.send(Control::Pulse);
        Moves::Yes
    }
}

impl ControlInlet {
    /// Whether it is to end; all other orders that are there mean nothing to it.
    pub fn is_stopped(&self) -> bool {
        self.drain().iter().any(|order| matches!(order, Control::Stop))
    }

    /// All orders that are there.
    pub fn drain(&self) -> Vec<Control> {
        self.answer();
        let _ = self.wake.read();
        self.receiver.try_iter().collect()
    }

    /// Waits for the next order, at most for `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Control> {
        let order = match timeout {
            Some(t) => self.receiver.recv_timeout(t).ok(),
            None => Some(self.receiver.recv().unwrap_or(Control::Stop)),
        };
        self.answer();
        order
    }

    /// Gives the sign of life that is asked for, before the next order is taken.
    pub fn answer(&self) {
        self.asked.store(false, Ordering::Release);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Stat;

    #[test]
    fn to_take_orders_is_the_sign_of_life() {
        let (orders, inlet) = controls().unwrap();
        assert_eq!([orders.pulse(), orders.pulse(), orders.pulse()], [Moves::Yes, Moves::No, Moves::No]);
        assert!(matches!(inlet.drain()[..], [Control::Pulse]), "one that hangs is asked once");
        assert_eq!(orders.pulse(), Moves::Yes);
        assert!(matches!(inlet.wait(None), Some(Control::Pulse)));
        while orders.send(Control::Forget) {}
        assert_eq!([orders.pulse(), orders.pulse()], [Moves::Yes, Moves::No], "no order was taken");
        inlet.answer();
        drop(inlet);
        assert_eq!([orders.pulse(), orders.pulse()], [Moves::Ended; 2]);
    }

    /// Wants all but what it takes for the host's.
    pub(crate) struct AllBut<F>(pub(crate) F);

    /// Wants all.
    pub(crate) fn everything() -> Arc<dyn Triage> {
        Arc::new(AllBut(|_: &Look| false))
    }

    impl<F: Fn(&Look) -> bool + Send + Sync> Triage for AllBut<F> {
        fn is_contained(&self, _: &Look) -> bool {
            false
        }

        fn is_host(&self, look: &Look) -> bool {
            (self.0)(look)
        }

        fn count(&self, _: &Look, _: u64) {}

        fn count_on(&self, _: MountedId, _: Monotonic) {}

        fn innocent_name(&self, _: FileId) -> Option<Comm> {
            None
        }

        fn is_innocent(&self, look: &Look) -> bool {
            look.file().is_none() && look.stat.as_ref().is_ok_and(Stat::is_dead)
        }

        fn is_innocent_end(&self, _: Comm) -> bool {
            true
        }

        fn may_be_entering(&self, _: &Look) -> bool {
            false
        }

        fn begin(&self, _: &Look) -> BegunReads {
            BegunReads(0)
        }

        fn leave(&self, _: BegunReads) {}
    }
}
