//! What detection has to tell: finds the last facts for an alert about a session, and makes the alerts about the
//! watcher's own health: losses and their repair, sensors that fail and recover, alerts held back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::alert::{Action, Alert, ContainerFacts, ExecFacts, LossFacts, SessionState, Severity};
use crate::container::ContainerKey;
use crate::container::registry::Registry;
use crate::detect::degraded::Degraded;
use crate::detect::gathered::Gathered;
use crate::detect::policy::remediation;
use crate::detect::session::Draft;
use crate::detect::triage::Screen;
use crate::event::{Field, Lost, Monotonic, SensorKind};
use crate::fingerprint::Content;
use crate::hex;
use crate::host::clock;
use crate::sensor::procfs_poll::WALK;
use crate::sensor::{Control, Controls};
use crate::sink::dispatch::Outlet;

/// Where walks over /proc are ordered.
pub struct Walks {
    /// The walker's.
    pub controls: Controls,
    /// It walks in rounds whether the connector works or not.
    pub always_in_rounds: bool,
}

/// Losses of a sensor that were told, and whose sweep has not ended.
struct Unrepaired {
    sensor: SensorKind,
    count: u64,
    /// Told since that sweep began, which may have passed by what they hide: another one follows.
    since: Option<u64>,
}

/// Makes alerts and hands them on.
pub struct Telling {
    alerts: Outlet,
    walker: Option<Walks>,
    screen: Arc<Screen>,
    losses: Gathered,
    unrepaired: Vec<Unrepaired>,
    degraded: Degraded,
}

impl Telling {
    /// Tells through `alerts`, and has losses repaired by `walker`, where that may walk.
    pub fn new(alerts: Outlet, walker: Option<Walks>, screen: Arc<Screen>) -> Self {
        Self {
            alerts,
            walker,
            screen,
            losses: Gathered::default(),
            unrepaired: Vec::new(),
            degraded: Degraded::default(),
        }
    }

    fn tell(&self, alert: Alert) {
        // What finds no room is counted there, and told.
        self.alerts.send(alert);
    }

    /// An alert about a session, with what is known of its container and file by now.
    pub fn session(&mut self, draft: Draft, content: Option<&Content>, registry: &Registry, suppressed: u64) {
        let mut exec = draft.lead.facts.clone();
        complete_container(&mut exec.container, registry);
        if let Some(outer) = &mut exec.outer {
            complete_container(outer, registry);
        }
        complete_content(&mut exec, content);
        if exec.container.metadata.name.is_none()
            && let Some(why) = registry.missing_name(&exec.container.key)
        {
            exec.missing.insert("container.name", why);
        }
        if draft.session.state != SessionState::Closed {
            exec.latency = Some(clock::now().since(draft.lead.at));
        }
        let image = exec.container.metadata.image_name.as_deref();
        let remediation = remediation(exec.container.key.runtime, image, exec.process.executable.as_deref());
        self.tell(Alert {
            made: SystemTime::now(),
            action: Action::CompilerExecuted,
            severity: draft.severity,
            reason: draft.reason.to_owned(),
            exec: Some(Box::new(exec)),
            session: Some(draft.session),
            loss: None,
            busiest: None,
            unexamined: draft.unexamined,
            suppressed,
            remediation,
        });
    }

    fn health_alert(&self, action: Action, reason: &str, loss: LossFacts) -> Alert {
        Alert {
            made: SystemTime::now(),
            action,
            severity: action.severity().unwrap_or(Severity::Low),
            reason: reason.to_owned(),
            exec: None,
            session: None,
            loss: Some(loss),
            busiest: None,
            unexamined: 0,
            suppressed: 0,
            remediation: Vec::new(),
        }
    }

    /// A part of a sensor works, or does not.
    pub fn health(&mut self, sensor: SensorKind, part: &'static str, lacks: Option<String>) {
        let Some(degraded) = self.degraded.set(sensor, part, lacks) else { return };
        let name = sensor.as_str();
        if sensor == SensorKind::Connector
            && let Some(walker) = &self.walker
        {
            let rounds = walker.always_in_rounds || degraded.is_some();
            walker.controls.send(if rounds { Control::Eager } else { Control::Lazy });
        }
        let (action, sentence) = match degraded {
            Some(why) => (Action::SensorDegraded, format!("the sensor {name} does not work: {why}")),
            None => (Action::SensorRecovered, format!("the sensor {name} works again")),
        };
        let loss = LossFacts { sensor: Some(sensor), count: 0, since: None, recovered: None, sentence };
        let alert = self.health_alert(action, action.as_str(), loss);
        self.tell(alert);
    }

    /// The sensors that do not work, or not in full.
    pub fn degraded(&self) -> Vec<SensorKind> {
        self.degraded.sensors()
    }

    /// Whether losses are to be told now.
    pub fn is_due(&self, now: Monotonic) -> bool {
        self.losses.is_due(now)
    }

    /// Takes in a loss; it is told soon, with those that follow.
    pub fn lost(&mut self, lost: &Lost, unexamined: u64) {
        self.losses.add(lost, unexamined, clock::now());
    }

    /// When losses are to be told.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.losses.due()
    }

    /// Tells the losses gathered, and has them repaired; see [`Gathered::take`].
    pub fn losses(&mut self, attempts: u64, more: bool, now: Monotonic, registry: &Registry) {
        let mut repaired: BTreeMap<SensorKind, u64> = BTreeMap::new();
        for (lost, unexamined) in self.losses.take(attempts, more, now) {
            *repaired.entry(lost.sensor).or_insert(0) += lost.count;
            let number = if lost.count == 0 { "an unknown number of".into() } else { lost.count.to_string() };
            let sentence = format!("{number} events of the sensor {} were lost: {}", lost.sensor.as_str(), lost.at);
            let since = Some(clock::wall(lost.since));
            let loss = LossFacts { sensor: Some(lost.sensor), count: lost.count, since, recovered: None, sentence };
            let mut alert = self.health_alert(Action::EventsLost, "events-lost", loss);
            let busiest = self.screen.busiest(lost.since).or_else(|| self.screen.busiest(Monotonic(0)));
            alert.busiest = busiest.map(|key| known(&key, registry));
            alert.unexamined = unexamined;
            self.tell(alert);
        }
        for (sensor, count) in repaired {
            self.repair(sensor, count);
        }
    }

    /// What is told from now on nobody walks for: the watcher ends.
    pub fn leave_unrepaired(&mut self) {
        self.walker = None;
    }

    fn repair(&mut self, sensor: SensorKind, count: u64) {
        let Some(walker) = &self.walker else { return };
        if let Some(known) = self.unrepaired.iter_mut().find(|known| known.sensor == sensor) {
            *known.since.get_or_insert_default() += count;
        } else if walker.controls.send(Control::Sweep(sensor)) {
            self.unrepaired.push(Unrepaired { sensor, count, since: None });
        } else {
            log::error!("the walk over /proc does not answer: a loss stays unrepaired");
        }
    }

    /// How many losses the sweep that has ended repairs; has those that were told since repaired too.
    fn repaired(&mut self, sensor: SensorKind) -> u64 {
        let Some(at) = self.unrepaired.iter().position(|known| known.sensor == sensor) else { return 0 };
        let ended = self.unrepaired.swap_remove(at);
        if let Some(count) = ended.since {
            self.repair(sensor, count);
        }
        ended.count
    }

    /// A walk over /proc has ended.
    pub fn swept(&mut self, after: Option<SensorKind>, seen: Field<u64>) {
        let count = after.map_or(0, |sensor| self.repaired(sensor));
        let seen = match seen {
            Ok(seen) => {
                self.health(SensorKind::Poll, WALK, None);
                seen
            }
            Err(why) => {
                let why = format!("not every living process could be looked at: {}", why.as_str());
                return self.health(SensorKind::Poll, WALK, Some(why));
            }
        };
        let Some(sensor) = after else { return };
        let name = sensor.as_str();
        let sentence = format!("after a loss of the sensor {name} all {seen} living processes were looked at");
        let loss = LossFacts { sensor: Some(sensor), count, since: None, recovered: Some(seen), sentence };
        let alert = self.health_alert(Action::SensorRecovered, "swept", loss);
        self.tell(alert);
    }

    /// Alerts of a container that a limit held back.
    pub fn suppressed(&mut self, container: &ContainerKey, count: u64, registry: &Registry) {
        let sentence = format!("{count} alerts of one container were held back by a limit; each session's end is told");
        let loss = LossFacts { sensor: None, count, since: None, recovered: None, sentence };
        let mut alert = self.health_alert(Action::Suppressed, "limit", loss);
        alert.busiest = Some(known(container, registry));
        alert.suppressed = count;
        self.tell(alert);
    }
}

fn known(key: &ContainerKey, registry: &Registry) -> ContainerFacts {
    let metadata = registry.metadata(key).cloned().unwrap_or_default();
    ContainerFacts { key: key.clone(), metadata }
}

fn complete_container(container: &mut ContainerFacts, registry: &Registry) {
    if let Some(metadata) = registry.metadata(&container.key) {
        container.metadata = metadata.clone();
    }
}

/// A hash that came too late for `opened` stands in `closed`.
fn complete_content(exec: &mut ExecFacts, content: Option<&Content>) {
    let Some(content) = content else { return };
    if let Some(hash) = content.sha256 {
        exec.process.sha256 = Some(hex::lower(&hash));
        exec.missing.remove("process.hash.sha256");
    }
    exec.build_id = content.build_id.as_deref().map(hex::lower);
}
