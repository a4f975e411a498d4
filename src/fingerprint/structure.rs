//! What compilers have in common whatever they compile, for those of no known family: `[structure]` of the database.
//! A weak judgement, and only asked where no family was recognised.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::marks::{Found, MarkId, Marks};

/// More points for one sign mean nothing.
const MAX_POINTS: i32 = 100;
/// So few marks of one sign must never do.
const FEW: usize = 3;

/// `[structure]` as it stands in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawStructure {
    /// How many points make a compiler.
    needed: i32,
    /// Any of these present: none.
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    sign: Vec<RawSign>,
}

/// One thing that compilers do, or that others do, and strings that tell it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawSign {
    name: String,
    /// For one of the marks, and as many again for two of them, four, eight and so on; less than none, where it speaks
    /// against a compiler.
    points: i32,
    marks: Vec<String>,
}

/// The signs, compiled. The default knows of none, and takes nothing for a compiler.
#[derive(Debug, Default)]
pub(super) struct Structure {
    needed: i32,
    without: Vec<MarkId>,
    /// Points, and the strings that they are for.
    signs: Vec<(i32, Vec<MarkId>)>,
}

impl Structure {
    /// Compiles the signs, adding their strings to all others. An error is a sentence about the entry.
    pub(super) fn compile(raw: &RawStructure, marks: &mut Marks) -> Result<Self, String> {
        let mut add = |texts: &[String]| {
            texts
                .iter()
                .map(|text| marks.add(text.as_bytes(), false).map_err(|reason| format!("mark {text:?}: {reason}")))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut structure = Self { needed: raw.needed, without: add(&raw.without)?, signs: Vec::new() };
        let (mut names, mut most) = (BTreeSet::new(), 0);
        for sign in &raw.sign {
            let wrong = |reason: &str| format!("sign {:?}: {reason}", sign.name);
            let mut ids = add(&sign.marks).map_err(|reason| wrong(&reason))?;
            ids.sort_unstable();
            ids.dedup();
            if ids.len() < sign.marks.len() || !names.insert(&sign.name) {
                return Err(wrong("it, or one of its marks, stands there twice"));
            }
            if !(-MAX_POINTS..=MAX_POINTS).contains(&sign.points) || sign.points == 0 {
                return Err(wrong(&format!("points are from 1 to {MAX_POINTS}, or as many less than none")));
            }
            if sign.points * doublings(ids.len().min(FEW)) >= raw.needed {
                return Err(wrong(&format!("{FEW} of its marks alone would make a compiler, and prove nothing")));
            }
            most += sign.points.max(0) * doublings(ids.len());
            structure.signs.push((sign.points, ids));
        }
        if raw.needed < 2 || raw.needed > most {
            return Err(format!("needed is {}, of {most} points", raw.needed));
        }
        Ok(structure)
    }

    /// Whether what was found in a file makes it look like a compiler.
    pub(super) fn fits(&self, found: &Found) -> bool {
        let points: i32 = self.signs.iter().map(|(points, ids)| points * doublings(found.count(ids))).sum();
        self.needed > 0 && points >= self.needed && !self.without.iter().any(|&id| found.has(id))
    }
}

/// How often a sign counts of which so many marks are there: 1, 2 to 3, 4 to 7 and so on. What compiles says much of a
/// kind; a large program says some of each.
fn doublings(marks: usize) -> i32 {
    marks.checked_ilog2().map_or(0, |log| log.cast_signed() + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::doublings;
    use crate::fingerprint::Database;
    use crate::fingerprint::content::tests::of;
    use crate::fingerprint::elf::sample::Sample;

    const DATABASE: &str = "
        schema = 1
        [structure]
        needed = 5
        without = ['a debugger']
        [[structure.sign]]
        name = 'assembly'
        points = 2
        marks = ['.globl', '.text', '.quad']
        [[structure.sign]]
        name = 'messages'
        points = 1
        marks = ['undeclared', 'redefinition', 'nterminated string', 'nterminated comment']
        [[structure.sign]]
        name = 'against'
        points = -2
        marks = ['password']
        [[family]]
        family = 'known'
        kind = 'compiler'
        [[content]]
        family = 'known'
        marks = ['mark of known']
        [[content]]
        family = 'known'
        marks = ['one mark of kin', 'another mark of kin']
    ";

    #[test]
    fn several_signs_are_needed_and_no_known_family() {
        let database = Database::parse(DATABASE).unwrap();
        let four = "undeclared redefinition nterminated string nterminated comment";
        for (body, structure) in [
            (".globl .text undeclared", true),
            (".globl .text .quad undeclared, one mark of kin", true),
            (".globl .text .quad", false),
            (".globl .globl undeclared redefinition", false),
            (&format!(".globl {four}"), true),
            (four, false),
            (&format!(".globl {four} password"), false),
            (&format!(".globl .text {four} password"), true),
            (".globl .text undeclared a debugger", false),
            (".globl .text undeclared mark of known", false),
            ("", false),
        ] {
            assert_eq!(of(&Sample::program(body.as_bytes()), &database).structure, structure, "{body}");
            assert!(!of(body.as_bytes(), &database).structure, "no ELF file");
        }
    }

    #[test]
    fn a_sign_counts_again_with_each_doubling() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 15, 16].map(doublings), [0, 1, 2, 2, 3, 3, 4, 4, 5]);
    }

    #[test]
    fn wrong_signs_are_refused_with_the_reason() {
        for (from, to, reason) in [
            ("needed = 5", "needed = 4", "3 of its marks alone"),
            ("needed = 5", "needed = 8", "of 7 points"),
            ("points = 1", "points = 0", "from 1 to 100"),
            ("points = 1", "points = 101", "from 1 to 100"),
            ("'.quad'", "'.qu'", "shorter than 4"),
            ("'.quad'", "'.text'", "twice"),
            ("'messages'", "'assembly'", "twice"),
            ("needed = 5", "colour = 5", "colour"),
        ] {
            let error = Database::parse(&DATABASE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(reason), "{to}\n{error}");
        }
    }

    #[test]
    fn without_signs_nothing_looks_like_a_compiler() {
        let database = Database::parse("schema = 1").unwrap();
        assert!(!of(&Sample::program(b".globl .text .quad undeclared redefinition"), &database).structure);
    }
}
