//! Cuts: each makes one sort of field of a document smaller and notes in `ccwatch.cut` what went. In which order, and how
//! small, is `fit`'s affair.

use std::collections::BTreeMap;

use super::document::Document;
use super::fields::{containers, each_text};
use super::json;
use super::own::Program;

/// Bytes of all labels together, and of one label's key.
const LABELS_LIMIT: usize = 16 << 10;
const LABEL_KEY_LIMIT: usize = 256;

/// Names in `ccwatch.cut`, and bytes of one in `ccwatch.missing`: from an old state file they may be anything.
const CUT_LIMIT: usize = 64;
const MISSING_KEY_LIMIT: usize = 128;

/// The first of `args` that fit into `limit` bytes as /proc/PID/cmdline would hold them, the last one cut.
pub(super) fn bounded_args(args: &[String], limit: usize) -> Vec<String> {
    take_args(args, limit, |arg| arg.len() + 1, crate::escape::cut)
}

fn take_args(
    args: &[String],
    limit: usize,
    size: impl Fn(&str) -> usize,
    cut: impl Fn(&str, usize) -> &str,
) -> Vec<String> {
    let mut left = limit;
    let mut kept = Vec::new();
    for arg in args {
        match left.checked_sub(size(arg)) {
            Some(rest) => {
                left = rest;
                kept.push(arg.clone());
            }
            None => {
                let part = cut(arg, left.saturating_sub(size("")));
                if !part.is_empty() {
                    kept.push(part.to_owned());
                }
                break;
            }
        }
    }
    kept
}

/// The first labels that fit, each value in `value_max` bytes; whether all did.
pub(super) fn bounded_labels(labels: &mut BTreeMap<String, String>, value_max: usize) -> bool {
    let before = labels.len();
    let mut left = LABELS_LIMIT;
    let mut cut = false;
    *labels = std::mem::take(labels)
        .into_iter()
        .map_while(|(mut key, mut value)| {
            cut |= shorten(&mut key, LABEL_KEY_LIMIT) | shorten(&mut value, value_max);
            left = left.checked_sub(key.len() + value.len() + 1)?;
            Some((key, value))
        })
        .collect();
    !cut && labels.len() == before
}

/// Remembers that a field was cut.
pub(super) fn note(document: &mut Document, field: &'static str) {
    let cut = &mut document.ccwatch.cut;
    if !cut.iter().any(|known| known == field) {
        cut.push(field.into());
    }
}

pub(super) fn labels(document: &mut Document) {
    let mut had = false;
    for container in containers(document) {
        had |= !container.labels.is_empty();
        container.labels.clear();
    }
    if had {
        note(document, "container.labels");
    }
}

pub(super) fn remediation(document: &mut Document) {
    if document.ccwatch.remediation.len() > 1 {
        document.ccwatch.remediation.truncate(1);
        note(document, "ccwatch.remediation");
    }
}

/// Keeps the first `max` programs; the others' execs go to `other`, so that the sum stays.
pub(super) fn programs(document: &mut Document, max: usize) {
    let Some(session) = &mut document.ccwatch.session else { return };
    let programs = &mut session.compilers;
    let is_other = |program: &Program| program.family.is_none() && program.name == "other";
    if programs.len() <= max + usize::from(programs.last().is_some_and(is_other)) {
        return;
    }
    let execs = programs.split_off(max).iter().fold(0u64, |sum, program| sum.saturating_add(program.execs));
    programs.push(Program { name: "other".into(), execs, ..Program::default() });
    note(document, "ccwatch.session.compilers");
}

pub(super) fn arguments(document: &mut Document, max: usize) {
    let Some(process) = &mut document.process else { return };
    let mut cut = Vec::new();
    if let Some(args) = &mut process.args {
        // Each takes two quotes and a comma as well.
        let kept = take_args(args, max, |arg| arg.chars().map(json::width).sum::<usize>() + 3, json::cut);
        if kept != *args {
            *args = kept;
            cut.push("process.args");
        }
    }
    if process.command_line.as_mut().is_some_and(|line| shorten(line, max)) {
        cut.push("process.command_line");
    }
    cut.into_iter().for_each(|field| note(document, field));
}

/// Cuts to `max` bytes of JSON; whether anything went.
fn shorten(text: &mut String, max: usize) -> bool {
    let end = json::cut(text, max).len();
    let cut = end < text.len();
    text.truncate(end);
    cut
}

/// Cuts every list and map that nothing else bounds.
pub(super) fn lists(document: &mut Document, max: usize) {
    let mut cut = Vec::new();
    let mut shorten = |field: &'static str, list: &mut Vec<String>| {
        if list.len() > max {
            list.truncate(max);
            cut.push(field);
        }
    };
    shorten("event.category", &mut document.event.category);
    shorten("event.type", &mut document.event.kinds);
    if let Some(threat) = &mut document.threat {
        let technique = &mut threat.technique;
        let sub = &mut technique.subtechnique;
        for list in [&mut technique.id, &mut technique.name, &mut sub.id, &mut sub.name] {
            shorten("threat.technique", list);
        }
    }
    for image in document.container.iter_mut().chain(&mut document.ccwatch.outer).flat_map(|c| &mut c.image) {
        shorten("container.image.tag", &mut image.tag);
        if let Some(hash) = &mut image.hash {
            shorten("container.image.hash.all", &mut hash.all);
        }
    }
    let own = &mut document.ccwatch;
    shorten("ccwatch.known_by", &mut own.known_by);
    shorten("ccwatch.remediation", &mut own.remediation);
    if let Some(verdict) = &mut own.verdict {
        shorten("ccwatch.verdict.evidence", &mut verdict.evidence);
    }
    if own.ancestors.len() > max {
        own.ancestors.truncate(max);
        cut.push("ccwatch.ancestors");
    }
    if own.missing.len() > max || own.missing.keys().any(|key| key.len() > MISSING_KEY_LIMIT) {
        own.missing = std::mem::take(&mut own.missing)
            .into_iter()
            .filter(|(k, _)| k.len() <= MISSING_KEY_LIMIT)
            .take(max)
            .collect();
        cut.push("ccwatch.missing");
    }
    if let Some(session) = &mut own.session
        && session.users.len() > max
    {
        session.users.truncate(max);
        cut.push("ccwatch.session.users");
    }
    if max < 8 {
        programs(document, max);
    }
    document.ccwatch.cut.truncate(CUT_LIMIT);
    cut.into_iter().for_each(|field| note(document, field));
}

/// Cuts every text to `max` bytes of JSON.
pub(super) fn texts(document: &mut Document, max: usize) {
    let mut cut = Vec::new();
    each_text(document, &mut |field, text| {
        if shorten(text, max) {
            cut.push(field);
        }
    });
    cut.into_iter().for_each(|field| note(document, field));
}
