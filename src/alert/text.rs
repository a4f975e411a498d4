//! An alert for a person: the sentence that stands in `message`, and the line of the text form. Both are made from the
//! document, so that an alert read back from a file reads the same.
//!
//! All text from outside is escaped, bounded, and quoted where it is not one plain word: no name can end the sentence
//! and begin another.

use super::Escalation;
use super::document::Document;
use super::ecs::{Container, User};
use super::own::{Program, Session};
use crate::escape;

/// Bytes of a name, of a command or path, and of a sentence that detection made.
const NAME: usize = 64;
const COMMAND: usize = 160;
const SENTENCE: usize = 512;

/// Programs named in the sentence of `closed`.
const NAMED: usize = 5;

/// The sentence of a finding.
pub fn sentence(document: &Document) -> String {
    let session = document.ccwatch.session.as_ref();
    let state = session.map_or("opened", |session| session.state.as_str());
    let query = document.ccwatch.query == Some(true);
    let mut out = String::new();
    if state == "escalated" {
        out.push_str(&news(document));
        out.push_str(": ");
    }
    out.push_str(&program(document));
    out.push(' ');
    if query {
        out.push_str(&question(document))
    } else {
        out.push_str(verb(document, state))
    }
    out.push_str(&place(document));
    out.push_str(&who(document, session));
    if let Some(session) = session {
        match state {
            "closed" => out.push_str(&counts(session, document.event.reason == "watcher-killed")),
            "escalated" => out.push_str(&format!(", {} so far", execs(session))),
            _ => {}
        }
        if !session.root_command.is_empty() {
            out.push_str(&format!(", started by {}", escape::word(&session.root_command, COMMAND)));
        }
        if session.repeats > 0 {
            out.push_str(&format!("; {} more like it since the last report", session.repeats));
        }
    }
    if document.ccwatch.suppressed > 0 {
        out.push_str(&format!("; {} alerts were held back by a limit", document.ccwatch.suppressed));
    }
    out
}

/// The sentence of what the watcher says of itself.
pub fn health(sentence: &str) -> String {
    escape::bounded(sentence, SENTENCE).into_owned()
}

/// The whole alert on one line: time (UTC), severity, sentence, the facts in brackets, and what to do.
pub fn line(document: &Document) -> String {
    let own = &document.ccwatch;
    let time = escape::bounded(&document.timestamp, NAME);
    // Seconds are enough for a person: 2026-11-24T10:15:08.411204Z.
    let time = time.split_once('.').map_or(time.to_string(), |(seconds, _)| format!("{seconds}Z"));
    let mut out = format!("{time} {} {}", escape::bounded(&own.severity, NAME).to_uppercase(), document.message);
    let facts = facts(document);
    if !facts.is_empty() {
        let facts: Vec<_> = facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out.push_str(&format!(" [{}]", facts.join(" ")));
    }
    if let Some(step) = own.remediation.first() {
        out.push_str(&format!(" What to do: {}", escape::bounded(step, SENTENCE)));
    }
    out
}

fn facts(document: &Document) -> Vec<(&'static str, String)> {
    let own = &document.ccwatch;
    let mut facts = Vec::new();
    let mut word = |name, value: Option<&str>, max| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push((name, escape::word(value, max)));
        }
    };
    if let Some(process) = &document.process {
        word("pid", Some(&process.pid.to_string()), NAME);
        word("command", process.command_line.as_deref(), COMMAND);
        word("cwd", process.working_directory.as_deref(), COMMAND);
        word("file", process.executable.as_deref(), COMMAND);
        word("origin", own.provenance.as_ref().map(|p| p.origin.as_str()).filter(|o| *o != "unknown"), NAME);
        word("confidence", own.verdict.as_ref().map(|v| v.confidence.as_str()), NAME);
        word("host-uid", own.host_uid.map(|uid| uid.to_string()).as_deref(), NAME);
    }
    if let Some(container) = &document.container {
        word("container", Some(&format!("{}/{}", container.runtime, container.id)), 2 * NAME);
    }
    word("session", own.session.as_ref().map(|session| session.id.as_str()), NAME);
    if let Some(lost) = &own.lost {
        word("sensor", lost.sensor.as_deref(), NAME);
        word("count", lost.count.map(|count| count.to_string()).as_deref(), NAME);
        word("since", lost.since.as_deref(), NAME);
        word("looked-at", lost.recovered.map(|count| count.to_string()).as_deref(), NAME);
    }
    if own.coverage.unexamined > 0 {
        word("unexamined", Some(&own.coverage.unexamined.to_string()), NAME);
    }
    facts
}

/// What the session did not have before: `another toolchain (llvm)`
fn news(document: &Document) -> String {
    let own = &document.ccwatch;
    let with = |what: &str, which: Option<&str>| match which.filter(|which| !which.is_empty()) {
        Some(which) => format!("{what} ({})", escape::word(which, NAME)),
        None => what.into(),
    };
    match Escalation::of(&document.event.reason) {
        Some(Escalation::Severity) => format!("escalated to {}", escape::bounded(&own.severity, NAME)),
        Some(Escalation::Origin) => with("another origin", own.provenance.as_ref().map(|p| p.origin.as_str())),
        Some(Escalation::User) => "another user".into(),
        Some(Escalation::Toolchain) => {
            with("another toolchain", own.verdict.as_ref().and_then(|v| v.toolchain.as_deref()))
        }
        Some(Escalation::Compile) => "after queries only".into(),
        None => "escalated".into(),
    }
}

/// `gcc (gcc-driver 12.2.0)`
fn program(document: &Document) -> String {
    let verdict = document.ccwatch.verdict.as_ref();
    let name = document.process.as_ref().map_or("", |process| process.name.as_str());
    let mut known = Vec::new();
    if let Some(verdict) = verdict {
        let same = verdict.family == name || verdict.family == "unknown" || verdict.family.is_empty();
        let family = Some(verdict.family.as_str()).filter(|_| !same || verdict.version.is_some());
        let family: Vec<_> =
            family.into_iter().chain(verdict.version.as_deref()).map(|text| escape::word(text, NAME)).collect();
        if !family.is_empty() {
            known.push(family.join(" "));
        }
    }
    if document.ccwatch.masquerade == Some(true) {
        known.push("under a false name".into());
    }
    if document.ccwatch.packed == Some(true) {
        known.push("packed".into());
    }
    let name = match (name, verdict) {
        ("", Some(verdict)) if verdict.kind == "assembler" => "an assembler".into(),
        ("", Some(verdict)) => format!("a {}", escape::word(&verdict.kind, NAME)),
        ("", None) => "a compiler".into(),
        (name, _) => escape::word(name, NAME),
    };
    if known.is_empty() { name } else { format!("{name} ({})", known.join(", ")) }
}

fn verb(document: &Document, state: &str) -> &'static str {
    if document.ccwatch.confirmed == Some(false) {
        return "was perhaps executed";
    }
    let kind = document.ccwatch.verdict.as_ref().map_or("", |verdict| verdict.kind.as_str());
    match (kind, state == "closed") {
        ("compiler" | "compiler-internal", false) => "is compiling",
        ("compiler" | "compiler-internal", true) => "compiled",
        ("assembler", false) => "is assembling",
        ("assembler", true) => "assembled",
        ("linker", false) => "is linking",
        ("linker", true) => "linked",
        _ => "was executed",
    }
}

/// `was asked (--version)`: its arguments without the program's name.
fn question(document: &Document) -> String {
    let args = document.process.as_ref().and_then(|process| process.args.as_deref());
    match args.map(|args| args.get(1..).unwrap_or_default()) {
        None => "was asked".into(),
        Some([]) => "was called without arguments".into(),
        Some(asked) => format!("was asked ({})", escape::word(&asked.join(" "), NAME)),
    }
}

/// ` in container web-1 (image shop/web:1.4)`
fn place(document: &Document) -> String {
    let Some(container) = &document.container else { return " in a container".into() };
    let mut out = format!(" in {}", container_name(container));
    let image = container.image.as_ref().and_then(|image| {
        let name = image.name.as_deref().filter(|name| !name.is_empty())?;
        Some(image.tag.first().map_or_else(|| name.to_owned(), |tag| format!("{name}:{tag}")))
    });
    if let Some(image) = image {
        out.push_str(&format!(" (image {})", escape::word(&image, 2 * NAME)));
    }
    if let Some(outer) = &document.ccwatch.outer {
        out.push_str(&format!(" within {}", container_name(outer)));
    }
    out
}

fn container_name(container: &Container) -> String {
    let what = if container.runtime == "sandbox" { "sandbox" } else { "container" };
    let short = || {
        let digits = container.id.len() == 64 && container.id.bytes().all(|b| b.is_ascii_hexdigit());
        // docker ps shows 12 digits; the whole id is among the facts.
        if digits { escape::cut(&container.id, 12) } else { &container.id }
    };
    let name = container.name.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(short);
    format!("{what} {}", escape::word(name, NAME))
}

/// ` as root`, or all users of a session that has ended.
fn who(document: &Document, session: Option<&Session>) -> String {
    let own = document.process.as_ref().and_then(|process| process.user.as_ref());
    let all = session.map_or(&[][..], |session| &session.users);
    let users: Vec<&User> =
        if all.len() > 1 { all.iter().collect() } else { own.into_iter().chain(all).take(1).collect() };
    if users.is_empty() {
        return String::new();
    }
    let names: Vec<_> = users
        .iter()
        .take(3)
        .map(|user| match &user.name {
            Some(name) if !name.is_empty() => escape::word(name, NAME),
            _ => format!("uid {}", escape::word(&user.id, NAME)),
        })
        .collect();
    let more = users.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(" as {}{more}", names.join(", "))
}

/// `: 5 toolchain execs in 0.2 s (gcc, cc1, as, collect2, ld)`
fn counts(session: &Session, killed: bool) -> String {
    let mut out = format!(": {} in {}", execs(session), duration(session.duration_ms));
    let several = session.compilers.iter().any(|program| program.execs > 1);
    let name = |program: &Program| {
        let name = escape::word(&program.name, NAME);
        if several { format!("{name} {}", program.execs) } else { name }
    };
    if session.compilers.len() > 1 {
        let names: Vec<_> = session.compilers.iter().take(NAMED).map(name).collect();
        let more = session.compilers.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.push_str(&format!(" ({}{more})", names.join(", ")));
    }
    if killed {
        out.push_str(", as it was last told before the watcher was killed");
    }
    out
}

fn execs(session: &Session) -> String {
    let about = if session.exact { "" } else { "about " };
    let s = if session.execs == 1 { "" } else { "s" };
    format!("{about}{} toolchain exec{s}", session.execs)
}

/// `under 0.1 s`, `0.2 s`, `12 s`, `4 min 10 s`
fn duration(ms: u64) -> String {
    let tenths = ms.saturating_add(50) / 100;
    match tenths {
        0 => "under 0.1 s".into(),
        1..100 => format!("{}.{} s", tenths / 10, tenths % 10),
        100..1200 => format!("{} s", tenths / 10),
        _ => format!("{} min {} s", tenths / 600, tenths / 10 % 60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Alert, SessionState, compose, samples};
    use super::*;

    fn said(alert: &Alert) -> String {
        let stamp = compose::Stamp { id: "1".into(), sequence: 1 };
        sentence(&compose::document(alert, &samples::host(), stamp))
    }

    #[test]
    fn an_escalation_says_what_is_new() {
        let mut alert = samples::opened();
        alert.session.as_mut().unwrap().state = SessionState::Escalated;
        for (reason, expected) in [
            ("higher-severity", "escalated to medium: gcc "),
            ("new-origin", "another origin (unknown): gcc "),
            ("new-user", "another user: gcc "),
            ("new-toolchain", "another toolchain (gnu): gcc "),
            ("compile-after-queries", "after queries only: gcc "),
            ("escalated", "escalated: gcc "),
        ] {
            alert.reason = reason.into();
            assert!(said(&alert).starts_with(expected), "{}", said(&alert));
        }
    }

    #[test]
    fn a_query_says_what_it_asked() {
        let mut alert = samples::opened();
        let mut asked = |args: Option<&[&str]>| {
            let exec = alert.exec.as_mut().unwrap();
            exec.query = true;
            exec.process.args = args.map(|args| args.iter().map(ToString::to_string).collect());
            said(&alert)
        };
        assert!(asked(Some(&["gcc", "-v"])).contains(") was asked (-v) in container"));
        assert!(asked(Some(&["gcc"])).contains(") was called without arguments in container"));
        assert!(asked(None).contains(") was asked in container"));
    }

    #[test]
    fn durations_read_well() {
        let all = [0, 49, 50, 196, 9_949, 9_950, 119_000, 250_000].map(duration);
        assert_eq!(all, ["under 0.1 s", "under 0.1 s", "0.1 s", "0.2 s", "9.9 s", "10 s", "119 s", "4 min 10 s"]);
    }
}
