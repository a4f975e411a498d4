//! The JSON contract: one line is one [`Document`], whose order of fields is the order on the line. What the Elastic Common
//! Schema names is [`ecs`](super::ecs)'s, what it has no place for [`own`](super::own)'s. `compose` fills it in, `fit` makes
//! it small, `text` tells it to a person.
//!
//! A field that is not known is absent, never null. Other people's tools count on these names: a change of meaning
//! needs another [`SCHEMA`](super::own::SCHEMA).

use serde::{Deserialize, Serialize};

use super::ecs::{Container, Ecs, Event, Host, Log, Process, Rule, Threat};
use super::own::Own;

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
