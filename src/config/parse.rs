//! From bytes to a configuration, or to everything that is wrong with them, each with its line. The names of sections
//! and keys are those of the defaults, so that they stand nowhere twice.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Spanned, Table, Value};

use super::{Config, Problem};

/// Reads a whole file. No problem is kept back for another: a wrong key does not hide a wrong value.
pub(super) fn parse(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = Some(line_at(bytes, error.valid_up_to()));
        vec![Problem { line, reason: "not UTF-8".into() }]
    })?;
    let document = DeTable::parse(text).map_err(|error| vec![from_toml(bytes, &error)])?;
    let Ok(known) = Table::try_from(Config::default()) else {
        return Err(vec![Problem { line: None, reason: "the defaults cannot be written as TOML".into() }]);
    };

    let mut problems = Vec::new();
    for (name, value) in document.get_ref().iter() {
        let line = Some(line_at(bytes, name.span().start));
        match (known.get(name.get_ref().as_ref()), value.get_ref()) {
            (None, found) => {
                let what = if found.is_table() { "section" } else { "key" };
                let reason = unknown(what, name.get_ref(), known.keys());
                problems.push(Problem { line, reason });
            }
            (Some(Value::Table(keys)), DeValue::Table(section)) => {
                for (key, value) in section.iter() {
                    let line = Some(line_at(bytes, key.span().start));
                    if let Some(reason) = wrong(&known, keys, name, key, value) {
                        problems.push(Problem { line, reason });
                    }
                }
            }
            (Some(_), _) => {
                problems.push(Problem { line, reason: format!("{0} is a section: write [{0}]", name.get_ref()) });
            }
        }
    }
    if problems.is_empty() {
        let config = Config::deserialize(Deserializer::from(document.clone()))
            .map_err(|error| vec![from_toml(bytes, &error)])?;
        for invalid in config.check() {
            let line = span_of(document.get_ref(), invalid.key).map(|span| line_at(bytes, span.start));
            problems.push(Problem { line, reason: format!("{}: {}", invalid.key, invalid.reason) });
        }
        if problems.is_empty() {
            return Ok(config);
        }
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

/// What is wrong with one key of a known section, without a look at the others.
fn wrong(
    known: &Table,
    keys: &Table,
    section: &Spanned<Cow<'_, str>>,
    key: &Spanned<Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Option<String> {
    let (section_name, key_name) = (section.get_ref().as_ref(), key.get_ref().as_ref());
    let Some(default) = keys.get(key_name) else {
        let elsewhere = known.iter().find(|(_, other)| other.get(key_name).is_some());
        return Some(match elsewhere {
            Some((home, _)) => format!("unknown key {key_name:?} in [{section_name}], it belongs in [{home}]"),
            None => unknown("key", key_name, keys.keys()),
        });
    };
    let (wanted, found) = (default.type_str(), value.get_ref().type_str());
    if wanted != found {
        return Some(format!("{section_name}.{key_name}: wants {} such as {default}, not {}", a(wanted), a(found)));
    }
    // Alone in a document, its error is its own.
    let mut only = DeTable::new();
    only.insert(key.clone(), value.clone());
    let mut document = DeTable::new();
    document.insert(section.clone(), Spanned::new(section.span(), DeValue::Table(only)));
    let error = Config::deserialize(Deserializer::from(Spanned::new(0..0, document))).err()?;
    let message = error.message().replace("u32", "a number from 0 to 4294967295").replace("u64", "a number from 0");
    Some(format!("{section_name}.{key_name}: {}", message.trim_end()))
}

/// `unknown key "facilty", did you mean "facility"?`
fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    match nearest(name, known.map(String::as_str)) {
        Some(meant) => format!("unknown {what} {name:?}, did you mean {meant:?}?"),
        None => format!("unknown {what} {name:?}"),
    }
}

/// The one that `name` is most likely a misspelling of: at most a third of its letters differ.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, meant) = known.map(|known| (distance(&name.to_lowercase(), known), known)).min()?;
    (distance <= 1.max(meant.chars().count() / 3)).then_some(meant)
}

/// Levenshtein's edit distance, where a pair of letters in the wrong order is one edit.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let (mut two_back, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    let mut before = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut edits = (at(&last, j) + usize::from(ca != *cb)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = j > 0 && b.get(j - 1) == Some(&ca) && before == Some(*cb);
            if swapped {
                edits = edits.min(at(&two_back, j - 1) + 1);
            }
            row.push(edits);
        }
        two_back = std::mem::replace(&mut last, row);
        before = Some(ca);
    }
    last.last().copied().unwrap_or_default()
}

/// Where `section.key`, or a whole `section`, stands in the document.
fn span_of(document: &DeTable<'_>, dotted: &str) -> Option<Range<usize>> {
    let Some((section, key)) = dotted.split_once('.') else {
        return document.get_key_value(dotted).map(|(section, _)| section.span());
    };
    let section = document.get(section)?.get_ref().as_table()?;
    section.get_key_value(key).map(|(key, _)| key.span())
}

/// What the parser says, with its line; of a key that is not known, the nearest that is.
pub(crate) fn from_toml(bytes: &[u8], error: &toml::de::Error) -> Problem {
    let line = error.span().map(|span| line_at(bytes, span.start));
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    // "unknown field `colour`, expected one of `family`, `marks`": every second word between the quotes is a key.
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let key = quoted.next().filter(|_| message.starts_with("unknown field `"));
    let reason = key.map(|key| unknown("key", &key, quoted.collect::<Vec<_>>().iter()));
    Problem { line, reason: reason.unwrap_or(message) }
}

/// The number, from 1, of the line in which `offset` lies.
fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// A type's name with its article.
fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Each problem of `text`, as the operator reads it.
    fn problems(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse(b"").unwrap(), Config::default());
        assert_eq!(parse(b"# nothing\n[syslog]\n").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest() {
        assert_eq!(
            problems("\n[syslog]\ntag = \"x\"\nfacilty = \"daemon\"\n"),
            ["line 4: unknown key \"facilty\", did you mean \"facility\"?"]
        );
        assert_eq!(
            problems("[limits]\nread_bytes = 1"),
            ["line 2: unknown key \"read_bytes\", did you mean \"read-bytes\"?"]
        );
        assert_eq!(
            problems("[sesion]\ngap = \"1s\""),
            ["line 1: unknown section \"sesion\", did you mean \"session\"?"]
        );
        assert_eq!(problems("[syslog]\ncolour = 1"), ["line 2: unknown key \"colour\""]);
        assert_eq!(problems("enabled = true"), ["line 1: unknown key \"enabled\""]);
        assert_eq!(
            problems("[syslog]\ngap = \"1s\""),
            ["line 2: unknown key \"gap\" in [syslog], it belongs in [session]"]
        );
    }

    #[test]
    fn a_wrong_value_says_what_is_allowed() {
        assert_eq!(
            problems("[session]\ngap = 5"),
            ["line 2: session.gap: wants a string such as \"5s\", not an integer"]
        );
        assert_eq!(
            problems("[sensors]\nproc-connector = \"yes\""),
            ["line 2: sensors.proc-connector: unknown variant `yes`, expected one of `auto`, `on`, `off`"]
        );
        assert_eq!(
            problems("[session]\ngap = \"5 apples\""),
            [
                "line 2: session.gap: \"5 apples\" is no duration: write numbers with d, h, min, s or ms, such as \"500ms\", \"5s\", \"10min\" or \"1h 30min\""
            ]
        );
        assert_eq!(
            problems("[limits]\nalerts = -1"),
            ["line 2: limits.alerts: invalid value: integer `-1`, expected a number from 0 to 4294967295"]
        );
        assert_eq!(problems("syslog = true"), ["line 1: syslog is a section: write [syslog]"]);
        assert_eq!(
            problems("[policy]\nfindings = [1]"),
            ["line 2: policy.findings: invalid type: integer `1`, expected a string"]
        );
    }

    #[test]
    fn all_problems_in_the_order_of_lines() {
        let found = problems("[syslog]\ntag = 7\nfacilty = \"x\"\n[bogus]\n[session]\ngap = \"x\"\n");
        let lines: Vec<&str> =
            found.iter().filter_map(|problem| problem.split_once(':')).map(|(line, _)| line).collect();
        assert_eq!(lines, ["line 2", "line 3", "line 4", "line 6"]);
    }

    #[test]
    fn checked_values_have_their_line_too() {
        assert_eq!(
            problems("[session]\n\nmax = \"1s\"\n[syslog]\ntarget = \"udp://h:514\""),
            [
                "line 3: session.max: 1s is less than session.gap, 5s",
                "line 5: syslog.target: \"udp://h:514\": this version sends to a local socket only, such as \"unix:/dev/log\""
            ]
        );
    }

    #[test]
    fn what_a_whole_section_says_has_its_line() {
        assert_eq!(
            problems("\n[sensors]\nproc-connector = \"off\"\nfanotify = \"off\"\nprocfs-poll = \"off\"\n"),
            ["line 2: sensors: all of them are off: nothing would be seen"]
        );
    }

    #[test]
    fn broken_syntax_and_bytes() {
        assert!(problems("[syslog\n").first().unwrap().starts_with("line 1: "));
        assert!(problems("[a]\n[syslog]\ntag = \n").first().unwrap().starts_with("line 3: "));
        assert!(problems("[syslog]\ntag = \"a\"\ntag = \"b\"\n").first().unwrap().starts_with("line 3: "));
        let invalid = parse(b"[syslog]\ntag = \"\xff\"\n").unwrap_err();
        assert_eq!(invalid, [Problem { line: Some(2), reason: "not UTF-8".into() }]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert!(text.contains("gap = \"5s\"\nmax = \"10min\"\n"), "{text}");
        assert_eq!(parse(text.as_bytes()).unwrap(), Config::default());
    }

    #[test]
    fn edit_distance() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("gpa", "gap", 1),
            ("facilty", "facility", 1),
            ("tag", "gap", 2),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    /// Everything of the shipped file, as [`Config`] and as the bare table of its keys.
    fn shipped(uncommented: bool) -> (Config, Table) {
        let text = include_str!("../../config/ccwatch.toml");
        let text: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(option) if uncommented && !option.starts_with('#') => option,
                _ => line,
            })
            .collect();
        let text = text.join("\n");
        (parse(text.as_bytes()).unwrap(), text.parse().unwrap())
    }

    #[test]
    fn the_shipped_file_is_the_defaults_as_it_stands() {
        let (config, table) = shipped(false);
        assert_eq!(config, Config::default());
        assert!(table.values().all(|section| section.as_table().is_some_and(Table::is_empty)), "{table}");
    }

    #[test]
    fn the_shipped_file_shows_every_key_with_its_default() {
        let (config, table) = shipped(true);
        assert_eq!(config, Config::default());
        assert_eq!(table, Table::try_from(Config::default()).unwrap());
    }
}
