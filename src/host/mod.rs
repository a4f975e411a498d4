//! What the host and its kernel tell: processes, clocks, files below a root, and the workers that may wait for them.

pub mod ancestry;
pub mod clock;
pub mod process;
pub mod stat;
pub mod worker;
