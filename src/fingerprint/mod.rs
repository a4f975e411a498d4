//! What a file is, and what a call of it asks for. Pure, but for [`content`], which a worker calls on an open file, and
//! for the reading of the database; a name and its arguments are judged for each exec and never cached.
//!
//! ```text
//!  config/fingerprints.toml, fingerprints.d ─> raw ─> database
//!                                  names (name, path: patterns) │ contents (marks, hashes)
//!                                                               v           v
//!  Invocation ─> lookup ─> candidate                                        │
//!                  v                                                        │
//!  script (what it runs), arguments (what it asks) ─> judge ─> Verdict      │
//!                                                       ^                   │
//!  open file ─> content (elf, marks: one pass) ─> recognition, structure <──┘
//! ```

pub mod argfile;
mod arguments;
pub mod content;
mod database;
mod elf;
pub mod entry;
pub mod files;
mod judge;
pub mod loaded;
mod lookup;
mod marks;
pub mod memory;
mod name;
pub mod origin;
mod packed;
mod pages;
mod path;
mod ranges;
mod raw;
mod recognition;
mod script;
mod structure;

#[cfg(test)]
mod command_table;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod name_table;
#[cfg(test)]
mod noise;
#[cfg(test)]
mod verdict_table;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Deserialize;

use crate::event::Look;

pub use database::Database;
pub use name::plain_name;

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
    /// Marks, code, or a build-id that anybody could have written.
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

/// Why we say so; `ccwatch.verdict.evidence`. In order: the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The basename of the file, of `argv[0]` or of comm.
    Name,
    /// The directory it lies in (`pkg/tool/*/compile`, `lib/gcc/*/cc1`).
    Path,
    /// The name of a script that an interpreter runs.
    Script,
    /// The arguments ask an interpreter or launcher to compile.
    Arguments,
    /// It is built like a compiler of no known family.
    Structure,
    /// The libraries that it needs.
    Needed,
    /// Strings that only this family's programs carry.
    Marker,
    /// The import path that Go's linker wrote.
    GoBuildInfo,
    /// A known GNU build-id.
    BuildId,
    /// Pages of its code are known.
    CodePages,
    /// All of its code is known.
    CodeHash,
    /// A known SHA-256.
    Sha256,
    /// Compressed by an executable packer: what it is stands in memory alone.
    Packed,
    /// Not all of the file was read: it is larger than the limit, or took too long.
    ReadLimit,
}

impl Evidence {
    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Path => "path",
            Self::Script => "script",
            Self::Arguments => "arguments",
            Self::Structure => "structure",
            Self::Needed => "needed",
            Self::Marker => "marker",
            Self::GoBuildInfo => "go-build-info",
            Self::CodePages => "code-pages",
            Self::BuildId => "build-id",
            Self::CodeHash => "code-hash",
            Self::Sha256 => "sha256",
            Self::Packed => "packed",
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

impl<'a> Invocation<'a> {
    /// What a look tells of it, before its arguments are known.
    pub fn of(look: &'a Look) -> Self {
        Self {
            path: look.exe.as_ref().map_or(&[][..], |exe| &exe.path),
            comm: look.stat.as_ref().map_or(&[][..], |stat| &stat.comm),
            args: None,
        }
    }
}

/// What a worker read of a file's content, and what the database recognised in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// SHA-256 of the whole file; `None` where it is larger than a limit allows, or has changed.
    pub sha256: Option<[u8; 32]>,
    /// SHA-256 of the executable segments' bytes in the order of the file; `None` where there are none, where the limit came
    /// before their end, and where a larger file than it has a hole in them.
    pub code_hash: Option<[u8; 32]>,
    /// GNU build-id from PT_NOTE.
    pub build_id: Option<Vec<u8>>,
    /// Not all of the file was read.
    pub truncated: bool,
    /// Not all that is loaded of it was searched.
    pub unsearched: bool,
    /// It changed while it was read: what was recognised was there, but its hashes would be those of no state it ever had.
    pub changed: bool,
    /// It is an ELF file; in others that are no scripts there is nothing to recognise.
    pub elf: bool,
    /// It is a script: the kernel has what its first line names interpret it (fs/binfmt_script.c).
    pub script: bool,
    /// Compressed by an executable packer.
    pub packed: bool,
    /// What it unpacked was searched in the memory of a process that executed it.
    pub unpacked: bool,
    /// The import path of its main package, if it was built by Go: `cmd/compile`.
    pub go_path: Option<String>,
    /// The release of Go that built it: `go1.19.8`.
    pub go_version: Option<String>,
    /// Names of the libraries that it needs, at most 512.
    pub needed: Vec<String>,
    /// The family that it is of.
    pub recognised: Option<Recognition>,
    /// It is of no known family, and built like a compiler.
    pub structure: bool,
    /// Its SHA-256 is that of a program known to be no compiler.
    pub known_good: bool,
}

impl Content {
    /// Whether it was packed so that nobody has seen what it is.
    pub fn is_hidden(&self) -> bool {
        self.packed && !self.unpacked && !self.known_good
    }
}

/// A family recognised by content alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognition {
    /// As in [`Verdict`].
    pub family: String,
    /// Of the family.
    pub kind: Kind,
    /// Of the family.
    pub toolchain: Option<String>,
    /// As the content tells it.
    pub version: Option<String>,
    /// Certain by SHA-256, else high.
    pub confidence: Confidence,
    /// Of the content alone, strongest last.
    pub evidence: Vec<Evidence>,
}

/// What a content alone, whatever it is called, makes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentSays {
    /// A compiler, assembler or linker, or a part of one; or packed, and nobody has seen what it is.
    Toolchain,
    /// An interpreter or virtual machine: its arguments tell.
    ByArguments,
    /// The same of a dynamic loader; but each program that is linked dynamically opens it as if it were executed.
    Loader,
    /// It was searched to its end and is none: only a name can still make it one.
    Innocent,
    /// It was not searched to its end, it changed meanwhile, or what it is stands in memory alone.
    Unknown,
}

impl ContentSays {
    /// Whether nothing can be said of an exec whose arguments are not known.
    pub fn depends_on_arguments(self) -> bool {
        matches!(self, Self::ByArguments | Self::Loader)
    }
}
