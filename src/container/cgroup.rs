//! Which container the bytes of /proc/PID/cgroup name, of version 1, version 2 or both; the shapes of a path are in `shape`.
//! Pure: whether the process lives, and what else tells where it is, is judged in [`super::registry`].

pub(super) mod shape;

use super::{ContainerKey, Payer};
use crate::event::Look;
use crate::host::DELETED;
use shape::{Above, Found, is_host_side, namespaced};

/// What the cgroups of a process say of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// In a container; `outer` is the outermost where they nest.
    Container {
        /// The innermost one.
        inner: ContainerKey,
        /// The outermost one, where it is another.
        outer: Option<ContainerKey>,
    },
    /// `/<namespace>/<name>` in each hierarchy, as `ctr` makes it and many another: a container's if the process has a
    /// mount namespace and a root directory of its own.
    Candidate(ContainerKey),
    /// Nothing but `/`, or `/` in every hierarchy of version 1: true for a process at the top, and what the kernel shows
    /// of one that is exiting (proc_cgroup_show, kernel/cgroup/cgroup.c).
    RootOnly,
    /// Other paths, and no container among them.
    NoContainer,
    /// No line that could be read.
    Unreadable,
}

impl Membership {
    /// The innermost container, where the cgroup alone names one.
    pub fn inner(&self) -> Option<&ContainerKey> {
        match self {
            Self::Container { inner, .. } => Some(inner),
            _ => None,
        }
    }
}

/// The innermost container that the cgroup in a look names.
pub fn container_of(look: &Look) -> Option<ContainerKey> {
    identify(look.cgroup.as_deref().ok()?).inner().cloned()
}

/// Whose limits hold for the container that the cgroup in a look names.
pub fn payer_of(look: &Look) -> Option<Payer> {
    match identify(look.cgroup.as_deref().ok()?) {
        Membership::Container { inner, outer } => Some(Payer::new(&inner, outer.as_ref())),
        _ => None,
    }
}

/// Reads the bytes of /proc/PID/cgroup, of version 1, version 2 or both. The paths are relative to the reader's cgroup
/// namespace; `/..` at their beginning shows that it is not the host's.
pub fn identify(cgroup: &[u8]) -> Membership {
    let mut lines = Lines::default();
    for line in cgroup.split(|b| *b == b'\n') {
        lines.add(line);
    }
    match lines.best {
        Some((_, chain)) => {
            let inner = chain.inner.key();
            let outer = chain.outer.map(|found| found.key()).filter(|outer| *outer != inner);
            Membership::Container { inner, outer }
        }
        None if lines.read == 0 => Membership::Unreadable,
        None if lines.all_root() => Membership::RootOnly,
        None => match lines.candidate {
            Some(Some(found)) => Membership::Candidate(found.key()),
            _ => Membership::NoContainer,
        },
    }
}

/// What the lines that were read so far amount to.
#[derive(Default)]
struct Lines<'a> {
    read: usize,
    /// Hierarchies of version 1, and those of them that show `/`.
    v1: usize,
    v1_root: usize,
    /// The path of version 2 is `/`.
    v2_root: bool,
    /// The deepest chain, with its depth and the rank of its hierarchy.
    best: Option<((usize, u8), Chain<'a>)>,
    /// `/<namespace>/<name>`, as long as every hierarchy says the same.
    candidate: Option<Option<Found<'a>>>,
}

impl<'a> Lines<'a> {
    /// `hierarchy-id:controllers:path` (cgroups(7)); the path may hold colons.
    fn add(&mut self, line: &'a [u8]) {
        let mut parts = line.splitn(3, |b| *b == b':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { return };
        if !path.starts_with(b"/") || id.is_empty() || !id.iter().all(u8::is_ascii_digit) {
            return;
        }
        let path = path.strip_suffix(DELETED).unwrap_or(path);
        self.read += 1;
        let is_v2 = id == b"0" && controllers.is_empty();
        if is_v2 {
            self.v2_root = path == b"/";
        } else {
            self.v1 += 1;
            self.v1_root += usize::from(path == b"/");
        }
        if let Some(chain) = Chain::read(path) {
            let weight = (chain.depth, rank(is_v2, controllers));
            if self.best.as_ref().is_none_or(|(best, _)| weight > *best) {
                self.best = Some((weight, chain));
            }
        }
        // Beside hierarchies of version 1, version 2 is where a manager keeps its services and not a container; and not
        // every runc knows the controllers rdma and misc.
        let tells = if is_v2 { self.v1 == 0 } else { !matches!(controllers, b"rdma" | b"misc") };
        if tells {
            let here = namespaced(path);
            match &self.candidate {
                None => self.candidate = Some(here),
                Some(before) if *before != here => self.candidate = Some(None),
                Some(_) => {}
            }
        }
    }

    fn all_root(&self) -> bool {
        if self.v1 > 0 { self.v1_root == self.v1 } else { self.v2_root }
    }
}

/// Of two hierarchies that show containers at the same depth the one that is less often borrowed or left behind.
fn rank(is_v2: bool, controllers: &[u8]) -> u8 {
    match controllers {
        b"name=systemd" => 4,
        b"pids" => 3,
        b"memory" => 2,
        _ if is_v2 => 1,
        _ => 0,
    }
}

/// The containers that one path goes through.
struct Chain<'a> {
    inner: Found<'a>,
    /// The first one, where there is more than one.
    outer: Option<Found<'a>>,
    depth: usize,
}

impl<'a> Chain<'a> {
    fn read(path: &'a [u8]) -> Option<Self> {
        let mut chain: Option<Self> = None;
        let mut above = Above::default();
        let mut segments = path.split(|b| *b == b'/').filter(|s| !s.is_empty() && *s != b"..").peekable();
        while let Some(segment) = segments.next() {
            let below = segments.peek().copied().unwrap_or_default();
            if let Some(found) = above.judge(segment, below) {
                chain = Some(match chain {
                    None => Self { inner: found, outer: None, depth: 1 },
                    // One container may be named twice in its path: podman's scope and the payload in it.
                    Some(chain) if chain.inner.id == found.id => chain,
                    Some(chain) => Self {
                        outer: chain.outer.or(Some(chain.inner)),
                        inner: found,
                        depth: chain.depth.saturating_add(1),
                    },
                });
                above = Above::inside(segment);
            } else if is_host_side(segment) {
                break;
            } else {
                above.pass(segment);
            }
        }
        chain
    }
}

#[cfg(test)]
mod tests;
