//! How large a document may be: bounds for every alert, and the size rule of a message to syslog. Works on the
//! document, never on its JSON: what comes out is always whole. The cuts themselves are `cut`'s.

use super::cut::{arguments, bounded_args, bounded_labels, labels, lists, note, programs, remediation, texts};
use super::document::Document;
use super::ecs::{Container, Process};
use super::fields::containers;
use super::json;
use super::own::{Own, Session};

/// Bytes of all arguments together, wherever the document goes.
pub const ARGS_LIMIT: usize = 4096;

/// Bytes of any other string.
const TEXT_LIMIT: usize = 4096;

/// Elements of a list that nobody else bounds.
const LIST_LIMIT: usize = 64;

/// Programs listed in a session, without `other`.
const PROGRAMS_LIMIT: usize = 32;

/// Bytes of a line of JSON that goes to a file or to stdout.
pub const LINE_LIMIT: usize = 64 << 10;

/// No document is made smaller than this; a lower limit is taken for it.
pub const MINIMUM: usize = 3072;

/// `document` on one line of at most `limit` bytes ([`MINIMUM`] at least), without a newline. What had to go stands in
/// `ccwatch.cut`.
///
/// The order, until it fits: labels; remediation beyond the first step; programs beyond 8, into `other`; arguments and
/// command line to 512 bytes; then, for what hostile text still takes, every text to 512 bytes, lists to 8, texts to
/// 128, lists to 2, texts to 64; at last only what identifies the alert, with `*` in `ccwatch.cut`. Bytes are counted
/// as JSON writes them.
pub fn fit(document: &Document, limit: usize) -> Vec<u8> {
    let limit = limit.max(MINIMUM);
    let whole = json::line(document);
    if whole.len() <= limit {
        return whole;
    }
    let steps: [&dyn Fn(&mut Document); 9] = [
        &labels,
        &remediation,
        &|d| programs(d, 8),
        &|d| arguments(d, 512),
        &|d| texts(d, 512),
        &|d| lists(d, 8),
        &|d| texts(d, 128),
        &|d| lists(d, 2),
        &|d| texts(d, 64),
    ];
    let mut smaller = document.clone();
    for step in steps {
        step(&mut smaller);
        let line = json::line(&smaller);
        if line.len() <= limit {
            return line;
        }
    }
    json::line(&skeleton(&smaller))
}

/// Bounds what any reader of alerts must expect: arguments to 4 KiB in all, labels to 16 KiB, each other text to
/// 4 KiB, lists to 64 elements, programs to 32 and `other`.
pub fn bound(document: &mut Document) {
    if !containers(document).all(|container| bounded_labels(&mut container.labels, TEXT_LIMIT)) {
        note(document, "container.labels");
    }
    if let Some(process) = &mut document.process {
        let cut = process.args.as_mut().is_some_and(|args| {
            let before = args.len();
            let kept = bounded_args(args, ARGS_LIMIT);
            let cut = kept != *args;
            *args = kept;
            cut || process.args_count.is_some_and(|count| count > before)
        });
        if cut {
            note(document, "process.args");
            note(document, "process.command_line");
        }
    }
    programs(document, PROGRAMS_LIMIT);
    lists(document, LIST_LIMIT);
    texts(document, TEXT_LIMIT);
}

/// What tells one alert from another, and nothing else. Its texts were cut to 64 bytes already.
fn skeleton(document: &Document) -> Document {
    let own = &document.ccwatch;
    Document {
        timestamp: document.timestamp.clone(),
        ecs: document.ecs.clone(),
        message: document.message.clone(),
        event: document.event.clone(),
        log: document.log.clone(),
        host: document.host.clone(),
        process: document.process.as_ref().map(|process| Process {
            pid: process.pid,
            name: process.name.clone(),
            args_count: process.args_count,
            ..Process::default()
        }),
        container: document.container.as_ref().map(|container| Container {
            id: container.id.clone(),
            runtime: container.runtime.clone(),
            name: container.name.clone(),
            ..Container::default()
        }),
        ccwatch: Own {
            schema: own.schema,
            session: own.session.as_ref().map(|session| Session {
                users: Vec::new(),
                compilers: Vec::new(),
                ..session.clone()
            }),
            severity: own.severity.clone(),
            cut: vec!["*".into()],
            lost: own.lost.clone(),
            coverage: own.coverage.clone(),
            suppressed: own.suppressed,
            ..Own::default()
        },
        ..Document::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::Value;

    use super::super::compose::{self, Stamp};
    use super::super::samples;
    use super::*;

    fn document(alert: &super::super::Alert) -> Document {
        compose::document(alert, &samples::host(), Stamp { id: "01".into(), sequence: 1 })
    }

    fn read(line: &[u8]) -> Document {
        serde_json::from_slice(line).unwrap()
    }

    /// `value` with every string replaced, every number at its largest, and every list `times` as long.
    fn blow_up(value: &mut Value, text: &str, times: usize) {
        match value {
            Value::String(old) => *old = text.into(),
            Value::Array(elements) => {
                elements.iter_mut().for_each(|value| blow_up(value, text, times));
                *elements = elements.iter().cycle().take(elements.len() * times).cloned().collect();
            }
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match value {
                Value::Number(_) if name == "sequence" || name == "execs" => *value = u64::MAX.into(),
                Value::Number(_) => {}
                value => blow_up(value, text, times),
            }),
            _ => {}
        }
    }

    #[test]
    fn any_document_fits_any_limit() {
        let sorts = ["hostile", "escalated", "events-lost", "build-closed"];
        for (name, alert) in samples::all().into_iter().filter(|(name, _)| sorts.contains(name)) {
            let whole = serde_json::to_value(document(&alert)).unwrap();
            for text in ["a", "\u{1f469}\0\u{7f}\"\n\\"] {
                for (length, times) in [(1, 1), (70, 3), (900, 1), (1, 40)] {
                    let mut value = whole.clone();
                    blow_up(&mut value, &text.repeat(length), times);
                    let big: Document = serde_json::from_value(value).unwrap();
                    for limit in [0, 7_950, 20_000] {
                        let line = fit(&big, limit);
                        assert!(line.len() <= limit.max(MINIMUM), "{name}: {} > {limit}", line.len());
                        assert!(line.iter().all(|b| (b' '..=b'~').contains(b)));
                        assert_eq!(read(&line).event.sequence, u64::MAX);
                    }
                    let mut bounded = big.clone();
                    bound(&mut bounded);
                    let args = bounded.process.as_ref().and_then(|process| process.args.clone()).unwrap_or_default();
                    assert!(args.iter().map(|arg| arg.len() + 1).sum::<usize>() <= ARGS_LIMIT);
                }
            }
        }
    }

    #[test]
    fn what_fits_is_left_alone() {
        let document = document(&samples::closed());
        assert_eq!(fit(&document, 8_000), json::line(&document));
        assert!(document.ccwatch.cut.is_empty());
    }

    #[test]
    fn the_order_of_cuts() {
        let mut alert = samples::closed();
        {
            let exec = alert.exec.as_mut().unwrap();
            exec.container.metadata.labels = (0..20).map(|n| (format!("k{n}"), "v".repeat(200))).collect();
            exec.process.args = Some((0..200).map(|n| format!("-DNUMBER_{n:04}")).collect());
            exec.process.args_count = Some(200);
            alert.remediation = vec!["r".repeat(300); 4];
            let program = alert.session.as_ref().unwrap().programs[0].clone();
            alert.session.as_mut().unwrap().programs = vec![program; 40];
        }
        let document = document(&alert);
        assert_eq!(document.ccwatch.cut, ["ccwatch.session.compilers"]);
        assert_eq!(document.ccwatch.session.as_ref().unwrap().compilers.len(), 33);
        let fields = ["container.labels", "ccwatch.remediation", "ccwatch.session.compilers", "process.args"];
        let mut limit = json::line(&document).len();
        let mut cut: Vec<String> = Vec::new();
        while !cut.iter().any(|field| field == "process.command_line") {
            limit -= 64;
            let smaller = read(&fit(&document, limit));
            let known: Vec<_> =
                fields.iter().filter(|field| smaller.ccwatch.cut.iter().any(|cut| cut == *field)).collect();
            assert!(known.iter().zip(&fields).all(|(known, field)| *known == field || **known == fields[2]));
            cut = smaller.ccwatch.cut;
        }
        let smallest = read(&fit(&document, limit));
        let session = smallest.ccwatch.session.unwrap();
        assert_eq!(session.compilers.len(), 9);
        assert_eq!(session.compilers.iter().map(|program| program.execs).sum::<u64>(), 40);
        let process = smallest.process.unwrap();
        assert_eq!(process.args_count, Some(200));
        assert!(process.args.unwrap().len() < 40 && process.command_line.unwrap().len() == 512);
        assert_eq!(smallest.ccwatch.remediation.len(), 1);
        assert!(smallest.container.unwrap().labels.is_empty());
    }

    #[test]
    fn arguments_are_bounded_before_they_are_copied() {
        let args = vec!["a".repeat(3000), "b".repeat(3000), "c".into()];
        let kept = bounded_args(&args, ARGS_LIMIT);
        assert_eq!((kept.len(), kept[1].len()), (2, 1094));
        assert_eq!(bounded_args(&vec![String::new(); 10_000], ARGS_LIMIT).len(), ARGS_LIMIT);
        let mut alert = samples::opened();
        let process = &mut alert.exec.as_mut().unwrap().process;
        (process.args, process.args_count) = (Some(vec!["gcc".into(), "a".repeat(5000)]), Some(2));
        let both = ["process.args", "process.command_line"];
        assert_eq!(document(&alert).ccwatch.cut, both, "of the last one alone");
        let process = &mut alert.exec.as_mut().unwrap().process;
        (process.args, process.args_count) = (Some(args), None);
        let document = document(&alert);
        assert_eq!(document.ccwatch.cut, both);
        assert_eq!(document.process.unwrap().args_count, Some(3));
    }
}
