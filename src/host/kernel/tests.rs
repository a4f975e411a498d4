//! Hosts of many kinds, as far as files tell of them. Test only.

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
