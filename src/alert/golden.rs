//! Each sort of alert against its golden files, tests/golden/NAME.json and NAME.txt. `CCWATCH_BLESS=1 cargo test
//! golden` writes them anew; the difference is then for review.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stderr)] // a difference is shown to whoever runs the tests

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::compose::{self, Stamp};
use super::document::Document;
use super::{json, samples, text};

fn stamp(sequence: u64) -> Stamp {
    Stamp { id: "01JDEXAMPLE0000000000000000".into(), sequence }
}

fn documents() -> Vec<(&'static str, Document)> {
    let mut documents: Vec<_> = samples::all()
        .into_iter()
        .zip(4182..)
        .map(|((name, alert), n)| (name, compose::document(&alert, &samples::host(), stamp(n))))
        .collect();
    let last = compose::document(&samples::opened(), &samples::host(), stamp(1));
    documents.push(("watcher-killed", compose::killed(last, samples::moment(), stamp(2))));
    documents
}

fn check(file: &str, actual: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("CCWATCH_BLESS").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        eprintln!("{file} differs\n expected {expected} actual   {actual}");
    }
    expected == actual
}

#[test]
fn golden_files() {
    let mut same = true;
    for (name, document) in documents() {
        let json = String::from_utf8(json::line(&document)).unwrap();
        same &= check(&format!("{name}.json"), &format!("{json}\n"));
        same &= check(&format!("{name}.txt"), &format!("{}\n", text::line(&document)));
    }
    assert!(same, "CCWATCH_BLESS=1 writes the golden files anew");
}

#[test]
fn documents_come_back_from_their_json() {
    for (_, document) in documents() {
        let line = json::line(&document);
        assert_eq!(serde_json::from_slice::<Document>(&line).unwrap(), document);
        assert!(line.iter().all(|b| (b' '..=b'~').contains(b)));
        assert!(!String::from_utf8(line).unwrap().contains(":null"));
    }
}

#[test]
fn text_is_one_line_without_controls() {
    for (_, document) in documents() {
        let line = text::line(&document);
        assert!(!line.chars().any(char::is_control), "{line}");
        assert!(line.len() < 4096);
    }
}

/// Every field that the contract names and this version can know stands in some document.
#[test]
fn contract_is_complete() {
    fn walk(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(value, &path, into);
            }),
            Value::Array(elements) => elements.iter().for_each(|value| walk(value, path, into)),
            _ => {}
        }
        into.insert(path.into());
    }
    let mut fields = BTreeSet::new();
    for (_, document) in documents() {
        walk(&serde_json::to_value(&document).unwrap(), "", &mut fields);
    }
    let contract = "@timestamp ecs.version message event.kind event.category event.type event.action event.severity \
        event.id event.sequence event.reason rule.id rule.name rule.category rule.description rule.reference \
        threat.framework threat.technique.id threat.technique.name threat.technique.subtechnique.id \
        threat.technique.subtechnique.name host.name host.hostname host.id host.architecture host.os.type \
        host.os.kernel log.level process.pid process.vpid process.entity_id process.name process.executable \
        process.args process.args_count process.command_line process.working_directory process.start \
        process.interactive process.user.id process.user.name process.hash.sha256 process.parent.pid \
        process.parent.name process.parent.command_line process.session_leader.pid process.session_leader.name \
        container.id container.name container.runtime container.image.name container.image.tag \
        container.image.hash.all container.labels.com_docker_compose_project ccwatch.schema ccwatch.session.id \
        ccwatch.session.state ccwatch.session.execs ccwatch.session.exact ccwatch.session.repeats \
        ccwatch.session.root_command ccwatch.session.duration_ms ccwatch.session.users.id \
        ccwatch.session.users.name ccwatch.session.compilers.name ccwatch.session.compilers.family \
        ccwatch.session.compilers.kind ccwatch.session.compilers.execs ccwatch.verdict.kind ccwatch.verdict.family \
        ccwatch.verdict.toolchain ccwatch.verdict.version ccwatch.verdict.confidence ccwatch.verdict.evidence \
        ccwatch.verdict.build_id ccwatch.severity ccwatch.confirmed ccwatch.known_by ccwatch.masquerade \
        ccwatch.packed ccwatch.query ccwatch.arguments ccwatch.provenance.origin ccwatch.namespaces.pid \
        ccwatch.namespaces.mnt ccwatch.latency_us ccwatch.outer.id ccwatch.outer.runtime ccwatch.host_uid \
        ccwatch.missing ccwatch.cut ccwatch.ancestors.pid ccwatch.ancestors.name ccwatch.finding.impact \
        ccwatch.finding.complexity ccwatch.finding.severity ccwatch.finding.recommended ccwatch.remediation \
        ccwatch.lost.sensor ccwatch.lost.count ccwatch.lost.since ccwatch.lost.recovered \
        ccwatch.coverage.unexamined ccwatch.suppressed";
    for field in contract.split_whitespace() {
        assert!(fields.contains(field), "{field} stands in no document");
    }
}
