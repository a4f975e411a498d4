//! Whether an attempt that no EXEC followed was no exec, or the connector is deaf: after some in a row it has to prove that
//! it hears, and they wait for what comes of that. Pure.

use std::time::Duration;

use crate::event::{Attempt, Monotonic};

/// So many attempts in a row without any EXEC are a reason to ask whether the connector still hears.
const MISSED: u32 = 4;
/// A reader that rests, or waits for a core, is no further behind.
const LATELY: Duration = Duration::from_millis(100);
/// A canary of a connector that hears is heard by then, also on a busy machine.
const ANSWER: Duration = Duration::from_millis(500);
/// Whoever fails to execute something does so often: it has proved itself for so long.
const PROVED: Duration = Duration::from_secs(1);
/// Attempts that wait for a proof; each may hold a file open.
const PARKED: usize = 64;

/// What is known of the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// It works: what it did not report did not take place.
    Yes,
    /// It was asked to prove that.
    Asked,
    /// It did not prove it.
    No,
}

/// What the connector has reported lately, and what it has not.
#[derive(Debug)]
pub(super) struct Hearing {
    /// Attempts in a row that no EXEC followed, of whatever process.
    missed: u32,
    /// When the last EXEC was heard of.
    heard: Monotonic,
    /// When it was asked to prove itself, and whether it has.
    proof: Option<(Monotonic, bool)>,
    parked: Vec<Attempt>,
}

impl Hearing {
    /// It was heard at `now`.
    pub(super) fn new(now: Monotonic) -> Self {
        Self { missed: 0, heard: now, proof: None, parked: Vec::new() }
    }

    /// It has reported an EXEC, be it a canary's. The attempts that waited for that were no execs.
    pub(super) fn hear(&mut self, now: Monotonic) -> Vec<Attempt> {
        (self.missed, self.heard) = (0, now);
        if let Some((_, given)) = &mut self.proof {
            *given = true;
        }
        std::mem::take(&mut self.parked)
    }

    /// No EXEC followed an attempt; true where the connector is to prove itself: where it does not, ever more rarely.
    pub(super) fn miss(&mut self, now: Monotonic) -> bool {
        self.missed = self.missed.saturating_add(1);
        match (self.hears(now), self.proof) {
            (Hears::Yes | Hears::Asked, _) => false,
            (Hears::No, Some((_, false))) => self.missed.is_power_of_two(),
            (Hears::No, None | Some((_, true))) => {
                self.proof = Some((now, false));
                true
            }
        }
    }

    /// Whether it hears, as far as that is known.
    pub(super) fn hears(&self, now: Monotonic) -> Hears {
        if self.missed < MISSED || now.since(self.heard) < LATELY {
            return Hears::Yes;
        }
        match self.proof {
            Some((asked, true)) if now.since(asked) < PROVED => Hears::Yes,
            Some((asked, false)) if now.since(asked) < ANSWER => Hears::Asked,
            _ => Hears::No,
        }
    }

    /// Has an attempt wait for the proof; gives it back where there is no room.
    pub(super) fn park(&mut self, attempt: Attempt) -> Option<Attempt> {
        if self.parked.len() >= PARKED {
            return Some(attempt);
        }
        self.parked.push(attempt);
        None
    }

    /// When the proof for which attempts wait will not come any more.
    pub(super) fn next_due(&self) -> Option<Monotonic> {
        let asked = self.proof.map(|(asked, _)| asked.plus(ANSWER));
        asked.filter(|_| !self.parked.is_empty())
    }

    /// The attempts that waited for a proof in vain.
    pub(super) fn due(&mut self, now: Monotonic) -> Vec<Attempt> {
        if self.next_due().is_some_and(|due| due <= now) { std::mem::take(&mut self.parked) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::samples::attempt;

    fn at(ms: u64) -> Monotonic {
        Monotonic(1_000_000_000 + ms * 1_000_000)
    }

    /// As somebody who tries to execute something every 130 ms, and never does: of those, how many waited, how many counted,
    /// and how often a canary was asked for, which is heard 5 ms later where it hears at all.
    fn try_often(times: u64, is_heard: bool) -> (usize, usize, usize) {
        let mut hearing = Hearing::new(at(0));
        let (mut waited, mut counted, mut canaries) = (0, 0, 0);
        for moment in (1..=times).map(|n| n * 130) {
            counted += hearing.due(at(moment)).len();
            let asked = hearing.miss(at(moment));
            canaries += usize::from(asked);
            match hearing.hears(at(moment)) {
                Hears::Yes => {}
                Hears::No => counted += 1,
                Hears::Asked => {
                    waited += 1;
                    assert!(hearing.park(attempt(1, 1, 0, 1)).is_none());
                }
            }
            if asked && is_heard {
                assert_eq!(hearing.hear(at(moment + 5)).len(), 1, "no execs");
            }
        }
        (waited, counted + hearing.due(Monotonic(u64::MAX)).len(), canaries)
    }

    #[test]
    fn what_fails_while_it_hears_is_never_counted() {
        assert_eq!(try_often(60, true), (8, 0, 8));
    }

    #[test]
    fn all_but_the_first_count_where_it_does_not() {
        assert_eq!(try_often(60, false), (4, 57, 4));
    }

    #[test]
    fn an_exec_of_anybody_is_a_proof() {
        let mut hearing = Hearing::new(at(0));
        assert!((0..9).all(|n| !hearing.miss(at(n))), "it was heard lately");
        assert!(hearing.miss(at(100)));
        assert_eq!(hearing.hears(at(100)), Hears::Asked);
        assert!(!hearing.miss(at(101)), "asked once");
        hearing.hear(at(102));
        assert_eq!(hearing.hears(at(103)), Hears::Yes);
        assert!((0..9).all(|n| !hearing.miss(at(1000 + n))), "it has proved itself");
        assert!(hearing.miss(at(1100)));
    }

    #[test]
    fn few_wait() {
        let mut hearing = Hearing::new(at(0));
        assert!((0..5).any(|_| hearing.miss(at(200))));
        let back = (0..PARKED + 1).filter_map(|_| hearing.park(attempt(1, 1, 0, 1))).count();
        assert_eq!((back, hearing.next_due()), (1, Some(at(700))));
        assert_eq!((hearing.due(at(699)).len(), hearing.due(at(700)).len(), hearing.next_due()), (0, PARKED, None));
        assert_eq!(hearing.hears(at(700)), Hears::No);
    }
}
