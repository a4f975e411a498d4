//! Privileges and namespaces that are missing: the watcher says which, and does what is left to do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::docker::{Plan, docker};
use common::watcher::{BINARY, Setup};
use common::{Container, eventually, image, run, said};

const NOBODY: u32 = 65534;

#[test]
fn not_root_is_one_sentence_and_exit_77() {
    common::need_root();
    let setup = Setup::new();
    let config = setup.write();
    // Nobody may have no way to the build directory: a copy where he has.
    std::fs::set_permissions(setup.home(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o644)).unwrap();
    let binary = setup.home().join("ccwatch");
    std::fs::copy(BINARY, &binary).unwrap();
    let mut command = Command::new(binary);
    let output = command.args(["run", "--config"]).arg(config).uid(NOBODY).gid(NOBODY).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", said(&output));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("CAP_"), "it names the capability: {stderr}");
    assert!(output.stdout.is_empty());
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
