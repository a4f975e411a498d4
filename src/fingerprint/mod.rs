//! What a file is, and what a call of it asks for. Pure, but for [`content`], which a worker calls on an open file; a name
//! and its arguments are judged for each exec and never cached.
//!
//! ```text
//!  config/fingerprints.toml ─> database (name, path: patterns) ─> lookup ─> candidate
//!                                                                   v
//!  Invocation ─> script (what it runs), arguments (what it asks) ─> judge ─> Verdict, Request
//!                                                                   ^
//!  open file ─> content (SHA-256; elf: build-id) ───────────────────┘
//! ```

mod arguments;
pub mod content;
mod database;
mod elf;
mod judge;
mod lookup;
mod name;
mod path;
mod script;

#[cfg(test)]
mod command_table;
#[cfg(test)]
mod name_table;
#[cfg(test)]
mod noise;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Deserialize;

pub use database::Database;

/// The database in use: replaced when it was read again.
pub type SharedDatabase = Arc<ArcSwap<Database>>;

/// What a program does, as far as the rule is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Turns source into something executable, or drives those that do.
    Compiler,
    /// A part that only a driver calls: cc1, collect2.
    CompilerInternal,
    /// Turns assembly into objects.
    Assembler,
    /// Joins objects to executables.
    Linker,
    /// make, ninja, ar: no finding by itself.
    BuildTool,
    /// Anything else.
    NotCompiler,
}

impl Kind {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compiler => "compiler",
            Self::CompilerInternal => "compiler-internal",
            Self::Assembler => "assembler",
            Self::Linker => "linker",
            Self::BuildTool => "build-tool",
            Self::NotCompiler => "not-compiler",
        }
    }

    /// Whether executing it breaks the rule.
    pub fn is_toolchain(self) -> bool {
        matches!(self, Self::Compiler | Self::CompilerInternal | Self::Assembler | Self::Linker)
    }
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// A name alone, or structure alone.
    Low,
    /// Marks, or a build-id that anybody could have written.
    High,
    /// A known SHA-256.
    Certain,
}

impl Confidence {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
            Self::Certain => "certain",
        }
    }
}

/// Why we say so; `ccwatch.verdict.evidence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The basename of the file, of `argv[0]` or of comm.
    Name,
    /// The directory it lies in (`pkg/tool/*/compile`, `lib/gcc/*/cc1`).
    Path,
    /// A known SHA-256.
    Sha256,
    /// A known GNU build-id.
    BuildId,
    /// The name of a script that an interpreter runs.
    Script,
    /// The arguments ask an interpreter or launcher to compile.
    Arguments,
    /// The file was larger than the limit on what is read.
    ReadLimit,
}

impl Evidence {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Path => "path",
            Self::Sha256 => "sha256",
            Self::BuildId => "build-id",
            Self::Script => "script",
            Self::Arguments => "arguments",
            Self::ReadLimit => "read-limit",
        }
    }
}

/// What a file, or a file with its arguments, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it does.
    pub kind: Kind,
    /// The finest name: `gcc-driver`, `gcc-cc1`, `rustc`; `unknown` where only the kind is known.
    pub family: String,
    /// Families that work together: `gnu`, `llvm`, `go`; `None` for an assembler or linker of any (`as`, `ld`).
    pub toolchain: Option<String>,
    /// The compiler's version, where its name or content tells it.
    pub version: Option<String>,
    /// How sure.
    pub confidence: Confidence,
    /// Why, strongest last.
    pub evidence: Vec<Evidence>,
    /// Known under another name than its content's.
    pub masquerade: bool,
    /// Compressed by an executable packer.
    pub packed: bool,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To compile, assemble or link; also whatever is not surely a query.
    Compile,
    /// An information option and no operand: `gcc --version`, `go env`.
    Query,
}

/// Whether an exec has to be judged, by what is known of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// No name of a compiler, and nothing whose arguments could make it one.
    No,
    /// A name stands for a compiler, assembler or linker, or a part of one.
    ByName,
    /// An interpreter, virtual machine or loader: what it is, its arguments tell. Without arguments it is nothing.
    IfArguments,
}

/// What an exec is, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What is executed.
    pub verdict: Verdict,
    /// What it is called for.
    pub request: Request,
}

/// One exec, as far as judging it needs.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// The executed file's path in its container; empty where it is not known.
    pub path: &'a [u8],
    /// `comm`; empty where it is not known.
    pub comm: &'a [u8],
    /// The arguments, `argv[0]` first; `None` where they are not known.
    pub args: Option<&'a [Vec<u8>]>,
}

/// What a file is by its content alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentSays {
    /// A compiler, assembler or linker, or a part of one, whatever it is called.
    Toolchain,
    /// Nothing that is known.
    Innocent,
}

/// What a worker read of a file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// SHA-256 of the whole file; `None` where it is larger than the limit.
    pub sha256: Option<[u8; 32]>,
    /// GNU build-id from PT_NOTE.
    pub build_id: Option<Vec<u8>>,
    /// Not all of the file was read.
    pub truncated: bool,
}
