//! From the facts of an alert to the contract's document. No field is invented here: what the facts do not hold stays
//! absent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::document::Document;
use super::ecs::{
    self, Container, Event, Hash, Host, Image, ImageHash, Os, Process, Rule, Subtechnique, Technique, Threat, User,
};
use super::own::{self, Coverage, Finding, Lost, Namespaces, Own, Provenance, Session, Verdict};
use super::{Action, Alert, ContainerFacts, ExecFacts, LossFacts, ProcessFacts, SessionFacts, SessionState, Severity};
use super::{cut, fit, text, time};
use crate::host::identity::HostFacts;

/// The rule of `compiler-executed`; also the `event.reason` of its findings.
pub const RULE_EXECUTED: &str = "container-compiler-executed";

/// What is given to an alert when it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// `event.id`
    pub id: String,
    /// `event.sequence`
    pub sequence: u64,
}

/// The document of an alert, its strings bounded as for the alert file (see [`fit::bound`]), its sentence in place.
pub fn document(alert: &Alert, host: &HostFacts, stamp: Stamp) -> Document {
    let severity = alert.action.severity().unwrap_or(alert.severity);
    let finding = alert.action == Action::CompilerExecuted;
    let exec = alert.exec.as_deref();
    let place = exec.map(|exec| &exec.container).or(alert.busiest.as_ref());
    let mut document = Document {
        timestamp: time::micros(alert.made),
        ecs: ecs::Ecs { version: ecs::ECS_VERSION.into() },
        message: String::new(),
        event: event(alert.action, severity, &alert.reason, stamp),
        log: ecs::Log { level: severity.log_level().into() },
        rule: finding.then(rule),
        threat: finding.then(threat),
        host: host_of(host),
        process: exec.map(|exec| process(&exec.process, host)),
        container: place.map(container),
        ccwatch: ours(alert, severity),
    };
    if let (Some(facts), Some(shown)) = (place, &document.container)
        // Two keys that differ in a dot and an underscore are one in the document.
        && (facts.metadata.labels_cut || shown.labels.len() < facts.metadata.labels.len())
    {
        document.ccwatch.cut.push("container.labels".into());
    }
    fit::bound(&mut document);
    document.message = match &alert.loss {
        Some(loss) if !finding => text::health(&loss.sentence),
        _ => text::sentence(&document),
    };
    document
}

/// What the watcher says of itself where no [`Alert`] was made: of alerts that a sink could not deliver, and of its own
/// start, stop and reload. Without a `lost` nothing was lost.
pub fn health(
    action: Action,
    reason: &str,
    sentence: &str,
    lost: Option<Lost>,
    made: SystemTime,
    host: &HostFacts,
    stamp: Stamp,
) -> Document {
    let severity = action.severity().unwrap_or(Severity::High);
    let mut document = Document {
        timestamp: time::micros(made),
        ecs: ecs::Ecs { version: ecs::ECS_VERSION.into() },
        message: text::health(sentence),
        event: event(action, severity, reason, stamp),
        log: ecs::Log { level: severity.log_level().into() },
        host: host_of(host),
        ccwatch: Own { schema: own::SCHEMA, severity: severity.as_str().into(), lost, ..Own::default() },
        ..Document::default()
    };
    fit::bound(&mut document);
    document
}

/// Turns the last document of a session that a killed watcher left open into its `closed`: with what was known, and
/// `event.reason` `watcher-killed`.
pub fn killed(mut last: Document, now: SystemTime, stamp: Stamp) -> Document {
    last.timestamp = time::micros(now);
    last.event.id = stamp.id;
    last.event.sequence = stamp.sequence;
    last.event.reason = "watcher-killed".into();
    last.ccwatch.latency_us = None;
    if let Some(session) = &mut last.ccwatch.session {
        session.state = SessionState::Closed.as_str().into();
        session.exact = false;
    }
    fit::bound(&mut last);
    last.message = text::sentence(&last);
    last
}

fn event(action: Action, severity: Severity, reason: &str, stamp: Stamp) -> Event {
    let finding = action == Action::CompilerExecuted;
    Event {
        // ECS keeps `alert` for what a detection found; a sensor's state is an `event` of category host.
        kind: if finding { "alert" } else { "event" }.into(),
        category: vec![if finding { "process" } else { "host" }.into()],
        kinds: vec![
            match action {
                Action::WatcherStarted => "start",
                Action::WatcherStopped => "end",
                Action::WatcherReloaded => "change",
                _ => "info",
            }
            .into(),
        ],
        action: action.as_str().into(),
        severity: severity.number(),
        id: stamp.id,
        sequence: stamp.sequence,
        reason: reason.into(),
    }
}

fn rule() -> Rule {
    Rule {
        id: RULE_EXECUTED.into(),
        name: "Containers should not execute compilers".into(),
        category: "compliance".into(),
        description: "Containers should not execute compilers, and should not contain them (ATT&CK T1027.004, CIS \
                      Docker Benchmark 4.3)"
            .into(),
        reference: "https://attack.mitre.org/techniques/T1027/004/".into(),
    }
}

fn threat() -> Threat {
    Threat {
        framework: "MITRE ATT&CK".into(),
        technique: Technique {
            id: vec!["T1027".into()],
            name: vec!["Obfuscated Files or Information".into()],
            subtechnique: Subtechnique { id: vec!["T1027.004".into()], name: vec!["Compile After Delivery".into()] },
        },
    }
}

fn host_of(host: &HostFacts) -> Host {
    Host {
        name: host.hostname.clone(),
        hostname: host.hostname.clone(),
        id: host.id.clone(),
        architecture: host.architecture.clone(),
        os: Os { kind: host.os_type.clone(), kernel: host.kernel.clone() },
    }
}

fn process(facts: &ProcessFacts, host: &HostFacts) -> Process {
    let line = facts.args.as_deref().map(|args| cut::bounded_args(args, fit::ARGS_LIMIT).join(" "));
    Process {
        pid: facts.pid,
        vpid: facts.vpid,
        entity_id: facts.start_ticks.map(|ticks| format!("{}-{}-{ticks}", host.hostname, facts.pid)),
        name: facts.name.clone(),
        executable: facts.executable.clone(),
        args_count: facts.args_count.or(facts.args.as_ref().map(Vec::len)),
        command_line: line,
        // What is too much of them `fit` takes away, and says so.
        args: facts.args.clone(),
        working_directory: facts.working_directory.clone(),
        start: facts.start.map(time::micros),
        interactive: facts.interactive,
        user: facts.uid.map(|uid| User { id: uid.to_string(), name: facts.user_name.clone() }),
        hash: facts.sha256.clone().map(|sha256| Hash { sha256 }),
        parent: facts.parent.as_ref().map(relative),
        session_leader: facts.session_leader.as_ref().map(relative),
    }
}

fn relative(facts: &super::Relative) -> ecs::Relative {
    ecs::Relative { pid: facts.pid.0, name: facts.name.clone(), command_line: facts.command_line.clone() }
}

fn container(facts: &ContainerFacts) -> Container {
    let said = &facts.metadata;
    let image = Image {
        name: said.image_name.clone(),
        tag: said.image_tag.clone().into_iter().collect(),
        hash: said.image_id.clone().map(|id| ImageHash { all: vec![id] }),
    };
    Container {
        id: facts.key.id.to_string(),
        name: said.name.clone(),
        runtime: facts.key.runtime.as_str().into(),
        image: (image != Image::default()).then_some(image),
        // A dot would make an object of the key in Elasticsearch, and `a` beside `a.b` a conflict.
        labels: said.labels.iter().map(|(key, value)| (key.replace('.', "_"), value.clone())).collect(),
    }
}

fn ours(alert: &Alert, severity: Severity) -> Own {
    let exec = alert.exec.as_deref();
    let closed = alert.session.as_ref().is_some_and(|session| session.state == SessionState::Closed);
    Own {
        schema: own::SCHEMA,
        session: alert.session.as_ref().map(session),
        verdict: exec.map(verdict),
        severity: severity.as_str().into(),
        confirmed: exec.map(|exec| exec.confirmed),
        known_by: exec.map_or_else(Vec::new, |exec| exec.known_by.iter().map(|k| k.as_str().into()).collect()),
        masquerade: exec.map(|exec| exec.verdict.masquerade),
        packed: exec.map(|exec| exec.verdict.packed),
        query: exec.map(|exec| exec.query),
        arguments: exec.map(|exec| if exec.arguments_known { "known" } else { "unknown" }.into()),
        provenance: exec.map(|exec| Provenance { origin: exec.origin.as_str().into() }),
        ancestors: exec.map_or_else(Vec::new, |exec| {
            exec.ancestors.iter().map(|a| own::Ancestor { pid: a.pid.0, name: a.name.clone() }).collect()
        }),
        namespaces: exec
            .map(|exec| Namespaces { pid: exec.pid_namespace, mnt: exec.mnt_namespace })
            .filter(|namespaces| *namespaces != Namespaces::default()),
        latency_us: exec.and_then(|exec| exec.latency).filter(|_| !closed).map(micros),
        finding: (alert.action == Action::CompilerExecuted).then(|| Finding {
            impact: 3,
            complexity: 2,
            severity: 3,
            recommended: "no compilers present or executed in production containers".into(),
        }),
        remediation: alert.remediation.clone(),
        // Labels are what an exception may match and a reader may filter by: the innermost container's are enough.
        outer: exec
            .and_then(|exec| exec.outer.as_ref())
            .map(|outer| Container { labels: BTreeMap::new(), ..container(outer) }),
        host_uid: exec.and_then(|exec| exec.host_uid),
        missing: exec.map_or_else(BTreeMap::new, |exec| {
            exec.missing.iter().map(|(field, why)| ((*field).into(), why.as_str().into())).collect()
        }),
        cut: Vec::new(),
        lost: alert.loss.as_ref().map(lost),
        coverage: Coverage { unexamined: alert.unexamined },
        suppressed: alert.suppressed,
        exception: exec.and_then(|exec| exec.exception.clone()),
    }
}

fn verdict(exec: &ExecFacts) -> Verdict {
    let verdict = &exec.verdict;
    Verdict {
        kind: verdict.kind.as_str().into(),
        family: verdict.family.clone(),
        toolchain: verdict.toolchain.clone(),
        version: verdict.version.clone(),
        confidence: verdict.confidence.as_str().into(),
        evidence: verdict.evidence.iter().map(|evidence| evidence.as_str().into()).collect(),
        build_id: exec.build_id.clone(),
    }
}

fn session(facts: &SessionFacts) -> Session {
    Session {
        id: facts.id.clone(),
        state: facts.state.as_str().into(),
        execs: facts.execs,
        exact: facts.exact,
        repeats: facts.repeats,
        root_command: facts.root_command.clone(),
        duration_ms: u64::try_from(facts.duration.as_millis()).unwrap_or(u64::MAX),
        users: facts.users.iter().map(|(uid, name)| User { id: uid.to_string(), name: name.clone() }).collect(),
        compilers: facts
            .programs
            .iter()
            .map(|program| own::Program {
                name: program.name.clone(),
                family: Some(program.family.clone()).filter(|family| !family.is_empty()),
                kind: program.kind.map(|kind| kind.as_str().into()),
                execs: program.execs,
            })
            .collect(),
    }
}

fn lost(facts: &LossFacts) -> Lost {
    Lost {
        sensor: facts.sensor.map(|sensor| sensor.as_str().into()),
        // A sensor that fails has not lost anything yet, and one that fell silent cannot count: no false 0.
        count: (facts.count > 0).then_some(facts.count),
        since: facts.since.map(time::micros),
        recovered: facts.recovered,
        gap_ms: None,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::samples;
    use super::*;

    fn cut(change: impl FnOnce(&mut crate::container::Metadata)) -> Vec<String> {
        let mut alert = samples::opened();
        change(&mut alert.exec.as_mut().unwrap().container.metadata);
        document(&alert, &samples::host(), Stamp { id: "1".into(), sequence: 1 }).ccwatch.cut
    }

    #[test]
    fn labels_that_are_left_out_are_told() {
        assert_eq!(cut(|_| {}), [""; 0]);
        assert_eq!(cut(|said| said.labels_cut = true), ["container.labels"]);
        let both = ["a.b", "a_b"].map(|key| (key.to_owned(), String::new()));
        assert_eq!(cut(|said| said.labels = both.into()), ["container.labels"]);
    }
}
