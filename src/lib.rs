//! ccwatch tells syslog when a container executes a compiler: a host daemon without eBPF and without a kernel module.
//!
//! # From an exec to a line in syslog
//!
//! ```text
//!  proc connector ─┐                  ┌─ container registry (cgroup, namespaces, runtimes' files)
//!  fanotify exec  ─┼─ Sighting ─> detection ─ process facts (/proc, by workers)   ─> session ─> Alert ─> sinks
//!  /proc poll     ─┘                  └─ fingerprint (names, arguments, content)            syslog, file, stdout
//! ```
//!
//! 1. [`sensor::proc_connector`] sleeps until the kernel reports an exec, and [`sensor::exec_look`] looks at the
//!    process while it lives: [`host::process`] reads /proc through one descriptor. [`detect::triage`] settles on the
//!    spot what belongs to the host or is known to be no compiler, by name and content.
//!    [`sensor::fanotify`] is handed the open file of each exec on a container's overlay, whose filesystem
//!    [`sensor::mounts`] knows before the first exec; innocent files are ignored by the kernel from then on.
//!    What lies on FUSE and network filesystems has a group of its own, which processes of their own read ([`sensor::far`]).
//!    [`detect::merge`] makes one exec of what both say.
//! 2. What is left goes as an [`event::Sighting`] through a bounded channel to [`detect::Detection`], one thread that
//!    does no I/O. [`container::registry`] says whose process it is.
//! 3. What takes a read goes to [`host::worker`]'s threads ([`detect::enrich`]): arguments, user, ancestors, container
//!    name, the file's hash. A read that hangs is left behind; the alert goes without it and says so.
//! 4. [`fingerprint`] judges, [`detect::policy`] weighs, and [`detect::sessions`] counts the exec into its build
//!    session: a thousand execs of a build are two alerts.
//! 5. [`sink::dispatch`] numbers the [`alert::Alert`], renders it once ([`alert::document`], [`alert::text`]), and gives it
//!    to each sink's own queue and thread.
//!
//! Facts flow right. One typed channel flows left, [`sensor::Control`]; nobody else calls a sensor.
//!
//! # Dependencies
//!
//! They point down this list only: [`commands`] → [`detect`] → [`sensor`], [`sink`] → [`alert`] → [`container`],
//! [`fingerprint`] → [`host`] → [`config`], [`event`], [`error`], [`escape`], [`hex`]. [`sys`] knows no type of ours and is
//! the only place with `unsafe`.

pub mod alert;
pub mod cli;
pub mod commands;
pub mod config;
pub mod container;
pub mod detect;
pub mod error;
pub mod escape;
pub mod event;
pub mod fingerprint;
pub mod hex;
pub mod host;
pub mod logging;
#[cfg(test)]
mod noise;
pub mod sensor;
pub mod sink;
pub mod sys;
