//! Losses of the sensors, gathered until they can be told with their number. Pure, no clock of its own.

use std::time::Duration;

use crate::event::{Lost, Monotonic, SensorKind};
use crate::sensor::ledger::OLD;

/// Losses are added up for so long after the last one: until it is known which EXECs stay alone ([`OLD`]).
const GATHER: Duration = Duration::from_millis(1500);
/// Where losses go on, they are told and repaired after this.
const LONGEST: Duration = Duration::from_secs(5);

/// Losses by sensor and place.
#[derive(Debug, Default)]
pub struct Gathered {
    losses: Vec<Gathering>,
    began: Option<Monotonic>,
    due: Option<Monotonic>,
}

#[derive(Debug)]
struct Gathering {
    lost: Lost,
    unexamined: u64,
    /// Nothing but what a telling left to be counted: it is told only if there is something.
    rest: bool,
}

impl Gathered {
    /// Adds a loss, and how many execs were unexamined when it was heard of.
    pub fn add(&mut self, lost: &Lost, unexamined: u64, now: Monotonic) {
        match self.losses.iter_mut().find(|known| known.lost.sensor == lost.sensor && known.lost.at == lost.at) {
            Some(known) => {
                known.lost.count += lost.count;
                known.rest = false;
            }
            None => self.losses.push(Gathering { lost: lost.clone(), unexamined, rest: false }),
        }
        let began = *self.began.get_or_insert(now);
        self.due = Some(now.plus(GATHER).min(began.plus(LONGEST)));
    }

    /// When they are to be told.
    pub fn due(&self) -> Option<Monotonic> {
        self.due
    }

    /// Whether they are to be told now.
    pub fn is_due(&self, now: Monotonic) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// What is to be told, each with the execs unexamined before. Of fanotify's events `attempts` at most were lost in the
    /// kernel, which does not count them; with `more`, some are too young to be counted, and are told by a further telling.
    pub fn take(&mut self, attempts: u64, more: bool, now: Monotonic) -> Vec<(Lost, u64)> {
        (self.began, self.due) = (None, None);
        let mut told = Vec::new();
        for mut known in std::mem::take(&mut self.losses) {
            if known.lost.sensor == SensorKind::Fanotify && known.lost.count == 0 {
                if more {
                    let since = known.lost.since.max(now.minus(OLD));
                    let lost = Lost { since, ..known.lost.clone() };
                    self.losses.push(Gathering { lost, unexamined: known.unexamined, rest: true });
                    (self.began, self.due) = (Some(now), Some(now.plus(GATHER)));
                }
                known.lost.count = attempts;
            }
            if !known.rest || known.lost.count > 0 {
                told.push((known.lost, known.unexamined));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lost(sensor: SensorKind, count: u64) -> Lost {
        Lost { sensor, count, since: Monotonic(0), at: "here" }
    }

    fn ms(ms: u64) -> Monotonic {
        Monotonic(ms * 1_000_000)
    }

    #[test]
    fn a_further_loss_puts_the_telling_off() {
        let mut gathered = Gathered::default();
        gathered.add(&lost(SensorKind::Fanotify, 0), 7, ms(0));
        gathered.add(&lost(SensorKind::Fanotify, 0), 9, ms(1350));
        gathered.add(&lost(SensorKind::Connector, 3), 9, ms(1350));
        assert!(!gathered.is_due(ms(2800)) && gathered.is_due(ms(2850)));
        let told: Vec<(u64, u64)> = gathered.take(2, false, ms(2850)).iter().map(|(l, u)| (l.count, *u)).collect();
        assert_eq!((told, gathered.due()), (vec![(2, 7), (3, 9)], None));
    }

    #[test]
    fn losses_that_go_on_are_told_and_what_is_too_young_then_later() {
        let mut gathered = Gathered::default();
        for at in (0..4_900).step_by(100) {
            gathered.add(&lost(SensorKind::Fanotify, 0), 0, ms(at));
        }
        assert_eq!(gathered.due(), Some(ms(5_000)));
        let told = gathered.take(5, true, ms(5_000));
        assert_eq!(told.iter().map(|(l, _)| l.count).collect::<Vec<_>>(), [5]);
        let due = gathered.due().unwrap();
        let told = gathered.take(4, false, due);
        assert_eq!(told.iter().map(|(l, _)| (l.count, l.since)).collect::<Vec<_>>(), [(4, ms(4000))]);
        assert_eq!(gathered.due(), None);
        gathered.add(&lost(SensorKind::Fanotify, 0), 0, ms(20_000));
        gathered.take(5, true, ms(21_500));
        assert!(gathered.take(0, false, ms(23_000)).is_empty(), "there was no rest");
    }
}
