//! The live tests that bear each other: the built watcher, real containers of a real Docker Engine, real compilers, a real
//! rsyslog. As root; `tests/run.sh` starts what they need.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;

mod alert_file;
mod arguments;
mod builds;
mod connector;
mod demo;
mod kernels;
mod lifecycle;
mod mounts;
mod nested;
mod policy;
mod privilege;
mod service;
mod syslog;
mod toolchains;
mod ways;
