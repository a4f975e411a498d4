//! The JSON contract's fields of our own, under `ccwatch`: what the Elastic Common Schema has no place for. The rest is
//! [`ecs`](super::ecs)'.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ecs::{Container, User};

/// `ccwatch.schema`, the number of this contract.
pub const SCHEMA: u32 = 1;

/// `ccwatch.*`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Own {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The build session, of a finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// What was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// `low`, `medium`, `high`, `critical`.
    pub severity: String,
    /// The exec succeeded and this file is what ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<bool>,
    /// Which sensors saw it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_by: Vec<String>,
    /// Its name is not its content's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masquerade: Option<bool>,
    /// Compressed by an executable packer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed: Option<bool>,
    /// It only asked for information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<bool>,
    /// `known` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Where the file lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Up to the container's init, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// Inode numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Namespaces>,
    /// Exec to alert, microseconds; in `opened` and `escalated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// The rule as a compliance finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// What to do, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remediation: Vec<String>,
    /// The outermost container, where they nest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outer: Option<Container>,
    /// The uid on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_uid: Option<u32>,
    /// Field (dotted name) to the reason why it is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
    /// Fields that were cut for size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
    /// What was lost, of what the watcher says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// What no sensor could look at.
    pub coverage: Coverage,
    /// Alerts held back by a limit since the last one.
    pub suppressed: u64,
    /// The reason of the exception that lowered the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
}

/// `ccwatch.session.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Session {
    /// The same in `opened`, `escalated` and `closed`.
    pub id: String,
    /// `opened`, `escalated`, `closed`.
    pub state: String,
    /// Toolchain execs so far.
    pub execs: u64,
    /// Whether that number is certain.
    pub exact: bool,
    /// Sessions like this one that were not reported by themselves; absent for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u64,
    /// What started it all.
    pub root_command: String,
    /// First exec to last.
    pub duration_ms: u64,
    /// Who took part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Its programs, most frequent first, then `other`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compilers: Vec<Program>,
}

/// `ccwatch.session.compilers[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Program {
    /// comm, else the file's basename; `other` for all beyond the limit.
    pub name: String,
    /// Absent for `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Absent for `other`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How often.
    pub execs: u64,
}

/// `ccwatch.verdict.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// `compiler`, ...
    pub kind: String,
    /// The finest name.
    pub family: String,
    /// Families that work together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<String>,
    /// The compiler's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `certain`, `high`, `low`.
    pub confidence: String,
    /// Why we say so.
    pub evidence: Vec<String>,
    /// GNU build-id, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
}

/// `ccwatch.provenance.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// `memfd`, `unknown`, ...
    pub origin: String,
}

/// `ccwatch.ancestors[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ancestor {
    /// On the host.
    pub pid: i32,
    /// comm.
    pub name: String,
}

/// `ccwatch.namespaces.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespaces {
    /// Of the pid namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Of the mount namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mnt: Option<u64>,
}

/// `ccwatch.finding.*`, the same in every finding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Finding {
    /// Of 5.
    pub impact: u8,
    /// Of the remedy, of 5.
    pub complexity: u8,
    /// Of 5.
    pub severity: u8,
    /// The recommended value.
    pub recommended: String,
}

/// `ccwatch.lost.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lost {
    /// `connector`, `poll`; or where alerts got lost: `dispatch`, `syslog`, `alert-file`, `stdout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// How many events or alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// RFC 3339 with microseconds; of `watcher-started`, when a watcher was last known to watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Of `watcher-started`: for how long nobody watched, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<u64>,
    /// How many processes the sweep looked at afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<u64>,
}

/// `ccwatch.coverage.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Execs of the host that were dead before they could be looked at.
    pub unexamined: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
