//! The system calls that nix does not wrap: the only place where `unsafe` may stand.
//! Knows no type of the crate; every function returns `io::Result` with the kernel's own errno.
#![allow(unsafe_code)]

pub mod fanotify;
pub mod file;
pub mod mounts;
pub mod netlink;
pub mod passing;
pub mod privilege;
pub mod process;
