//! The shapes that the runtimes give to the cgroups of their containers, one segment of a path at a time.
//! What the lines of /proc/PID/cgroup amount to is said one level up.

use std::borrow::Cow;
use std::sync::Arc;

use crate::container::{ContainerKey, Runtime};

/// Longest name of a container: LXC's and the file system's limit.
const MAX_ID: usize = 255;

/// What a runtime puts before the 64 digits of a systemd scope or a cgroup of its own.
const PREFIXES: &[(&[u8], Runtime)] = &[
    (b"docker-", Runtime::Docker),
    (b"cri-containerd-", Runtime::Containerd),
    (b"crio-", Runtime::Crio),
    (b"libpod-payload-", Runtime::Podman),
    (b"libpod-", Runtime::Podman),
    (b"nerdctl-", Runtime::Nerdctl),
];

/// The runtime's word in `slice:word:id`, the name that comes about where its cgroup driver is not systemd's.
const DRIVERS: &[(&[u8], Runtime)] = &[
    (b"docker", Runtime::Docker),
    (b"cri-containerd", Runtime::Containerd),
    (b"crio", Runtime::Crio),
    (b"libpod", Runtime::Podman),
    (b"nerdctl", Runtime::Nerdctl),
];

/// Parents of which the shapes above know every child: what else lies there is no container.
const OTHERS_PARENTS: &[&[u8]] = &[
    b"docker",
    b"buildkit",
    b"kubepods",
    b"libpod_parent",
    b"lxc",
    b"machine",
    b"libvirt",
    b"ecs",
    b"nomad",
    b"garden",
];

/// Cgroups in which a runtime keeps its own processes: nothing below them is a container.
const HOST_SIDE: &[&[u8]] = &[b"crio-conmon-", b"libpod-conmon-", b"lxc.monitor.", b"lxc.monitor-"];

/// One id found in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) runtime: Runtime,
    pub(super) id: Cow<'a, [u8]>,
}

impl Found<'_> {
    pub(super) fn key(&self) -> ContainerKey {
        // `is_name` has let nothing but ASCII pass.
        ContainerKey { runtime: self.runtime, id: Arc::from(String::from_utf8_lossy(&self.id)) }
    }
}

/// What the segments before the present one say about it.
#[derive(Default)]
pub(super) struct Above<'a> {
    parent: &'a [u8],
    depth: usize,
    inside: bool,
    user: bool,
    kubepods: bool,
    nomad: bool,
    ecs: bool,
    garden: bool,
    libvirt: bool,
}

impl<'a> Above<'a> {
    /// The view from a container's own segment: inside it a tree of its own begins.
    pub(super) fn inside(segment: &'a [u8]) -> Self {
        Self { inside: true, parent: segment, ..Self::default() }
    }

    /// Goes below `segment`, which names no container.
    pub(super) fn pass(&mut self, segment: &'a [u8]) {
        self.user |= segment == b"user.slice";
        self.kubepods |= segment.starts_with(b"kubepods") || contains(segment, b"-kubepods");
        self.nomad |= segment == b"nomad" || segment == b"nomad.slice";
        self.ecs |= segment == b"ecs";
        self.garden |= segment.starts_with(b"garden");
        self.libvirt |= segment == b"libvirt";
        self.depth += 1;
        self.parent = segment;
    }

    /// The container that `segment` names, if it does; `below` is the segment after it, or nothing.
    pub(super) fn judge(&self, segment: &'a [u8], below: &[u8]) -> Option<Found<'a>> {
        // A slice holds units; those of pods carry a pod's id, which is not a container's.
        if segment.ends_with(b".slice") {
            return None;
        }
        let stem = segment.strip_suffix(b".scope").unwrap_or(segment);
        colon_form(segment)
            .or_else(|| prefixed(stem, self.user))
            .or_else(|| self.lxc(segment))
            .or_else(|| machine(segment, below))
            .or_else(|| self.by_parent(stem))
            .or_else(|| self.nerdctl(segment))
            .or_else(|| self.digits(segment))
    }

    /// `/lxc/<name>` up to LXC 3, `/lxc.payload/<name>`, `/lxc.payload.<name>` from 4.0; Proxmox writes `lxc.payload-<name>`.
    fn lxc(&self, segment: &'a [u8]) -> Option<Found<'a>> {
        let name = if self.parent == b"lxc" || self.parent == b"lxc.payload" {
            segment
        } else {
            segment.strip_prefix(b"lxc.payload.").or_else(|| segment.strip_prefix(b"lxc.payload-"))?
        };
        // `/libvirt/lxc/<name>` was libvirt's before systemd.
        found(if self.libvirt { Runtime::LibvirtLxc } else { Runtime::Lxc }, name)
    }

    /// Shapes whose ids mean something only below a certain parent.
    fn by_parent(&self, stem: &'a [u8]) -> Option<Found<'a>> {
        if self.parent == b"buildkit" && is_buildkit(stem) {
            return found(Runtime::BuildKit, stem);
        }
        if self.ecs && is_fargate(stem) {
            return found(Runtime::Ecs, stem);
        }
        if self.nomad && is_allocation(stem) {
            return found(Runtime::Nomad, stem);
        }
        if self.garden && is_uuid(stem) {
            return found(Runtime::Garden, stem);
        }
        None
    }

    /// nerdctl and ctr: the containerd namespace, then the container's own name. Other namespaces than their usual ones
    /// make a [`Membership::Candidate`].
    fn nerdctl(&self, segment: &'a [u8]) -> Option<Found<'a>> {
        let namespace = self.depth == 1 && !self.inside && (self.parent == b"default" || self.parent == b"k8s.io");
        if namespace && !is_unit(segment) { found(Runtime::Nerdctl, segment) } else { None }
    }

    /// A bare 64-digit id: its parent names the runtime, or nobody does.
    fn digits(&self, segment: &'a [u8]) -> Option<Found<'a>> {
        // A pod of podman; and what users may make below their own service, where no runtime makes bare ids.
        if !is_digest(segment) || self.parent == b"libpod_parent" || (self.user && !self.inside) {
            return None;
        }
        let runtime = match self.parent {
            b"docker" => Runtime::Docker,
            _ if self.ecs => Runtime::Docker,
            _ if self.kubepods => Runtime::Containerd,
            _ => Runtime::Unknown,
        };
        found(runtime, segment)
    }
}

/// `<slice>:<runtime>:<id>`, where kubelet speaks systemd's language and the runtime cgroupfs'.
fn colon_form(segment: &[u8]) -> Option<Found<'_>> {
    let mut parts = segment.rsplit(|b| *b == b':');
    let (id, driver, _slice) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, runtime) = DRIVERS.iter().find(|(word, _)| *word == driver)?;
    // BuildKit inside dockerd with systemd's driver hands its runc dockerd's words as a path (moby, builder-next; from 0.10).
    if *runtime == Runtime::Docker && is_buildkit(id) {
        return found(Runtime::BuildKit, id);
    }
    if is_digest(id) { found(*runtime, id) } else { None }
}

/// `docker-<64>`, `libpod-<64>` and their like, with or without `.scope`; of words that we do not know the scope's 64 digits
/// alone count.
fn prefixed(stem: &[u8], user: bool) -> Option<Found<'_>> {
    for (prefix, runtime) in PREFIXES {
        match stem.strip_prefix(*prefix) {
            Some(id) if is_digest(id) => return found(*runtime, id),
            // As dockerd's own word for it would be (moby, daemon_unix.go).
            Some(id) if *runtime == Runtime::Docker && is_buildkit(id) => return found(Runtime::BuildKit, id),
            _ => {}
        }
    }
    if let Some(id) = stem.strip_prefix(b"buildkit-").filter(|id| is_buildkit(id)) {
        return found(Runtime::BuildKit, id);
    }
    // A step of `podman build` (buildah, run_common.go: the runtime's name, then the container's).
    if let Some(id) = [&b"crun-buildah-"[..], b"runc-buildah-"].iter().find_map(|prefix| stem.strip_prefix(*prefix)) {
        let number = id.strip_prefix(b"buildah")?;
        return if number.iter().all(u8::is_ascii_digit) { found(Runtime::Buildah, id) } else { None };
    }
    // BPM's encoding of a job's name (bpm-release, jobid/encoding.go).
    if let Some(id) = stem.strip_prefix(b"bpm-").filter(|id| !is_unit(id)) {
        return found(Runtime::Garden, id);
    }
    let (word, id) = stem.split_at_checked(stem.len().checked_sub(64)?)?;
    let word = word.strip_suffix(b"-")?;
    let host_side = [b"conmon".as_slice(), b"monitor", b"pod", b"shim"].iter().any(|part| contains(word, part));
    let plain = !word.is_empty() && word.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_');
    if is_digest(id) && plain && !host_side && !user { found(Runtime::Unknown, id) } else { None }
}

/// systemd-nspawn and what registers with machined. The supervisor's own cgroup is the host's.
fn machine<'a>(segment: &'a [u8], below: &[u8]) -> Option<Found<'a>> {
    if below == b"supervisor" {
        return None;
    }
    if let Some(name) = segment.strip_prefix(b"systemd-nspawn@").and_then(|s| s.strip_suffix(b".service")) {
        return found(Runtime::Nspawn, unescape(name));
    }
    // A unit that keeps its own name (`--keep-unit`, NixOS' containers): what it starts is split in two all the same.
    if below == b"payload"
        && let Some(stem) = segment.strip_suffix(b".service")
    {
        let instance = stem.iter().position(|b| *b == b'@').and_then(|at| stem.get(at + 1..));
        return found(Runtime::Nspawn, unescape(instance.unwrap_or(stem)));
    }
    // libvirt without systemd.
    if let Some(name) = segment.strip_suffix(b".libvirt-lxc") {
        return found(Runtime::LibvirtLxc, name);
    }
    let name = unescape(segment.strip_prefix(b"machine-")?.strip_suffix(b".scope")?);
    // libvirt registers `lxc-<pid>-<name>` and `qemu-<number>-<name>`; the latter is a virtual machine.
    if name.starts_with(b"qemu-") {
        return None;
    }
    let mut parts = name.splitn(3, |b| *b == b'-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(b"lxc"), Some(pid), Some(name)) if pid.iter().all(u8::is_ascii_digit) => {
            found(Runtime::LibvirtLxc, name.to_vec())
        }
        _ => found(Runtime::Nspawn, name),
    }
}

/// `/<namespace>/<name>` and what is below it, unless either is a unit of systemd or the name would not do.
pub(super) fn namespaced(path: &[u8]) -> Option<Found<'_>> {
    let mut segments = path.split(|b| *b == b'/').filter(|s| !s.is_empty());
    let (namespace, name) = (segments.next()?, segments.next()?);
    let plain = |s: &[u8]| is_name(s) && !is_unit(s) && s.first().is_some_and(u8::is_ascii_alphanumeric);
    let spoken_for = OTHERS_PARENTS.contains(&namespace) || is_host_side(namespace);
    if plain(namespace) && plain(name) && !spoken_for { found(Runtime::Unknown, name) } else { None }
}

/// The runtime and its id, if that is made of what ids are made of.
fn found<'a>(runtime: Runtime, id: impl Into<Cow<'a, [u8]>>) -> Option<Found<'a>> {
    let id = id.into();
    is_name(&id).then_some(Found { runtime, id })
}

fn is_name(id: &[u8]) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
        && id.iter().any(u8::is_ascii_alphanumeric)
}

/// The name of a unit of systemd.
fn is_unit(name: &[u8]) -> bool {
    [b".service".as_slice(), b".scope", b".slice", b".socket", b".mount", b".swap"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn is_lower_hex(b: &u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

/// 64 hexadecimal digits.
pub(in crate::container) fn is_digest(id: &[u8]) -> bool {
    id.len() == 64 && id.iter().all(is_lower_hex)
}

/// 25 digits to the base 36 (buildkit, identity/randomid.go).
fn is_buildkit(id: &[u8]) -> bool {
    id.len() == 25 && id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'))
}

/// `<32 digits>-<number>`, a container of ECS on Fargate.
fn is_fargate(id: &[u8]) -> bool {
    id.split_at_checked(32).is_some_and(|(task, rest)| {
        let number = rest.strip_prefix(b"-").unwrap_or_default();
        task.iter().all(is_lower_hex) && (1..=10).contains(&number.len()) && number.iter().all(u8::is_ascii_digit)
    })
}

/// `8-4-4-4-12` digits, or Garden's own `8-4-4-4-4`.
fn is_uuid(id: &[u8]) -> bool {
    let mut groups = id.split(|b| *b == b'-');
    let sizes = [8, 4, 4, 4];
    let head = sizes.iter().all(|size| groups.next().is_some_and(|g| g.len() == *size && g.iter().all(is_lower_hex)));
    let tail = groups.next().is_some_and(|g| (g.len() == 12 || g.len() == 4) && g.iter().all(is_lower_hex));
    head && tail && groups.next().is_none()
}

/// Nomad's `<allocation's uuid>.<task>`.
fn is_allocation(stem: &[u8]) -> bool {
    stem.split_at_checked(36).is_some_and(|(uuid, task)| is_uuid(uuid) && task.len() > 1 && task.starts_with(b"."))
}

/// `\x2d` and its like in the name of a unit (systemd-escape(1)).
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, more)) = rest.split_first() {
        let digits = if *first == b'\\' { more.strip_prefix(b"x").and_then(|m| m.get(..2)) } else { None };
        match digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = more;
            }
        }
    }
    plain
}

pub(super) fn is_host_side(segment: &[u8]) -> bool {
    segment == b"lxc.monitor" || segment == b"kata_overhead" || HOST_SIDE.iter().any(|start| segment.starts_with(start))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
