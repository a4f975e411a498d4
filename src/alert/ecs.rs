//! The JSON contract's fields that are the Elastic Common Schema's, as types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `ecs.version`.
pub const ECS_VERSION: &str = "8.17.0";

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
    /// `info`; of the watcher's own life `start`, `end` or `change`.
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
