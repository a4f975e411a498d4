//! The database's entries as they stand in its files, and how a further file adds to them. What they mean is compiled
//! by `database`.

use serde::Deserialize;

use super::Kind;
use super::arguments::RawGrammar;
use super::name;
use super::script::Launcher;
use super::structure::RawStructure;
use crate::config::from_toml;

/// The version of the file's format.
const SCHEMA: u32 = 1;

/// One file, or several put together.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawDatabase {
    schema: u32,
    /// Families of the files before this one that hold no longer.
    #[serde(default)]
    disable: Vec<String>,
    #[serde(default)]
    pub(super) queries: Vec<RawGrammar>,
    #[serde(default)]
    pub(super) family: Vec<RawFamily>,
    #[serde(default)]
    pub(super) namesakes: Vec<RawNamesakes>,
    #[serde(default)]
    pub(super) content: Vec<RawContent>,
    #[serde(default)]
    pub(super) known_good: Vec<RawKnownGood>,
    /// The last file's that has one.
    pub(super) structure: Option<RawStructure>,
}

/// One entry of the database: how a family's content is recognised.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawContent {
    pub(super) family: String,
    #[serde(default)]
    pub(super) marks: Vec<String>,
    pub(super) at_least: Option<usize>,
    #[serde(default)]
    pub(super) without: Vec<String>,
    #[serde(default)]
    pub(super) needed: Vec<String>,
    #[serde(default)]
    pub(super) go_paths: Vec<String>,
    #[serde(default)]
    pub(super) version_after: Vec<String>,
    #[serde(default)]
    pub(super) script: bool,
    #[serde(default)]
    pub(super) also_named: Vec<String>,
    /// For the reader of the file.
    #[serde(default, rename = "checked")]
    _checked: Vec<String>,
    #[serde(rename = "source")]
    _source: Option<String>,
    #[serde(default)]
    pub(super) sha256: Vec<String>,
    #[serde(default)]
    pub(super) build_ids: Vec<String>,
    #[serde(default)]
    pub(super) code_hashes: Vec<String>,
}

/// Files that are known to be no compilers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawKnownGood {
    pub(super) sha256: Vec<String>,
    /// For the reader of the file.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

/// Programs that are families of their own name.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawNamesakes {
    kind: Kind,
    toolchain: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    file_names: Vec<String>,
    queries: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawFamily {
    pub(super) family: String,
    pub(super) kind: Kind,
    pub(super) toolchain: Option<String>,
    #[serde(default)]
    pub(super) names: Vec<String>,
    #[serde(default)]
    pub(super) file_names: Vec<String>,
    #[serde(default)]
    pub(super) paths: Vec<String>,
    #[serde(default)]
    pub(super) java_classes: Vec<String>,
    #[serde(default)]
    pub(super) python_modules: Vec<String>,
    pub(super) queries: Option<String>,
    pub(super) runs: Option<Launcher>,
    #[serde(default)]
    pub(super) wrapper: bool,
    #[serde(default)]
    pub(super) compile_commands: Vec<String>,
    #[serde(default)]
    pub(super) run_commands: Vec<String>,
}

impl RawDatabase {
    /// Reads one file's text. Namesakes have become families. An error is a sentence, with the line where there is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut raw: Self = toml::from_str(text).map_err(|error| from_toml(text.as_bytes(), &error).to_string())?;
        if raw.schema != SCHEMA {
            return Err(format!("schema {} is not known, this program reads {SCHEMA}", raw.schema));
        }
        for namesakes in std::mem::take(&mut raw.namesakes) {
            raw.family.extend(namesakes.families().map_err(|reason| format!("namesakes: {reason}"))?);
        }
        Ok(raw)
    }

    /// Adds another file's entries, after taking away what it disables.
    pub(super) fn add(&mut self, other: Self) -> Result<(), String> {
        for name in &other.disable {
            let before = self.family.len();
            self.family.retain(|entry| entry.family != *name);
            if self.family.len() == before {
                return Err(format!("disable: there is no family {name:?}"));
            }
            self.content.retain(|entry| entry.family != *name);
        }
        self.queries.extend(other.queries);
        self.family.extend(other.family);
        self.content.extend(other.content);
        self.known_good.extend(other.known_good);
        self.structure = other.structure.or(self.structure.take());
        Ok(())
    }
}

impl RawNamesakes {
    fn families(&self) -> Result<Vec<RawFamily>, String> {
        let patterns = [(&self.names, false), (&self.file_names, true)];
        let patterns = patterns.into_iter().flat_map(|(list, only)| list.iter().map(move |pattern| (pattern, only)));
        patterns
            .map(|(pattern, file_only)| {
                let family = name::first_of(pattern).map_err(|e| format!("name {pattern:?}: {e}"))?;
                let compiler = matches!(self.kind, Kind::Compiler | Kind::CompilerInternal);
                let (names, file_names) =
                    if file_only { (vec![], vec![pattern.clone()]) } else { (vec![pattern.clone()], vec![]) };
                Ok(RawFamily {
                    kind: self.kind,
                    toolchain: self.toolchain.clone().or_else(|| compiler.then(|| family.clone())),
                    family,
                    names,
                    file_names,
                    paths: Vec::new(),
                    java_classes: Vec::new(),
                    python_modules: Vec::new(),
                    queries: self.queries.clone(),
                    runs: None,
                    wrapper: false,
                    compile_commands: Vec::new(),
                    run_commands: Vec::new(),
                })
            })
            .collect()
    }
}
