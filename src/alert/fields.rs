//! A walk over the document's strings by the names of their fields, so that a bound holds for every one of them.
//! What the bounds are is `fit`'s affair; its test meets each field and fails for one that was forgotten here.

use super::document::Document;
use super::ecs::{Container, Process};
use super::own::{Own, Session};

/// Told of a field's name and its text.
type Visit<'a> = &'a mut dyn FnMut(&'static str, &mut String);

/// The container and the outermost one.
pub(super) fn containers(document: &mut Document) -> impl Iterator<Item = &mut Container> {
    document.container.iter_mut().chain(&mut document.ccwatch.outer)
}

/// Calls `visit` for each string of the document, with its field's name. Keys of labels and of `missing` are bounded
/// elsewhere.
pub(super) fn each_text(document: &mut Document, visit: Visit<'_>) {
    visit("@timestamp", &mut document.timestamp);
    visit("ecs.version", &mut document.ecs.version);
    visit("message", &mut document.message);
    let event = &mut document.event;
    visit("event.kind", &mut event.kind);
    event.category.iter_mut().for_each(|text| visit("event.category", text));
    event.kinds.iter_mut().for_each(|text| visit("event.type", text));
    visit("event.action", &mut event.action);
    visit("event.id", &mut event.id);
    visit("event.reason", &mut event.reason);
    visit("log.level", &mut document.log.level);
    if let Some(rule) = &mut document.rule {
        visit("rule.id", &mut rule.id);
        visit("rule.name", &mut rule.name);
        visit("rule.category", &mut rule.category);
        visit("rule.description", &mut rule.description);
        visit("rule.reference", &mut rule.reference);
    }
    if let Some(threat) = &mut document.threat {
        visit("threat.framework", &mut threat.framework);
        let technique = &mut threat.technique;
        let sub = &mut technique.subtechnique;
        for list in [&mut technique.id, &mut technique.name, &mut sub.id, &mut sub.name] {
            list.iter_mut().for_each(|text| visit("threat.technique", text));
        }
    }
    let host = &mut document.host;
    visit("host.name", &mut host.name);
    visit("host.hostname", &mut host.hostname);
    host.id.iter_mut().for_each(|text| visit("host.id", text));
    visit("host.architecture", &mut host.architecture);
    visit("host.os.type", &mut host.os.kind);
    visit("host.os.kernel", &mut host.os.kernel);
    if let Some(process) = &mut document.process {
        each_text_of_process(process, visit);
    }
    if let Some(container) = &mut document.container {
        each_text_of_container(container, ["container.id", "container.name", "container.image"], visit);
    }
    each_text_of_own(&mut document.ccwatch, visit);
}

fn each_text_of_process(process: &mut Process, visit: Visit<'_>) {
    process.entity_id.iter_mut().for_each(|text| visit("process.entity_id", text));
    visit("process.name", &mut process.name);
    process.executable.iter_mut().for_each(|text| visit("process.executable", text));
    process.args.iter_mut().flatten().for_each(|text| visit("process.args", text));
    process.command_line.iter_mut().for_each(|text| visit("process.command_line", text));
    process.working_directory.iter_mut().for_each(|text| visit("process.working_directory", text));
    process.start.iter_mut().for_each(|text| visit("process.start", text));
    if let Some(user) = &mut process.user {
        visit("process.user.id", &mut user.id);
        user.name.iter_mut().for_each(|text| visit("process.user.name", text));
    }
    process.hash.iter_mut().for_each(|hash| visit("process.hash.sha256", &mut hash.sha256));
    for (relative, name, command) in [
        (&mut process.parent, "process.parent.name", "process.parent.command_line"),
        (&mut process.session_leader, "process.session_leader.name", "process.session_leader.command_line"),
    ] {
        if let Some(relative) = relative {
            relative.name.iter_mut().for_each(|text| visit(name, text));
            relative.command_line.iter_mut().for_each(|text| visit(command, text));
        }
    }
}

fn each_text_of_container(container: &mut Container, [id, name, image_name]: [&'static str; 3], visit: Visit<'_>) {
    visit(id, &mut container.id);
    visit(id, &mut container.runtime);
    container.name.iter_mut().for_each(|text| visit(name, text));
    container.labels.values_mut().for_each(|text| visit("container.labels", text));
    if let Some(image) = &mut container.image {
        let hashes = image.hash.iter_mut().flat_map(|hash| &mut hash.all);
        image.name.iter_mut().chain(&mut image.tag).chain(hashes).for_each(|text| visit(image_name, text));
    }
}

fn each_text_of_own(own: &mut Own, visit: Visit<'_>) {
    if let Some(session) = &mut own.session {
        each_text_of_session(session, visit);
    }
    if let Some(verdict) = &mut own.verdict {
        visit("ccwatch.verdict.kind", &mut verdict.kind);
        visit("ccwatch.verdict.family", &mut verdict.family);
        verdict.toolchain.iter_mut().for_each(|text| visit("ccwatch.verdict.toolchain", text));
        verdict.version.iter_mut().for_each(|text| visit("ccwatch.verdict.version", text));
        visit("ccwatch.verdict.confidence", &mut verdict.confidence);
        verdict.evidence.iter_mut().for_each(|text| visit("ccwatch.verdict.evidence", text));
        verdict.build_id.iter_mut().for_each(|text| visit("ccwatch.verdict.build_id", text));
    }
    visit("ccwatch.severity", &mut own.severity);
    own.known_by.iter_mut().for_each(|text| visit("ccwatch.known_by", text));
    own.arguments.iter_mut().for_each(|text| visit("ccwatch.arguments", text));
    own.provenance.iter_mut().for_each(|provenance| visit("ccwatch.provenance.origin", &mut provenance.origin));
    own.ancestors.iter_mut().for_each(|ancestor| visit("ccwatch.ancestors", &mut ancestor.name));
    own.finding.iter_mut().for_each(|finding| visit("ccwatch.finding", &mut finding.recommended));
    own.remediation.iter_mut().for_each(|text| visit("ccwatch.remediation", text));
    if let Some(outer) = &mut own.outer {
        each_text_of_container(outer, ["ccwatch.outer.id", "ccwatch.outer.name", "ccwatch.outer.image"], visit);
    }
    own.missing.values_mut().for_each(|text| visit("ccwatch.missing", text));
    own.exception.iter_mut().for_each(|text| visit("ccwatch.exception", text));
    own.cut.iter_mut().for_each(|text| visit("ccwatch.cut", text));
    if let Some(lost) = &mut own.lost {
        lost.sensor.iter_mut().for_each(|text| visit("ccwatch.lost.sensor", text));
        lost.since.iter_mut().for_each(|text| visit("ccwatch.lost.since", text));
    }
}

fn each_text_of_session(session: &mut Session, visit: Visit<'_>) {
    visit("ccwatch.session.id", &mut session.id);
    visit("ccwatch.session.state", &mut session.state);
    visit("ccwatch.session.root_command", &mut session.root_command);
    for user in &mut session.users {
        visit("ccwatch.session.users", &mut user.id);
        user.name.iter_mut().for_each(|text| visit("ccwatch.session.users", text));
    }
    for program in &mut session.compilers {
        visit("ccwatch.session.compilers", &mut program.name);
        program.family.iter_mut().for_each(|text| visit("ccwatch.session.compilers", text));
        program.kind.iter_mut().for_each(|text| visit("ccwatch.session.compilers", text));
    }
}
