//! The database of families: config/fingerprints.toml and what an administrator added to it, checked and compiled into
//! tables. Asking them is `lookup`'s and `recognition`'s affair, the verdict `judge`'s.

use std::collections::HashMap;
use std::io;

use super::arguments::Grammar;
use super::elf::{Read, go};
use super::marks::{Found, MarkId};
use super::name::{self, NamePattern, Suffix};
use super::pages::{Pages, Sample};
use super::path::PathPattern;
use super::raw::{RawDatabase, RawFamily};
use super::recognition::{Claimant, Contents};
use super::script::Launcher;
use super::structure::Structure;
use super::{Content, Kind, Recognition};
use crate::error::{Error, Result};
use crate::event::basename;

/// The database that is compiled in.
const TEXT: &[u8; include_bytes!("../../config/fingerprints.toml").len()] =
    include_bytes!("../../config/fingerprints.toml");
/// The same with each byte inverted: as text it would put every mark into this program's own file.
static BUILTIN: [u8; TEXT.len()] = inverted(TEXT);
/// The kernel cuts comm to this many bytes (TASK_COMM_LEN - 1 in linux/sched.h).
pub(super) const COMM_LEN: usize = 15;
/// The family of what no other pattern fits, and of names that claim a kind alone (`cc`).
pub(super) const UNKNOWN: &str = "unknown";
/// What UPX writes into all that it packs.
const PACKER: &[u8] = b"UPX!";

/// What is known of compilers and their kin, compiled into tables.
#[derive(Debug)]
pub struct Database {
    pub(super) families: Vec<Family>,
    /// The first family of each name.
    by_family: HashMap<Box<str>, usize>,
    /// By the name's core, the basename of path patterns included.
    pub(super) names: HashMap<Box<[u8]>, Vec<Rule>>,
    /// Patterns with a star: few, tried one after the other.
    pub(super) stars: Vec<Rule>,
    /// Names longer than comm holds, by what it holds of them.
    pub(super) clipped: HashMap<Box<[u8]>, Rule>,
    pub(super) java_classes: HashMap<Box<[u8]>, usize>,
    pub(super) python_modules: HashMap<Box<[u8]>, usize>,
    pub(super) grammars: Vec<Grammar>,
    /// How contents are recognised.
    pub(super) contents: Contents,
    go_magic: MarkId,
    packer: MarkId,
}

/// One entry of the database.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) family: String,
    pub(super) kind: Kind,
    pub(super) toolchain: Option<String>,
    /// Index of the grammar of its queries.
    pub(super) grammar: Option<usize>,
    /// How its command line names what it runs.
    pub(super) runs: Option<Launcher>,
    /// It executes what `argv[0]` names, which is then seen by itself.
    pub(super) wrapper: bool,
    /// Its subcommands that compile.
    pub(super) compile_commands: Vec<Box<[u8]>>,
    /// Its subcommands after which follows what it runs.
    pub(super) run_commands: Vec<Box<[u8]>>,
    /// Names that claim nothing, and under which its content is usual.
    pub(super) also_named: Vec<NamePattern>,
}

impl Family {
    /// Whether what its command line names as a script is one of its subcommands that compile, or a file that does.
    pub(super) fn compiles(&self, script: &[u8]) -> bool {
        self.compile_commands.iter().any(|command| is_command(command, script))
    }

    /// Whether it is one after which follows what it runs.
    pub(super) fn goes_on(&self, script: &[u8]) -> bool {
        self.run_commands.iter().any(|command| is_command(command, script))
    }
}

fn is_command(command: &[u8], script: &[u8]) -> bool {
    match command.strip_prefix(b"*") {
        Some(ending) => script.len() > ending.len() && script.ends_with(ending),
        None => *command == *(if command.contains(&b'.') { basename(script) } else { script }),
    }
}

/// A pattern and the family that it stands for.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) family: usize,
    pub(super) name: NamePattern,
    pub(super) path: Option<PathPattern>,
    /// Only the executed file's own name may claim it.
    pub(super) file_only: bool,
}

/// Evaluated by the compiler alone.
#[allow(clippy::indexing_slicing)]
const fn inverted<const N: usize>(text: &[u8; N]) -> [u8; N] {
    let mut bytes = *text;
    let mut at = 0;
    while at < N {
        bytes[at] = !bytes[at];
        at += 1;
    }
    bytes
}

/// The text that is compiled in.
fn builtin_text() -> String {
    let bytes: Vec<u8> = BUILTIN.iter().map(|byte| !byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Database {
    /// The database that is compiled in. It fails only if the shipped file is wrong, which a test excludes.
    pub fn builtin() -> Result<Self> {
        Self::parse(&builtin_text())
    }

    /// Parses and checks a database. The error names the family and the pattern, or the line.
    pub fn parse(text: &str) -> Result<Self> {
        RawDatabase::parse(text).and_then(|raw| Self::compile(&raw)).map_err(|reason| Error::Config {
            act: "read",
            object: "fingerprint database".to_owned(),
            reason,
        })
    }

    /// The entries that are compiled in.
    pub(super) fn builtin_entries() -> std::result::Result<RawDatabase, String> {
        RawDatabase::parse(&builtin_text())
    }

    /// Compiles entries. An error is a sentence that names the entry.
    pub(super) fn compile(raw: &RawDatabase) -> std::result::Result<Self, String> {
        let mut contents = Contents::default();
        let go_magic = contents.marks.add(go::MAGIC, true)?;
        let packer = contents.marks.add(PACKER, true)?;
        let mut database = Self {
            families: Vec::with_capacity(raw.family.len()),
            by_family: HashMap::new(),
            names: HashMap::new(),
            stars: Vec::new(),
            clipped: HashMap::new(),
            java_classes: HashMap::new(),
            python_modules: HashMap::new(),
            grammars: Grammar::compile_all(raw.queries.clone())?,
            contents,
            go_magic,
            packer,
        };
        for entry in &raw.family {
            database.add(entry).map_err(|reason| format!("family {:?}: {reason}", entry.family))?;
        }
        database.add_contents(raw)?;
        Ok(database)
    }

    fn add_contents(&mut self, raw: &RawDatabase) -> std::result::Result<(), String> {
        let mut contents = std::mem::take(&mut self.contents);
        for (index, entry) in raw.content.iter().enumerate() {
            let wrong = |reason: String| format!("content {} (of {:?}): {reason}", index + 1, entry.family);
            let family = self.by_family.get(entry.family.as_str()).copied().filter(|_| entry.family != UNKNOWN);
            let family = family.ok_or_else(|| wrong("there is no such family".to_owned()))?;
            let claimants = self.claimants();
            contents.add(entry, family, &claimants).map_err(wrong)?;
            for pattern in &entry.also_named {
                let patterns =
                    NamePattern::parse(pattern).map_err(|e| wrong(format!("also-named {pattern:?}: {e}")))?;
                if let Some(family) = self.families.get_mut(family) {
                    family.also_named.extend(patterns);
                }
            }
        }
        for list in &raw.known_good {
            contents.add_known_good(list).map_err(|reason| format!("known-good: {reason}"))?;
        }
        if let Some(structure) = &raw.structure {
            let compiled = Structure::compile(structure, &mut contents.marks);
            contents.structure = compiled.map_err(|reason| format!("structure: {reason}"))?;
        }
        contents.pages = Pages::builtin(|name| self.by_family.get(name).copied())?;
        contents.marks.seal();
        self.contents = contents;
        Ok(())
    }

    /// The families, by their index, as far as recognising a content needs them.
    fn claimants(&self) -> Vec<Claimant<'_>> {
        self.families.iter().map(Family::claimant).collect()
    }

    /// The first family of a name.
    pub(super) fn family(&self, name: &str) -> Option<&Family> {
        self.families.get(*self.by_family.get(name)?)
    }

    /// The family that a content is of; see [`Contents::recognise`].
    pub(super) fn recognise_content(
        &self,
        content: &Content,
        found: &Found,
        pages: &Sample,
        read: &mut Read<'_>,
    ) -> io::Result<Option<Recognition>> {
        self.contents.recognise(content, found, pages, &self.claimants(), read)
    }

    /// Offsets in the file at which Go's build info may begin.
    pub(super) fn places_of_go_magic(&self, found: &Found) -> impl Iterator<Item = u64> {
        found.ends(self.go_magic).map(|end| end.saturating_sub(go::MAGIC.len() as u64))
    }

    /// Offsets in the file at which a packer's mark stands.
    pub(super) fn places_of_packer(&self, found: &Found) -> impl Iterator<Item = u64> {
        found.ends(self.packer).map(|end| end.saturating_sub(PACKER.len() as u64))
    }

    fn add(&mut self, raw: &RawFamily) -> std::result::Result<(), String> {
        let family = self.families.len();
        for word in std::iter::once(&raw.family).chain(&raw.toolchain) {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
            if word.is_empty() || !word.bytes().all(is_plain) {
                return Err(format!("{word:?} is no name: letters, digits, '.', '_', '+' and '-'"));
            }
        }
        if let Some(other) = self.family(&raw.family)
            && raw.family != UNKNOWN
            && (other.kind, &other.toolchain) != (raw.kind, &raw.toolchain)
        {
            return Err("it stands there twice, with another kind or toolchain".to_owned());
        }
        let patterns = [(&raw.names, false), (&raw.file_names, true)];
        for (pattern, file_only) in patterns.into_iter().flat_map(|(list, only)| list.iter().map(move |p| (p, only))) {
            for name in NamePattern::parse(pattern).map_err(|e| format!("name {pattern:?}: {e}"))? {
                self.add_rule(Rule { family, name, path: None, file_only })
                    .map_err(|e| format!("name {pattern:?}: {e}"))?;
            }
        }
        for pattern in &raw.paths {
            for path in PathPattern::parse(pattern).map_err(|e| format!("path {pattern:?}: {e}"))? {
                let name = NamePattern::literal(path.base.clone());
                self.add_rule(Rule { family, name, path: Some(path), file_only: false })
                    .map_err(|e| format!("path {pattern:?}: {e}"))?;
            }
        }
        for (table, words) in
            [(&mut self.java_classes, &raw.java_classes), (&mut self.python_modules, &raw.python_modules)]
        {
            for word in words {
                if word.is_empty() || table.insert(word.as_bytes().into(), family).is_some() {
                    return Err(format!("{word:?} is empty or claimed twice"));
                }
            }
        }
        let grammar = match &raw.queries {
            Some(name) => Some(
                self.grammars.iter().position(|g| g.name() == name).ok_or_else(|| format!("no queries {name:?}"))?,
            ),
            None => None,
        };
        self.by_family.entry(raw.family.as_str().into()).or_insert(family);
        self.families.push(Family {
            family: raw.family.clone(),
            kind: raw.kind,
            toolchain: raw.toolchain.clone(),
            grammar,
            runs: raw.runs,
            wrapper: raw.wrapper,
            compile_commands: raw.compile_commands.iter().map(|c| c.as_bytes().into()).collect(),
            run_commands: raw.run_commands.iter().map(|c| c.as_bytes().into()).collect(),
            also_named: Vec::new(),
        });
        Ok(())
    }

    fn add_rule(&mut self, rule: Rule) -> std::result::Result<(), String> {
        if rule.name.tail.is_some() {
            self.stars.push(rule);
            return Ok(());
        }
        let core = &*rule.name.core;
        if let Some(cut) = core.get(..COMM_LEN).filter(|cut| cut.len() < core.len() && rule.path.is_none()) {
            self.clipped.insert(cut.into(), rule.clone());
        }
        let rules = self.names.entry(core.into()).or_default();
        if let Some(other) = rules.iter().find(|other| other.contends(&rule)) {
            let other = self.families.get(other.family).map_or("the same one", |f| f.family.as_str());
            return Err(format!("{} already stands for {other}", String::from_utf8_lossy(core)));
        }
        rules.push(rule);
        Ok(())
    }
}

impl Family {
    fn claimant(&self) -> Claimant<'_> {
        Claimant { family: &self.family, kind: self.kind, toolchain: self.toolchain.as_deref() }
    }
}

impl Rule {
    /// Whether both would claim the same bare name from the same source.
    fn contends(&self, other: &Self) -> bool {
        use name::Prefix::{Never, Required};
        let apart = matches!((self.name.prefix, other.name.prefix), (Never, Required) | (Required, Never));
        self.path == other.path && self.file_only == other.file_only && !apart
    }
}

impl NamePattern {
    /// The pattern of exactly this name.
    fn literal(core: Box<[u8]>) -> Self {
        Self { core, tail: None, prefix: name::Prefix::Never, suffix: Suffix::Never }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_wrong_database_is_refused_with_the_reason() {
        let family = |rest: &str| format!("schema = 1\n[[family]]\nfamily = \"x\"\nkind = \"compiler\"\n{rest}");
        for (text, reason) in [
            ("schema = 2".to_owned(), "schema 2"),
            ("schema = 1\ncolour = 3".to_owned(), "colour"),
            (family("kind2 = 1"), "kind2"),
            (family("names = ['']"), "matches everything"),
            (family("names = ['*']"), "fewer than three"),
            (family("names = ['[triplet-]']"), "matches everything"),
            (family("names = ['[x]']"), "matches everything"),
            (family("names = ['a*b*']"), "no character"),
            (family("names = ['a/b']"), "no character"),
            (family("names = ['gcc[-version]x']"), "one end"),
            (family("names = ['a{b']"), "not closed"),
            (family("names = ['a}b']"), "not opened"),
            (family("names = ['a{b{c}}']"), "do not nest"),
            (family(&format!("names = ['{}']", "{a,b}".repeat(10))), "more than 512"),
            (family("names = ['gcc', '[triplet-]gcc']"), "already stands for"),
            (family("paths = ['cc1']"), "without a directory"),
            (family("paths = ['gcc/']"), "ends with"),
            (family("paths = ['gcc//cc1']"), "empty component"),
            (family("paths = ['gcc/<version>x*/cc1']"), "at once"),
            (family("queries = 'none'"), "no queries"),
            (family("java-classes = ['a', 'a']"), "twice"),
            ("schema = 1\n[[queries]]\nname = 'a'\ninformation = ['-*']".to_owned(), "matches too much"),
            ("schema = 1\n[[queries]]\nname = 'a'\n[[queries]]\nname = 'a'".to_owned(), "twice"),
            ("schema = 1\n[[queries]]\nname = 'a'\ndelegates = { cc = 'b' }".to_owned(), "no queries"),
        ] {
            let error = Database::parse(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}\n{error}");
        }
    }
}
