//! What a part of a sensor lacks. A sensor of several parts is degraded as long as one of them is: `detect::telling` puts
//! them together.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Outlet;
use crate::event::{Fact, SensorKind};

/// One part.
#[derive(Debug)]
pub struct PartHealth {
    sensor: SensorKind,
    part: &'static str,
    /// It was told that it lacks something.
    is_told: AtomicBool,
}

impl PartHealth {
    /// It lacks nothing yet.
    pub fn new(sensor: SensorKind, part: &'static str) -> Self {
        Self { sensor, part, is_told: AtomicBool::new(false) }
    }

    /// What it lacks from now on, and whether that was told: what finds no room is to be said again. What it lacks is told
    /// once, whatever the words.
    pub fn set(&self, lacks: Option<String>, outlet: &Outlet) -> bool {
        let lacks_something = lacks.is_some();
        if self.is_told.load(Ordering::Relaxed) == lacks_something {
            return true;
        }
        let told = outlet.try_tell(Fact::Health { sensor: self.sensor, part: self.part, lacks }).is_ok();
        if told {
            self.is_told.store(lacks_something, Ordering::Relaxed);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use crate::sensor::channel;

    #[test]
    fn what_it_lacks_is_told_once() {
        let (outlet, facts) = channel();
        let health = PartHealth::new(SensorKind::Fanotify, "mounts");
        let said = || match facts.try_recv() {
            Ok(Fact::Health { lacks, .. }) => Some(lacks),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        assert!(health.set(None, &outlet) && said().is_none());
        assert!(health.set(Some("slow".into()), &outlet));
        assert_eq!(said(), Some(Some("slow".into())));
        assert!(health.set(Some("slower".into()), &outlet) && said().is_none());
        while outlet.try_tell(Fact::Counted).is_ok() {}
        assert!(!health.set(None, &outlet), "no room");
        let _ = facts.try_iter().count();
        assert!(health.set(None, &outlet));
        assert_eq!(said(), Some(None));
    }
}
