//! Where each open of a file is an event, whoever opens very many files that may not be ignored pays for each, and
//! everybody pays for the reader: such a mount is left to the connector for a while. Pure, clock passed in.

use std::collections::HashMap;
use std::time::Duration;

use crate::event::{Monotonic, MountedId};

/// So many opens of innocent files on one mount within [`WITHIN`].
const ENOUGH: u32 = 4096;
const WITHIN: Duration = Duration::from_secs(1);
/// So long its opens are not asked for.
pub const REST: Duration = Duration::from_secs(5);
/// Mounts counted at a time.
const COUNTED: usize = 1024;

/// Counts the opens.
#[derive(Debug, Default)]
pub struct Breaker {
    since: Monotonic,
    opens: HashMap<MountedId, u32>,
}

impl Breaker {
    /// An innocent file was opened that will be heard of again; whether that is enough.
    pub fn opened(&mut self, on: MountedId, at: Monotonic) -> bool {
        if at.since(self.since) > WITHIN || self.opens.len() >= COUNTED {
            self.since = at;
            self.opens.clear();
        }
        let opens = self.opens.entry(on).or_default();
        *opens += 1;
        *opens == ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(3_600_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn one_mounts_opens_of_a_second_are_enough_once() {
        let mut breaker = Breaker::default();
        let told = |breaker: &mut Breaker, on, ms, opens| (0..opens).filter(|_| breaker.opened(on, at(ms))).count();
        assert_eq!(told(&mut breaker, MountedId(1), 0, ENOUGH - 1), 0);
        assert_eq!(told(&mut breaker, MountedId(2), 500, ENOUGH - 1), 0);
        assert_eq!(told(&mut breaker, MountedId(1), 900, ENOUGH), 1);
        assert_eq!(told(&mut breaker, MountedId(2), 1001, ENOUGH - 1), 0, "another second");
        assert_eq!(told(&mut breaker, MountedId(2), 1500, 1), 1);
    }
}
