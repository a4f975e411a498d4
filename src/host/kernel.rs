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
mod tests;
