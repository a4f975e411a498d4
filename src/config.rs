//! The configuration: one struct a section, one `Default`, unknown keys refused.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// `[sensors]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sensors {
    /// The netlink process connector.
    pub proc_connector: Switch,
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

impl Default for Policy {
    fn default() -> Self {
        let findings = ["compiler", "compiler-internal", "assembler", "linker"];
        Self {
            findings: findings.map(String::from).to_vec(),
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

/// Durations as strings: `"5s"`, `"10min"`, `"500ms"`, `"1h"`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{}ms", d.as_millis()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let _text = String::deserialize(d)?;
        Err(serde::de::Error::custom("not yet"))
    }
}
