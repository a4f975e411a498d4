//! Which container a process belongs to, and what the container is called.
//! [`cgroup`] and [`Registry::place`] are pure; the runtimes' files are read by `docker` and its siblings, in a worker.

pub mod cgroup;
pub mod docker;
pub mod mounted;
pub mod passwd;
pub mod registry;
pub mod runtimes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use registry::{HostIdentity, Registry};

/// Who made a container, as far as the shape of its cgroup tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// Docker Engine, also under cri-dockerd or ECS.
    Docker,
    /// A build step of BuildKit inside dockerd.
    BuildKit,
    /// A build step of buildah, as of `podman build`.
    Buildah,
    /// containerd under Kubernetes' CRI.
    Containerd,
    /// CRI-O.
    Crio,
    /// podman.
    Podman,
    /// nerdctl or ctr.
    Nerdctl,
    /// LXC, LXD, Incus.
    Lxc,
    /// Containers of libvirt's LXC driver.
    LibvirtLxc,
    /// systemd-nspawn and what else registers with machined.
    Nspawn,
    /// Amazon ECS on Fargate.
    Ecs,
    /// Nomad's exec and raw_exec drivers.
    Nomad,
    /// Garden and BPM of Cloud Foundry.
    Garden,
    /// No runtime known: a mount namespace of its own and a root directory other than the host's.
    Sandbox,
    /// An id under a parent that names no runtime (`--cgroup-parent`, a containerd namespace).
    Unknown,
}

impl Runtime {
    /// Whether what it makes are the steps of a build of an image.
    pub fn builds(self) -> bool {
        matches!(self, Self::BuildKit | Self::Buildah)
    }

    /// The word used in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::BuildKit => "buildkit",
            Self::Buildah => "buildah",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
            Self::Lxc => "lxc",
            Self::LibvirtLxc => "libvirt-lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::Ecs => "ecs",
            Self::Nomad => "nomad",
            Self::Garden => "garden",
            Self::Sandbox => "sandbox",
            Self::Unknown => "unknown",
        }
    }
}

/// A container's name for us: its runtime and the runtime's id, in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerKey {
    /// Who made it.
    pub runtime: Runtime,
    /// The runtime's id: 64 hexadecimal digits, or a name.
    pub id: Arc<str>,
}

impl ContainerKey {
    /// Whether no runtime is known of it.
    pub fn is_sandbox(&self) -> bool {
        self.runtime == Runtime::Sandbox
    }

    /// Whether another name of the same goes before this one, which was given before a runtime had put the process into its
    /// cgroup.
    pub fn gives_way_to(&self, other: &Self) -> bool {
        self.is_sandbox() && !other.is_sandbox()
    }
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.runtime.as_str(), self.id)
    }
}

/// Whose limits hold: a container's own, and those of the outermost one around it, the same where they do not nest. What
/// lies in a container chooses the names of those within.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Payer {
    /// The innermost container.
    pub container: ContainerKey,
    /// The outermost.
    pub outermost: ContainerKey,
}

impl Payer {
    /// For a container, and the outermost one where they nest.
    pub fn new(inner: &ContainerKey, outer: Option<&ContainerKey>) -> Self {
        Self { container: inner.clone(), outermost: outer.unwrap_or(inner).clone() }
    }

    /// Nobody's container: the host's own.
    pub fn host() -> Self {
        Self::new(&ContainerKey { runtime: Runtime::Unknown, id: "".into() }, None)
    }
}

/// How a process' container is known, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// By the process' cgroup.
    Cgroup,
    /// By the container of its parent.
    Lineage,
    /// By its mount namespace.
    Namespace,
}

/// Where a process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// On the host, in no container.
    Host,
    /// In a container.
    Container {
        /// The innermost one.
        inner: ContainerKey,
        /// The outermost one, where they nest.
        outer: Option<ContainerKey>,
        /// How we know.
        by: Attribution,
    },
    /// Not yet known, or dead before it could be asked. Never to be taken for the host.
    Unknown,
}

/// What a runtime's files say of a container. All of it is hostile text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name as its user gave it.
    pub name: Option<String>,
    /// Image name without its tag.
    pub image_name: Option<String>,
    /// Image tag.
    pub image_tag: Option<String>,
    /// `sha256:` and the image's id.
    pub image_id: Option<String>,
    /// Labels, keys as given.
    pub labels: BTreeMap<String, String>,
    /// There are more labels than these, or longer ones.
    pub labels_cut: bool,
}
