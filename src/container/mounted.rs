//! Whose a mounted filesystem is, by where the runtime mounted it: known before the first exec in it, and after the last.
//! Only the host's own mount table is believed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::cgroup::shape::is_digest;
use super::{ContainerKey, Runtime};
use crate::host::bounded;
use crate::host::file::SETTLED;

/// Containers of one data root that are remembered.
const CONTAINERS: usize = 65_536;
/// A layer's id.
const ID_LIMIT: usize = 256;

/// Names the containers of mounts.
#[derive(Debug, Default)]
pub struct MountOwners {
    /// For each data root of a dockerd.
    docker: Mutex<HashMap<PathBuf, Docker>>,
}

/// The containers of one data root.
#[derive(Debug, Default)]
struct Docker {
    /// By layer.
    containers: HashMap<Vec<u8>, String>,
    /// When the directory that names them had changed last, where all that it names was read since.
    read: Option<SystemTime>,
}

impl MountOwners {
    /// The container whose root filesystem is mounted at `point`; `None` for what no runtime's shape fits. May read files.
    pub fn of(&self, point: &[u8]) -> Option<ContainerKey> {
        if let Some(key) = named_by_path(point) {
            return Some(key);
        }
        let (root, layer) = docker_layer(point)?;
        let id = self.docker_container(&root, layer)?;
        Some(ContainerKey { runtime: Runtime::Docker, id: id.into() })
    }

    fn docker_container(&self, root: &Path, layer: &[u8]) -> Option<String> {
        let mut roots = self.docker.lock().unwrap_or_else(PoisonError::into_inner);
        let known = roots.entry(root.to_owned()).or_default();
        if let Some(id) = known.containers.get(layer) {
            return Some(id.clone());
        }
        // Docker writes it before it mounts for the first time (moby layer/layer_store.go, CreateRWLayer).
        let mounts = root.join("image/overlay2/layerdb/mounts");
        let changed = std::fs::metadata(&mounts).and_then(|status| status.modified()).ok()?;
        // BuildKit's layers are named nowhere.
        if known.read == Some(changed) {
            return None;
        }
        let settled = changed.elapsed().is_ok_and(|since| since > SETTLED);
        let mut whole = settled;
        let mut now: HashMap<Vec<u8>, String> = HashMap::new();
        let mut seen: HashMap<String, Vec<u8>> = known.containers.drain().map(|(layer, id)| (id, layer)).collect();
        known.read = None;
        for entry in std::fs::read_dir(&mounts).ok()?.flatten().take(CONTAINERS) {
            let Ok(id) = entry.file_name().into_string() else { continue };
            if !is_digest(id.as_bytes()) {
                continue;
            }
            let read = || bounded::read(None, &entry.path().join("mount-id"), ID_LIMIT).ok();
            match seen.remove(&id).or_else(read) {
                Some(layer) => drop(now.insert(layer.trim_ascii().to_vec(), id)),
                // It is written after its directory is made.
                None => whole = false,
            }
        }
        (known.containers, known.read) = (now, whole.then_some(changed));
        known.containers.get(layer).cloned()
    }
}

/// `<data-root>/overlay2/<layer>/merged` (moby daemon/graphdriver/overlay2), but not `<layer>-init`, in which Docker only
/// prepares mount points.
fn docker_layer(point: &[u8]) -> Option<(PathBuf, &[u8])> {
    let inner = point.strip_suffix(b"/merged")?;
    let slash = inner.iter().rposition(|b| *b == b'/')?;
    let (root, layer) = (inner.get(..slash)?.strip_suffix(b"/overlay2")?, inner.get(slash + 1..)?);
    (!layer.ends_with(b"-init")).then(|| (Path::new(OsStr::from_bytes(root)).to_owned(), layer))
}

/// Runtimes whose mount point holds the container's id.
fn named_by_path(point: &[u8]) -> Option<ContainerKey> {
    let mut parts = point.rsplit(|b| *b == b'/');
    let last = parts.next()?;
    let key = |runtime, id: &[u8]| {
        let id = std::str::from_utf8(id).ok().filter(|id| is_digest(id.as_bytes()))?;
        Some(ContainerKey { runtime, id: id.into() })
    };
    if last == b"rootfs" {
        // containerd's bundles: `.../io.containerd.runtime.v2.task/<namespace>/<id>/rootfs`.
        let (id, namespace, task) = (parts.next()?, parts.next()?, parts.next()?);
        if !task.starts_with(b"io.containerd.runtime.v") {
            return None;
        }
        return match namespace {
            b"moby" => key(Runtime::Docker, id),
            b"k8s.io" => key(Runtime::Containerd, id),
            _ => None,
        };
    }
    // Docker with containerd's image store: `<data-root>/rootfs/<snapshotter>/<id>` (moby daemon/snapshotter/mount.go).
    let (_snapshotter, rootfs) = (parts.next()?, parts.next()?);
    if rootfs == b"rootfs" { key(Runtime::Docker, last) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    const ID: &str = "4f0e1d2c3b4a59687766554433221100ffeeddccbbaa99887766554433221100";

    #[test]
    fn names_in_mount_points() {
        let owners = MountOwners::default();
        for (point, expected) in [
            (format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/rootfs"), Some(Runtime::Containerd)),
            (format!("/run/containerd/io.containerd.runtime.v2.task/moby/{ID}/rootfs"), Some(Runtime::Docker)),
            (format!("/run/containerd/io.containerd.runtime.v2.task/default/{ID}/rootfs"), None),
            (format!("/var/lib/docker/rootfs/overlayfs/{ID}"), Some(Runtime::Docker)),
            (format!("/var/lib/docker/rootfs/overlayfs/{}", &ID[1..]), None),
            (format!("/home/{ID}/rootfs"), None),
            (format!("/var/lib/docker/overlay2/{ID}/merged"), None),
            ("/".into(), None),
            (String::new(), None),
        ] {
            let got = owners.of(point.as_bytes());
            assert_eq!(got.as_ref().map(|key| key.runtime), expected, "{point}");
            assert!(got.is_none_or(|key| &*key.id == ID));
        }
    }

    #[test]
    fn dockers_layers_are_found_again() {
        let root = tempfile::tempdir().unwrap();
        let put = |id: &str, layer: &str| {
            let dir = root.path().join("image/overlay2/layerdb/mounts").join(id);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("mount-id"), layer).unwrap();
        };
        put(ID, "aaaa");
        put("not-an-id", "bbbb");
        let owners = MountOwners::default();
        let of = |layer: &str| {
            let point = format!("{}/overlay2/{layer}/merged", root.path().display());
            owners.of(point.as_bytes()).map(|key| key.id.to_string())
        };
        assert_eq!((of("aaaa").as_deref(), of("bbbb"), of("aaaa-init")), (Some(ID), None, None));
        let other = ID.replace('4', "5");
        put(&other, "cccc");
        assert_eq!((of("cccc"), of("aaaa").as_deref()), (Some(other), Some(ID)));
        std::fs::remove_dir_all(root.path().join("image")).unwrap();
        assert_eq!(of("dddd"), None);
    }

    #[test]
    fn a_layer_that_no_container_has_is_looked_for_once() {
        let root = tempfile::tempdir().unwrap();
        let mounts = root.path().join("image/overlay2/layerdb/mounts");
        let make = |id: &str| std::fs::create_dir_all(mounts.join(id)).unwrap();
        let name = |id: &str, layer: &str| std::fs::write(mounts.join(id).join("mount-id"), layer).unwrap();
        let changed = |second| {
            let directory = std::fs::File::open(&mounts).unwrap();
            directory.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        let owners = MountOwners::default();
        let of = |layer: &str| {
            let point = format!("{}/overlay2/{layer}/merged", root.path().display());
            owners.of(point.as_bytes()).map(|key| key.id.to_string())
        };
        let [second, third] = ["5", "6"].map(|digit| ID.replace('4', digit));
        make(ID);
        changed(1);
        assert_eq!(of("aaaa"), None, "its container is being made");
        name(ID, "aaaa");
        assert_eq!((of("aaaa").as_deref(), of("buildkit")), (Some(ID), None));
        make(&second);
        name(&second, "buildkit");
        changed(1);
        assert_eq!(of("buildkit"), None, "the directory is as it was: nothing is read again");
        changed(2);
        assert_eq!(of("buildkit"), Some(second));
        make(&third);
        name(&third, "eeee-init");
        changed(3);
        assert_eq!(of("eeee-init"), None, "no container runs from it");
    }
}
