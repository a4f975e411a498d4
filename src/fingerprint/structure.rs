//! What compilers have in common whatever they compile, for those of no known family: `[structure]` of the database.
//! A weak judgement, and only asked where no family was recognised, and no mark of any was found: who carries one is kin
//! of what is known, and most of these are no compilers (debuggers, documentation tools, provers).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::marks::{Found, MarkId, Marks};

/// `[structure]` as it stands in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawStructure {
    /// How many signs make a compiler.
    needed: usize,
    /// Any of these present: none.
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    sign: Vec<RawSign>,
}

/// One thing that compilers do, and strings that tell it. Of several with one name any will do.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawSign {
    name: String,
    marks: Vec<String>,
    at_least: usize,
}

/// The signs, compiled. The default knows of none, and takes nothing for a compiler.
#[derive(Debug, Default)]
pub(super) struct Structure {
    needed: usize,
    without: Vec<MarkId>,
    /// By name: each way to have it, strings and how many different ones of them.
    signs: BTreeMap<String, Vec<(Vec<MarkId>, usize)>>,
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
        let mut structure = Self { needed: raw.needed, without: add(&raw.without)?, signs: BTreeMap::new() };
        for sign in &raw.sign {
            let mut ids = add(&sign.marks).map_err(|reason| format!("sign {:?}: {reason}", sign.name))?;
            ids.sort_unstable();
            ids.dedup();
            if sign.at_least < 2 || sign.at_least > ids.len() {
                let (at_least, marks) = (sign.at_least, ids.len());
                return Err(format!("sign {:?}: at-least is {at_least}, of {marks} different marks", sign.name));
            }
            structure.signs.entry(sign.name.clone()).or_default().push((ids, sign.at_least));
        }
        let signs = structure.signs.len();
        if raw.needed < 2 || raw.needed > signs {
            return Err(format!("needed is {}, of {signs} signs; one alone proves nothing", raw.needed));
        }
        Ok(structure)
    }

    /// Whether what was found in a file makes it look like a compiler.
    pub(super) fn fits(&self, found: &Found) -> bool {
        let has = |ways: &&Vec<(Vec<MarkId>, usize)>| ways.iter().any(|(ids, at_least)| found.count(ids) >= *at_least);
        let signs = self.signs.values().filter(has).count();
        self.needed > 0 && signs >= self.needed && !self.without.iter().any(|&id| found.has(id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::fingerprint::Database;
    use crate::fingerprint::content::tests::of;
    use crate::fingerprint::elf::sample::Sample;

    const DATABASE: &str = "
        schema = 1
        [structure]
        needed = 2
        without = ['a debugger']
        [[structure.sign]]
        name = 'assembly'
        marks = ['.globl', '.text', '.quad']
        at-least = 2
        [[structure.sign]]
        name = 'messages'
        marks = ['undeclared', 'redefinition']
        at-least = 2
        [[structure.sign]]
        name = 'messages'
        marks = ['nterminated string', 'nterminated comment']
        at-least = 2
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
        for (body, structure) in [
            (".globl .text undeclared redefinition", true),
            (".globl .text nterminated string nterminated comment", true),
            ("undeclared redefinition nterminated string nterminated comment", false),
            (".globl .text undeclared nterminated string", false),
            (".globl .text .quad undeclared", false),
            (".globl .text undeclared redefinition, one mark of kin", false),
            (".globl .globl undeclared redefinition", false),
            (".globl .text undeclared redefinition a debugger", false),
            (".globl .text undeclared redefinition mark of known", false),
            ("", false),
        ] {
            assert_eq!(of(&Sample::program(body.as_bytes()), &database).structure, structure, "{body}");
            assert!(!of(body.as_bytes(), &database).structure, "no ELF file");
        }
    }

    #[test]
    fn wrong_signs_are_refused_with_the_reason() {
        for (from, to, reason) in [
            ("needed = 2", "needed = 1", "one alone"),
            ("needed = 2", "needed = 3", "of 2 signs"),
            ("at-least = 2", "at-least = 1", "at-least is 1"),
            ("at-least = 2", "at-least = 4", "of 3 different marks"),
            ("'.quad'", "'.qu'", "shorter than 4"),
            ("needed = 2", "colour = 2", "colour"),
        ] {
            let error = Database::parse(&DATABASE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(reason), "{to}\n{error}");
        }
    }

    #[test]
    fn without_signs_nothing_looks_like_a_compiler() {
        let database = Database::parse("schema = 1").unwrap();
        assert!(!of(&Sample::program(b".globl .text undeclared redefinition"), &database).structure);
    }
}
