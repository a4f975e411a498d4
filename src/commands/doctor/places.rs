//! Whether the watcher can write where alerts and state go: asked of the kernel with the watcher's rights, which are fewer
//! than those of the root that asks, and where a watcher runs, as its own mount namespace has it.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::config::Config;
use crate::host::kernel::{Capabilities, NEEDED};
use crate::sys::privilege::set_capabilities;

/// A place that alerts or state go to: its name, and whether it can be used, with what is to be known of it, or why not.
pub type Place = (String, Result<Option<String>, String>);

/// Which directories are asked about, and through whose eyes.
pub(super) struct View {
    /// The root directory as the watcher sees it, or as we do.
    root: PathBuf,
    /// What the unit's write protection lets through, where systemd would start the watcher and none runs that could be
    /// asked.
    unit: Option<[PathBuf; 2]>,
}

impl View {
    /// Through a running watcher's root, `/proc/PID/root`; without one, through ours. `run` is /run.
    pub(super) fn new(watcher: Option<PathBuf>, run: &Path) -> Self {
        // Another user's is closed to us.
        if let Some(root) = watcher.filter(|root| root.join("etc").exists()) {
            return Self { root, unit: None };
        }
        let defaults = Config::default();
        let alerts = defaults.alert_file.path.parent().map(Path::to_path_buf).unwrap_or_default();
        let unit = run.join("systemd/system").is_dir().then_some([alerts, defaults.state.directory]);
        Self { root: "/".into(), unit }
    }

    /// Whether a file or directory can be written, or made. Of one that does not exist yet, what counts is the nearest
    /// directory above it that does.
    pub(super) fn place(&self, path: &Path) -> Place {
        let seen = |path: &Path| self.root.join(path.strip_prefix("/").unwrap_or(path));
        let existing = path.ancestors().find(|path| seen(path).exists()).unwrap_or(Path::new("/"));
        let target = seen(existing);
        let wanted = if target.is_dir() { AccessFlags::W_OK | AccessFlags::X_OK } else { AccessFlags::W_OK };
        let usable = match access(&target, wanted) {
            Ok(()) if existing != path && !target.is_dir() => Err(format!("{} is no directory", existing.display())),
            Ok(()) => Ok(self.let_through(path)),
            Err(Errno::EROFS) if self.root != Path::new("/") => {
                Err(refusal(path, existing, "read-only for the watcher: a unit needs ReadWritePaths= for it"))
            }
            Err(error) => Err(refusal(path, existing, error.desc())),
        };
        (path.display().to_string(), usable)
    }

    /// What the unit needs besides.
    fn let_through(&self, path: &Path) -> Option<String> {
        let open = self.unit.as_ref()?.iter().any(|open| path.starts_with(open));
        (!open).then(|| "the unit needs ReadWritePaths= for it, from systemd 239 on".into())
    }
}

/// Why `path` cannot be used, because of `refused`, which is it or above it. The report names `path` itself.
fn refusal(path: &Path, refused: &Path, why: &str) -> String {
    if refused == path { why.into() } else { format!("{}: {why}", refused.display()) }
}

/// Runs `ask` in a thread that has given up what the watcher gives up: it writes only to what root may write to by owner
/// and mode. `None` where no such thread can be had.
pub(super) fn as_the_watcher<T: Send>(held: Capabilities, ask: impl FnOnce() -> T + Send) -> Option<T> {
    let kept = NEEDED.iter().fold(0, |bits, capability| bits | 1u64 << capability.bit);
    let asked = move || set_capabilities(held.0 & kept).ok().map(|()| ask());
    std::thread::scope(|scope| scope.spawn(asked).join()).ok().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn a_place_that_is_not_there_yet_can_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let view = View::new(None, directory.path());
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(view.place(&directory.path().join("a/b/c")).1, Ok(None));
        assert_eq!(view.place(&file).1, Ok(None));
        assert!(view.place(&file.join("below")).1.unwrap_err().ends_with("is no directory"));
    }

    #[test]
    fn a_place_is_seen_through_the_watchers_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("srv")).unwrap();
        fs::write(root.join("srv/file"), "").unwrap();
        let view = View::new(Some(root), directory.path());
        assert_eq!(view.place(Path::new("/srv/alerts.json")), ("/srv/alerts.json".into(), Ok(None)));
        assert_eq!(view.place(Path::new("/srv/file/x")).1, Err("/srv/file is no directory".into()));
    }

    #[test]
    fn what_the_unit_does_not_let_through_is_told() {
        let run = tempfile::tempdir().unwrap();
        let elsewhere = run.path().join("alerts.json");
        assert_eq!(View::new(None, run.path()).place(&elsewhere).1, Ok(None));
        fs::create_dir_all(run.path().join("systemd/system")).unwrap();
        let view = View::new(None, run.path());
        assert!(view.place(&elsewhere).1.unwrap().unwrap().contains("ReadWritePaths"));
        for open in ["/var/log/ccwatch/alerts.json", "/var/lib/ccwatch"] {
            assert_eq!(view.let_through(Path::new(open)), None);
        }
    }

    #[test]
    fn a_refused_place_is_named_once() {
        let refused = |refused: &str| refusal(Path::new("/var/log/x"), Path::new(refused), "Permission denied");
        assert_eq!(refused("/var/log/x"), "Permission denied");
        assert_eq!(refused("/var"), "/var: Permission denied");
    }
}
