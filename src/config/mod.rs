//! The configuration: one struct a section, one `Default`, unknown keys refused. Where it is read, what is refused
//! and what a value may be stands in the files beside this one; what a setting does, with whoever is given its section.

mod check;
mod duration;
mod load;
mod parse;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::Invalid;
pub use load::Loaded;
pub(crate) use load::{dangles, read_trusted};
pub(crate) use parse::from_toml;

/// Read when no other file is named; it need not exist.
pub const DEFAULT_PATH: &str = "/etc/ccwatch/ccwatch.toml";

/// The kinds that `[policy] findings` may name: those whose exec breaks the rule.
const FINDINGS: [&str; 4] = ["compiler", "compiler-internal", "assembler", "linker"];

/// The whole file, /etc/ccwatch/ccwatch.toml; every key is optional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `[sensors]`
    pub sensors: Sensors,
    /// `[policy]`
    pub policy: Policy,
    /// `[limits]`
    pub limits: Limits,
    /// `[session]`
    pub session: Session,
    /// `[syslog]`
    pub syslog: Syslog,
    /// `[alert-file]`
    pub alert_file: AlertFile,
    /// `[state]`
    pub state: State,
}

impl Config {
    /// The sections that a running watcher cannot take over and that differ from `started`, with which it was started.
    pub fn sections_for_next_start(&self, started: &Self) -> Vec<&'static str> {
        // Each section by name: a further one must be thought of here.
        let Self { sensors, policy: _, limits: _, session: _, syslog: _, alert_file: _, state } = self;
        let mut waiting = Vec::new();
        if *sensors != started.sensors {
            waiting.push("sensors");
        }
        if *state != started.state {
            waiting.push("state");
        }
        waiting
    }
}

/// Whether a sensor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Where the kernel has it.
    #[default]
    Auto,
    /// It must run: else the watcher refuses to start.
    On,
    /// Never.
    Off,
}

/// Whether fanotify runs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FanotifySwitch {
    /// Where the kernel has it, by the best way that it has.
    #[default]
    Auto,
    /// It must run: else the watcher refuses to start.
    On,
    /// Never.
    Off,
    /// By the method of kernels without exec events, and it must run.
    Open,
}

/// `[sensors]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sensors {
    /// The netlink process connector.
    pub proc_connector: Switch,
    /// fanotify's exec events.
    pub fanotify: FanotifySwitch,
    /// The walk over /proc: `auto` is the baseline, the repair after a loss, and the fallback without a connector.
    pub procfs_poll: Switch,
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Kinds whose exec is a finding: `compiler`, `compiler-internal`, `assembler`, `linker`.
    pub findings: Vec<String>,
    /// Calls that only ask (`gcc --version`): `low` or `ignore`.
    pub queries: Treatment,
    /// Build containers (BuildKit): `low` or `ignore`.
    pub build_containers: Treatment,
}

/// How a tolerated thing is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// Reported with severity low.
    Low,
    /// Not reported.
    Ignore,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// `opened` and `escalated` alerts of one container in ten minutes.
    pub alerts_per_container: u32,
    /// The same of the whole host.
    pub alerts: u32,
    /// Bytes read of one executable.
    pub read_bytes: u64,
}

/// `[session]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Session {
    /// A session ends when this has passed since its last exec and none of its processes lives.
    #[serde(with = "duration")]
    pub gap: Duration,
    /// It is closed at this age in any case.
    #[serde(with = "duration")]
    pub max: Duration,
}

/// What a message looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Elastic Common Schema, JSON.
    Ecs,
    /// A line for people.
    Text,
}

/// `[syslog]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Syslog {
    /// Whether alerts go to syslog.
    pub enabled: bool,
    /// `unix:` and the socket's path.
    pub target: String,
    /// The body's form.
    pub message: Message,
    /// `authpriv`, `daemon`, `local0` to `local7`, ...
    pub facility: String,
    /// The tag before the pid.
    pub tag: String,
    /// Empty, or `@cee:`.
    pub cookie: String,
}

/// `[alert-file]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AlertFile {
    /// Whether alerts are written to a file, one JSON object a line.
    pub enabled: bool,
    /// Which.
    pub path: PathBuf,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct State {
    /// Where the sequence number and the open sessions outlive a restart.
    pub directory: PathBuf,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong and, where that is known, what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Syslog {
    /// The socket's path, where `target` is `unix:` and an absolute path; [`Config::check`] lets nothing else pass.
    pub fn socket(&self) -> Option<&Path> {
        self.target.strip_prefix("unix:").map(Path::new).filter(|path| path.is_absolute())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            findings: FINDINGS.map(String::from).to_vec(),
            queries: Treatment::Low,
            build_containers: Treatment::Low,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { alerts_per_container: 100, alerts: 1000, read_bytes: 256 << 20 }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { gap: Duration::from_secs(5), max: Duration::from_secs(600) }
    }
}

impl Default for Syslog {
    fn default() -> Self {
        Self {
            enabled: true,
            target: "unix:/dev/log".into(),
            message: Message::Ecs,
            facility: "authpriv".into(),
            tag: "ccwatch".into(),
            cookie: String::new(),
        }
    }
}

impl Default for AlertFile {
    fn default() -> Self {
        Self { enabled: true, path: "/var/log/ccwatch/alerts.json".into() }
    }
}

impl Default for State {
    fn default() -> Self {
        Self { directory: "/var/lib/ccwatch".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_next_start() {
        let started = Config::default();
        let mut new = started.clone();
        (new.session.gap, new.syslog.enabled, new.alert_file.enabled) = (Duration::from_secs(1), false, false);
        assert_eq!(new.sections_for_next_start(&started), [""; 0]);
        new.sensors.procfs_poll = Switch::On;
        new.state.directory = "/x".into();
        assert_eq!(new.sections_for_next_start(&started), ["sensors", "state"]);
    }
}
