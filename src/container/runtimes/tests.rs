//! Questions for containers of a host built in a directory.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::container::docker::tests::Host;

const A: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

fn key(runtime: Runtime) -> ContainerKey {
    ContainerKey { runtime, id: A.into() }
}

#[test]
fn each_runtime_is_asked_for_its_own() {
    let host = Host::new();
    host.container("/var/lib/docker", A, "web");
    let runtimes = Runtimes::new(host.root(), host.proc_root());
    let name = |runtime| runtimes.metadata(&key(runtime)).map(|metadata| metadata.name.unwrap());
    assert_eq!(name(Runtime::Docker).as_deref(), Ok("web"));
    assert_eq!(name(Runtime::Unknown).as_deref(), Ok("web"), "--cgroup-parent names no runtime");
    assert_eq!(name(Runtime::Podman), Err(Missing::Unsupported));
    let other = ContainerKey { runtime: Runtime::Containerd, id: "f".repeat(64).into() };
    assert_eq!(runtimes.metadata(&other), Err(Missing::Unsupported));
    host.write(&format!("/var/lib/docker/containers/{}/config.v2.json", other.id), "{");
    assert_eq!(runtimes.metadata(&other), Err(Missing::Malformed), "Docker's, and broken");
    let named = ContainerKey { runtime: Runtime::Unknown, id: "../../etc".into() };
    assert_eq!(runtimes.metadata(&named), Err(Missing::Unsupported));
}

#[test]
fn a_dockerd_started_later_is_found() {
    let host = Host::new();
    let runtimes = Runtimes::new(host.root(), host.proc_root());
    assert_eq!(runtimes.metadata(&key(Runtime::Docker)), Err(Missing::Absent));
    assert_eq!(runtimes.found(), []);
    host.container("/srv/later", A, "late");
    host.dockerd(100, &["--data-root", "/srv/later"]);
    let begun = Instant::now();
    let found = loop {
        match runtimes.metadata(&key(Runtime::Docker)) {
            Err(Missing::Absent) if begun.elapsed() < Duration::from_secs(60) => std::thread::yield_now(),
            answer => break answer,
        }
    };
    assert_eq!(found.unwrap().name.as_deref(), Some("late"));
    let expected = RuntimeFound { runtime: Runtime::Docker, state: Some("/srv/later".into()), running: true };
    assert_eq!(runtimes.found(), [expected]);
}

#[test]
fn workers_share_it() {
    fn shared<T: Sync + Send>() {}
    shared::<Runtimes>();
}
