//! Attempts that no EXEC has confirmed by the time at which most have one. An exec that reads from a slow disk, or waits
//! for a core, succeeds later, and tells more than its attempt: as long as it may, the attempt is not told.

use std::time::Duration;

use crate::detect::Detection;
use crate::detect::pending::{Pending, Standing};
use crate::event::{Attempt, FileId, Monotonic, Pid};

/// An attempt is told so long after it, at the latest.
const PATIENCE: Duration = Duration::from_millis(500);
/// Attempts that wait so; beyond, they are told at once.
const ROOM: usize = 64;

/// What names an attempt.
type Key = (Pid, Monotonic, FileId);

/// Attempts that are not told yet, and the numbers under which they are pending.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Vec<(Key, u64)>);

impl Unconfirmed {
    /// Has an attempt wait, where there is room.
    pub(super) fn put(&mut self, number: u64, pending: &mut Pending) {
        let Some(file) = pending.file().filter(|_| pending.standing == Standing::Attempted) else { return };
        if self.0.len() < ROOM {
            self.0.push(((pending.pid, pending.at, file), number));
            pending.awaits_exec = true;
            pending.deadline = pending.deadline.max(pending.at.plus(PATIENCE));
        }
    }

    fn take(&mut self, attempt: &Attempt) -> Option<u64> {
        let index = self.0.iter().position(|(key, _)| *key == (attempt.pid, attempt.at, attempt.file))?;
        Some(self.0.swap_remove(index).1)
    }

    /// It waits no longer.
    pub(super) fn tell(&mut self, number: u64, pending: &mut Pending) {
        if std::mem::take(&mut pending.awaits_exec) {
            self.0.retain(|(_, other)| *other != number);
        }
    }
}

impl Detection {
    /// An attempt has become an exec, and is told as that alone.
    pub(super) fn withdraw(&mut self, attempt: &Attempt) {
        if let Some(number) = self.unconfirmed.take(attempt) {
            self.pending.remove(&number);
        }
        self.held.withdraw(attempt);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::container::{ContainerKey, Runtime};
    use crate::event::samples::attempt;

    fn pending(attempt: Attempt, standing: Standing) -> Pending {
        let key = ContainerKey { runtime: Runtime::Docker, id: "a".into() };
        let deadline = attempt.at.plus(Duration::from_millis(50));
        Pending::of_attempt(attempt, standing, (key, None), deadline)
    }

    #[test]
    fn an_attempt_waits_for_its_exec_and_no_other_for_it() {
        let mut unconfirmed = Unconfirmed::default();
        let mut one = pending(attempt(1, 10, 0, 0), Standing::Attempted);
        assert!(one.is_complete());
        unconfirmed.put(7, &mut one);
        assert!(!one.is_complete() && one.deadline == one.at.plus(PATIENCE));
        assert_eq!(unconfirmed.take(&attempt(1, 11, 0, 0)), None, "another file");
        assert_eq!(unconfirmed.take(&attempt(2, 10, 0, 0)), None, "another process");
        assert_eq!(unconfirmed.take(&attempt(1, 10, 0, 0)), Some(7));
        assert_eq!(unconfirmed.take(&attempt(1, 10, 0, 0)), None, "it is told once");
    }

    #[test]
    fn what_nobody_could_hear_and_what_has_no_room_is_told_at_once() {
        let mut unconfirmed = Unconfirmed::default();
        let mut waits = |number, standing| {
            let mut one = pending(attempt(1, 10, 0, 0), standing);
            unconfirmed.put(number, &mut one);
            !one.is_complete()
        };
        assert!(!waits(0, Standing::Unheard) && !waits(0, Standing::Confirmed));
        assert!((0..64).all(|number| waits(number, Standing::Attempted)));
        assert!(!waits(64, Standing::Attempted));
        let mut told = Pending { awaits_exec: true, ..pending(attempt(1, 10, 0, 0), Standing::Attempted) };
        unconfirmed.tell(5, &mut told);
        assert!(told.is_complete() && unconfirmed.0.len() == ROOM - 1);
    }
}
