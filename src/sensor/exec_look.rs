//! The look that the connector's reader takes at a process after its EXEC: whether what is found under the pid is what
//! was executed, and whether anybody wants it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::event::{Look, Missing, Monotonic, Pid, SensorKind, Sighting, StartTime};
use crate::host::clock::{self, Ticks};
use crate::host::process::Proc;
use crate::sensor::Triage;

const IMAGES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// What a look found.
pub enum Seen {
    /// Known to be none of our business.
    Settled,
    /// Nothing of it could be seen.
    Dead,
    /// It lives, and could not be looked at: no descriptor was left, or no permission.
    Refused,
    /// Detection wants it.
    Wanted(Box<Sighting>),
}

/// Takes the looks, and knows the images seen before.
pub struct ExecLook {
    proc: Arc<Proc>,
    triage: Arc<dyn Triage>,
    ticks: Ticks,
    /// The image last seen in a process: start time and where its stack began.
    images: LruCache<Pid, (StartTime, u64)>,
}

impl ExecLook {
    /// Looks through this procfs and asks this triage.
    pub fn new(proc: Arc<Proc>, triage: Arc<dyn Triage>) -> Self {
        Self { proc, triage, ticks: Ticks::read(), images: LruCache::new(IMAGES) }
    }

    /// The procfs that is looked through.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// Looks at what executed something at `at`.
    pub fn look(&mut self, pid: Pid, at: Monotonic) -> Seen {
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.0), None) == Err(nix::Error::ESRCH) {
            return Seen::Dead;
        }
        let mut look = self.proc.begin_look(pid, clock::now());
        match look.dir {
            Ok(_) => {}
            Err(Missing::Gone) => return Seen::Dead,
            Err(_) => return Seen::Refused,
        }
        if self.triage.is_host(&look) {
            return Seen::Settled;
        }
        self.proc.name_look(&mut look);
        if (look.exe.is_err() && look.stat.is_err()) || self.is_another(&look, at) || self.is_known_image(pid, &look) {
            return Seen::Dead;
        }
        if self.triage.is_innocent(&look) {
            return Seen::Settled;
        }
        self.proc.complete_look(&mut look);
        let Some(begun) = self.triage.wants(&look) else { return Seen::Settled };
        let known_by = SensorKind::Connector;
        Seen::Wanted(Box::new(Sighting { pid, at, known_by, look, parent: None, begun }))
    }

    /// Whether the pid was given to another process since the exec: that was forked after it. Start times count whole
    /// ticks.
    fn is_another(&mut self, look: &Look, at: Monotonic) -> bool {
        let Ok(stat) = &look.stat else { return false };
        let forked_after = |ticks: Ticks| ticks.moment(stat.start) > at.plus(ticks.length());
        if forked_after(self.ticks) {
            // The machine may have been suspended since: that moves the boot clock against the monotonic one.
            self.ticks = Ticks::read();
        }
        forked_after(self.ticks)
    }

    /// Whether this image of the process was looked at before: then the look for an earlier exec came so late that it
    /// saw this one, and the earlier image was never seen. Each exec gives a process a new random stack.
    fn is_known_image(&mut self, pid: Pid, look: &Look) -> bool {
        let Ok(stat) = &look.stat else { return false };
        let image = (stat.start, stat.start_stack);
        stat.start_stack != 0 && self.images.push(pid, image) == Some((pid, image))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::sensor::tests::Everything;

    fn looker() -> ExecLook {
        ExecLook::new(Arc::new(Proc::open(Path::new("/proc")).unwrap()), Arc::new(Everything))
    }

    /// A process that waits for its end.
    fn child() -> (Child, Pid) {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid(child.id().cast_signed());
        (child, pid)
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn what_executed_is_wanted_once() {
        let (cat, pid) = child();
        let mut looker = looker();
        assert!(matches!(looker.look(pid, clock::now()), Seen::Wanted(s) if s.look.exe.is_ok()));
        assert!(matches!(looker.look(pid, clock::now()), Seen::Dead), "the same image");
        end(cat);
        assert!(matches!(looker.look(pid, clock::now()), Seen::Dead), "it is gone");
    }

    #[test]
    fn a_pid_that_was_given_away_since_shows_another_process() {
        let (cat, pid) = child();
        let mut looker = looker();
        let before_its_fork = Monotonic(clock::now().0 - 60_000_000_000);
        assert!(matches!(looker.look(pid, before_its_fork), Seen::Dead));
        end(cat);
    }

    #[test]
    fn the_tick_of_the_fork_is_no_proof_of_another() {
        let (cat, pid) = child();
        let mut looker = looker();
        let stat = looker.proc().process(pid).unwrap().stat().unwrap();
        let tick = looker.ticks.moment(stat.start);
        assert!(matches!(looker.look(pid, tick), Seen::Wanted(_)));
        end(cat);
    }
}
