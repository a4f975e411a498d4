//! Collects what `ccwatch doctor` reports: opens, reads and connects, changes nothing, judges nothing.

use std::collections::BTreeSet;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use super::Report;
use super::places::{View, as_the_watcher};
use super::running::Running;
use crate::config::{FanotifySwitch, Loaded, Switch};
use crate::container::runtimes::{RuntimeFound, Runtimes};
use crate::container::{ContainerKey, cgroup};
use crate::fingerprint::files::Files;
use crate::host::bounded;
use crate::host::kernel::{Capabilities, Kernel};
use crate::sensor::fanotify_group::{self, Way};
use crate::sensor::proc_connector;
use crate::sensor::status;
use crate::sys::privilege::has_call_filters;

/// Bounds what is read of one process' cgroup file.
const MAX_CGROUP: usize = 64 << 10;

/// What the report takes from the sensors and from the container registry.
pub trait Probes {
    /// Tries the process connector, and says in a sentence why it does not work.
    ///
    /// # Errors
    /// That sentence.
    fn connector(&self) -> std::result::Result<(), String>;

    /// Tries how execs are had from fanotify, not better than `best`, and says in a sentence why they cannot be had.
    ///
    /// # Errors
    /// That sentence.
    fn fanotify(&self, best: Way) -> std::result::Result<Way, String>;

    /// The innermost container that the bytes of a /proc/PID/cgroup name.
    fn container(&self, cgroup: &[u8]) -> Option<ContainerKey>;

    /// The container runtimes whose state is on this host, each as it shall be shown.
    fn runtimes(&self) -> Vec<String>;
}

/// The sensors and the registry of this program.
pub(super) struct Installed;

impl Probes for Installed {
    fn connector(&self) -> std::result::Result<(), String> {
        proc_connector::probe()
    }

    fn fanotify(&self, best: Way) -> std::result::Result<Way, String> {
        fanotify_group::probe(best)
    }

    fn container(&self, cgroup: &[u8]) -> Option<ContainerKey> {
        cgroup::identify(cgroup).inner().cloned()
    }

    fn runtimes(&self) -> Vec<String> {
        let found = Runtimes::new("/".into(), "/proc".into()).found();
        found.iter().map(describe).collect()
    }
}

fn describe(found: &RuntimeFound) -> String {
    let place = found.state.as_ref().map_or_else(|| "no state yet".into(), |path| path.display().to_string());
    let running = if found.running { "running" } else { "not running" };
    format!("{} ({place}, {running})", found.runtime.as_str())
}

/// Where the system shows itself.
#[derive(Debug, Clone, Copy)]
pub struct Roots<'a> {
    /// /proc
    pub proc: &'a Path,
    /// /boot
    pub boot: &'a Path,
    /// /run
    pub run: &'a Path,
}

/// Collects the facts. Opens and connects, changes nothing.
pub fn gather(roots: Roots<'_>, loaded: &Loaded, probes: &impl Probes) -> Report {
    let Roots { proc, boot, run } = roots;
    let config = &loaded.config;
    let (containers, own) = containers(proc, probes);
    let kernel = Kernel::read(proc, boot);
    let watcher = Running::find(proc, &config.state.directory);
    let view = View::new(watcher.as_ref().map(|watcher| watcher.root(proc)), run);
    let places = || {
        let alert_file = config.alert_file.enabled.then(|| view.place(&config.alert_file.path));
        (alert_file, view.place(&config.state.directory))
    };
    let held = kernel.capabilities.unwrap_or(Capabilities(0));
    let (alert_file, state) = as_the_watcher(held, places).unwrap_or_else(places);
    let own_files = loaded.fingerprints();
    Report {
        kernel,
        call_filters: has_call_filters(),
        config: (loaded.path().to_path_buf(), loaded.exists()),
        sensors: config.sensors.clone(),
        connector: (config.sensors.proc_connector != Switch::Off).then(|| probes.connector()),
        fanotify: match config.sensors.fanotify {
            FanotifySwitch::Off => None,
            FanotifySwitch::Open => Some(probes.fanotify(Way::Open)),
            FanotifySwitch::Auto | FanotifySwitch::On => Some(probes.fanotify(Way::Filesystem)),
        },
        coverage: status::ask(&config.state.directory),
        runtimes: probes.runtimes(),
        containers,
        own,
        syslog: config.syslog.enabled.then(|| {
            let reachable = config.syslog.socket().map_or_else(|| Err("not a local socket".into()), reachable);
            (config.syslog.target.clone(), reachable.map(|()| None))
        }),
        alert_file,
        state,
        database: Files::read(&own_files)
            .and_then(|files| files.compile().map(|_| (own_files.clone(), files.count())))
            .map_err(|error| error.to_string()),
        watcher,
    }
}

/// The containers in which some process lives, and our own. Zombies and processes that vanish meanwhile are nobody's.
fn containers(proc: &Path, probes: &impl Probes) -> (BTreeSet<ContainerKey>, Option<ContainerKey>) {
    let of = |process: &str| {
        let cgroup = bounded::read(None, &proc.join(process).join("cgroup"), MAX_CGROUP).ok()?;
        probes.container(&cgroup)
    };
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = names.filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    (pids.filter_map(|pid| of(&pid)).collect(), of("self"))
}

/// Whether somebody listens on the socket; connecting sends nothing.
fn reachable(socket: &Path) -> std::result::Result<(), String> {
    let datagram = UnixDatagram::unbound().and_then(|unbound| unbound.connect(socket));
    match datagram {
        // EPROTOTYPE: it is a stream socket, as some syslog daemons have it.
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => UnixStream::connect(socket).map(drop),
        other => other,
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::config::Config;
    use crate::container::Runtime;

    struct Fake {
        connector: std::result::Result<(), String>,
    }

    impl Probes for Fake {
        fn connector(&self) -> std::result::Result<(), String> {
            self.connector.clone()
        }

        fn fanotify(&self, best: Way) -> std::result::Result<Way, String> {
            Ok(best)
        }

        fn container(&self, cgroup: &[u8]) -> Option<ContainerKey> {
            let id = std::str::from_utf8(cgroup).ok()?.trim().strip_prefix("0::/docker/")?;
            Some(ContainerKey { runtime: Runtime::Docker, id: id.into() })
        }

        fn runtimes(&self) -> Vec<String> {
            vec!["docker (/var/lib/docker)".into()]
        }
    }

    #[test]
    fn gathers_from_a_fake_proc() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, cgroup) in [
            ("1", "0::/init.scope\n"),
            ("20", "0::/docker/aa\n"),
            ("21", "0::/docker/aa\n"),
            ("22", "0::/docker/bb\n"),
            ("self", "0::/\n"),
            ("sys", "0::/docker/cc\n"),
        ] {
            fs::create_dir(proc.path().join(pid)).unwrap();
            fs::write(proc.path().join(pid).join("cgroup"), cgroup).unwrap();
        }
        fs::create_dir(proc.path().join("23")).unwrap();
        let file = proc.path().join("ccwatch.toml");
        fs::write(&file, "[alert-file]\nenabled = false\n[syslog]\ntarget = \"unix:/nonexistent\"\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let loaded = Config::load(Some(&file)).unwrap();
        let roots = Roots { proc: proc.path(), boot: proc.path(), run: proc.path() };
        let report = gather(roots, &loaded, &Fake { connector: Ok(()) });
        let containers: Vec<String> = report.containers.iter().map(ToString::to_string).collect();
        assert_eq!(containers, ["docker/aa", "docker/bb"]);
        assert_eq!(report.own, None);
        assert_eq!(report.alert_file, None);
        assert!(report.syslog.unwrap().1.unwrap_err().contains("No such file"));
        assert_eq!(report.database, Ok((proc.path().join("fingerprints.d"), 0)));
    }

    #[test]
    fn a_socket_is_reachable_where_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let datagram = UnixDatagram::bind(&path).unwrap();
        assert_eq!(reachable(&path), Ok(()));
        drop(datagram);
        assert!(reachable(&path).unwrap_err().contains("refused"));
        fs::remove_file(&path).unwrap();
        let _stream = UnixListener::bind(&path).unwrap();
        assert_eq!(reachable(&path), Ok(()));
    }
}
