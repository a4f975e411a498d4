//! Privileges and namespaces that are missing: the watcher says which, and does what is left to do.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::docker::{Plan, docker};
use crate::common::watcher::{BINARY, Setup};
use crate::common::{self, Container, eventually, image, run, said};

const NOBODY: u32 = 65534;

/// The watcher has no CAP_DAC_OVERRIDE: root's word alone is none for what belongs to somebody else.
#[test]
fn doctor_judges_places_by_the_watchers_rights() {
    common::need_root();
    let setup = Setup::new();
    let alerts = setup.home().join("alerts.json");
    std::fs::write(&alerts, "").unwrap();
    std::os::unix::fs::chown(&alerts, Some(NOBODY), Some(NOBODY)).unwrap();
    let line = |mode| {
        std::fs::set_permissions(&alerts, PermissionsExt::from_mode(mode)).unwrap();
        let output = Command::new(BINARY).arg("doctor").arg("--config").arg(setup.write()).output().unwrap();
        let report = said(&output);
        report.lines().find(|line| line.contains(" alert file ")).unwrap().to_owned()
    };
    let refused = line(0o640);
    assert!(refused.starts_with("degraded ") && refused.ends_with("Permission denied"), "{refused}");
    assert!(!line(0o642).starts_with("degraded "));
}

/// A watcher that was refused fanotify says so, and so does doctor of the watcher, where nobody refuses it to doctor.
fn refused_fanotify(errno: i32) {
    common::need_root();
    let setup = Setup::new();
    let watcher = std::thread::scope(|scope| {
        let refuse_and_start = || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            ccwatch::sys::privilege::filter_calls(&refusing(libc::SYS_fanotify_init, errno)).unwrap();
            setup.start()
        };
        // Filters are the thread's, and of what it starts.
        scope.spawn(refuse_and_start).join().unwrap()
    });
    let degraded = watcher.await_alert("degraded", |a| a.text("event.action") == "sensor-degraded");
    assert_eq!(degraded.text("ccwatch.lost.sensor"), "fanotify");
    assert!(degraded.text("message").contains("fanotify_init"), "{degraded}");
    let output = Command::new(BINARY).arg("doctor").arg("--config").arg(setup.write()).output().unwrap();
    let report = said(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let line = report.lines().find(|line| line.contains(" its sensors ")).unwrap();
    assert!(line.starts_with("degraded ") && line.contains("it has no fanotify"), "{line}");
    watcher.stop();
}

/// A program that refuses one system call of this architecture: linux/filter.h, linux/seccomp.h.
fn refusing(call: libc::c_long, errno: i32) -> [libc::sock_filter; 4] {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[test]
fn a_kernel_without_fanotify_is_told() {
    refused_fanotify(libc::ENOSYS);
}

#[test]
fn a_fanotify_that_is_refused_is_told() {
    refused_fanotify(libc::EPERM);
}

/// In a container without the host's namespaces the kernel ignores the request for process events without a word. The
/// watcher notices, says so, and goes on with what it can see.
fn inside_a_container(network: &str) {
    let setup = Setup::new();
    let config = setup.write();
    let directory = setup.home().display().to_string();
    let mut options: Vec<String> = ["NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN", "DAC_READ_SEARCH"]
        .iter()
        .flat_map(|capability| ["--cap-add".to_owned(), (*capability).to_owned()])
        .collect();
    options.extend(["--network", network, "-v"].map(str::to_owned));
    options.extend([format!("{BINARY}:/ccwatch:ro"), "-v".to_owned(), format!("{directory}:{directory}")]);
    let command = ["/ccwatch", "run", "--stdout", "ecs", "--config", config.to_str().unwrap()];
    let container = Container::run(&Plan { options, image: image::gcc(), command: &command });
    let logs = || said(&docker().args(["logs", &container.id]).output().unwrap());
    let log = eventually("watching", || {
        let log = logs();
        let ended = run(docker().args(["inspect", "-f", "{{.State.Running}}", &container.id])) == "false";
        (ended || log.lines().any(|line| line.starts_with("watching"))).then_some(log)
    });
    assert!(log.lines().any(|line| line.starts_with("watching")), "{log}");
    assert!(log.contains("namespace"), "it says why: {log}");
    run(docker().args(["kill", "-s", "TERM", &container.id]));
    assert_eq!(container.wait(), 0, "{}", logs());
}

#[test]
fn inside_a_container_with_the_hosts_network_it_says_so() {
    inside_a_container("host");
}

#[test]
fn inside_a_container_with_its_own_network_it_says_so() {
    inside_a_container("none");
}
