//! The crate's one error type: every message names the act and the object, and maps to one exit code.

use std::io;
use std::path::Path;

/// Result of anything that can fail for a reason the operator should read.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the act and the object in the message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused: `read /etc/ccwatch/ccwatch.toml: Permission denied (os error 13)`.
    #[error("{act} {object}: {source}")]
    Os {
        /// The verb: `open`, `read`, `bind`.
        act: &'static str,
        /// What it was done to.
        object: String,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The configuration cannot be used; exit code 78.
    #[error("{act} {object}: {reason}")]
    Config {
        /// The verb: `read`, `check`.
        act: &'static str,
        /// The file, or the key.
        object: String,
        /// Why, with the line where there is one.
        reason: String,
    },
    /// A privilege is missing; exit code 77.
    #[error("{0}")]
    Permission(String),
    /// The command line asks for something that cannot be; exit code 64.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Wraps an operating system error with its act and object.
    pub fn os(act: &'static str, object: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Os { act, object: object.into(), source: source.into() }
    }

    /// Wraps an operating system error about a file.
    pub fn file(act: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::os(act, path.display().to_string(), source)
    }

    /// The exit code by sysexits.h: 64 usage, 70 internal, 77 permission, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Os { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Os { .. } => 70,
            Self::Permission(_) => 77,
            Self::Config { .. } => 78,
        }
    }
}
