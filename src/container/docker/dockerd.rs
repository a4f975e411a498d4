//! Where dockerd keeps its containers: from its configuration file, and from the arguments of those that run.
//! Only processes of the host are believed; anybody may call himself dockerd.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::container::cgroup::{self, Membership};
use crate::container::registry::HostIdentity;
use crate::event::RootId;
use crate::host::{bounded, rooted};

/// Bytes of daemon.json, and of what is read of a process.
const LIMIT: usize = 64 * 1024;

/// The wanted keys of daemon.json (dockerd(8)); `graph` until 17.05.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Daemon {
    data_root: Option<PathBuf>,
    graph: Option<PathBuf>,
}

/// The data root that a configuration file of dockerd names; `path` is on the host.
pub(super) fn configured(host_root: &Path, path: &Path) -> Option<PathBuf> {
    let host = rooted::open_root(host_root).ok()?;
    let bytes = rooted::read(host.as_fd(), path, LIMIT).ok()?;
    let daemon: Daemon = serde_json::from_slice(&bytes).ok()?;
    daemon.data_root.or(daemon.graph)
}

/// What a dockerd was told by its arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) data_root: Option<PathBuf>,
    pub(super) config_file: Option<PathBuf>,
}

/// The dockerds that run on the host itself, as root or as we do: one in a container keeps its containers where that one's
/// files are, and may be anything that calls itself so.
pub(super) fn running(proc_root: &Path) -> Vec<Arguments> {
    let host = HostIdentity::read(proc_root);
    let Ok(processes) = fs::read_dir(proc_root) else { return Vec::new() };
    let is_pid = |name: &OsStr| !name.is_empty() && name.as_bytes().iter().all(u8::is_ascii_digit);
    processes
        .flatten()
        .filter(|entry| is_pid(&entry.file_name()))
        .filter_map(|entry| {
            let process = entry.path();
            let comm = bounded::read(None, &process.join("comm"), LIMIT).ok()?;
            // Also `dockerd-current`; and `docker daemon`, until 1.12.
            let by_name = comm.starts_with(b"dockerd");
            if !by_name && comm != b"docker\n" {
                return None;
            }
            // Asked first: the arguments of a process that is not the host's may lie in memory that never answers.
            if !is_trusted(&process, &host) {
                return None;
            }
            let cmdline = bounded::read(None, &process.join("cmdline"), LIMIT).ok()?;
            let arguments: Vec<&[u8]> = cmdline.split(|b| *b == 0).collect();
            let is_daemon = by_name || matches!(arguments.get(1), Some(&b"daemon" | &b"-d" | &b"--daemon"));
            is_daemon.then(|| parse(&arguments, || fs::read_link(process.join("cwd")).ok()))
        })
        .collect()
}

/// In this order: what /proc answers by itself, and only then the root directory, which of a user's sandbox may never answer.
fn is_trusted(process: &Path, host: &HostIdentity) -> bool {
    let on_host = || {
        let owner = fs::metadata(process).ok()?.uid();
        let ours = owner == 0 || owner == nix::unistd::geteuid().as_raw();
        let cgroup = bounded::read(None, &process.join("cgroup"), LIMIT).ok()?;
        if !ours || matches!(cgroup::identify(&cgroup), Membership::Container { .. }) {
            return None;
        }
        let root = fs::metadata(process.join("root")).ok()?;
        Some(host.root == Some(RootId { dev: root.dev(), ino: root.ino() }))
    };
    on_host().unwrap_or(false)
}

/// Relative paths start at the daemon's working directory.
fn parse(arguments: &[&[u8]], working_directory: impl Fn() -> Option<PathBuf>) -> Arguments {
    let path = |value: &[u8]| {
        let path = PathBuf::from(OsStr::from_bytes(value));
        if path.is_absolute() { Some(path) } else { Some(working_directory()?.join(path)) }
    };
    let mut found = Arguments::default();
    let mut rest = arguments.iter().copied().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = |names: &[&[u8]]| {
            names.iter().find_map(|name| match argument.strip_prefix(*name)? {
                b"" => rest.next(),
                // `-g=X` and `-gX` (pflag).
                more => more.strip_prefix(b"=").or_else(|| (name.len() == 2).then_some(more)),
            })
        };
        if let Some(value) = value(&[b"--data-root", b"--graph", b"-g"]).filter(|value| !value.is_empty()) {
            found.data_root = path(value);
        } else if let Some(value) = value(&[b"--config-file"]).filter(|value| !value.is_empty()) {
            found.config_file = path(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_dockerd() {
        let table: &[(&[&str], Option<&str>, Option<&str>)] = &[
            (&["dockerd"], None, None),
            (&["dockerd", "-H", "fd://"], None, None),
            (&["dockerd", "--data-root", "/srv/docker"], Some("/srv/docker"), None),
            (&["dockerd", "--data-root=/srv/docker", "--debug"], Some("/srv/docker"), None),
            (&["dockerd", "--graph", "/a"], Some("/a"), None),
            (&["dockerd", "--graph=/a"], Some("/a"), None),
            (&["docker", "daemon", "-g", "/a"], Some("/a"), None),
            (&["docker", "-d", "-g/a"], Some("/a"), None),
            (&["dockerd", "-g=/a"], Some("/a"), None),
            (&["dockerd", "--data-root", "a/b"], Some("/cwd/a/b"), None),
            (&["dockerd", "--config-file", "d.json", "--data-root", "/a"], Some("/a"), Some("/cwd/d.json")),
            (&["dockerd", "--config-file=/d.json"], None, Some("/d.json")),
            (&["dockerd", "--data-root"], None, None),
            (&["dockerd", "--data-root", ""], None, None),
            (&["dockerd", "--data-root="], None, None),
            (&["dockerd", "--data-root-x", "/a", "--group", "g"], None, None),
            (&["--data-root", "/a"], None, None),
            (&[], None, None),
        ];
        for (arguments, data_root, config_file) in table {
            let bytes: Vec<&[u8]> = arguments.iter().map(|a| a.as_bytes()).collect();
            let expected =
                Arguments { data_root: data_root.map(PathBuf::from), config_file: config_file.map(PathBuf::from) };
            assert_eq!(parse(&bytes, || Some(PathBuf::from("/cwd"))), expected, "{arguments:?}");
        }
        assert_eq!(parse(&[b"dockerd", b"-g", b"x"], || None), Arguments::default(), "no working directory");
    }
}
