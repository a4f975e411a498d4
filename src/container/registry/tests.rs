//! Processes of every kind, placed; and the life of a question for metadata.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::event::{Exe, Pid, StartTime, Stat};

const A: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
const B: &str = "d52db56a9c80d536a91354c0951c061187ca46249e64865a12703003d8f42366";
const HOST_MNT: Namespace = Namespace(4_026_531_832);
const HOST_PID: Namespace = Namespace(4_026_531_836);
const HOST_ROOT: RootId = RootId { dev: 0xfe00, ino: 2 };

fn host() -> HostIdentity {
    HostIdentity { mnt_ns: Some(HOST_MNT), pid_ns: Some(HOST_PID), root: Some(HOST_ROOT), without_cgroups: false }
}

fn registry() -> Registry {
    Registry::new(host())
}

fn key(runtime: Runtime, id: &str) -> ContainerKey {
    ContainerKey { runtime, id: id.into() }
}

fn docker(id: &str) -> ContainerKey {
    key(Runtime::Docker, id)
}

fn within(inner: ContainerKey, by: Attribution) -> Home {
    Home::Container { inner, outer: None, by }
}

fn root(n: u64) -> RootId {
    RootId { dev: n, ino: n }
}

fn second(n: u64) -> Monotonic {
    Monotonic(n * 1_000_000_000)
}

/// A living process of the host.
fn host_process(cgroup: &str) -> Look {
    let stat = Stat {
        comm: b"sh".to_vec(),
        state: b'S',
        ppid: Pid(1),
        session: Some(Pid(1)),
        tty: 0,
        start: StartTime(7),
        start_stack: 0,
    };
    let exe = Exe {
        path: b"/bin/sh".to_vec(),
        deleted: false,
        id: Err(Missing::Denied),
        mount: None,
        file: Err(Missing::Denied),
    };
    Look {
        at: second(1),
        dir: Err(Missing::Denied),
        stat: Ok(stat),
        exe: Ok(exe),
        cgroup: Ok(format!("0::{cgroup}\n").into_bytes()),
        mnt_ns: Ok(HOST_MNT),
        pid_ns: Ok(HOST_PID),
        root: Ok(HOST_ROOT),
    }
}

/// A living process with namespaces and a root directory of its own, all told by `n`.
fn boxed(cgroup: &str, n: u64) -> Look {
    Look { mnt_ns: Ok(Namespace(n)), pid_ns: Ok(Namespace(n)), root: Ok(root(n)), ..host_process(cgroup) }
}

/// What is left of a process on its way out: version 1 shows `/`, the namespaces are gone.
fn zombie() -> Look {
    let mut look = host_process("/");
    look.cgroup = Ok(b"8:pids:/\n1:name=systemd:/\n0::/\n".to_vec());
    look.stat.as_mut().unwrap().state = b'Z';
    let gone = Missing::Gone;
    Look { exe: Err(gone), mnt_ns: Err(gone), pid_ns: Err(gone), root: Err(gone), ..look }
}

#[test]
fn the_cgroup_comes_first() {
    let mut registry = registry();
    let look = boxed(&format!("/docker/{A}"), 5);
    assert_eq!(registry.place(&look, None), within(docker(A), Attribution::Cgroup));
    let parent = boxed(&format!("/docker/{B}"), 6);
    assert_eq!(registry.place(&look, Some(&parent)), within(docker(A), Attribution::Cgroup));
    // A zombie in version 2 keeps its path; `nsenter -t 1 -m` keeps its cgroup.
    let dead = Look { cgroup: look.cgroup.clone(), ..zombie() };
    assert_eq!(registry.place(&dead, None), within(docker(A), Attribution::Cgroup));
    assert_eq!(registry.place(&host_process(&format!("/docker/{A}")), None), within(docker(A), Attribution::Cgroup));
    let both = format!("/docker/{A}/docker/{B}");
    let expected = Home::Container { inner: docker(B), outer: Some(docker(A)), by: Attribution::Cgroup };
    assert_eq!(registry.place(&boxed(&both, 7), None), expected);
}

#[test]
fn a_host_without_cgroups_has_sandboxes_all_the_same() {
    let mut registry = Registry::new(HostIdentity { without_cgroups: true, ..host() });
    for cgroup in [Ok(Vec::new()), Err(Missing::Absent)] {
        let with = |look: Look| Look { cgroup: cgroup.clone(), ..look };
        let (sandboxed, plain) = (with(boxed("/", 9)), with(host_process("/")));
        let sandbox = key(Runtime::Sandbox, "mnt-9");
        assert_eq!(registry.place(&sandboxed, None), within(sandbox.clone(), Attribution::Namespace));
        assert_eq!(nested_of(&sandboxed, &registry.host), Some((sandbox, None)));
        assert_eq!(registry.place(&plain, None), Home::Host);
        assert_eq!(registry.place(&with(zombie()), None), Home::Unknown);
        let in_one = boxed(&format!("/docker/{A}"), 5);
        assert_eq!(registry.place(&in_one, None), within(docker(A), Attribution::Cgroup), "it was mounted since");
        assert_eq!(Registry::new(host()).place(&sandboxed, None), Home::Unknown, "where others have one");
    }
}

#[test]
fn a_living_process_with_the_host_s_root_or_namespace_is_the_host_s() {
    let mut registry = registry();
    for cgroup in ["/", "/system.slice/ssh.service", "/user.slice/user-1000.slice/session-3.scope", "/jobs/one"] {
        let plain = host_process(cgroup);
        // PrivateTmp: another mount namespace, the same root; chroot: the reverse.
        let private_tmp = Look { mnt_ns: Ok(Namespace(9)), ..plain.clone() };
        let chroot = Look { root: Ok(root(9)), ..plain.clone() };
        let denied = Look { mnt_ns: Err(Missing::Denied), pid_ns: Err(Missing::Denied), ..plain.clone() };
        for (look, what) in [(plain, "plain"), (private_tmp, "PrivateTmp"), (chroot, "chroot"), (denied, "denied")] {
            assert_eq!(registry.place(&look, None), Home::Host, "{what} in {cgroup}");
            assert!(is_host(&look, &host()), "{what} in {cgroup}");
        }
    }
}

#[test]
fn doubt_is_never_the_host() {
    let gone = Missing::Gone;
    let plain = host_process("/user.slice");
    let mut stopped = plain.clone();
    stopped.stat.as_mut().unwrap().state = b'X';
    let doubtful = [
        ("nothing known", Look::nothing(second(1), gone)),
        ("zombie", zombie()),
        ("no stat", Look { stat: Err(gone), ..plain.clone() }),
        ("dead", stopped),
        ("no exe", Look { exe: Err(gone), ..plain.clone() }),
        ("no exe, root only", Look { exe: Err(gone), cgroup: Ok(b"0::/\n".to_vec()), ..plain.clone() }),
        ("no cgroup", Look { cgroup: Err(gone), ..plain.clone() }),
        ("empty cgroup", Look { cgroup: Ok(Vec::new()), ..plain.clone() }),
        ("neither namespace nor root", Look { mnt_ns: Err(gone), root: Err(gone), ..plain.clone() }),
        ("own namespace, root not known", Look { mnt_ns: Ok(Namespace(9)), root: Err(gone), ..plain.clone() }),
        ("own root, namespace not known", Look { root: Ok(root(9)), mnt_ns: Err(gone), ..plain.clone() }),
    ];
    let mut registry = registry();
    for (what, look) in &doubtful {
        assert!(!is_host(look, &host()), "{what}");
        assert_eq!(registry.place(look, None), Home::Unknown, "{what}");
        assert_eq!(registry.place(look, Some(&plain)), Home::Unknown, "{what}, child of the host");
    }
    let nobody = HostIdentity::default();
    assert!(!is_host(&plain, &nobody));
    assert_eq!(Registry::new(nobody).place(&plain, None), Home::Unknown);
}

#[test]
fn a_process_too_short_to_be_asked_is_where_its_parent_is() {
    let mut registry = registry();
    let parent = boxed(&format!("/docker/{A}"), 5);
    let expected = within(docker(A), Attribution::Lineage);
    for look in
        [zombie(), Look::nothing(second(1), Missing::Gone), Look { cgroup: Err(Missing::Gone), ..host_process("/") }]
    {
        assert_eq!(registry.place(&look, Some(&parent)), expected);
    }
    // One that left the container's cgroup is its child all the same.
    assert_eq!(registry.place(&host_process("/"), Some(&parent)), expected);
    // The parent by its namespace.
    let parent = Look { cgroup: Err(Missing::Denied), ..parent };
    assert_eq!(registry.place(&zombie(), Some(&parent)), expected);
    let nested = boxed(&format!("/docker/{A}/docker/{B}"), 6);
    assert_eq!(
        registry.place(&zombie(), Some(&nested)),
        Home::Container { inner: docker(B), outer: Some(docker(A)), by: Attribution::Lineage }
    );
}

#[test]
fn a_known_namespace_names_its_container() {
    let mut registry = registry();
    registry.place(&boxed(&format!("/docker/{A}/docker/{B}"), 5), None);
    let by = Attribution::Namespace;
    let expected = Home::Container { inner: docker(B), outer: Some(docker(A)), by };
    // nsenter and rootless `exec` come with the caller's cgroup.
    assert_eq!(registry.place(&boxed("/user.slice", 5), None), expected);
    assert_eq!(registry.place(&Look { cgroup: Err(Missing::Gone), ..boxed("/", 5) }, None), expected);
    // `unshare -m` in it: a new mount namespace, the same pid namespace.
    assert_eq!(registry.place(&Look { mnt_ns: Ok(Namespace(77)), ..boxed("/", 5) }, None), expected);
    // A number that came to other use: another root directory, or the host's.
    let reused = Look { pid_ns: Ok(Namespace(8)), root: Ok(root(8)), ..boxed("/user.slice", 5) };
    assert_eq!(registry.place(&reused, None), within(key(Runtime::Sandbox, "mnt-5"), by));
    assert_eq!(registry.place(&Look { root: Ok(HOST_ROOT), ..reused }, None), Home::Host);
    // A pid namespace's number alone came to other use.
    let other = Look { mnt_ns: Ok(Namespace(77)), root: Ok(root(8)), ..boxed("/user.slice", 5) };
    assert_eq!(registry.place(&other, None), within(key(Runtime::Sandbox, "mnt-77"), by));
    // The next container under that number.
    let next = boxed(&format!("/docker/{A}"), 5);
    registry.place(&next, None);
    assert_eq!(registry.place(&boxed("/", 5), None), within(docker(A), by));
}

#[test]
fn a_shared_pid_namespace_names_nobody() {
    let mut registry = registry();
    for (id, mnt) in [(A, 5), (B, 6)] {
        registry.place(&Look { pid_ns: Ok(Namespace(99)), ..boxed(&format!("/docker/{id}"), mnt) }, None);
    }
    let look = Look { pid_ns: Ok(Namespace(99)), cgroup: Err(Missing::Gone), ..boxed("/", 7) };
    assert_eq!(registry.place(&look, None), Home::Unknown);
    let look = Look { pid_ns: Ok(Namespace(99)), cgroup: Err(Missing::Gone), ..boxed("/", 6) };
    assert_eq!(registry.place(&look, None), within(docker(B), Attribution::Namespace));
}

#[test]
fn the_host_s_namespaces_are_never_a_container_s() {
    let mut registry = registry();
    let cgroup = format!("/docker/{A}");
    // --pid=host; `nsenter -t 1 -m`; runc before it has changed root, in a private namespace of containerd's.
    registry.place(&Look { pid_ns: Ok(HOST_PID), ..boxed(&cgroup, 5) }, None);
    registry.place(&host_process(&cgroup), None);
    registry.place(&Look { root: Ok(HOST_ROOT), ..boxed(&cgroup, 6) }, None);
    assert_eq!(registry.place(&host_process("/"), None), Home::Host);
    assert_eq!(registry.place(&Look { cgroup: Err(Missing::Gone), ..host_process("/") }, None), Home::Unknown);
    let containerd = Look { root: Err(Missing::Denied), ..boxed("/system.slice/containerd.service", 6) };
    assert_eq!(registry.place(&containerd, None), Home::Unknown);
    assert_eq!(registry.place(&Look { pid_ns: Ok(HOST_PID), ..boxed("/", 8) }, None), {
        within(key(Runtime::Sandbox, "mnt-8"), Attribution::Namespace)
    });
}

#[test]
fn a_bare_sandbox_is_named_by_its_namespace() {
    let mut registry = registry();
    let sandbox = key(Runtime::Sandbox, "mnt-4026532630");
    let look = boxed("/user.slice/user-1000.slice/session-3.scope", 4_026_532_630);
    assert_eq!(registry.place(&look, None), within(sandbox.clone(), Attribution::Namespace));
    assert!(!is_host(&look, &host()));
    assert_eq!(registry.place(&zombie(), Some(&look)), within(sandbox.clone(), Attribution::Lineage));
    assert!(!registry.wants(&sandbox, second(1)), "there is no file to ask");
    // Its child in a sandbox of its own is told by its own.
    let inner = boxed("/user.slice/user-1000.slice/session-3.scope", 8);
    assert_eq!(registry.place(&inner, Some(&look)), within(key(Runtime::Sandbox, "mnt-8"), Attribution::Namespace));
    // Its dying member must not make one of a container not yet known.
    assert_eq!(registry.place(&Look { exe: Err(Missing::Gone), ..look }, None), Home::Unknown);
}

#[test]
fn a_candidate_needs_a_root_of_its_own() {
    let mut registry = registry();
    let redis = key(Runtime::Unknown, "redis");
    assert_eq!(registry.place(&boxed("/shop/redis", 5), None), within(redis.clone(), Attribution::Cgroup));
    assert_eq!(registry.place(&host_process("/shop/redis"), None), Home::Host);
    assert_eq!(
        registry.place(&Look { cgroup: Err(Missing::Gone), ..boxed("/", 5) }, None),
        within(redis, Attribution::Namespace)
    );
}

#[test]
fn memory_is_bounded_and_fair() {
    let mut registry = registry();
    let long_id = |n: usize| format!("{n:064x}");
    registry.place(&boxed(&format!("/docker/{A}"), 1), None);
    // A container that makes thousands of others pushes out its own, and sandboxes theirs.
    for n in 0..2000 {
        registry.place(&boxed(&format!("/docker/{B}/docker/{}", long_id(n)), 1000 + n as u64), None);
        registry.place(&boxed("/user.slice", 10_000 + n as u64), None);
    }
    assert_eq!(registry.containers.len(), 1 + 2 * NESTED);
    let known =
        |registry: &mut Registry, n| registry.place(&Look { cgroup: Err(Missing::Gone), ..boxed("/", n) }, None);
    assert_eq!(known(&mut registry, 1), within(docker(A), Attribution::Namespace));
    assert_eq!(known(&mut registry, 1000), Home::Unknown);
    assert_ne!(known(&mut registry, 2999), Home::Unknown);
    // `unshare` without end in one container.
    for n in 0..1000 {
        registry.place(&boxed(&format!("/docker/{A}"), 100_000 + n), None);
    }
    assert_eq!(registry.by_mnt.len(), NAMESPACES + NESTED);
    assert_eq!(registry.by_pid.len(), NAMESPACES + NESTED);
    for n in 0..2 * CONTAINERS {
        registry.place(&boxed(&format!("/docker/{}", long_id(n)), 200_000 + n as u64), None);
    }
    assert_eq!(registry.containers.len(), CONTAINERS);
    assert_eq!(registry.by_mnt.len(), CONTAINERS);
    assert_eq!(registry.by_pid.len(), CONTAINERS);
    assert_eq!(registry.used, HashMap::from([(Quota::Host, CONTAINERS)]));
}

#[test]
fn metadata_is_asked_for_again() {
    let mut registry = registry();
    let key = docker(A);
    let named = |name: &str| Metadata { name: Some(name.into()), ..Metadata::default() };
    assert_eq!(registry.metadata(&key), None);
    assert!(registry.wants(&key, second(10)));
    assert!(!registry.wants(&key, second(11)), "one question at a time");
    // Failures: 1, 2, 4, ... 60 s.
    let mut now = 12;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        registry.learn(&key, Err(Missing::Absent), second(now));
        assert!(!registry.wants(&key, second(now + pause - 1)), "{pause} s are not over");
        assert!(registry.wants(&key, second(now + pause)), "after {pause} s");
        now += pause;
    }
    registry.learn(&key, Ok(named("one")), second(now));
    assert_eq!(registry.metadata(&key), Some(&named("one")));
    assert!(!registry.wants(&key, second(now + 59)));
    assert!(registry.wants(&key, second(now + 60)), "a rename is noticed");
    registry.learn(&key, Ok(named("two")), second(now + 60));
    assert_eq!(registry.metadata(&key), Some(&named("two")));
    assert!(registry.wants(&key, second(now + 120)));
    registry.learn(&key, Err(Missing::Absent), second(now + 120));
    assert_eq!(registry.metadata(&key), Some(&named("two")), "removed, and still known");
    assert!(registry.wants(&key, second(now + 121)), "the pause begins anew");
    assert!(!registry.wants(&key, second(now + 180)));
    assert!(registry.wants(&key, second(now + 181)), "an answer that never came");
    registry.learn(&key, Err(Missing::Unsupported), second(now + 181));
    assert!(!registry.wants(&key, second(now + 240)));
    assert!(registry.wants(&key, second(now + 241)));
}

#[test]
fn a_name_that_is_not_known_has_its_reason() {
    let mut registry = registry();
    let key = docker(A);
    assert_eq!(registry.missing_name(&key), Some(Missing::Deadline), "nobody has asked");
    assert!(registry.wants(&key, second(1)));
    assert_eq!(registry.missing_name(&key), Some(Missing::Deadline), "no answer yet");
    for why in [Missing::Malformed, Missing::TooLarge] {
        registry.learn(&key, Err(why), second(2));
        assert_eq!(registry.missing_name(&key), Some(why));
    }
    registry.learn(&key, Ok(Metadata::default()), second(3));
    assert_eq!(registry.missing_name(&key), Some(Missing::Absent), "it has none");
    registry.learn(&key, Ok(Metadata { name: Some("web".into()), ..Metadata::default() }), second(4));
    registry.learn(&key, Err(Missing::Absent), second(5));
    assert_eq!(registry.missing_name(&key), None);
    let sandbox = ContainerKey { runtime: Runtime::Sandbox, id: "mnt-1".into() };
    assert_eq!(registry.missing_name(&sandbox), Some(Missing::Absent));
}

#[test]
fn the_host_tells_who_it_is() {
    let top = tempfile::tempdir().unwrap();
    let proc_root = top.path().join("proc");
    let link = |to: &str, from: &str| {
        let from = proc_root.join(from);
        std::fs::create_dir_all(from.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, from).unwrap();
    };
    assert_eq!(HostIdentity::read(&proc_root), HostIdentity::default());
    link("mnt:[4026531841]", "self/ns/mnt");
    link("pid:[4026531836]", "self/ns/pid");
    link(top.path().to_str().unwrap(), "self/root");
    let ours = HostIdentity::read(&proc_root);
    assert_eq!(ours.mnt_ns, Some(Namespace(4_026_531_841)));
    assert_eq!(ours.pid_ns, Some(HOST_PID));
    let stat = nix::sys::stat::stat(top.path()).unwrap();
    assert_eq!(ours.root, Some(RootId { dev: stat.st_dev, ino: stat.st_ino }));
    // What pid 1 tells goes before.
    link("mnt:[4026531832]", "1/ns/mnt");
    link("garbage", "1/ns/pid");
    link("/", "1/root");
    let host = HostIdentity::read(&proc_root);
    assert_eq!((host.mnt_ns, host.pid_ns), (Some(HOST_MNT), Some(HOST_PID)));
    assert_ne!(host.root, ours.root);
    assert!(HostIdentity::read(Path::new("/proc")).root.is_some());
    let put = |file: &str, text: &str| std::fs::write(proc_root.join(file), text).unwrap();
    let without_cgroups = || HostIdentity::read(&proc_root).without_cgroups;
    assert!(!without_cgroups(), "nothing is known");
    put("self/stat", "1 (init) S");
    assert!(without_cgroups());
    put("self/cgroup", "0::/\n");
    assert!(!without_cgroups());
    put("1/cgroup", "");
    assert!(without_cgroups());
}
