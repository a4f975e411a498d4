//! The walk over /proc: the baseline at start, the repair after a loss, and the fallback where no connector is to be
//! had. In rounds, a young process is looked at twice (fork, then exec) and the old ones in turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{
    Fact, Field, ImageId, Inode, Look, Lost, Missing, Monotonic, Pid, SensorKind, Sighting, StartTime, Stat,
};
use crate::host::clock;
use crate::host::file::spares_servers;
use crate::host::process::{Proc, ProcessDir};
use crate::sensor::health::PartHealth;
use crate::sensor::mounts::Mounts;
use crate::sensor::{Control, ControlInlet, Outlet, Triage, is_entering};

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// A round may take one part in so many of the time.
const SHARE: u32 = 20;
/// Processes of former rounds that are looked at again in each round.
const OLD_PER_ROUND: usize = 64;

/// The part of this sensor that lists /proc.
pub const WALK: &str = "walk";

/// What a round remembers of a process.
#[derive(Debug, Clone, Copy)]
struct Known {
    start: Option<StartTime>,
    image: Option<ImageId>,
    rounds: u32,
}

/// The walker; [`Walker::run`] is its thread.
pub struct Walker {
    proc: Arc<Proc>,
    triage: Arc<dyn Triage>,
    mounts: Arc<Mounts>,
    outlet: Outlet,
    control: ControlInlet,
    known: HashMap<Pid, Known>,
    /// Where the turn of the old ones stands.
    next_old: i32,
    in_rounds: bool,
    interval: Duration,
    dropped: u64,
    since: Monotonic,
    health: PartHealth,
}

impl Walker {
    /// Makes a walker that does nothing until it is asked.
    pub fn new(
        proc: Arc<Proc>,
        triage: Arc<dyn Triage>,
        mounts: Arc<Mounts>,
        outlet: Outlet,
        control: ControlInlet,
    ) -> Self {
        Self {
            proc,
            triage,
            mounts,
            outlet,
            control,
            known: HashMap::new(),
            next_old: 0,
            in_rounds: false,
            interval: SHORTEST,
            dropped: 0,
            since: clock::now(),
            health: PartHealth::new(SensorKind::Poll, WALK),
        }
    }

    /// Looks at every process there is; waits for room in the channel, as nothing waits for the walker.
    pub fn sweep(&mut self, after: Option<SensorKind>) {
        let seen = self.walk();
        self.outlet.tell(Fact::Swept { after, seen });
    }

    /// Looks at all; goes on where one refuses, and then says why.
    fn walk(&self) -> Field<u64> {
        let mut seen = Ok(0);
        for pid in self.proc.pids()? {
            match self.look(pid) {
                Ok(Some(sighting)) => self.outlet.tell(Fact::Exec(Box::new(sighting))),
                Ok(None) | Err(Missing::Gone) => {}
                Err(why) => seen = Err(why),
            }
            seen = seen.map(|n| n + 1);
        }
        seen
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
                Some(Control::Ignore(_) | Control::Forget | Control::Names | Control::Prove | Control::Pulse) => {}
                None => self.round(),
            }
        }
    }

    /// What of it detection wants: nothing of the dead, who may lie unreaped for ever.
    fn look(&self, pid: Pid) -> Field<Option<Sighting>> {
        // A walk over very many takes its orders late.
        self.control.answer();
        let at = clock::now();
        let Some(mut look) = self.look_at_place(pid, at)? else { return Ok(None) };
        if look.stat.as_ref().is_ok_and(Stat::is_dead) {
            return Ok(None);
        }
        self.proc.read_exe_state(&mut look);
        if self.triage.is_innocent(&look) {
            return Ok(None);
        }
        self.proc.complete_look(&mut look);
        if self.triage.is_host(&look) || is_entering(&self.proc, &*self.triage, &look) {
            return Ok(None);
        }
        let (known_by, begun) = (SensorKind::Poll, self.triage.begin(&look));
        Ok(Some(Sighting { pid, at, known_by, look, parent: None, begun }))
    }

    /// Whether it is the host's, and what tells that; `None` where it is. Its file is not asked for: a host's program on a
    /// file server that is gone would hold whoever asks an old kernel, and nobody wants to know.
    fn look_at_place(&self, pid: Pid, at: Monotonic) -> Field<Option<Look>> {
        let mut look = self.proc.open_look(pid, at);
        if let Err(why) = &look.dir {
            return Err(*why);
        }
        self.proc.read_cgroup(&mut look);
        self.proc.read_mnt_ns(&mut look);
        // After its cgroup: a zombie's may be a false one.
        self.proc.read_stat(&mut look);
        if self.triage.is_host(&look) {
            return Ok(None);
        }
        if !self.triage.is_contained(&look) {
            self.proc.read_root(&mut look);
        }
        Ok((!self.triage.is_host(&look)).then_some(look))
    }

    /// The file of a process, where asking for it holds nobody.
    fn file_of(&self, pid: Pid, dir: &ProcessDir, spares_servers: bool) -> Option<Inode> {
        let may_ask = spares_servers || matches!(self.look_at_place(pid, clock::now()), Ok(Some(_)));
        if may_ask { dir.exe_id().ok().map(|id| id.inode()) } else { None }
    }

    /// One round: new processes, the young again, some of the old.
    fn round(&mut self) {
        let began = clock::now();
        let pids = self.proc.pids();
        let lacks = pids.as_ref().err().map(|why| format!("list /proc: {}", why.as_str()));
        // What finds no room is told in the next round.
        self.health.set(lacks, &self.outlet);
        let mut has_new = false;
        for pid in self.choose(&pids.unwrap_or_default()) {
            has_new |= self.visit(pid);
        }
        if has_new {
            // Without the connector nobody else tells that there may be a new mount namespace.
            self.mounts.requests.executed();
            self.mounts.requests.note_unseen_death();
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

    /// Whether it is new, or executed something since the last visit.
    fn visit(&mut self, pid: Pid) -> bool {
        let dir = self.proc.process(pid);
        let file = dir.as_ref().ok().and_then(|dir| self.file_of(pid, dir, spares_servers()));
        let stat = dir.and_then(|dir| dir.stat()).ok();
        let (start, image) = (stat.as_ref().map(|s| s.start), stat.and_then(|s| s.image(file)));
        let now = Known { start, image, rounds: 1 };
        if let Some(known) = self.known.get_mut(&pid)
            && known.start == now.start
        {
            known.rounds += 1;
            if known.image == now.image {
                return false;
            }
            known.image = now.image;
        } else {
            self.known.insert(pid, now);
        }
        self.dropped += match self.look(pid) {
            Ok(Some(sighting)) => self.send(sighting),
            Ok(None) | Err(Missing::Gone) => 0,
            Err(_) => 1,
        };
        true
    }

    /// How many were dropped by it.
    fn send(&self, sighting: Sighting) -> u64 {
        let begun = sighting.begun;
        if self.outlet.exec(sighting) {
            return 0;
        }
        self.triage.leave(begun);
        1
    }

    fn tell_losses(&mut self) {
        if self.dropped == 0 {
            self.since = clock::now();
            return;
        }
        let at = "a round of the walk over /proc";
        let lost = Lost { sensor: SensorKind::Poll, count: self.dropped, since: self.since, at };
        if self.outlet.try_tell(Fact::Lost(lost)).is_ok() {
            self.dropped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crossbeam_channel::Receiver;

    use super::*;
    use crate::sensor::tests::{AllBut, everything};
    use crate::sensor::{channel, controls};

    fn put(root: &Path, pid: i32, start: u64, stack: u64) {
        let dir = root.join(pid.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let middle = "0 ".repeat(14);
        let text = format!("{pid} (x) S 1 1 1 0 {middle}{start} 0 0 0 0 0 {stack} 0\n");
        std::fs::write(dir.join("stat"), text).unwrap();
    }

    /// A walker over a tree, and what it tells. Nobody gives it orders.
    fn walker(tree: &Path) -> (Walker, Receiver<Fact>) {
        let (outlet, facts) = channel();
        let (_, inlet) = controls().unwrap();
        let proc = Arc::new(Proc::open(tree).unwrap());
        (Walker::new(proc, everything(), Arc::default(), outlet, inlet), facts)
    }

    #[test]
    fn a_round_reports_new_processes_and_new_images_once() {
        let tree = tempfile::tempdir().unwrap();
        let (mut walker, facts) = walker(tree.path());
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
    fn a_sweep_passes_over_the_dead_and_says_when_it_failed() {
        let tree = tempfile::tempdir().unwrap();
        let (mut walker, facts) = walker(tree.path());
        put(tree.path(), 10, 5, 100);
        let zombie = tree.path().join("10/stat");
        std::fs::write(&zombie, std::fs::read_to_string(&zombie).unwrap().replace(" S ", " Z ")).unwrap();
        put(tree.path(), 11, 6, 101);
        walker.sweep(None);
        let told: Vec<Fact> = facts.try_iter().collect();
        assert!(matches!(&told[..], [Fact::Exec(s), Fact::Swept { after: None, seen: Ok(2) }] if s.pid.0 == 11));
        // No directory, and not gone either.
        std::fs::write(tree.path().join("12"), "").unwrap();
        walker.sweep(Some(SensorKind::Connector));
        let swept = facts.try_iter().last().unwrap();
        assert!(matches!(swept, Fact::Swept { after: Some(SensorKind::Connector), seen: Err(_) }), "{swept:?}");
    }

    #[test]
    fn the_hosts_programs_are_not_asked_for() {
        let tree = tempfile::tempdir().unwrap();
        put(tree.path(), 10, 5, 100);
        std::os::unix::fs::symlink(tree.path(), tree.path().join("10/exe")).unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let is_asked = Arc::clone(&asked);
        let host = AllBut(move |look: &Look| {
            assert!(look.stat.is_ok() && look.exe.is_ok());
            is_asked.fetch_or(look.file().is_some(), Ordering::Relaxed);
            true
        });
        let (outlet, facts) = channel();
        let (_, inlet) = controls().unwrap();
        let proc = Arc::new(Proc::open(tree.path()).unwrap());
        let mut walker = Walker::new(Arc::clone(&proc), Arc::new(host), Arc::default(), outlet, inlet);
        walker.sweep(None);
        assert!(matches!(&facts.try_iter().collect::<Vec<_>>()[..], [Fact::Swept { seen: Ok(1), .. }]));
        assert!(!asked.load(Ordering::Relaxed));
        let dir = proc.process(Pid(10)).unwrap();
        assert_eq!(walker.file_of(Pid(10), &dir, false), None, "the kernel would ask its server");
        assert!(walker.file_of(Pid(10), &dir, true).is_some());
    }

    #[test]
    fn the_old_are_visited_in_turn() {
        let tree = tempfile::tempdir().unwrap();
        let (mut walker, _facts) = walker(tree.path());
        let pids: Vec<Pid> = (1..=200).map(Pid).collect();
        for pid in &pids {
            walker.known.insert(*pid, Known { start: None, image: None, rounds: 9 });
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
