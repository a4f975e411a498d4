//! What this kernel, and this process on it, can do: release, capabilities, namespaces, process connector. Reads /proc
//! and /boot once and judges; whether a sensor really works only the sensor can tell.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use procfs::KernelVersion;

use crate::event::{Field, Missing};

/// The oldest kernel that is supported: RHEL 7's.
pub const OLDEST: (u8, u8) = (3, 10);

/// Bounds what is read of one file; /boot/config-* has 250 KiB, a large host's mountinfo more than is needed of it.
const MAX_READ: u64 = 1 << 20;

/// A privilege that the watcher needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Capability {
    /// As capabilities(7) names it.
    pub name: &'static str,
    /// Its bit in CapEff, from linux/capability.h.
    pub bit: u8,
    /// What for, to be read after "needed".
    pub why: &'static str,
}

/// All that the watcher needs; the daemon drops every other.
pub const NEEDED: [Capability; 4] = [
    Capability { name: "CAP_NET_ADMIN", bit: 12, why: "to listen to the kernel's process connector" },
    Capability { name: "CAP_SYS_PTRACE", bit: 19, why: "to read exe, root and namespaces of other users' processes" },
    Capability { name: "CAP_DAC_READ_SEARCH", bit: 2, why: "to read executables and runtime state whoever owns them" },
    Capability { name: "CAP_SYS_ADMIN", bit: 21, why: "to mark containers' mounts and filesystems with fanotify" },
];

/// A set of capabilities, as the hexadecimal masks of /proc/PID/status have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// The effective set in the bytes of /proc/PID/status, its line `CapEff:`.
    ///
    /// # Errors
    /// [`Missing::Malformed`] where there is no such line or no such number.
    pub fn parse_effective(status: &[u8]) -> Field<Self> {
        let text = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"CapEff:"));
        let text = text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(Missing::Malformed)?;
        u64::from_str_radix(text.trim(), 16).map(Self).map_err(|_| Missing::Malformed)
    }

    /// Those of [`NEEDED`] that are not in the set, in that order.
    pub fn missing(self) -> Vec<&'static Capability> {
        NEEDED.iter().filter(|needed| self.0 & (1 << needed.bit) == 0).collect()
    }
}

/// Whether this process is in the initial namespace of a kind, the one that the kernel booted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// It is.
    Yes,
    /// It is not: the process runs in a container, or in a sandbox.
    No,
    /// It could not be told.
    Unknown,
}

/// What there is. Gathered by [`Kernel::read`].
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: Field<String>,
    /// The release's three numbers.
    pub version: Field<KernelVersion>,
    /// This process' effective capabilities.
    pub capabilities: Field<Capabilities>,
    /// The pid namespace.
    pub pid_ns: Initial,
    /// The user namespace.
    pub user_ns: Initial,
    /// The cgroup namespace.
    pub cgroup_ns: Initial,
    /// The network namespace.
    pub net_ns: Initial,
    /// /proc/net/connector lists `cn_proc`. The kernel shows that file in the initial network namespace alone
    /// (drivers/connector/connector.c, `init_net.proc_net`), and lists `cn_proc` with CONFIG_PROC_EVENTS=y alone.
    pub connector: bool,
    /// CONFIG_PROC_EVENTS, where /boot tells.
    pub proc_events: Option<bool>,
    /// The value of /proc's mount option `hidepid`, where it is set and not 0.
    pub hidepid: Option<String>,
    /// Yama's kernel.yama.ptrace_scope, where there is Yama. It restrains what counts as attaching: of all that is read here
    /// /proc/PID/mem alone, and where it is 3 for everybody (yama_ptrace_access_check in security/yama/yama_lsm.c).
    pub ptrace_scope: Option<u8>,
}

impl Kernel {
    /// Reads the running kernel's properties from `proc` (/proc) and `boot` (/boot). Never fails: what cannot be read
    /// is told as such.
    pub fn read(proc: &Path, boot: &Path) -> Self {
        let release = text(&proc.join("sys/kernel/osrelease"));
        let version = match &release {
            Ok(release) => KernelVersion::from_str(release).map_err(|_| Missing::Malformed),
            Err(why) => Err(*why),
        };
        let connector = read(&proc.join("net/connector"));
        let config = match &release {
            Ok(release) if !release.contains('/') => read(&boot.join(format!("config-{release}"))).ok(),
            _ => None,
        };
        Self {
            version,
            capabilities: read(&proc.join("self/status")).and_then(|status| Capabilities::parse_effective(&status)),
            // include/linux/proc_ns.h, PROC_*_INIT_INO: the same since 3.8, for cgroup since 4.6.
            pid_ns: initial(proc, "pid", 0xEFFF_FFFC),
            user_ns: initial(proc, "user", 0xEFFF_FFFD),
            cgroup_ns: initial(proc, "cgroup", 0xEFFF_FFFB),
            // This one has a number only since 6.18 (NET_NS_INIT_INO).
            net_ns: if connector.is_ok() { Initial::Yes } else { initial_net(proc) },
            connector: connector.is_ok_and(|text| lists_cn_proc(&text)),
            proc_events: config.and_then(|text| proc_events(&text)),
            hidepid: read(&proc.join("self/mountinfo")).ok().and_then(|text| hidepid(&text)),
            ptrace_scope: text(&proc.join("sys/kernel/yama/ptrace_scope")).ok().and_then(|text| text.parse().ok()),
            release,
        }
    }

    /// Whether the kernel is older than [`OLDEST`].
    pub fn too_old(&self) -> bool {
        self.version.as_ref().is_ok_and(|version| (version.major, version.minor) < OLDEST)
    }

    /// Why the process connector cannot work here, as far as that can be told without trying: the kernel ignores a
    /// request from the wrong namespace without a word (drivers/connector/cn_proc.c, `cn_proc_mcast_ctl`).
    pub fn connector_obstacle(&self) -> Option<&'static str> {
        if self.net_ns == Initial::No {
            return Some("ccwatch runs in a network namespace of its own, where the kernel has no process connector");
        }
        if self.pid_ns == Initial::No || self.user_ns == Initial::No {
            return Some(
                "ccwatch runs in a pid or user namespace of its own, from where the kernel ignores the request",
            );
        }
        if self.proc_events == Some(false) {
            return Some("this kernel was built without CONFIG_PROC_EVENTS=y");
        }
        (!self.connector).then_some("/proc/net/connector does not list cn_proc: no CONFIG_PROC_EVENTS=y in this kernel")
    }

    /// The sentence for whoever starts the watcher without the capabilities it needs; `None` where it has them all.
    pub fn missing_capability(&self) -> Option<String> {
        let missing = match self.capabilities {
            Ok(capabilities) => capabilities.missing(),
            Err(why) => return Some(format!("the capabilities of this process cannot be read: {}", why.as_str())),
        };
        let (first, others) = missing.split_first()?;
        let others: String = others.iter().map(|capability| format!(", {}", capability.name)).collect();
        let and = if others.is_empty() {
            String::new()
        } else {
            format!(" (missing too: {})", others.trim_start_matches(", "))
        };
        Some(format!("not permitted: {} is missing, needed {}{and}; run ccwatch as root", first.name, first.why))
    }
}

/// Reads a file of /proc or /boot, no more than [`MAX_READ`] bytes of it.
fn read(path: &Path) -> Field<Vec<u8>> {
    let bytes = || -> io::Result<Vec<u8>> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_READ).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    bytes().map_err(|error| Missing::from_os(&error))
}

/// A file of one line.
fn text(path: &Path) -> Field<String> {
    let text = String::from_utf8(read(path)?).map_err(|_| Missing::Malformed)?;
    Ok(text.trim().to_string())
}

/// The inode number in a namespace link, `pid:[4026531836]`.
fn namespace(link: &Path) -> Field<u64> {
    let target = std::fs::read_link(link).map_err(|error| Missing::from_os(&error))?;
    let text = std::str::from_utf8(target.as_os_str().as_bytes()).map_err(|_| Missing::Malformed)?;
    let number = text.split_once(":[").and_then(|(_, rest)| rest.strip_suffix(']'));
    number.and_then(|number| number.parse().ok()).ok_or(Missing::Malformed)
}

/// Compares with the number that the kernel gives the initial namespace.
fn initial(proc: &Path, kind: &str, number: u64) -> Initial {
    let directory = proc.join("self/ns");
    match namespace(&directory.join(kind)) {
        Ok(own) if own == number => Initial::Yes,
        Ok(_) => Initial::No,
        // A kernel that has no namespaces of this kind is in its initial one.
        Err(Missing::Gone) if directory.is_dir() => Initial::Yes,
        Err(_) => Initial::Unknown,
    }
}

/// By comparison with process 1, which is no proof of the contrary where the pid namespace is not the initial one.
fn initial_net(proc: &Path) -> Initial {
    match (namespace(&proc.join("self/ns/net")), namespace(&proc.join("1/ns/net"))) {
        (Ok(0xEFFF_FFF9), _) => Initial::Yes,
        (Ok(own), Ok(first)) if own != first => Initial::No,
        (Ok(_), Ok(_)) if initial(proc, "pid", 0xEFFF_FFFC) == Initial::Yes => Initial::Yes,
        _ => Initial::Unknown,
    }
}

/// A line `cn_proc         1:1` (Documentation/driver-api/connector.rst; CN_IDX_PROC and CN_VAL_PROC are 1).
fn lists_cn_proc(text: &[u8]) -> bool {
    text.split(|b| *b == b'\n')
        .any(|line| line.strip_prefix(b"cn_proc").is_some_and(|rest| rest.trim_ascii() == b"1:1"))
}

/// What a kernel's configuration says of CONFIG_PROC_EVENTS. Without CONFIG_CONNECTOR=y the option cannot be chosen
/// and is not even named.
fn proc_events(text: &[u8]) -> Option<bool> {
    let mut lines = text.split(|b| *b == b'\n').peekable();
    lines.peek().filter(|first| first.starts_with(b"#") || first.starts_with(b"CONFIG_"))?;
    Some(lines.any(|line| line.trim_ascii() == b"CONFIG_PROC_EVENTS=y"))
}

/// The option `hidepid` of the filesystem on /proc: proc(5), mountinfo's last field holds the super block's options.
fn hidepid(mountinfo: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(mountinfo);
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"))?;
    let options = line.split_once(" - ")?.1.split(' ').nth(2)?;
    let value = options.split(',').find_map(|option| option.strip_prefix("hidepid="))?;
    (!matches!(value, "0" | "off")).then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const ALL: &str = "Name:\tccwatch\nCapPrm:\t0\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
    const NUMBERS: [(&str, u64); 4] =
        [("pid", 4_026_531_836), ("user", 4_026_531_837), ("cgroup", 4_026_531_835), ("net", 4_026_531_992)];

    /// A fake /proc (also used as /boot) of a host whose process 1 is readable.
    fn host() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in ["self/ns", "1/ns", "net", "sys/kernel/yama"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        for (path, text) in [
            ("sys/kernel/osrelease", "3.10.0-1160.el7.x86_64\n"),
            ("sys/kernel/yama/ptrace_scope", "1\n"),
            ("self/status", ALL),
            ("net/connector", "Name            ID\ncn_proc         1:1\n"),
            ("config-3.10.0-1160.el7.x86_64", "#\n# Linux\nCONFIG_CONNECTOR=y\nCONFIG_PROC_EVENTS=y\n"),
            ("self/mountinfo", "22 1 0:20 / /proc rw,nosuid shared:5 - proc proc rw,hidepid=2\n"),
        ] {
            fs::write(root.path().join(path), text).unwrap();
        }
        for (kind, number) in NUMBERS {
            link(&root, "self", kind, number);
            link(&root, "1", kind, number);
        }
        root
    }

    fn link(root: &TempDir, pid: &str, kind: &str, number: u64) {
        let path = root.path().join(pid).join("ns").join(kind);
        let _ = fs::remove_file(&path);
        symlink(format!("{kind}:[{number}]"), path).unwrap();
    }

    fn kernel(root: &TempDir) -> Kernel {
        Kernel::read(root.path(), root.path())
    }

    #[test]
    fn a_host_of_the_oldest_kind() {
        let kernel = kernel(&host());
        assert_eq!(kernel.version, Ok(KernelVersion::new(3, 10, 0)));
        assert!(!kernel.too_old());
        let namespaces = [kernel.pid_ns, kernel.user_ns, kernel.cgroup_ns, kernel.net_ns];
        assert_eq!(namespaces, [Initial::Yes; 4]);
        assert!(kernel.connector);
        assert_eq!(kernel.proc_events, Some(true));
        assert_eq!(kernel.hidepid.as_deref(), Some("2"));
        assert_eq!(kernel.ptrace_scope, Some(1));
        assert_eq!(kernel.connector_obstacle(), None);
        assert_eq!(kernel.missing_capability(), None);
    }

    #[test]
    fn nothing_readable_is_no_error() {
        let kernel = Kernel::read(Path::new("/nonexistent"), Path::new("/nonexistent"));
        assert_eq!(kernel.release, Err(Missing::Gone));
        assert_eq!((kernel.pid_ns, kernel.net_ns), (Initial::Unknown, Initial::Unknown));
        assert!(kernel.missing_capability().unwrap().contains("cannot be read: gone"));
        assert!(kernel.connector_obstacle().is_some());
    }

    #[test]
    fn older_than_supported() {
        let root = host();
        fs::write(root.path().join("sys/kernel/osrelease"), "2.6.32-754.el6.x86_64\n").unwrap();
        assert!(kernel(&root).too_old());
        fs::write(root.path().join("sys/kernel/osrelease"), "not a kernel\n").unwrap();
        assert_eq!(kernel(&root).version, Err(Missing::Malformed));
        assert!(!kernel(&root).too_old());
    }

    #[test]
    fn capabilities_from_status() {
        assert_eq!(Capabilities::parse_effective(ALL.as_bytes()), Ok(Capabilities(0x1ff_ffff_ffff)));
        for status in ["", "CapEff:", "CapEff:\txyz\n", "CapPrm:\t1\n"] {
            assert_eq!(Capabilities::parse_effective(status.as_bytes()), Err(Missing::Malformed), "{status:?}");
        }
    }

    #[test]
    fn one_sentence_names_what_is_missing() {
        let root = host();
        let sentence = |mask: u64| {
            fs::write(root.path().join("self/status"), format!("CapEff:\t{mask:016x}\n")).unwrap();
            kernel(&root).missing_capability()
        };
        assert_eq!(
            sentence(0).unwrap(),
            "not permitted: CAP_NET_ADMIN is missing, needed to listen to the kernel's process connector (missing too: \
             CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN); run ccwatch as root"
        );
        assert_eq!(
            sentence(!(1 << 19)).unwrap(),
            "not permitted: CAP_SYS_PTRACE is missing, needed to read exe, root and namespaces of other users' \
             processes; run ccwatch as root"
        );
        assert_eq!(sentence(1 << 12 | 1 << 19 | 1 << 2 | 1 << 21), None);
    }

    #[test]
    fn namespaces_of_a_container() {
        let root = host();
        link(&root, "self", "pid", 4_026_532_200);
        assert_eq!(kernel(&root).pid_ns, Initial::No);
        assert!(kernel(&root).connector_obstacle().unwrap().contains("pid or user namespace"));
        // In a network namespace of its own there is no /proc/net/connector.
        fs::remove_file(root.path().join("net/connector")).unwrap();
        assert_eq!(kernel(&root).net_ns, Initial::Unknown);
        link(&root, "self", "net", 4_026_532_300);
        assert_eq!(kernel(&root).net_ns, Initial::No);
        assert!(kernel(&root).connector_obstacle().unwrap().contains("network namespace"));
    }

    #[test]
    fn a_kernel_without_a_kind_of_namespace_is_in_the_initial_one() {
        let root = host();
        for kind in ["cgroup", "user"] {
            fs::remove_file(root.path().join("self/ns").join(kind)).unwrap();
        }
        assert_eq!((kernel(&root).cgroup_ns, kernel(&root).user_ns), (Initial::Yes, Initial::Yes));
        fs::remove_file(root.path().join("net/connector")).unwrap();
        fs::remove_file(root.path().join("1/ns/net")).unwrap();
        assert_eq!(kernel(&root).net_ns, Initial::Unknown);
        link(&root, "self", "net", 4_026_531_833);
        assert_eq!(kernel(&root).net_ns, Initial::Yes);
    }

    #[test]
    fn a_kernel_without_process_events() {
        let root = host();
        fs::write(root.path().join("net/connector"), "Name            ID\ncn_proc_other 7:1\n").unwrap();
        assert!(!kernel(&root).connector);
        assert!(kernel(&root).connector_obstacle().unwrap().contains("does not list cn_proc"));
        let config = root.path().join("config-3.10.0-1160.el7.x86_64");
        fs::write(&config, "#\n# CONFIG_CONNECTOR is not set\n").unwrap();
        assert!(kernel(&root).connector_obstacle().unwrap().contains("built without CONFIG_PROC_EVENTS"));
        fs::write(&config, "\x1f\u{8b}gzip").unwrap();
        assert_eq!(kernel(&root).proc_events, None);
    }

    #[test]
    fn hidepid_of_the_last_mount_on_proc() {
        let line = |options: &str| format!("22 1 0:20 / /proc rw shared:5 - proc proc {options}\n");
        assert_eq!(hidepid(line("rw").as_bytes()), None);
        assert_eq!(hidepid(line("rw,hidepid=0").as_bytes()), None);
        assert_eq!(hidepid(line("rw,gid=4,hidepid=invisible").as_bytes()).as_deref(), Some("invisible"));
        assert_eq!(hidepid((line("rw,hidepid=2") + &line("rw")).as_bytes()), None);
        assert_eq!(hidepid(b"22 1 0:20 / /proc\n\xff\n"), None);
    }

    #[test]
    fn agrees_with_the_procfs_crate() {
        let kernel = Kernel::read(Path::new("/proc"), Path::new("/boot"));
        assert_eq!(kernel.version.as_ref().ok(), Some(&KernelVersion::current().unwrap()));
        let effective = procfs::process::Process::myself().unwrap().status().unwrap().capeff;
        assert_eq!(kernel.capabilities, Ok(Capabilities(effective)));
    }
}
