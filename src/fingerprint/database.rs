//! The database of families: config/fingerprints.toml parsed, checked and compiled into tables. Asking them is
//! `lookup`'s affair, the verdict `judge`'s.

use std::collections::HashMap;

use serde::Deserialize;

use super::Kind;
use super::arguments::{Grammar, RawGrammar};
use super::name::{self, NamePattern, Suffix};
use super::path::PathPattern;
use super::script::Launcher;
use crate::error::{Error, Result};

/// The database that is compiled in.
const BUILTIN: &str = include_str!("../../config/fingerprints.toml");
/// The version of the file's format.
const SCHEMA: u32 = 1;
/// The kernel cuts comm to this many bytes (TASK_COMM_LEN - 1 in linux/sched.h).
pub(super) const COMM_LEN: usize = 15;

/// What is known of compilers and their kin, compiled into tables.
#[derive(Debug)]
pub struct Database {
    pub(super) families: Vec<Family>,
    /// By the name's core, the basename of path patterns included.
    pub(super) names: HashMap<Box<[u8]>, Vec<Rule>>,
    /// Patterns with a star: few, tried one after the other.
    pub(super) stars: Vec<Rule>,
    /// Names longer than comm holds, by what it holds of them.
    pub(super) clipped: HashMap<Box<[u8]>, Rule>,
    pub(super) java_classes: HashMap<Box<[u8]>, usize>,
    pub(super) python_modules: HashMap<Box<[u8]>, usize>,
    pub(super) grammars: Vec<Grammar>,
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

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawDatabase {
    schema: u32,
    #[serde(default)]
    queries: Vec<RawGrammar>,
    #[serde(default)]
    family: Vec<RawFamily>,
    #[serde(default)]
    namesakes: Vec<RawNamesakes>,
}

/// Programs that are families of their own name.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawNamesakes {
    kind: Kind,
    toolchain: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    file_names: Vec<String>,
    queries: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawFamily {
    family: String,
    kind: Kind,
    toolchain: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    file_names: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    java_classes: Vec<String>,
    #[serde(default)]
    python_modules: Vec<String>,
    queries: Option<String>,
    runs: Option<Launcher>,
    #[serde(default)]
    wrapper: bool,
    #[serde(default)]
    compile_commands: Vec<String>,
}

impl Database {
    /// The database that is compiled in. It fails only if the shipped file is wrong, which a test excludes.
    pub fn builtin() -> Result<Self> {
        Self::parse(BUILTIN)
    }

    /// Parses and checks a database. The error names the family and the pattern, or the line.
    pub fn parse(text: &str) -> Result<Self> {
        let raw: RawDatabase = toml::from_str(text).map_err(|e| refuse(e.to_string().trim_end().to_owned()))?;
        if raw.schema != SCHEMA {
            return Err(refuse(format!("schema {} is not known, this program reads {SCHEMA}", raw.schema)));
        }
        let grammars = Grammar::compile_all(raw.queries).map_err(refuse)?;
        let mut database = Self {
            families: Vec::with_capacity(raw.family.len()),
            names: HashMap::new(),
            stars: Vec::new(),
            clipped: HashMap::new(),
            java_classes: HashMap::new(),
            python_modules: HashMap::new(),
            grammars,
        };
        for entry in raw.family {
            let name = entry.family.clone();
            database.add(entry).map_err(|reason| refuse(format!("family {name:?}: {reason}")))?;
        }
        for entry in raw.namesakes {
            database.add_namesakes(&entry).map_err(|reason| refuse(format!("namesakes: {reason}")))?;
        }
        Ok(database)
    }

    fn add_namesakes(&mut self, raw: &RawNamesakes) -> std::result::Result<(), String> {
        let patterns = [(&raw.names, false), (&raw.file_names, true)];
        for (pattern, file_only) in patterns.into_iter().flat_map(|(list, only)| list.iter().map(move |p| (p, only))) {
            let family = name::first_of(pattern).map_err(|e| format!("name {pattern:?}: {e}"))?;
            let compiler = matches!(raw.kind, Kind::Compiler | Kind::CompilerInternal);
            let (names, file_names) =
                if file_only { (vec![], vec![pattern.clone()]) } else { (vec![pattern.clone()], vec![]) };
            self.add(RawFamily {
                kind: raw.kind,
                toolchain: raw.toolchain.clone().or_else(|| compiler.then(|| family.clone())),
                family,
                names,
                file_names,
                paths: Vec::new(),
                java_classes: Vec::new(),
                python_modules: Vec::new(),
                queries: raw.queries.clone(),
                runs: None,
                wrapper: false,
                compile_commands: Vec::new(),
            })?;
        }
        Ok(())
    }

    fn add(&mut self, raw: RawFamily) -> std::result::Result<(), String> {
        let family = self.families.len();
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
        self.families.push(Family {
            family: raw.family,
            kind: raw.kind,
            toolchain: raw.toolchain,
            grammar,
            runs: raw.runs,
            wrapper: raw.wrapper,
            compile_commands: raw.compile_commands.into_iter().map(|c| c.into_bytes().into()).collect(),
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

fn refuse(reason: String) -> Error {
    Error::Config { act: "read", object: "fingerprint database".to_owned(), reason }
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
