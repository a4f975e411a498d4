//! The limits on `opened` and `escalated` alerts: each container's own, that of all within one outermost container or of
//! all sandboxes that no engine made, then the host's. What they hold back is counted, and told.

use std::collections::HashMap;
use std::time::Duration;

use crate::config;
use crate::container::{ContainerKey, Runtime};
use crate::event::Monotonic;

/// Containers whose alerts those of one group may come to; never more than half of the host's.
const IN_GROUP: u32 = 16;
const WINDOW: Duration = Duration::from_secs(600);

/// Containers of which there may be any number, as somebody without privileges on the host makes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Group {
    /// Those within an outermost one that is another.
    Within(ContainerKey),
    Sandboxes,
}

impl Group {
    fn of(container: &ContainerKey, outermost: &ContainerKey) -> Option<Self> {
        if container != outermost {
            return Some(Self::Within(outermost.clone()));
        }
        (container.runtime == Runtime::Sandbox).then_some(Self::Sandboxes)
    }
}

/// Counts alerts in windows of ten minutes.
#[derive(Debug)]
pub struct AlertLimits {
    per_container: u32,
    host: u32,
    began: Monotonic,
    sent: HashMap<ContainerKey, u32>,
    sent_by_group: HashMap<Group, u32>,
    sent_by_host: u32,
    suppressed: HashMap<ContainerKey, u64>,
    /// Of these, those that no alert has told yet.
    untold: u64,
}

impl AlertLimits {
    /// With the configured bounds.
    pub fn new(limits: &config::Limits, now: Monotonic) -> Self {
        Self {
            per_container: limits.alerts_per_container,
            host: limits.alerts,
            began: now,
            sent: HashMap::new(),
            sent_by_group: HashMap::new(),
            sent_by_host: 0,
            suppressed: HashMap::new(),
            untold: 0,
        }
    }

    /// New bounds for what is still to come.
    pub fn reconfigure(&mut self, limits: &config::Limits) {
        (self.per_container, self.host) = (limits.alerts_per_container, limits.alerts);
    }

    /// Whether one more alert of this container may go out; counts it either way. `outermost`: the outermost one around
    /// it, or itself.
    pub fn allow(&mut self, container: &ContainerKey, outermost: &ContainerKey) -> bool {
        let group = Group::of(container, outermost);
        let of_group = self.per_container.saturating_mul(IN_GROUP).min(self.host.div_ceil(2));
        if let Some(group) = &group
            && self.sent_by_group.get(group).is_some_and(|sent| *sent >= of_group)
        {
            self.hold_back(&self.stands_for(group, container));
            return false;
        }
        let sent = self.sent.entry(container.clone()).or_default();
        if *sent >= self.per_container || self.sent_by_host >= self.host {
            self.hold_back(container);
            return false;
        }
        *sent += 1;
        self.sent_by_host += 1;
        if let Some(group) = group {
            *self.sent_by_group.entry(group).or_default() += 1;
        }
        true
    }

    /// Under whose name what is held back of a group is told: a name each would be more alerts than were held back.
    fn stands_for(&self, group: &Group, container: &ContainerKey) -> ContainerKey {
        match group {
            Group::Within(outermost) => outermost.clone(),
            Group::Sandboxes => {
                let known = self.suppressed.keys().find(|known| known.runtime == Runtime::Sandbox);
                known.unwrap_or(container).clone()
            }
        }
    }

    /// Counts a finding that is not told.
    pub fn hold_back(&mut self, container: &ContainerKey) {
        *self.suppressed.entry(container.clone()).or_default() += 1;
        self.untold += 1;
    }

    /// When the window ends, if anything was counted in it.
    pub fn next_due(&self) -> Option<Monotonic> {
        (!self.sent.is_empty() || !self.suppressed.is_empty()).then(|| self.began.plus(WINDOW))
    }

    /// At the end of a window, or when `all` is asked for: what was held back, by container.
    pub fn due(&mut self, now: Monotonic, all: bool) -> Vec<(ContainerKey, u64)> {
        if !all && now.since(self.began) < WINDOW {
            return Vec::new();
        }
        self.began = now;
        self.sent.clear();
        self.sent_by_group.clear();
        self.sent_by_host = 0;
        self.untold = 0;
        self.suppressed.drain().collect()
    }

    /// Alerts held back since an alert told of it: for the one that goes out now.
    pub fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Runtime;

    fn key(id: &str) -> ContainerKey {
        ContainerKey { runtime: Runtime::Docker, id: id.into() }
    }

    #[test]
    fn one_container_cannot_use_up_anothers() {
        let limits = config::Limits { alerts_per_container: 2, alerts: 3, ..config::Limits::default() };
        let mut limits = AlertLimits::new(&limits, Monotonic(0));
        let got: Vec<bool> = (0..4).map(|_| limits.allow(&key("a"), &key("a"))).collect();
        assert_eq!(got, [true, true, false, false]);
        assert!(limits.allow(&key("b"), &key("b")));
        assert!(!limits.allow(&key("c"), &key("c")), "the host's limit");
        assert_eq!([limits.take_untold(), limits.take_untold()], [3, 0], "each is told once");
        limits.hold_back(&key("c"));
        assert_eq!(limits.due(Monotonic(1), false), []);
        let mut told = limits.due(Monotonic(0).plus(WINDOW), false);
        told.sort();
        assert_eq!(told, [(key("a"), 2), (key("c"), 2)]);
        assert_eq!(limits.take_untold(), 0, "the window's end has told it");
        assert!(limits.allow(&key("a"), &key("a")));
    }
    #[test]
    fn what_lies_in_one_container_cannot_use_up_the_hosts_by_many_names() {
        let limits = config::Limits { alerts_per_container: 2, alerts: 40, ..config::Limits::default() };
        let mut limits = AlertLimits::new(&limits, Monotonic(0));
        let allowed = (0..256).filter(|n| limits.allow(&key(&n.to_string()), &key("engine"))).count();
        assert_eq!(allowed, 20);
        assert!(limits.allow(&key("engine"), &key("engine")), "its own");
        assert!((0..19).all(|n| limits.allow(&key(&format!("other-{n}")), &key(&format!("other-{n}")))));
        assert_eq!(limits.due(Monotonic(0), true), [(key("engine"), 236)]);
        assert!(limits.allow(&key("0"), &key("engine")), "in the next window");
    }

    #[test]
    fn sandboxes_that_anybody_makes_cannot_use_up_the_hosts() {
        let limits = config::Limits { alerts_per_container: 2, alerts: 40, ..config::Limits::default() };
        let mut limits = AlertLimits::new(&limits, Monotonic(0));
        let sandbox = |n: u32| ContainerKey { runtime: Runtime::Sandbox, id: format!("mnt-{n}").into() };
        assert_eq!((0..256).filter(|n| limits.allow(&sandbox(*n), &sandbox(*n))).count(), 20);
        assert!((0..20).all(|n| limits.allow(&key(&format!("{n}")), &key(&format!("{n}")))));
        assert_eq!(limits.due(Monotonic(0), true), [(sandbox(20), 236)]);
    }
}
