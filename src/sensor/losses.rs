//! Events that a sensor lost and has not told yet, added up by the place where they happened.

use crate::event::{Fact, Lost, Monotonic, SensorKind};
use crate::sensor::Outlet;

/// Of one sensor.
#[derive(Debug)]
pub struct Losses {
    sensor: SensorKind,
    untold: Vec<Lost>,
}

impl Losses {
    /// None yet.
    pub fn new(sensor: SensorKind) -> Self {
        Self { sensor, untold: Vec::new() }
    }

    /// Whether there is nothing to be told.
    pub fn is_empty(&self) -> bool {
        self.untold.is_empty()
    }

    /// Adds `count` lost `at` a place; 0 where nobody can know. Nothing was lost there before `since`.
    pub fn add(&mut self, count: u64, at: &'static str, since: Monotonic) {
        match self.untold.iter_mut().find(|l| l.at == at) {
            Some(known) => known.count += count,
            None => self.untold.push(Lost { sensor: self.sensor, count, since, at }),
        }
    }

    /// Tells them; false where what is left finds no room, and is to be told later.
    pub fn tell(&mut self, outlet: &Outlet) -> bool {
        while let Some(lost) = self.untold.last().cloned() {
            if outlet.try_tell(Fact::Lost(lost)).is_err() {
                return false;
            }
            self.untold.pop();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::channel;

    #[test]
    fn losses_of_one_place_are_one_and_wait_for_room() {
        let (outlet, facts) = channel();
        let mut losses = Losses::new(SensorKind::Connector);
        losses.add(2, "here", Monotonic(1));
        losses.add(3, "here", Monotonic(7));
        losses.add(0, "there", Monotonic(8));
        while outlet.try_tell(Fact::Counted).is_ok() {}
        assert!(!losses.tell(&outlet) && !losses.is_empty());
        let _ = facts.try_iter().count();
        assert!(losses.tell(&outlet) && losses.is_empty());
        let told: Vec<(u64, u64)> = facts
            .try_iter()
            .map(|fact| match fact {
                Fact::Lost(lost) => (lost.count, lost.since.0),
                other => unreachable!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [(0, 8), (5, 1)]);
    }
}
