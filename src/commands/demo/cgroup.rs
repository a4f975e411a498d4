//! The demo's own cgroup: where one can be made, and how it is taken away. One hierarchy is enough, cgroup v2 before v1.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The v1 hierarchies to try, in the order in which they say least about resources.
const V1: [&str; 4] = ["name=systemd", "pids", "freezer", "memory"];

/// A cgroup can be removed when its last process has gone through exit, which is a moment after it was killed.
const TRIES: u32 = 100;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes a cgroup `name` below our own, or else at the top, in the first hierarchy that lets us. `None` where none does.
pub(super) fn make(proc: &Path, name: &Path) -> Option<PathBuf> {
    let mountinfo = fs::read_to_string(proc.join("self/mountinfo")).ok()?;
    let own = fs::read_to_string(proc.join("self/cgroup")).ok()?;
    candidates(&mountinfo, &own).into_iter().map(|parent| parent.join(name)).find(|path| fs::create_dir(path).is_ok())
}

/// Moves the calling process into the cgroup. 0 stands for the writer itself, whichever pid namespace it lives in.
pub(super) fn enter(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Removes the cgroup, once it is empty.
pub(super) fn remove(cgroup: &Path) {
    for _ in 0..TRIES {
        match fs::remove_dir(cgroup) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
}

/// The directories below which a cgroup may be made, best first, from the texts of mountinfo and cgroup of one process.
fn candidates(mountinfo: &str, own: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in std::iter::once("").chain(V1) {
        let Some(mount) = mountinfo.lines().find_map(|line| mount_point(line, hierarchy)) else { continue };
        // `7:pids:/path`, `1:name=systemd:/path`, v2 `0::/path` (cgroups(7)).
        let path = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|controller| controller == hierarchy).then_some(path)
        });
        // Seen from inside a cgroup namespace, a path can lead out of it.
        let below = path.map(|path| path.trim_start_matches('/')).filter(|path| !path.is_empty());
        if let Some(below) = below.filter(|below| !below.split('/').any(|part| part == "..")) {
            found.push(Path::new(mount).join(below));
        }
        found.push(PathBuf::from(mount));
    }
    found
}

/// The mount point of a line of mountinfo, if it is that of the hierarchy: v2 for the empty name, else by controller.
fn mount_point<'a>(line: &'a str, hierarchy: &str) -> Option<&'a str> {
    let (left, right) = line.split_once(" - ")?;
    let mut filesystem = right.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    let wanted = match hierarchy {
        "" => kind == "cgroup2",
        _ => kind == "cgroup" && options.split(',').any(|option| option == hierarchy),
    };
    wanted.then(|| left.split(' ').nth(4)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mountinfo: &str, own: &str) -> Vec<String> {
        candidates(mountinfo, own).iter().map(|path| path.display().to_string()).collect()
    }

    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn below_our_own_and_then_at_the_top() {
        let own = "0::/user.slice/user-0.slice/session-1.scope\n";
        assert_eq!(found(V2, own), ["/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope", "/sys/fs/cgroup"]);
        assert_eq!(found(V2, "0::/\n"), ["/sys/fs/cgroup"]);
        assert_eq!(found(V2, "0::/../..\n"), ["/sys/fs/cgroup"]);
        assert_eq!(found(V2, ""), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn v2_before_v1() {
        let own = "9:pids:/a\n4:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/\n";
        assert_eq!(
            found(HYBRID, own),
            [
                "/sys/fs/cgroup/unified",
                "/sys/fs/cgroup/systemd/c",
                "/sys/fs/cgroup/systemd",
                "/sys/fs/cgroup/pids/a",
                "/sys/fs/cgroup/pids"
            ]
        );
    }

    #[test]
    fn no_hierarchy_no_cgroup() {
        assert_eq!(found("22 1 0:20 / /proc rw - proc proc rw\nbroken\n", "0::/\n"), [""; 0]);
        assert_eq!(make(Path::new("/nonexistent"), Path::new("x")), None);
    }
}
