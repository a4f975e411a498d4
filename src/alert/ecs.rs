//! The JSON contract: Elastic Common Schema's fields and ours under `ccwatch`, as types. The order of fields is the
//! order on the line. `compose` fills it in, `fit` makes it small, `text` tells it to a person.
//!
//! A field that is not known is absent, never null. Other people's tools count on these names: a change of meaning
//! needs another [`SCHEMA`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `ccwatch.schema`, the number of this contract.
pub const SCHEMA: u32 = 1;

/// `ecs.version`.
pub const ECS_VERSION: &str = "8.17.0";

/// One alert, as it leaves the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Document {
    /// When the alert was made: RFC 3339 with microseconds, UTC.
    #[serde(rename = "@timestamp")]
    pub timestamp: String,
    /// `ecs.*`
    pub ecs: Ecs,
    /// The sentence that a person reads.
    pub message: String,
    /// `event.*`
    pub event: Event,
    /// `log.*`
    pub log: Log,
    /// `rule.*`, of a finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// `threat.*`, of a finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<Threat>,
    /// `host.*`
    pub host: Host,
    /// `process.*`, of a finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// `container.*`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// `ccwatch.*`
    pub ccwatch: Own,
}

/// `ecs.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ecs {
    /// [`ECS_VERSION`].
    pub version: String,
}

/// `event.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Event {
    /// `alert` for a finding, `event` for what the watcher says of itself.
    pub kind: String,
    /// `process`, or `host`.
    pub category: Vec<String>,
    /// `info`.
    #[serde(rename = "type")]
    pub kinds: Vec<String>,
    /// `compiler-executed`, `events-lost`, ...
    pub action: String,
    /// 21, 47, 73 or 99.
    pub severity: u8,
    /// Unique for all time and all hosts: a ULID.
    pub id: String,
    /// One counter a host, without a gap but those told.
    pub sequence: u64,
    /// Why it was made.
    pub reason: String,
}

/// `log.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Log {
    /// syslog's word: `notice`, `warning`, `error`, `critical`.
    pub level: String,
}

/// `rule.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rule {
    /// `container-compiler-executed`
    pub id: String,
    /// The rule in a few words.
    pub name: String,
    /// `compliance`
    pub category: String,
    /// The rule's sentence with its ATT&CK and CIS numbers.
    pub description: String,
    /// A URL.
    pub reference: String,
}

/// `threat.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Threat {
    /// `MITRE ATT&CK`
    pub framework: String,
    /// `threat.technique.*`
    pub technique: Technique,
}

/// `threat.technique.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Technique {
    /// `T1027`
    pub id: Vec<String>,
    /// Their names.
    pub name: Vec<String>,
    /// `threat.technique.subtechnique.*`
    pub subtechnique: Subtechnique,
}

/// `threat.technique.subtechnique.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subtechnique {
    /// `T1027.004`
    pub id: Vec<String>,
    /// Their names.
    pub name: Vec<String>,
}

/// `host.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Host {
    /// The host's name.
    pub name: String,
    /// The same.
    pub hostname: String,
    /// The machine-id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `x86_64`, ...
    pub architecture: String,
    /// `host.os.*`
    pub os: Os,
}

/// `host.os.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Os {
    /// `linux`
    #[serde(rename = "type")]
    pub kind: String,
    /// The kernel's release.
    pub kernel: String,
}

/// `process.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    /// On the host.
    pub pid: i32,
    /// In its own pid namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpid: Option<i32>,
    /// Host, pid and start time (clock ticks since boot), joined by `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// comm, else the file's basename.
    pub name: String,
    /// Path in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Arguments, the program's own name first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// How many there were, also where `args` was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_count: Option<usize>,
    /// `args` joined by blanks: for people; where one argument ends only `args` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// In the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// RFC 3339 with microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// It has a controlling terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interactive: Option<bool>,
    /// As the container sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// `process.hash.*`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// The parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Relative>,
    /// The POSIX session's leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_leader: Option<Relative>,
}

/// A user, uid as a string.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// The uid.
    pub id: String,
    /// Its name in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `process.hash.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hash {
    /// Of the executed file, hexadecimal.
    pub sha256: String,
}

/// Another process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Relative {
    /// On the host.
    pub pid: i32,
    /// comm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its arguments, joined by blanks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
}

/// `container.*` and `ccwatch.outer.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Container {
    /// The runtime's id in full.
    pub id: String,
    /// As its user named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `docker`, ..., `sandbox`, `unknown`.
    pub runtime: String,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Labels; dots in keys are underscores here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `container.image.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Image {
    /// Without the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One tag, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tag: Vec<String>,
    /// `container.image.hash.*`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<ImageHash>,
}

/// `container.image.hash.*`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageHash {
    /// `sha256:` and the image's id.
    pub all: Vec<String>,
}

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
    /// RFC 3339 with microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
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
