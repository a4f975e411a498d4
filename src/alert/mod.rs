//! What leaves the machine: a finding about a build session, or about the watcher's own health. Plain facts here;
//! how they are written is `document`'s and `text`'s affair.

pub mod compose;
mod cut;
pub mod document;
pub mod ecs;
mod fields;
pub mod fit;
pub mod id;
pub mod json;
pub mod own;
pub mod text;
pub mod time;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod samples;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::container::{ContainerKey, Metadata};
use crate::event::{Missing, Pid, SensorKind};
use crate::fingerprint::{Kind, Verdict};

/// How bad, in the order of badness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// syslog notice.
    Low,
    /// syslog warning.
    Medium,
    /// syslog err.
    High,
    /// syslog crit.
    Critical,
}

impl Severity {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// `event.severity`: 21, 47, 73, 99.
    pub fn number(self) -> u8 {
        match self {
            Self::Low => 21,
            Self::Medium => 47,
            Self::High => 73,
            Self::Critical => 99,
        }
    }

    /// The severity of an `event.severity`: the highest that it reaches.
    pub fn from_number(number: u8) -> Self {
        [Self::Critical, Self::High, Self::Medium].into_iter().find(|s| number >= s.number()).unwrap_or(Self::Low)
    }

    /// `log.level`: the name of syslog's severity.
    pub fn log_level(self) -> &'static str {
        match self {
            Self::Low => "notice",
            Self::Medium => "warning",
            Self::High => "error",
            Self::Critical => "critical",
        }
    }
}

/// `event.action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A finding: a build session opened, escalated or closed.
    CompilerExecuted,
    /// A sensor lost events.
    EventsLost,
    /// A sensor does not work, or only in part.
    SensorDegraded,
    /// A sensor works again, or a loss was repaired.
    SensorRecovered,
    /// Alerts were held back by a limit.
    Suppressed,
    /// The watcher watches from now on.
    WatcherStarted,
    /// The watcher ends.
    WatcherStopped,
    /// The watcher took over a changed configuration, or refused it.
    WatcherReloaded,
}

impl Action {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CompilerExecuted => "compiler-executed",
            Self::EventsLost => "events-lost",
            Self::SensorDegraded => "sensor-degraded",
            Self::SensorRecovered => "sensor-recovered",
            Self::Suppressed => "suppressed",
            Self::WatcherStarted => "watcher-started",
            Self::WatcherStopped => "watcher-stopped",
            Self::WatcherReloaded => "watcher-reloaded",
        }
    }

    /// How bad it is in any case; `None` for a finding, which has a severity of its own.
    pub fn severity(self) -> Option<Severity> {
        match self {
            Self::CompilerExecuted => None,
            Self::EventsLost | Self::SensorDegraded => Some(Severity::High),
            Self::SensorRecovered | Self::WatcherStarted | Self::WatcherReloaded => Some(Severity::Low),
            // From now on nobody watches.
            Self::Suppressed | Self::WatcherStopped => Some(Severity::Medium),
        }
    }
}

/// What leaves the machine. Every string may hold control characters and worse: rendering escapes.
#[derive(Debug, Clone)]
pub struct Alert {
    /// When it was made.
    pub made: SystemTime,
    /// What it is about.
    pub action: Action,
    /// How bad.
    pub severity: Severity,
    /// `event.reason`.
    pub reason: String,
    /// The exec that the alert is about: the session's first, or the one that escalated it.
    pub exec: Option<Box<ExecFacts>>,
    /// The build session.
    pub session: Option<SessionFacts>,
    /// What was lost, or found again.
    pub loss: Option<LossFacts>,
    /// The container that a loss or a suppression falls on, where there is no exec.
    pub busiest: Option<ContainerFacts>,
    /// Execs of the host that died unseen, in the session's time or, for a loss, since the start.
    pub unexamined: u64,
    /// Alerts that a limit held back since the last one that went out.
    pub suppressed: u64,
    /// What to do, in order.
    pub remediation: Vec<String>,
}

/// One exec in full.
#[derive(Debug, Clone)]
pub struct ExecFacts {
    /// The process.
    pub process: ProcessFacts,
    /// Its container, the innermost.
    pub container: ContainerFacts,
    /// The outermost container, where they nest.
    pub outer: Option<ContainerFacts>,
    /// What was executed.
    pub verdict: Verdict,
    /// GNU build-id, hexadecimal.
    pub build_id: Option<String>,
    /// The exec is known to have succeeded, and this file to be what ran.
    pub confirmed: bool,
    /// Which sensors saw it.
    pub known_by: Vec<SensorKind>,
    /// It only asked for information.
    pub query: bool,
    /// Whether the arguments are known.
    pub arguments_known: bool,
    /// Where the file lies.
    pub origin: Origin,
    /// Inode number of the pid namespace.
    pub pid_namespace: Option<u64>,
    /// Inode number of the mount namespace.
    pub mnt_namespace: Option<u64>,
    /// Exec to alert.
    pub latency: Option<Duration>,
    /// The uid on the host.
    pub host_uid: Option<u32>,
    /// Ancestors up to the container's init, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// The reason of the exception that lowered it.
    pub exception: Option<String>,
    /// Contract field (dotted name) to the reason why it is not known.
    pub missing: BTreeMap<&'static str, Missing>,
}

/// Where a compiler's file lies; `ccwatch.provenance.origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An anonymous file in memory.
    Memfd,
    /// Not known.
    Unknown,
}

impl Origin {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memfd => "memfd",
            Self::Unknown => "unknown",
        }
    }
}

/// A process, as its alert shows it.
#[derive(Debug, Clone, Default)]
pub struct ProcessFacts {
    /// The host's pid.
    pub pid: i32,
    /// The pid in its own pid namespace.
    pub vpid: Option<i32>,
    /// Clock ticks since boot; with host and pid it makes `entity_id`.
    pub start_ticks: Option<u64>,
    /// When it was started.
    pub start: Option<SystemTime>,
    /// comm, else the file's basename.
    pub name: String,
    /// Path of the executed file in its container.
    pub executable: Option<String>,
    /// Arguments, the program's own name first, as far as they were read.
    pub args: Option<Vec<String>>,
    /// How many there were.
    pub args_count: Option<usize>,
    /// Working directory in its container.
    pub working_directory: Option<String>,
    /// It has a controlling terminal.
    pub interactive: Option<bool>,
    /// The uid as the container sees it.
    pub uid: Option<u32>,
    /// That uid's name in the container's /etc/passwd.
    pub user_name: Option<String>,
    /// SHA-256 of the executed file, hexadecimal.
    pub sha256: Option<String>,
    /// The parent: pid, name, command line.
    pub parent: Option<Relative>,
    /// The POSIX session's leader.
    pub session_leader: Option<Relative>,
}

/// Another process that an alert names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relative {
    /// The host's pid.
    pub pid: Pid,
    /// comm.
    pub name: Option<String>,
    /// Its arguments, joined by blanks.
    pub command_line: Option<String>,
}

/// One ancestor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// The host's pid.
    pub pid: Pid,
    /// comm.
    pub name: String,
}

/// A container, as its alert shows it.
#[derive(Debug, Clone)]
pub struct ContainerFacts {
    /// Runtime and id.
    pub key: ContainerKey,
    /// What the runtime's files say; empty where they say nothing.
    pub metadata: Metadata,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its first exec was just seen.
    Opened,
    /// Something worse than before was seen in it.
    Escalated,
    /// It has ended, or its time is up.
    Closed,
}

impl SessionState {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Closed => "closed",
        }
    }
}

/// What `escalated` tells that its session did not have before; the most telling one where it is several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escalation {
    /// A severity above the session's.
    Severity,
    /// A file that lies elsewhere.
    Origin,
    /// Another user.
    User,
    /// Another toolchain.
    Toolchain,
    /// A compile, where there were only queries.
    Compile,
}

impl Escalation {
    /// The word used in alerts, `event.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Severity => "higher-severity",
            Self::Origin => "new-origin",
            Self::User => "new-user",
            Self::Toolchain => "new-toolchain",
            Self::Compile => "compile-after-queries",
        }
    }

    /// The one of this word.
    pub fn of(reason: &str) -> Option<Self> {
        let all = [Self::Severity, Self::Origin, Self::User, Self::Toolchain, Self::Compile];
        all.into_iter().find(|escalation| escalation.as_str() == reason)
    }
}

/// A build session, as its alert shows it.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Unique for all time.
    pub id: String,
    /// Where it stands.
    pub state: SessionState,
    /// Toolchain execs so far.
    pub execs: u64,
    /// Whether that number is certain.
    pub exact: bool,
    /// Sessions of queries like this one that were not reported by themselves.
    pub repeats: u64,
    /// For people: what started it all.
    pub root_command: String,
    /// From its first exec to its last.
    pub duration: Duration,
    /// The users seen in it, uid as the container sees it.
    pub users: Vec<(u32, Option<String>)>,
    /// Its programs, most frequent first, then `other`.
    pub programs: Vec<Program>,
}

/// One program of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// comm, else the file's basename; `other` for those beyond the limit.
    pub name: String,
    /// Family; empty for `other`.
    pub family: String,
    /// Kind; `None` for `other`.
    pub kind: Option<Kind>,
    /// How often.
    pub execs: u64,
}

/// A loss of events, a sensor's state, or a suppression.
#[derive(Debug, Clone)]
pub struct LossFacts {
    /// Which sensor.
    pub sensor: Option<SensorKind>,
    /// How many events.
    pub count: u64,
    /// Since when.
    pub since: Option<SystemTime>,
    /// How many processes the sweep looked at afterwards.
    pub recovered: Option<u64>,
    /// One sentence for people.
    pub sentence: String,
}
