//! One alert as JSON, asked by the contract's dotted names.

use std::path::Path;

use serde_json::Value;

/// One line of `--stdout ecs`, of the alert file, or of syslog.
#[derive(Clone)]
pub(crate) struct Alert(pub(crate) Value);

impl Alert {
    /// Parses a line; it must be one whole object.
    pub(crate) fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        assert!(value.is_object(), "not an object: {line}");
        Self(value)
    }

    /// The alerts of a file that may be written to: a read beside a write(2) sees what its pages hold so far, so a line
    /// is whole with its newline.
    pub(crate) fn of_file(path: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        whole.lines().map(Self::parse).collect()
    }

    /// The value at a dotted name; `Null` where the alert has none.
    pub(crate) fn at(&self, name: &str) -> &Value {
        name.split('.').fold(&self.0, |value, key| value.get(key).unwrap_or(&Value::Null))
    }

    /// The string at a name; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.at(name).as_str().unwrap_or_default()
    }

    /// The number at a name; fails where there is none.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.at(name).as_u64().unwrap_or_else(|| panic!("no number {name} in {self}"))
    }

    /// The strings of the list at a name.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.at(name).as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    /// Whether it is about this container.
    pub(crate) fn is_of(&self, container: &str) -> bool {
        self.text("container.id") == container
    }

    /// `ccwatch.session.state`.
    pub(crate) fn state(&self) -> &str {
        self.text("ccwatch.session.state")
    }

    /// Execs of the session's program of this name; 0 where it is not listed.
    pub(crate) fn execs_of(&self, program: &str) -> u64 {
        self.programs().iter().filter(|p| p["name"] == program).filter_map(|p| p["execs"].as_u64()).sum()
    }

    /// The families of the session's programs.
    pub(crate) fn families(&self) -> Vec<&str> {
        self.programs().iter().filter_map(|p| p["family"].as_str()).collect()
    }

    /// Fails unless the session counted exactly these programs and no other toolchain exec. On a machine that is busy
    /// enough, an exec of less than a millisecond may die unseen: then the session says that its counts are not exact,
    /// and its alert carries at least as many unexamined execs as are missing here.
    pub(crate) fn assert_counts(&self, expected: &[(&str, u64)]) {
        let counted: Vec<(&str, u64)> = expected.iter().map(|(name, _)| (*name, self.execs_of(name))).collect();
        let sum = |counts: &[(&str, u64)]| counts.iter().map(|(_, n)| n).sum::<u64>();
        let (wanted, all) = (sum(expected), self.number("ccwatch.session.execs"));
        let not_more = counted.iter().zip(expected).all(|(counted, expected)| counted.1 <= expected.1);
        assert!(not_more && sum(&counted) == all, "counted {counted:?}, {all} in all, of {expected:?}: {self}");
        let exact = self.at("ccwatch.session.exact") == &Value::Bool(true);
        let unseen = if exact { 0 } else { self.number("ccwatch.coverage.unexamined").min(wanted / 10) };
        assert!(all + unseen >= wanted, "counted {counted:?} of {expected:?}, {unseen} unseen, exact {exact}: {self}");
    }

    fn programs(&self) -> &[Value] {
        self.at("ccwatch.session.compilers").as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Accepts the alerts of an action.
pub(crate) fn is(action: &'static str) -> impl Fn(&Alert) -> bool {
    move |alert| alert.text("event.action") == action
}

impl std::fmt::Display for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// On one line what tells it from its neighbours: a list of whole alerts is longer than what CI shows.
impl std::fmt::Debug for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let programs: Vec<String> = self.programs().iter().map(|p| format!("{} {}", p["name"], p["execs"])).collect();
        let names = [
            "@timestamp",
            "event.action",
            "event.reason",
            "container.name",
            "process.entity_id",
            "process.executable",
            "process.command_line",
            "ccwatch.known_by",
            "ccwatch.session.id",
            "ccwatch.session.state",
            "ccwatch.session.exact",
            "ccwatch.session.users",
            "ccwatch.severity",
            "ccwatch.coverage.unexamined",
            "ccwatch.missing",
        ];
        let fields: Vec<String> = names.iter().map(|name| self.at(name).to_string()).collect();
        write!(f, "{} [{}]", fields.join(" "), programs.join(", "))
    }
}

/// Execs of the closed sessions of a container.
pub(crate) fn closed_execs(alerts: &[Alert], container: &str) -> u64 {
    let of = alerts.iter().filter(|a| a.is_of(container) && a.state() == "closed");
    of.map(|a| a.number("ccwatch.session.execs")).sum()
}
