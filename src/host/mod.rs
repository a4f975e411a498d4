//! What is asked of the host itself.

pub mod identity;
