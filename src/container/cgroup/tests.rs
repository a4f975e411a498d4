//! The table of shapes, row by row, and what hostile names make of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::Runtime::{self, *};
use super::*;

const A: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
const B: &str = "d52db56a9c80d536a91354c0951c061187ca46249e64865a12703003d8f42366";
const BUILD: &str = "q3v8y2m9k1x7c5z0b4n6w2p8d";
const UUID: &str = "63b3ebfc-2890-11e9-8154-16bf8ef8d9dc";

/// `$A`, `$B`, `$BUILD` and `$UUID` in a path.
fn fill(path: &str) -> String {
    path.replace("$BUILD", BUILD).replace("$UUID", UUID).replace("$A", A).replace("$B", B)
}

fn key(runtime: Runtime, id: &str) -> ContainerKey {
    ContainerKey { runtime, id: fill(id).into() }
}

fn v2(path: &str) -> Membership {
    identify(format!("0::{}\n", fill(path)).as_bytes())
}

/// A host of version 1, whose hierarchies all show the path; version 2 beside it shows the daemon's.
fn v1(path: &str) -> Membership {
    let path = fill(path);
    let mut lines = String::new();
    for (n, controllers) in
        ["rdma", "pids", "net_cls,net_prio", "cpuset", "memory", "cpu,cpuacct", "name=systemd"].iter().enumerate()
    {
        let path = if *controllers == "rdma" && path.starts_with("/my_") { "/" } else { &path };
        lines += &format!("{}:{controllers}:{path}\n", 13 - n);
    }
    identify((lines + "0::/system.slice/containerd.service\n").as_bytes())
}

fn alone(runtime: Runtime, id: &str) -> Membership {
    Membership::Container { inner: key(runtime, id), outer: None }
}

fn nested(outer: (Runtime, &str), inner: (Runtime, &str)) -> Membership {
    Membership::Container { inner: key(inner.0, inner.1), outer: Some(key(outer.0, outer.1)) }
}

#[test]
fn every_shape_of_every_runtime() {
    let table: &[(&str, Runtime, &str)] = &[
        // Docker, cgroupfs.
        ("/docker/$A", Docker, "$A"),
        ("/docker/$A/init", Docker, "$A"),
        ("/docker/$A/system.slice/ssh.service", Docker, "$A"),
        ("/system.slice/docker.service/docker/$A", Docker, "$A"),
        // --cgroup-parent names no runtime.
        ("/actions_job/$A", Unknown, "$A"),
        ("/build.d/team-1/$A", Unknown, "$A"),
        ("/$A", Unknown, "$A"),
        // Docker, systemd.
        ("/system.slice/docker-$A.scope", Docker, "$A"),
        ("/docker.slice/docker-$A.scope", Docker, "$A"),
        ("/system.slice/docker-$A.scope/init.scope", Docker, "$A"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-$A.scope", Docker, "$A"),
        // BuildKit.
        ("/docker/buildkit/$BUILD", BuildKit, "$BUILD"),
        ("/system.slice/docker-$BUILD.scope", BuildKit, "$BUILD"),
        ("/system.slice/system.slice:docker:$BUILD", BuildKit, "$BUILD"),
        ("/system.slice/foo.slice:docker:$BUILD", BuildKit, "$BUILD"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/user.slice:docker:$BUILD", BuildKit, "$BUILD"),
        // buildah.
        ("/system.slice/crun-buildah-buildah2365838308.scope", Buildah, "buildah2365838308"),
        ("/machine.slice/runc-buildah-buildah7.scope", Buildah, "buildah7"),
        ("/buildkit/$BUILD", BuildKit, "$BUILD"),
        ("/system.slice/buildkit-$BUILD.scope", BuildKit, "$BUILD"),
        // Kubernetes with containerd.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod63b3ebfc_2890_11e9_8154_16bf8ef8d9dc.slice/cri-containerd-$A.scope",
            Containerd,
            "$A",
        ),
        (
            "/kubepods.slice/kubepods-pod63b3ebfc_2890_11e9_8154_16bf8ef8d9dc.slice/cri-containerd-$A.scope",
            Containerd,
            "$A",
        ),
        ("/kubepods/besteffort/podac04f3f2-1f2c-11e9-b015-1ebee232acfa/$A", Containerd, "$A"),
        ("/kubepods/pod$UUID/$A", Containerd, "$A"),
        ("/kubepods-burstable-podbd12dd3393227d950605a2444b13c27a.slice:cri-containerd:$A", Containerd, "$A"),
        (
            "/system.slice/containerd.service/kubepods-burstable-podbd12dd3393227d950605a2444b13c27a.slice:cri-containerd:$A",
            Containerd,
            "$A",
        ),
        // cri-dockerd, dockershim.
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod63b3ebfc_2890.slice/docker-$A.scope",
            Docker,
            "$A",
        ),
        // CRI-O.
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod63b3ebfc_2890_11e9_8154_16bf8ef8d9dc.slice/crio-$A.scope",
            Crio,
            "$A",
        ),
        ("/kubepods.slice/kubepods-pod63b3ebfc.slice/crio-$A.scope/container", Crio, "$A"),
        ("/kubepods/besteffort/pod$UUID/crio-$A", Crio, "$A"),
        // podman.
        ("/machine.slice/libpod-$A.scope", Podman, "$A"),
        ("/machine.slice/libpod-$A.scope/container", Podman, "$A"),
        ("/machine.slice/libpod-$A.scope/container/init.scope", Podman, "$A"),
        ("/machine.slice/machine-libpod_pod_$B.slice/libpod-$A.scope", Podman, "$A"),
        ("/libpod_parent/libpod-$A", Podman, "$A"),
        ("/libpod_parent/libpod-$A/ctr", Podman, "$A"),
        ("/libpod_parent/$B/libpod-$A", Podman, "$A"),
        ("/system.slice/libpod-$A", Podman, "$A"),
        (
            "/system.slice/system-ceph-f952f5be.slice/ceph-f952f5be@mon.ip-10-0-25-96.service/libpod-payload-$A",
            Podman,
            "$A",
        ),
        ("/system.slice/web.service/libpod-payload-$A.scope", Podman, "$A"),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-$A.scope/container", Podman, "$A"),
        ("/user.slice/user-1000.slice/user@1000.service/libpod-$A", Podman, "$A"),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_$B.slice/libpod-$A.scope/container",
            Podman,
            "$A",
        ),
        // nerdctl, ctr.
        ("/system.slice/nerdctl-$A.scope", Nerdctl, "$A"),
        ("/default/$A", Nerdctl, "$A"),
        ("/default/redis", Nerdctl, "redis"),
        ("/default/test_container", Nerdctl, "test_container"),
        ("/default/service.container", Nerdctl, "service.container"),
        ("/default/a", Nerdctl, "a"),
        ("/k8s.io/my-test_container", Nerdctl, "my-test_container"),
        // LXC, LXD, Incus.
        ("/lxc/web1", Lxc, "web1"),
        ("/lxc/101/ns", Lxc, "101"),
        ("/lxc/101/ns/system.slice/cron.service", Lxc, "101"),
        ("/lxc.payload/web1", Lxc, "web1"),
        ("/lxc.payload.web1", Lxc, "web1"),
        ("/lxc.payload-101", Lxc, "101"),
        ("/lxc.payload.dev_web-1/system.slice/cron.service", Lxc, "dev_web-1"),
        ("/lxc.payload.snapcraft_some-container", Lxc, "snapcraft_some-container"),
        ("/user.slice/user-1000.slice/user@1000.service/lxc.payload.c1/init.scope", Lxc, "c1"),
        ("/lxc/lxc.monitored", Lxc, "lxc.monitored"),
        // systemd-nspawn, machined.
        ("/machine.slice/systemd-nspawn@deb12.service/payload/system.slice/cron.service", Nspawn, "deb12"),
        ("/machine.slice/systemd-nspawn@deb\\x2dnine.service/init.scope", Nspawn, "deb-nine"),
        ("/machine.slice/machine-web\\x2d1.scope/payload", Nspawn, "web-1"),
        ("/machine.slice/container@web.service/payload/system.slice/nginx.service", Nspawn, "web"),
        ("/system.slice/own-name.service/payload/init.scope", Nspawn, "own-name"),
        ("/machine.slice/machine-web.scope", Nspawn, "web"),
        // libvirt's LXC driver.
        (
            "/machine.slice/machine-lxc\\x2d2293906\\x2dlibvirt\\x2dcontainer.scope/libvirt",
            LibvirtLxc,
            "libvirt-container",
        ),
        ("/machine.slice/machine-lxc\\x2d12\\x2dbox.scope", LibvirtLxc, "box"),
        ("/machine/box.libvirt-lxc", LibvirtLxc, "box"),
        ("/libvirt/lxc/box", LibvirtLxc, "box"),
        // ECS.
        ("/ecs/0b4f1a8a5b7c4e2e8a1d3c5e7f9b1d3f/$A", Docker, "$A"),
        ("/ecs/cluster/0b4f1a8a5b7c4e2e8a1d3c5e7f9b1d3f/$A", Docker, "$A"),
        ("/ecstasks.slice/ecstasks-0b4f1a8a5b7c4e2e8a1d3c5e7f9b1d3f.slice/docker-$A.scope", Docker, "$A"),
        (
            "/ecs/34dc0b5e626f2c5c4c5170e34b10e765/34dc0b5e626f2c5c4c5170e34b10e765-1234567890",
            Ecs,
            "34dc0b5e626f2c5c4c5170e34b10e765-1234567890",
        ),
        // Nomad.
        ("/nomad/$UUID.web", Nomad, "$UUID.web"),
        ("/nomad.slice/share.slice/$UUID.web.scope", Nomad, "$UUID.web"),
        ("/nomad.slice/reserve.slice/$UUID.build-1.scope/sub", Nomad, "$UUID.build-1"),
        // Garden, BPM.
        ("/garden/$UUID", Garden, "$UUID"),
        ("/garden-1/good/6f0ccbd5-60b1-4a2d-5ac1-5b3b", Garden, "6f0ccbd5-60b1-4a2d-5ac1-5b3b"),
        ("/system.slice/runc-bpm.slice/bpm-nats-tls.scope", Garden, "nats-tls"),
        ("/bpm-gorouter", Garden, "gorouter"),
        // A runtime that nobody listed.
        ("/system.slice/isulad-$A.scope", Unknown, "$A"),
    ];
    for (path, runtime, id) in table {
        let expected = alone(*runtime, id);
        assert_eq!(v2(path), expected, "v2 {path}");
        assert_eq!(v1(path), expected, "v1 {path}");
        assert_eq!(v2(&format!("{path} (deleted)")), expected, "deleted {path}");
        assert_eq!(v2(&format!("/../..{path}")), expected, "from another cgroup namespace {path}");
    }
}

#[test]
fn nested_containers_are_both_named() {
    let kind = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod63b3.slice/cri-containerd-$B.scope";
    type Id<'a> = (Runtime, &'a str);
    let table: &[(&str, Id, Id)] = &[
        ("/docker/$A/docker/$B", (Docker, "$A"), (Docker, "$B")),
        ("/system.slice/docker-$A.scope/docker/$B", (Docker, "$A"), (Docker, "$B")),
        (&format!("/docker/$A{kind}"), (Docker, "$A"), (Containerd, "$B")),
        (&format!("/machine.slice/libpod-$A.scope/container{kind}"), (Podman, "$A"), (Containerd, "$B")),
        ("/docker/$A/kubelet/kubepods/besteffort/pod$UUID/$B", (Docker, "$A"), (Containerd, "$B")),
        ("/docker/$A/docker/buildkit/$BUILD", (Docker, "$A"), (BuildKit, "$BUILD")),
        ("/lxc.payload.c1/system.slice/docker-$B.scope", (Lxc, "c1"), (Docker, "$B")),
        ("/lxc/outer/lxc/inner", (Lxc, "outer"), (Lxc, "inner")),
        ("/lxc.payload.outer/lxc.payload.inner", (Lxc, "outer"), (Lxc, "inner")),
        ("/docker/$A/lxc.payload.mid/docker/$B", (Docker, "$A"), (Docker, "$B")),
        // In a container bare ids count, though on the host below user.slice they do not.
        ("/user.slice/user-1.slice/user@1.service/docker-$A.scope/job/$B", (Docker, "$A"), (Unknown, "$B")),
    ];
    for (path, outer, inner) in table {
        assert_eq!(v2(path), nested(*outer, *inner), "v2 {path}");
        assert_eq!(v1(path), nested(*outer, *inner), "v1 {path}");
    }
    assert_eq!(v2("/system.slice/libpod-$A.scope/libpod-payload-$A"), alone(Podman, "$A"), "one container named twice");
}

#[test]
fn the_host_side_is_no_container() {
    for path in [
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        "/docker",
        "/docker/buildkit",
        "/init.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r0b4f1a8a5b7c4e2e8a1d3c5e7f9b1d3f.scope",
        // The runtimes' own processes.
        "/machine.slice/libpod-conmon-$A.scope",
        "/system.slice/crio-conmon-$A.scope",
        "/kubepods/besteffort/pod$UUID/crio-conmon-$A",
        "/lxc.monitor.web1",
        "/lxc.monitor/web1",
        "/lxc.monitor-101",
        "/machine.slice/systemd-nspawn@deb12.service/supervisor",
        "/machine.slice/container@web.service/supervisor",
        "/kata_overhead/$A",
        // Pods without their containers.
        "/kubepods.slice/kubepods-pod63b3ebfc_2890_11e9_8154_16bf8ef8d9dc.slice",
        "/kubepods/besteffort/pod$UUID",
        "/machine.slice/machine-libpod_pod_$B.slice",
        "/libpod_parent/$B",
        "/ecs/0b4f1a8a5b7c4e2e8a1d3c5e7f9b1d3f",
        // Virtual machines.
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
        // Nearly ids.
        "/system.slice/docker-605439acbd4f.scope",
        "/system.slice/libpod-${A}g",
        "/docker.slice/docker-$A$A.scope",
        "/system.slice/x/605439ACBD4FB18C145069289094B17F17E0CFA938F78012D4960BC797305F22",
        "/default/some_short_id.service",
        "/default/some_short_id.slice",
        "/default/some_short_id.scope",
        "/default/.scope",
        // What a user may make on the host.
        "/user.slice/user-1000.slice/user@1000.service/$A",
        "/user.slice/user-1000.slice/user@1000.service/docker/$A",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/firefox-$A.scope",
        "/user.slice/user-1000.slice/user@1000.service/$UUID",
        "/x.slice/$UUID",
    ] {
        let path = path.replace("${A}", A);
        assert_eq!(v2(&path), Membership::NoContainer, "v2 {path}");
        assert_eq!(v1(&path), Membership::NoContainer, "v1 {path}");
    }
    assert_eq!(v2("/docker/$A/lxc.monitor.x/docker/$B"), alone(Docker, "$A"), "below a monitor is no container");
}

#[test]
fn an_unknown_namespace_makes_a_candidate() {
    let expected = Membership::Candidate(key(Unknown, "test_container"));
    assert_eq!(v2("/my_very_long_namespace-1.5/test_container"), expected);
    assert_eq!(v1("/my_very_long_namespace-1.5/test_container"), expected, "rdma is not looked at");
    assert_eq!(v2("/my_namespace/test_container/below"), expected);
    for path in ["/my_namespace/x.service", "/x.slice/test", "/alone", "/ns/-", "/ns/a b"] {
        assert_eq!(v2(path), Membership::NoContainer, "{path}");
    }
    // A job manager that uses one hierarchy.
    let one = b"9:name=systemd:/\n8:pids:/\n4:memory:/jobs/7c19411de852ded1\n1:cpu:/\n0::/\n";
    assert_eq!(identify(one), Membership::NoContainer);
}

#[test]
fn root_alone_is_a_state_of_its_own() {
    assert_eq!(v2("/"), Membership::RootOnly);
    assert_eq!(identify(b"8:pids:/\n1:name=systemd:/\n"), Membership::RootOnly);
    assert_eq!(identify(b"8:pids:/\n1:name=systemd:/\n0::/\n"), Membership::RootOnly);
    // A zombie of a container that lives in version 1: its path beside it in version 2 is the daemon's.
    assert_eq!(identify(b"8:pids:/\n1:name=systemd:/\n0::/system.slice/docker.service\n"), Membership::RootOnly);
    // A zombie in version 2 keeps its path.
    let hybrid = format!("8:pids:/\n1:name=systemd:/\n0::/docker/{A}\n");
    assert_eq!(identify(hybrid.as_bytes()), alone(Docker, "$A"));
    assert_eq!(identify(b"8:pids:/\n1:name=systemd:/user.slice\n0::/\n"), Membership::NoContainer);
    assert_eq!(v2("/.."), Membership::NoContainer);
}

#[test]
fn of_several_hierarchies_the_deepest_counts() {
    let lines = format!("5:memory:/docker/{A}/docker/{B}\n4:name=systemd:/docker/{A}\n0::/\n");
    assert_eq!(identify(lines.as_bytes()), nested((Docker, "$A"), (Docker, "$B")));
    let lines = format!("5:memory:/docker/{A}\n4:name=systemd:/docker/{B}\n3:cpu:/\n");
    assert_eq!(identify(lines.as_bytes()), alone(Docker, "$B"), "systemd's at equal depth");
    let lines = format!("3:cpu,cpuacct:/docker/{A}\n2:name=systemd:/system.slice/docker.service\n");
    assert_eq!(identify(lines.as_bytes()), alone(Docker, "$A"));
}

#[test]
fn hostile_names() {
    for bytes in [
        &b""[..],
        b"\n\n\n",
        b"garbage",
        b"0:",
        b"0::",
        b"0::relative/docker",
        b"x::/docker",
        b"\xff\xfe\xfd",
        b":::::::",
    ] {
        assert_eq!(identify(bytes), Membership::Unreadable, "{bytes:?}");
    }
    for path in [
        "/lxc/na\x1b[31mme",
        "/lxc/a b",
        "/lxc/..",
        "/lxc/$(reboot)",
        "/lxc.payload.",
        "/lxc.payload.\u{e9}",
        "/machine.slice/machine-\\x00\\x0a.scope",
        "/machine.slice/systemd-nspawn@.service",
        "/machine.slice/systemd-nspawn@a\\x2fb.service",
    ] {
        assert_eq!(v2(path), Membership::NoContainer, "{path:?}");
    }
    assert_eq!(v2(&format!("/lxc/{}", "n".repeat(255))), alone(Lxc, &"n".repeat(255)));
    assert_eq!(v2(&format!("/lxc/{}", "n".repeat(256))), Membership::NoContainer);
    assert_eq!(v2("/machine.slice/machine-a\\x2.scope"), Membership::NoContainer, "half an escape");
    assert_eq!(identify(b"0::/lxc/\xff\xff\n"), Membership::NoContainer);
    // A colon in a name, and a line break as the kernels before 3.17 let it through: it can add, never hide.
    assert_eq!(v2("/lxc/a:b"), alone(Lxc, "a:b"));
    let broken = format!("4:pids:/docker/{A}/x\n0::/\n");
    assert_eq!(identify(broken.as_bytes()), alone(Docker, "$A"));
    let long = format!("0::/docker/{A}{}\n", "/x".repeat(32 * 1024));
    assert_eq!(identify(long.as_bytes()), alone(Docker, "$A"));
    let deep = format!("0::{}\n", format!("/docker/{A}/docker/{B}").repeat(500));
    assert_eq!(identify(deep.as_bytes()), nested((Docker, "$A"), (Docker, "$B")));
    let many = "7:x:/y\n".repeat(10_000);
    assert_eq!(identify(many.as_bytes()), Membership::NoContainer);
}
