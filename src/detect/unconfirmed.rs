//! Attempts that no EXEC has confirmed by the time at which most have one. An exec that reads from a slow disk, or waits
//! for a core, succeeds later, and tells more than its attempt: as long as it may, the attempt is not told, and once the
//! exec is, it never is.

use std::time::Duration;

use crate::container::ContainerKey;
use crate::detect::Detection;
use crate::detect::pending::{Pending, Standing};
use crate::event::{FileId, Monotonic, Pid};

/// An attempt is told so long after it, where no EXEC has come.
const PATIENCE: Duration = Duration::from_millis(500);
/// Where one has, it is given so long to be told.
const GRACE: Duration = Duration::from_millis(250);
/// Attempts that wait so; beyond, they are told at once.
const ROOM: usize = 64;
/// And of those in one outermost container.
const ROOM_OF_ONE: usize = ROOM / 4;

/// An attempt that is not told yet.
#[derive(Debug)]
struct Waiting {
    /// Under which it is pending.
    number: u64,
    pid: Pid,
    at: Monotonic,
    file: FileId,
    outermost: ContainerKey,
    due: Monotonic,
    in_grace: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Vec<Waiting>);

impl Unconfirmed {
    /// Has an attempt wait, where there is room.
    fn put(&mut self, number: u64, pending: &mut Pending) {
        let Some(file) = pending.file().filter(|_| pending.standing == Standing::Attempted) else { return };
        let outermost = pending.outermost().clone();
        let of_one = self.0.iter().filter(|other| other.outermost == outermost).count();
        if self.0.len() >= ROOM || of_one >= ROOM_OF_ONE {
            return;
        }
        let (pid, at) = (pending.pid, pending.at);
        let due = pending.deadline.max(at.plus(PATIENCE));
        self.0.push(Waiting { number, pid, at, file, outermost, due, in_grace: false });
        (pending.awaits_exec, pending.deadline) = (true, due);
    }

    /// When the next one will have waited long enough.
    pub(super) fn next_due(&self) -> Option<Monotonic> {
        self.0.iter().map(|waiting| waiting.due).min()
    }

    /// Gives one its grace, once, where `awaits` does not hold; until when.
    fn prolong(
        &mut self,
        number: u64,
        now: Monotonic,
        awaits: impl FnOnce(Pid, Monotonic, FileId) -> bool,
    ) -> Option<Monotonic> {
        let waiting = self.0.iter_mut().find(|waiting| waiting.number == number && !waiting.in_grace)?;
        if awaits(waiting.pid, waiting.at, waiting.file) {
            return None;
        }
        (waiting.due, waiting.in_grace) = (now.plus(GRACE), true);
        Some(waiting.due)
    }

    /// It waits no longer.
    fn forget(&mut self, number: u64) {
        self.0.retain(|waiting| waiting.number != number);
    }

    /// The numbers of those of a process that are on this file, and wait no longer.
    fn take(&mut self, pid: Pid, file: FileId) -> Vec<u64> {
        let is_of = |waiting: &mut Waiting| waiting.pid == pid && waiting.file.inode() == file.inode();
        self.0.extract_if(.., is_of).map(|waiting| waiting.number).collect()
    }
}

impl Detection {
    /// Has an attempt wait for its exec, unless that was heard of already.
    pub(super) fn await_exec(&mut self, number: u64, pending: &mut Pending) {
        let is_awaited = pending.file().is_some_and(|file| self.merge.awaits(pending.pid, pending.at, file));
        if is_awaited {
            self.unconfirmed.put(number, pending);
        }
    }

    /// Whether an attempt whose time has come waits on, as its exec was heard of and is about to be told.
    pub(super) fn is_in_grace(&mut self, number: u64, now: Monotonic) -> bool {
        let merge = &self.merge;
        let until = self.unconfirmed.prolong(number, now, |pid, at, file| merge.awaits(pid, at, file));
        if let (Some(until), Some(pending)) = (until, self.pending.get_mut(&number)) {
            pending.deadline = until;
        }
        until.is_some()
    }

    /// It is told, whatever comes.
    pub(super) fn end_wait(&mut self, number: u64, pending: &mut Pending) {
        if std::mem::take(&mut pending.awaits_exec) {
            self.unconfirmed.forget(number);
        }
    }

    /// An exec is told, and its attempts are not.
    pub(super) fn withdraw_attempts(&mut self, pending: &Pending) {
        let Some(file) = pending.file().filter(|_| pending.standing != Standing::Attempted) else { return };
        for number in self.unconfirmed.take(pending.pid, file) {
            self.pending.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::container::Runtime;
    use crate::event::Attempt;
    use crate::event::samples::attempt;

    fn pending(attempt: Attempt, standing: Standing, container: &str) -> Pending {
        let key = ContainerKey { runtime: Runtime::Docker, id: container.into() };
        let deadline = attempt.at.plus(Duration::from_millis(50));
        Pending::of_attempt(attempt, standing, (key, None), deadline)
    }

    #[test]
    fn an_attempt_waits_for_its_exec_and_for_no_other() {
        let mut unconfirmed = Unconfirmed::default();
        let attempt = attempt(1, 10, 0, 0);
        let (file, other) = (attempt.file, FileId { ino: 11, ..attempt.file });
        let mut one = pending(attempt, Standing::Attempted, "a");
        assert!(one.is_complete());
        unconfirmed.put(7, &mut one);
        assert!(!one.is_complete() && one.deadline == one.at.plus(PATIENCE));
        assert_eq!(unconfirmed.next_due(), Some(one.deadline));
        assert!(unconfirmed.take(Pid(1), other).is_empty() && unconfirmed.take(Pid(2), file).is_empty());
        assert_eq!(unconfirmed.take(Pid(1), file), [7]);
        assert!(unconfirmed.take(Pid(1), file).is_empty() && unconfirmed.next_due().is_none());
    }

    #[test]
    fn one_whose_exec_was_heard_of_has_one_grace() {
        let mut unconfirmed = Unconfirmed::default();
        let mut one = pending(attempt(1, 10, 0, 0), Standing::Attempted, "a");
        unconfirmed.put(7, &mut one);
        let now = one.deadline;
        assert_eq!(unconfirmed.prolong(7, now, |_, _, _| true), None, "nothing has come");
        assert_eq!(unconfirmed.prolong(7, now, |_, _, _| false), Some(now.plus(GRACE)));
        assert_eq!(unconfirmed.next_due(), Some(now.plus(GRACE)));
        assert_eq!(unconfirmed.prolong(7, now.plus(GRACE), |_, _, _| false), None);
    }

    #[test]
    fn what_nobody_could_hear_and_what_has_no_room_is_told_at_once() {
        let mut unconfirmed = Unconfirmed::default();
        let mut waits = |number, standing, container: &str| {
            let mut one = pending(attempt(1, 10, 0, 0), standing, container);
            unconfirmed.put(number, &mut one);
            !one.is_complete()
        };
        assert!(!waits(0, Standing::Unheard, "loud") && !waits(0, Standing::Confirmed, "loud"));
        assert_eq!((0..100).filter(|number| waits(*number, Standing::Attempted, "loud")).count(), ROOM_OF_ONE);
        assert!(waits(100, Standing::Attempted, "quiet"));
        let others = (101..300).filter(|number| waits(*number, Standing::Attempted, &number.to_string())).count();
        assert_eq!(others, ROOM - ROOM_OF_ONE - 1);
        unconfirmed.forget(100);
        assert_eq!(unconfirmed.0.len(), ROOM - 1);
    }
}
