//! What the host and its kernel tell: processes, clocks, files below a root, and the workers that may wait for them.

pub mod ancestry;
pub mod bounded;
pub mod calls;
pub mod clock;
pub mod counts;
pub mod file;
pub mod identity;
pub mod kernel;
pub mod look;
pub mod maps;
pub mod mountinfo;
pub mod notify;
pub mod privilege;
pub mod process;
pub mod reach;
pub mod rooted;
pub mod stat;
pub mod worker;

/// What the kernel writes behind the path of what has no name any more (fs/d_path.c).
pub(crate) const DELETED: &[u8] = b" (deleted)";
