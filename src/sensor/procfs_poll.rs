//! The walk over /proc: the baseline at start, the repair after a loss, and the fallback where no connector is to be
//! had. In rounds, a young process is looked at twice (fork, then exec) and the old ones in turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Fact, Lost, Monotonic, Pid, SensorKind, Sighting, StartTime};
use crate::host::clock;
use crate::host::process::Proc;
use crate::sensor::{Control, ControlInlet, Outlet, Triage};

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// A round may take one part in so many of the time.
const SHARE: u32 = 20;
/// Processes of former rounds that are looked at again in each round.
const OLD_PER_ROUND: usize = 64;

/// What a round remembers of a process.
#[derive(Debug, Clone, Copy)]
struct Known {
    start: Option<StartTime>,
    image: u64,
    rounds: u32,
}

/// The walker; [`Walker::run`] is its thread.
pub struct Walker {
    proc: Arc<Proc>,
    triage: Arc<dyn Triage>,
    outlet: Outlet,
    control: ControlInlet,
    known: HashMap<Pid, Known>,
    /// Where the turn of the old ones stands.
    next_old: i32,
    in_rounds: bool,
    interval: Duration,
    dropped: u64,
    since: Monotonic,
}

impl Walker {
    /// Makes a walker that does nothing until it is asked.
    pub fn new(proc: Arc<Proc>, triage: Arc<dyn Triage>, outlet: Outlet, control: ControlInlet) -> Self {
        Self {
            proc,
            triage,
            outlet,
            control,
            known: HashMap::new(),
            next_old: 0,
            in_rounds: false,
            interval: SHORTEST,
            dropped: 0,
            since: clock::now(),
        }
    }

    /// Looks at every process there is; waits for room in the channel, as nothing waits for the walker.
    pub fn sweep(&mut self, after: Option<SensorKind>) {
        let pids = self.proc.pids().unwrap_or_default();
        let mut seen = 0;
        for pid in &pids {
            if let Some(sighting) = self.look(*pid) {
                self.outlet.tell(Fact::Exec(Box::new(sighting)));
            }
            seen += 1;
        }
        self.outlet.tell(Fact::Swept { after, seen });
    }

    /// Obeys until told to stop.
    pub fn run(mut self) {
        loop {
            let timeout = self.in_rounds.then_some(self.interval);
            match self.control.wait(timeout) {
                Some(Control::Stop) => return,
                Some(Control::Eager) => self.in_rounds = true,
                Some(Control::Lazy) => {
                    self.in_rounds = false;
                    self.known = HashMap::new();
                }
                Some(Control::Sweep(sensor)) => self.sweep(Some(sensor)),
                Some(Control::Ignore(_) | Control::Forget(_) | Control::Mark(_) | Control::Unmark(_)) => {}
                None => self.round(),
            }
        }
    }

    fn look(&self, pid: Pid) -> Option<Sighting> {
        let at = clock::now();
        let mut look = self.proc.begin_look(pid, at);
        if look.dir.is_err() || self.triage.is_host(&look) {
            return None;
        }
        self.proc.complete_look(&mut look);
        let begun = self.triage.wants(&look)?;
        Some(Sighting { pid, at, known_by: SensorKind::Poll, look, parent: None, begun })
    }

    /// One round: new processes, the young again, some of the old.
    fn round(&mut self) {
        let began = clock::now();
        let pids = self.proc.pids().unwrap_or_default();
        for pid in self.choose(&pids) {
            self.visit(pid);
        }
        let cost = clock::now().since(began);
        self.interval = (cost * SHARE).clamp(SHORTEST, LONGEST);
        self.tell_losses();
    }

    /// Forgets the dead and returns whom to look at.
    fn choose(&mut self, pids: &[Pid]) -> Vec<Pid> {
        let alive: std::collections::HashSet<Pid> = pids.iter().copied().collect();
        self.known.retain(|pid, _| alive.contains(pid));
        let (young, mut old): (Vec<Pid>, Vec<Pid>) =
            pids.iter().partition(|pid| self.known.get(pid).is_none_or(|k| k.rounds < 2));
        old.sort_unstable();
        let turn = old.partition_point(|pid| pid.0 <= self.next_old);
        old.rotate_left(turn);
        old.truncate(OLD_PER_ROUND);
        self.next_old = old.last().map_or(0, |pid| pid.0);
        young.into_iter().chain(old).collect()
    }

    fn visit(&mut self, pid: Pid) {
        let stat = self.proc.process(pid).and_then(|dir| dir.stat());
        let now =
            Known { start: stat.as_ref().ok().map(|s| s.start), image: stat.map_or(0, |s| s.start_stack), rounds: 1 };
        if let Some(known) = self.known.get_mut(&pid)
            && known.start == now.start
        {
            known.rounds += 1;
            if known.image == now.image {
                return;
            }
            known.image = now.image;
        } else {
            self.known.insert(pid, now);
        }
        if let Some(sighting) = self.look(pid)
            && !self.outlet.exec(sighting)
        {
            self.dropped += 1;
        }
    }

    fn tell_losses(&mut self) {
        if self.dropped == 0 {
            self.since = clock::now();
            return;
        }
        let at = "the channel to detection";
        let lost = Lost { sensor: SensorKind::Poll, count: self.dropped, since: self.since, at };
        if self.outlet.try_tell(Fact::Lost(lost)).is_ok() {
            self.dropped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::event::{BegunReads, Look};
    use crate::sensor::{channel, controls};

    struct Everything;

    impl Triage for Everything {
        fn is_host(&self, _: &Look) -> bool {
            false
        }
        fn wants(&self, _: &Look) -> Option<BegunReads> {
            Some(BegunReads(0))
        }
    }

    fn put(root: &Path, pid: i32, start: u64, stack: u64) {
        let dir = root.join(pid.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let middle = "0 ".repeat(14);
        let text = format!("{pid} (x) S 1 1 1 0 {middle}{start} 0 0 0 0 0 {stack} 0\n");
        std::fs::write(dir.join("stat"), text).unwrap();
    }

    #[test]
    fn a_round_reports_new_processes_and_new_images_once() {
        let tree = tempfile::tempdir().unwrap();
        let (outlet, facts) = channel();
        let (_controls, inlet) = controls().unwrap();
        let proc = Arc::new(Proc::open(tree.path()).unwrap());
        let mut walker = Walker::new(proc, Arc::new(Everything), outlet, inlet);
        let seen = |walker: &mut Walker| -> Vec<i32> {
            walker.round();
            let pids = facts.try_iter().map(|f| match f {
                Fact::Exec(s) => s.pid.0,
                other => unreachable!("{other:?}"),
            });
            let mut pids: Vec<i32> = pids.collect();
            pids.sort_unstable();
            pids
        };
        put(tree.path(), 10, 5, 100);
        put(tree.path(), 11, 6, 101);
        assert_eq!(seen(&mut walker), [10, 11]);
        assert_eq!(seen(&mut walker), [0; 0]);
        put(tree.path(), 11, 6, 202);
        assert_eq!(seen(&mut walker), [11], "a new image in an old process");
        put(tree.path(), 10, 9, 100);
        assert_eq!(seen(&mut walker), [10], "the pid was used again");
        std::fs::remove_dir_all(tree.path().join("10")).unwrap();
        assert_eq!(seen(&mut walker), [0; 0]);
        put(tree.path(), 10, 9, 100);
        assert_eq!(seen(&mut walker), [10], "the dead are forgotten");
    }

    #[test]
    fn the_old_are_visited_in_turn() {
        let tree = tempfile::tempdir().unwrap();
        let (outlet, _facts) = channel();
        let (_controls, inlet) = controls().unwrap();
        let proc = Arc::new(Proc::open(tree.path()).unwrap());
        let mut walker = Walker::new(proc, Arc::new(Everything), outlet, inlet);
        let pids: Vec<Pid> = (1..=200).map(Pid).collect();
        for pid in &pids {
            walker.known.insert(*pid, Known { start: None, image: 0, rounds: 9 });
        }
        let mut visited = Vec::new();
        for _ in 0..4 {
            visited.extend(walker.choose(&pids));
        }
        visited.truncate(200);
        visited.sort_unstable();
        assert_eq!(visited, pids);
    }
}
