//! Makes one exec of what several sensors say of it: fanotify's attempt on a file, the connector's EXEC of that pid, and
//! the look at the process. Pure, no clock of its own.
//!
//! An attempt comes before its EXEC and carries no time stamp: it lies between the last moment at which no event was
//! left and that of its reading. Both sensors keep the order of one process' execs, so the first attempt belongs to the
//! first EXEC that may be its. A script is attempted before its interpreter, with one EXEC for both. Looks are to be taken
//! in before the other EXECs of the same drain: they tell for certain which attempt is theirs.

mod fits;
mod lane;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

pub use fits::NameIs;
use fits::{Fits, Names};
pub use lane::Looked;
use lane::{Lane, Success, Waiting, enter, is_of, take};

use crate::event::{Attempt, Comm, FileId, Monotonic, Pid};
use crate::sensor::ledger::{Counted, Image, OLD};

/// An attempt waits so long for its EXEC before it is told as not confirmed.
pub const CONFIRM: Duration = Duration::from_millis(10);
/// And so long it can still be confirmed: an exec may read from a slow disk before it succeeds.
const LATE: Duration = Duration::from_secs(1);
/// Processes of which something is remembered.
const LANES: usize = 32_768;
/// What is remembered of one process.
const DEPTH: usize = 64;
/// Times of losses that are kept apart.
const LOSSY: usize = 16;

/// What became of an attempt.
#[derive(Debug)]
pub enum Merged {
    /// An EXEC followed: it is an exec.
    Confirmed(Attempt),
    /// The same, and what tells is the record of the process' end.
    Recorded(Attempt),
    /// The file was opened and an EXEC followed at once, of which nobody saw the file: almost always this one.
    Joined(Attempt),
    /// None followed in time.
    Unconfirmed(Attempt),
}

/// Attempts that wait for an EXEC, and the reverse.
#[derive(Debug)]
pub struct Merge {
    names: Names,
    lanes: HashMap<Pid, Lane>,
    /// When each lane was entered, in that order.
    ages: VecDeque<(Monotonic, Pid)>,
    /// Attempts not yet told.
    waiting: usize,
    /// When each attempt began to wait, in that order; those told by now among them.
    waits: VecDeque<(Monotonic, Pid)>,
    unexamined: u64,
    /// When attempts were lost, each time from the first moment to the last.
    lossy: VecDeque<(Monotonic, Monotonic)>,
    /// Of the unexamined those whose attempt may have been lost.
    lost: u64,
    /// Up to when all attempts were taken in, where there are later ones.
    behind: Option<Monotonic>,
}

impl Merge {
    /// Asks `whose` a name is where it matters.
    pub fn new(whose: impl Fn(Comm) -> NameIs + Send + 'static) -> Self {
        Self {
            names: Names(Box::new(whose)),
            lanes: HashMap::new(),
            ages: VecDeque::new(),
            waiting: 0,
            waits: VecDeque::new(),
            unexamined: 0,
            lossy: VecDeque::new(),
            lost: 0,
            behind: None,
        }
    }

    /// Whether some attempt waits for its EXEC.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// EXECs that nobody saw and no attempt explains, since the last call.
    pub fn take_unexamined(&mut self) -> u64 {
        std::mem::take(&mut self.unexamined)
    }

    /// All attempts up to this moment were taken in, and there are later ones; `None`: all that there are.
    pub fn set_behind(&mut self, since: Option<Monotonic>) {
        self.behind = since;
    }

    /// Attempts were lost between these moments.
    pub fn lose(&mut self, since: Monotonic, until: Monotonic) {
        let is_full = self.lossy.len() >= LOSSY;
        match self.lossy.back_mut() {
            Some(last) if is_full || since <= last.1 => *last = (last.0.min(since), last.1.max(until)),
            _ => self.lossy.push_back((since, until)),
        }
    }

    /// Whether attempts were lost whose number was not asked for yet.
    pub fn is_lossy(&self) -> bool {
        !self.lossy.is_empty()
    }

    /// How many attempts were lost, at most: the EXECs of those times that nobody saw and no attempt explains, as far as
    /// they are old. Those that are not yet are left for the next call, and [`Merge::is_lossy`] says so.
    pub fn take_lost(&mut self, now: Monotonic) -> u64 {
        // A lane is asked once in `OLD`, and this is not to wait for it.
        let read_until = self.read_until(now);
        let is_old = |exec: &Counted| read_until.since(exec.at) > OLD;
        let mut old = Vec::new();
        for lane in self.lanes.values_mut().filter(|lane| lane.execs.iter().any(is_old)) {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut lane.execs).into_iter().partition(is_old);
            lane.execs = kept;
            old.extend(gone);
        }
        self.leave_unexamined(old);
        self.lossy.retain(|(_, until)| read_until.since(*until) <= OLD);
        std::mem::take(&mut self.lost)
    }

    fn leave_unexamined(&mut self, execs: impl IntoIterator<Item = Counted>) {
        for exec in execs.into_iter().filter(|exec| exec.image.is_unseen()) {
            self.unexamined += 1;
            let lossy = self.lossy.iter().any(|(since, until)| *since <= exec.at && exec.at <= *until);
            self.lost += u64::from(lossy);
        }
    }

    /// Takes in an attempt. `None`: it waits, or is part of an exec that was counted by its look.
    pub fn attempt(&mut self, attempt: Attempt) -> Option<Merged> {
        let Self { lanes, ages, names, .. } = self;
        let lane = enter(lanes, ages, attempt.pid, attempt.at);
        let same = |look: &Looked| look.at > attempt.after && is_of(&attempt, look);
        if let Some(index) = lane.looks.iter().position(same) {
            let look = take(&mut lane.looks, index)?;
            lane.succeeded = Some(Success::seen_by(&look, &attempt));
            return look.is_silent_about(&attempt).then_some(Merged::Confirmed(attempt));
        }
        let confirms = |exec: &Counted| names.fits(&attempt, exec) == Fits::Yes;
        if let Some(index) = lane.execs.iter().position(confirms)
            && let Some(exec) = take(&mut lane.execs, index)
        {
            lane.succeeded = Some(Success::new(&attempt, exec.at, exec.image.file()));
            return Some(names.succeeded(attempt, exec.image));
        }
        let pushed_out = if lane.attempts.len() >= DEPTH { lane.attempts.pop_front() } else { None };
        let (at, pid) = (attempt.at, attempt.pid);
        lane.attempts.push_back(Waiting { attempt, told: false, done: false });
        self.waits.push_back((at, pid));
        self.waiting += 1;
        let Waiting { attempt, told, .. } = pushed_out?;
        if told {
            return None;
        }
        self.waiting -= 1;
        if attempt.by_open { None } else { Some(Merged::Unconfirmed(attempt)) }
    }

    /// Takes in an EXEC that no look counts.
    pub fn exec(&mut self, exec: Counted) -> Option<Merged> {
        let Self { lanes, ages, names, waiting, .. } = self;
        let lane = enter(lanes, ages, exec.pid, exec.at);
        // The record of its end bears the name of its last exec alone.
        for earlier in lane.execs.iter_mut().filter(|earlier| earlier.image.is_recorded()) {
            earlier.image = Image::Unknown;
        }
        // What was told has waited for one that fits better.
        let confirmed = |w: &Waiting| match names.fits(&w.attempt, &exec) {
            Fits::Yes => true,
            Fits::Perhaps => w.told,
            Fits::No => false,
        };
        if let Some(index) = lane.attempts.iter().position(confirmed)
            && let Some(Waiting { attempt, told, .. }) = take(&mut lane.attempts, index)
        {
            lane.succeeded = Some(Success::new(&attempt, exec.at, exec.image.file()));
            *waiting -= usize::from(!told);
            return Some(names.succeeded(attempt, exec.image));
        }
        let pushed_out = if lane.execs.len() >= DEPTH { lane.execs.pop_front() } else { None };
        self.leave_unexamined(pushed_out);
        if let Some(lane) = self.lanes.get_mut(&exec.pid) {
            lane.execs.push_back(exec);
        }
        None
    }

    /// Takes in an exec that its look counts, and gives the attempt that belongs to it, where that came first.
    pub fn look(&mut self, look: Looked) -> Option<Attempt> {
        let Self { lanes, ages, waiting, .. } = self;
        let lane = enter(lanes, ages, look.pid, look.at);
        if let Some(index) = lane.attempts.iter().position(|w| w.attempt.after < look.at && is_of(&w.attempt, &look))
            && let Some(Waiting { attempt, told, .. }) = take(&mut lane.attempts, index)
        {
            lane.succeeded = Some(Success::seen_by(&look, &attempt));
            *waiting -= usize::from(!told);
            return Some(attempt);
        }
        if lane.looks.len() >= DEPTH {
            lane.looks.pop_front();
        }
        lane.looks.push_back(look);
        None
    }

    /// What was told of this process' attempts is all: an EXEC that comes yet is another's.
    pub fn give_up(&mut self, pid: Pid) {
        if let Some(lane) = self.lanes.get_mut(&pid) {
            lane.attempts.retain(|waiting| !waiting.told);
        }
    }

    /// Whether an attempt that was told waits on for its EXEC.
    pub fn awaits(&self, pid: Pid, at: Monotonic, file: FileId) -> bool {
        let mut attempts = self.lanes.get(&pid).into_iter().flat_map(|lane| &lane.attempts);
        attempts.any(|w| w.told && w.attempt.at == at && w.attempt.file == file)
    }

    /// The file of an attempt that waits on for a late EXEC was read, and is a toolchain's: it will not be read again.
    pub fn recognise(&mut self, pid: Pid, file: FileId) {
        let attempts = self.lanes.get_mut(&pid).into_iter().flat_map(|lane| &mut lane.attempts);
        attempts.filter(|w| w.told && w.attempt.file == file).for_each(|w| w.attempt.unjudged = false);
    }

    /// When [`Merge::due`] has something to do for an attempt that waits.
    pub fn next_due(&self) -> Option<Monotonic> {
        if self.waiting == 0 { None } else { self.waits.front().map(|(at, _)| at.plus(CONFIRM)) }
    }

    /// Tells what has waited long enough, and forgets what is old.
    pub fn due(&mut self, now: Monotonic) -> Vec<Merged> {
        let mut told = Vec::new();
        while let Some((_, pid)) = self.waits.front().copied().filter(|(at, _)| now.since(*at) >= CONFIRM) {
            self.waits.pop_front();
            let Some(lane) = self.lanes.get_mut(&pid) else { continue };
            for waiting in lane.attempts.iter_mut().filter(|w| !w.told && now.since(w.attempt.at) >= CONFIRM) {
                waiting.told = true;
                self.waiting -= 1;
                let by_open = waiting.attempt.by_open;
                let may_be = |exec: &Counted| self.names.fits(&waiting.attempt, exec) != Fits::No;
                let perhaps = lane.execs.iter().position(may_be).and_then(|index| take(&mut lane.execs, index));
                if let Some(exec) = perhaps {
                    waiting.done = true;
                    told.push(self.names.succeeded(waiting.attempt.clone(), exec.image));
                    lane.succeeded = Some(Success::new(&waiting.attempt, exec.at, None));
                    continue;
                }
                // Two files of one exec, an overlay's and its layer's, however long after the one the other was read.
                if lane.succeeded.as_ref().is_some_and(|exec| exec.is_twin_of(&waiting.attempt)) {
                    waiting.done = true;
                    continue;
                }
                let exec = lane.succeeded.as_ref().filter(|exec| exec.until > waiting.attempt.after);
                match exec {
                    None if !by_open => told.push(Merged::Unconfirmed(waiting.attempt.clone())),
                    // The other may be innocent. What was seen to run was counted.
                    Some(exec) if exec.is_on_other_part(&waiting.attempt) => {
                        waiting.done = true;
                        told.push(Merged::Confirmed(waiting.attempt.clone()));
                    }
                    // A compiler, and what loads it.
                    _ => {}
                }
                // What waits on for a late EXEC keeps no file open.
                waiting.attempt.open = None;
            }
            lane.attempts.retain(|waiting| !waiting.done);
        }
        self.forget(now);
        told
    }

    fn read_until(&self, now: Monotonic) -> Monotonic {
        self.behind.map_or(now, |behind| now.min(behind))
    }

    fn forget(&mut self, now: Monotonic) {
        let read_until = self.read_until(now);
        if self.lanes.is_empty() {
            (self.lanes, self.ages, self.waits) = (HashMap::new(), VecDeque::new(), VecDeque::new());
            return;
        }
        while let Some((at, pid)) = self.ages.front().copied() {
            let crowded = self.lanes.len() > LANES;
            if !crowded && now.since(at) <= OLD {
                return;
            }
            self.ages.pop_front();
            let Some(lane) = self.lanes.get_mut(&pid) else { continue };
            let keep = |at: Monotonic, age: Duration| !crowded && now.since(at) <= age;
            let may_be_explained = |at: Monotonic| !crowded && read_until.since(at) <= OLD;
            let execs = std::mem::take(&mut lane.execs);
            let (kept, old): (VecDeque<Counted>, VecDeque<Counted>) =
                execs.into_iter().partition(|e| may_be_explained(e.at));
            lane.execs = kept;
            lane.looks.retain(|l| may_be_explained(l.at));
            lane.attempts.retain(|w| !w.told || keep(w.attempt.at, LATE));
            let is_empty = lane.attempts.is_empty() && lane.execs.is_empty() && lane.looks.is_empty();
            self.leave_unexamined(old);
            if is_empty {
                self.lanes.remove(&pid);
            } else {
                // Counted from now on, so that a lane in use is not asked again at each turn.
                self.ages.push_back((now, pid));
                if crowded {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
