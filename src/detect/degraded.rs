//! Which sensors do not work, put together from their parts. Pure.

use std::collections::BTreeMap;

use crate::event::SensorKind;

/// What parts of sensors lack.
#[derive(Debug, Default)]
pub struct Degraded {
    lacks: BTreeMap<(SensorKind, &'static str), String>,
}

impl Degraded {
    /// What a part lacks from now on; `None` where that changes nothing, else what its whole sensor lacks. Other words for
    /// the same part's lack are no change.
    pub fn set(&mut self, sensor: SensorKind, part: &'static str, lacks: Option<String>) -> Option<Option<String>> {
        if self.lacks.contains_key(&(sensor, part)) == lacks.is_some() {
            return None;
        }
        match lacks {
            Some(lacks) => drop(self.lacks.insert((sensor, part), lacks)),
            None => drop(self.lacks.remove(&(sensor, part))),
        }
        let all = self.lacks.iter().filter(|((of, _), _)| *of == sensor).map(|(_, lacks)| lacks.as_str());
        let all: Vec<&str> = all.collect();
        Some((!all.is_empty()).then(|| all.join("; ")))
    }

    /// Those that lack something.
    pub fn sensors(&self) -> Vec<SensorKind> {
        let mut sensors: Vec<SensorKind> = self.lacks.keys().map(|(sensor, _)| *sensor).collect();
        sensors.dedup();
        sensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_recovers_with_its_last_part() {
        let (mut degraded, fanotify) = (Degraded::default(), SensorKind::Fanotify);
        let said = |words: &str| Some(Some(words.to_owned()));
        assert_eq!(degraded.set(fanotify, "far", Some("slow".into())), said("slow"));
        assert_eq!(degraded.set(fanotify, "far", Some("slower".into())), None);
        assert_eq!(degraded.set(fanotify, "thread", Some("stuck".into())), said("slow; stuck"));
        assert_eq!(degraded.set(SensorKind::Connector, "stream", Some("deaf".into())), said("deaf"), "another's");
        assert_eq!(degraded.set(fanotify, "far", None), said("stuck"));
        assert_eq!(degraded.sensors().len(), 2);
        assert_eq!(degraded.set(fanotify, "thread", None), Some(None));
        assert_eq!(degraded.set(fanotify, "thread", None), None);
        assert_eq!(degraded.sensors(), [SensorKind::Connector]);
    }
}
