//! From the text of /proc/PID/cgroup to the container: every shape that a runtime is known to make, in one table of
//! rules over path segments. Pure; a container chooses part of this text, so an id is taken only if it looks like one.

use crate::container::{ContainerKey, Runtime};

/// What a cgroup membership says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// The innermost container.
    pub inner: Option<ContainerKey>,
    /// The outermost one, where it is another.
    pub outer: Option<ContainerKey>,
    /// Every line says `/`. A dead process shows that on every v1 hierarchy (kernel/cgroup/cgroup-v1.c,
    /// `proc_cgroup_show`), so of a zombie it says nothing.
    pub root_only: bool,
}

/// Lines of more than this are nobody's cgroup; the kernel's own limit on a path is 4,096.
const LINE: usize = 8192;
const ID: usize = 256;

/// Which container a process with this /proc/PID/cgroup is in, by the deepest match of all its lines.
pub fn identify(cgroup: &[u8]) -> Membership {
    let mut best: Vec<ContainerKey> = Vec::new();
    let mut rank = 0;
    let mut root_only = true;
    for line in cgroup.split(|b| *b == b'\n').filter(|l| !l.is_empty() && l.len() <= LINE) {
        let mut parts = line.splitn(3, |b| *b == b':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        root_only &= path == b"/";
        let found = containers(path);
        let this_rank = controller_rank(controllers);
        if found.len() > best.len() || (found.len() == best.len() && this_rank > rank) {
            (best, rank) = (found, this_rank);
        }
    }
    let inner = best.last().cloned();
    let outer = best.first().filter(|first| Some(*first) != inner.as_ref()).cloned();
    Membership { inner, outer, root_only }
}

/// Of two lines that say as much, the one whose hierarchy a runtime surely uses.
fn controller_rank(controllers: &[u8]) -> u8 {
    match controllers {
        b"name=systemd" => 4,
        b"pids" => 3,
        b"memory" => 2,
        _ => 1,
    }
}

/// All containers on the way down one path, outermost first; none where it is a runtime's own helper.
fn containers(path: &[u8]) -> Vec<ContainerKey> {
    // `..` leads out of the reader's own cgroup namespace; what follows is still the path below it.
    let segments: Vec<&str> = path
        .split(|b| *b == b'/')
        .filter(|s| !s.is_empty() && *s != b"..")
        .map(|s| std::str::from_utf8(s).unwrap_or("\u{fffd}"))
        .collect();
    let mut found = Vec::new();
    for (i, segment) in segments.iter().enumerate() {
        let above = segments.get(..i).unwrap_or_default();
        match judge(segment, above) {
            Some(Found::Container(runtime, id)) => found.push(ContainerKey { runtime, id: id.into() }),
            Some(Found::HostSide) => return Vec::new(),
            None => {}
        }
    }
    found
}

enum Found<'a> {
    Container(Runtime, &'a str),
    /// conmon and the like: started by the runtime for a container, but not in it.
    HostSide,
}

const HOST_SIDE: &[&str] = &["crio-conmon-", "libpod-conmon-", "lxc.monitor"];

/// `<prefix><id>.scope`, `<prefix><id>`, `...:<prefix without dash>:<id>`.
const PREFIXES: &[(&str, Runtime)] = &[
    ("docker-", Runtime::Docker),
    ("cri-containerd-", Runtime::Containerd),
    ("crio-", Runtime::Crio),
    ("libpod-payload-", Runtime::Podman),
    ("libpod-", Runtime::Podman),
    ("nerdctl-", Runtime::Nerdctl),
];

/// The directory directly above a bare id.
const PARENTS: &[(&str, Shape, Runtime)] = &[
    ("docker", is_hex64, Runtime::Docker),
    ("buildkit", is_buildkit, Runtime::BuildKit),
    ("lxc.payload", is_name, Runtime::Lxc),
    ("garden", is_uuid, Runtime::Garden),
    ("nomad", is_nomad, Runtime::Nomad),
    ("share.slice", is_nomad, Runtime::Nomad),
    ("reserve.slice", is_nomad, Runtime::Nomad),
    ("default", is_name, Runtime::Nerdctl),
];

type Shape = fn(&str) -> bool;

fn judge<'a>(segment: &'a str, above: &[&str]) -> Option<Found<'a>> {
    if HOST_SIDE.iter().any(|p| segment.starts_with(p)) {
        return Some(Found::HostSide);
    }
    let body = segment.strip_suffix(".scope").unwrap_or(segment);
    let parent = above.last().copied().unwrap_or("");
    by_prefix(body)
        .or_else(|| by_colons(segment))
        .or_else(|| by_parent(body, parent, above))
        .or_else(|| by_machine(segment, parent))
        .or_else(|| bare(segment, above))
        .map(|(runtime, id)| Found::Container(runtime, id))
}

fn by_prefix(body: &str) -> Option<(Runtime, &str)> {
    if let Some(name) = body.strip_prefix("lxc.payload.") {
        return is_name(name).then_some((Runtime::Lxc, name));
    }
    if let Some(id) = body.strip_prefix("bpm-") {
        return is_name(id).then_some((Runtime::Garden, id));
    }
    let (prefix, runtime) = PREFIXES.iter().find(|(prefix, _)| body.starts_with(prefix))?;
    let id = body.strip_prefix(prefix)?;
    match runtime {
        Runtime::Docker if is_buildkit(id) => Some((Runtime::BuildKit, id)),
        _ => is_hex64(id).then_some((*runtime, id)),
    }
}

/// A runtime set to the systemd driver under a manager that is not makes `<slice>:<runtime>:<id>` (Falco cri.cpp).
fn by_colons(segment: &str) -> Option<(Runtime, &str)> {
    let mut parts = segment.rsplit(':');
    let (id, name) = (parts.next()?, parts.next()?);
    let (_, runtime) = PREFIXES.iter().find(|(prefix, _)| prefix.strip_suffix('-') == Some(name))?;
    is_hex64(id).then_some((*runtime, id))
}

fn by_parent<'a>(body: &'a str, parent: &str, above: &[&str]) -> Option<(Runtime, &'a str)> {
    let (_, shape, runtime) = PARENTS.iter().find(|(name, ..)| *name == parent)?;
    // `/default/<id>` is containerd's namespace only at the top.
    let out_of_place = *runtime == Runtime::Nerdctl && above.len() != 1;
    (!out_of_place && shape(body)).then_some((*runtime, body))
}

/// systemd-machined's units, and LXC's up to version 3.
fn by_machine<'a>(segment: &'a str, parent: &str) -> Option<(Runtime, &'a str)> {
    if let Some(name) = segment.strip_prefix("systemd-nspawn@").and_then(|s| s.strip_suffix(".service")) {
        return is_unit_name(name).then_some((Runtime::Nspawn, name));
    }
    if parent == "lxc" {
        return is_name(segment).then_some((Runtime::Lxc, segment));
    }
    let name = segment.strip_prefix("machine-")?.strip_suffix(".scope")?;
    if let Some(name) = name.strip_prefix("lxc\\x2d") {
        return is_unit_name(name).then_some((Runtime::Lxc, name));
    }
    // A virtual machine is no container: its guest's processes are not the host's.
    (!name.starts_with("qemu\\x2d") && is_unit_name(name)).then_some((Runtime::Nspawn, name))
}

/// An id without any name beside it.
fn bare<'a>(segment: &'a str, above: &[&str]) -> Option<(Runtime, &'a str)> {
    let under = |name: &str| above.iter().any(|s| *s == name || s.starts_with(name));
    if is_fargate(segment) && under("ecs") {
        return Some((Runtime::Ecs, segment));
    }
    if !is_hex64(segment) || above.is_empty() {
        return None;
    }
    let runtime = if under("kubepods") {
        Runtime::Containerd
    } else if under("ecs") {
        Runtime::Docker
    } else {
        Runtime::Unknown
    };
    Some((runtime, segment))
}

fn is_hex64(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// BuildKit's identity/randomid.go: 25 digits of base 36.
fn is_buildkit(id: &str) -> bool {
    id.len() == 25 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'))
}

fn is_name(id: &str) -> bool {
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=ID).contains(&id.len()) && id.bytes().all(sane) && !id.starts_with('.')
}

/// systemd escapes what is not sane as `\x2d`.
fn is_unit_name(id: &str) -> bool {
    (1..=ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-\\:".contains(&b))
}

fn is_uuid(id: &str) -> bool {
    let mut lengths = [8, 4, 4, 4, 12].into_iter();
    let parts: Vec<&str> = id.split('-').collect();
    parts.len() == 5
        && parts.iter().all(|p| Some(p.len()) == lengths.next() && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `<alloc uuid>.<task>`
fn is_nomad(id: &str) -> bool {
    id.split_once('.').is_some_and(|(alloc, task)| is_uuid(alloc) && is_name(task))
}

/// `<32 hex>-<digits>`
fn is_fargate(id: &str) -> bool {
    id.split_once('-').is_some_and(|(task, n)| {
        task.len() == 32
            && task.bytes().all(|b| b.is_ascii_hexdigit())
            && (1..=20).contains(&n.len())
            && n.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3ad7b26ded6d8e7b23da7d48fe889434573036c27ae5a74837233de441c3601e";
    const B: &str = "a8b0e0d2c5f31e4b5f6a7890123456789abcdef0123456789abcdef012345678";
    const BUILD: &str = "w0kydzf4rt1i2x9qm5c3p7n8h";
    const POD: &str = "05869489-8c7f-45dc-9abd-1b1620787bb1";
    const POD_: &str = "05869489_8c7f_45dc_9abd_1b1620787bb1";

    fn inner(path: &str) -> Option<(Runtime, String)> {
        let path = path.replace("{A}", A).replace("{B}", B).replace("{BUILD}", BUILD);
        let path = path.replace("{POD}", POD).replace("{POD_}", POD_);
        let found = identify(format!("0::{path}\n").as_bytes());
        found.inner.map(|k| (k.runtime, k.id.to_string()))
    }

    #[test]
    fn every_shape_of_the_table() {
        use Runtime::{BuildKit, Containerd, Crio, Docker, Ecs, Garden, Lxc, Nerdctl, Nomad, Nspawn, Podman, Unknown};
        let fargate = "0123456789abcdef0123456789abcdef-1234567890";
        let nomad = "05869489-8c7f-45dc-9abd-1b1620787bb1.redis";
        let rows: &[(&str, Runtime, &str)] = &[
            ("/docker/{A}", Docker, A),
            ("/docker/{A}/init.scope", Docker, A),
            ("/custom/{A}", Unknown, A),
            ("/actions_job/{A}", Unknown, A),
            ("/system.slice/docker-{A}.scope", Docker, A),
            ("/system.slice/docker-{A}.scope (deleted)", Docker, A),
            ("/../../system.slice/docker-{A}.scope", Docker, A),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope", Docker, A),
            ("/docker/buildkit/{BUILD}", BuildKit, BUILD),
            ("/system.slice/docker-{BUILD}.scope", BuildKit, BUILD),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice/cri-containerd-{A}.scope",
                Containerd,
                A,
            ),
            ("/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{A}.scope", Containerd, A),
            ("/kubepods/burstable/pod{POD}/{A}", Containerd, A),
            ("/kubepods/besteffort/pod{POD}/{A}", Containerd, A),
            ("/kubepods-burstable-pod{POD_}.slice:cri-containerd:{A}", Containerd, A),
            ("/system.slice/containerd.service/kubepods-besteffort-pod{POD_}.slice:cri-containerd:{A}", Containerd, A),
            ("/kubepods.slice/kubepods-burstable-pod{POD_}.slice/docker-{A}.scope", Docker, A),
            ("/kubepods.slice/kubepods-besteffort-pod{POD_}.slice/crio-{A}.scope", Crio, A),
            ("/kubepods.slice/kubepods-besteffort-pod{POD_}.slice/crio-{A}.scope/container", Crio, A),
            ("/kubepods/burstable/pod{POD}/crio-{A}", Crio, A),
            ("/machine.slice/libpod-{A}.scope", Podman, A),
            ("/machine.slice/libpod-{A}.scope/container", Podman, A),
            ("/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", Podman, A),
            ("/libpod_parent/libpod-{A}", Podman, A),
            ("/system.slice/web.service/libpod-payload-{A}", Podman, A),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container", Podman, A),
            ("/system.slice/nerdctl-{A}.scope", Nerdctl, A),
            ("/default/redis", Nerdctl, "redis"),
            ("/default/{A}", Nerdctl, A),
            ("/lxc/web", Lxc, "web"),
            ("/lxc/web/system.slice/cron.service", Lxc, "web"),
            ("/lxc.payload/web_1", Lxc, "web_1"),
            ("/lxc.payload.web-1/init.scope", Lxc, "web-1"),
            ("/lxc.payload.project_web", Lxc, "project_web"),
            ("/machine.slice/systemd-nspawn@deb12.service/payload/init.scope", Nspawn, "deb12"),
            ("/machine.slice/machine-deb\\x2d12.scope", Nspawn, "deb\\x2d12"),
            ("/machine.slice/machine-lxc\\x2d11293\\x2dbox.scope/libvirt", Lxc, "11293\\x2dbox"),
            ("/ecs/7f1c9d2e-1111-2222-3333-444455556666/{A}", Docker, A),
            ("/ecstasks.slice/ecstasks-7f1c9d2e111122223333444455556666.slice/docker-{A}.scope", Docker, A),
            ("/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890", Ecs, fargate),
            ("/nomad/05869489-8c7f-45dc-9abd-1b1620787bb1.redis", Nomad, nomad),
            ("/nomad.slice/share.slice/05869489-8c7f-45dc-9abd-1b1620787bb1.redis.scope", Nomad, nomad),
            ("/garden/05869489-8c7f-45dc-9abd-1b1620787bb1", Garden, POD),
            ("/system.slice/runc-bpm-x.scope/bpm-rep", Garden, "rep"),
        ];
        for (path, runtime, id) in rows {
            assert_eq!(inner(path), Some((*runtime, (*id).to_owned())), "{path}");
        }
    }

    #[test]
    fn what_is_no_container() {
        let rows = [
            "/",
            "/init.scope",
            "/system.slice/docker.service",
            "/system.slice/containerd.service",
            "/user.slice/user-1000.slice/session-2.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice",
            "/kubepods/burstable/pod{POD}",
            "/kubepods.slice/kubepods-besteffort-pod{POD_}.slice/crio-conmon-{A}.scope",
            "/machine.slice/libpod-conmon-{A}.scope",
            "/lxc.monitor/web",
            "/lxc.monitor.web",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
            "/docker/3ad7b26ded6d",
            "/docker/3AD7B26DED6D8E7B23DA7D48FE889434573036C27AE5A74837233DE441C3601E",
            "/system.slice/docker-{A}x.scope",
            "/lxc/..web",
            "/lxc/a b",
            "/{A}",
            "/user/default/redis",
            "/garden/not-a-uuid",
            "/ecs/abc-1",
        ];
        for path in rows {
            assert_eq!(inner(path), None, "{path}");
        }
    }

    #[test]
    fn nested_containers_are_both_named() {
        let rows = [
            ("/docker/{A}/docker/{B}", Runtime::Docker, Runtime::Docker),
            (
                "/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD_}.slice/cri-containerd-{B}.scope",
                Runtime::Docker,
                Runtime::Containerd,
            ),
            (
                "/system.slice/docker-{A}.scope/machine.slice/libpod-{B}.scope/container",
                Runtime::Docker,
                Runtime::Podman,
            ),
        ];
        for (path, outer, inner) in rows {
            let path = path.replace("{A}", A).replace("{B}", B).replace("{POD_}", POD_);
            let found = identify(format!("0::{path}").as_bytes());
            assert_eq!(found.outer.map(|k| (k.runtime, k.id.to_string())), Some((outer, A.into())), "{path}");
            assert_eq!(found.inner.map(|k| (k.runtime, k.id.to_string())), Some((inner, B.into())), "{path}");
        }
        assert_eq!(identify(format!("0::/docker/{A}").as_bytes()).outer, None);
    }

    #[test]
    fn all_lines_are_asked_and_the_deepest_counts() {
        let v1 = format!("9:name=systemd:/docker/{A}\n8:pids:/docker/{A}\n1:cpu:/\n0::/\n");
        assert_eq!(identify(v1.as_bytes()).inner.map(|k| k.id.to_string()), Some(A.into()));
        let split = format!("2:cpu:/docker/{B}\n9:name=systemd:/docker/{A}\n");
        assert_eq!(identify(split.as_bytes()).inner.map(|k| k.id.to_string()), Some(A.into()));
        let nested = format!("9:name=systemd:/docker/{A}\n2:cpu:/docker/{A}/docker/{B}\n");
        assert_eq!(identify(nested.as_bytes()).inner.map(|k| k.id.to_string()), Some(B.into()));
    }

    #[test]
    fn root_only_is_said() {
        assert!(identify(b"9:name=systemd:/\n0::/\n").root_only);
        assert!(!identify(b"9:name=systemd:/\n0::/system.slice/x\n").root_only);
        assert!(!identify(format!("0::/docker/{A}").as_bytes()).root_only);
    }

    #[test]
    fn hostile_text_is_no_container() {
        let long = format!("0::/{}docker/{A}", "x/".repeat(5000));
        for bytes in [&b""[..], b"\n\n", b"0", b"0:", b"0::", b"::::", b"\xff\xfe:\xff:/\xff", long.as_bytes()] {
            assert_eq!(identify(bytes).inner, None);
        }
        let colons = format!("1:a:b:/docker/{A}\n");
        assert_eq!(identify(colons.as_bytes()).inner.map(|k| k.id.to_string()), Some(A.into()));
        let name = format!("0::/lxc.payload.{}", "a".repeat(300));
        assert_eq!(identify(name.as_bytes()).inner, None);
    }
}
