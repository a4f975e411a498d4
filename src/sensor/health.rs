//! A sensor of several parts is degraded as long as one of them is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Outlet;
use crate::event::{Fact, SensorKind};

/// What its parts lack.
#[derive(Debug)]
pub struct Health {
    sensor: SensorKind,
    lacks: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    /// Nothing yet.
    pub fn new(sensor: SensorKind) -> Self {
        Self { sensor, lacks: Mutex::default() }
    }

    /// What a part lacks from now on, and whether that was told: what finds no room is to be said again. What it lacks is
    /// told once, whatever the words.
    pub fn set(&self, part: &'static str, lacks: Option<String>, outlet: &Outlet) -> bool {
        let mut all = self.lacks.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(part) == lacks.is_some() {
            return true;
        }
        let mut now = all.clone();
        match lacks {
            Some(lacks) => drop(now.insert(part, lacks)),
            None => drop(now.remove(part)),
        }
        let words = now.values().map(String::as_str).collect::<Vec<_>>().join("; ");
        let degraded = (!words.is_empty()).then_some(words);
        let told = outlet.try_tell(Fact::Health { sensor: self.sensor, degraded }).is_ok();
        if told {
            *all = now;
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
    fn it_recovers_with_its_last_part() {
        let (outlet, facts) = channel();
        let health = Health::new(SensorKind::Fanotify);
        let said = || match facts.try_recv() {
            Ok(Fact::Health { degraded, .. }) => Some(degraded),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        assert!(health.set("one", Some("slow".into()), &outlet));
        assert_eq!(said(), Some(Some("slow".into())));
        assert!(health.set("one", Some("slower".into()), &outlet) && said().is_none());
        health.set("two", Some("deaf".into()), &outlet);
        assert_eq!(said(), Some(Some("slow; deaf".into())));
        health.set("one", None, &outlet);
        assert_eq!(said(), Some(Some("deaf".into())));
        while outlet.try_tell(Fact::Counted).is_ok() {}
        assert!(!health.set("two", None, &outlet), "no room");
        let _ = facts.try_iter().count();
        assert!(health.set("two", None, &outlet));
        assert_eq!(said(), Some(None));
    }
}
