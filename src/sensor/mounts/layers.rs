//! Where an overlay's layers lie on the host, and whether a file in it is still the image's own: then nobody can have
//! written to it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;

use crate::event::{Field, FileId, Missing};
use crate::host::file::{file_id, file_status};
use crate::host::mountinfo::{Mount, lower_directories};
use crate::host::{bounded, rooted};
use crate::sys::file::{FileStatus, has_no_writer};

/// The layers of one overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// Where it is mounted on the host.
    point: Vec<u8>,
    /// The writable layer.
    upper: PathBuf,
    /// The others, the uppermost first.
    lowers: Vec<PathBuf>,
    /// All of them lie on one filesystem, as far as was looked: then the overlay's files show its own device.
    together: bool,
}

impl Layers {
    /// The layers of an overlay that has a writable one; `None` for any other mount, or where a layer's place cannot be
    /// told.
    pub fn of(mount: &Mount) -> Option<Self> {
        if mount.fs_type != b"overlay" || mount.root != b"/" {
            return None;
        }
        let upper = place(mount, mount.option(b"upperdir")?)?;
        let lowers = lower_directories(mount).into_iter().map(|path| place(mount, path)).collect::<Option<Vec<_>>>()?;
        (!lowers.is_empty()).then(|| Self { point: mount.point.clone(), upper, lowers, together: false })
    }

    /// Looks whether they lie on one filesystem.
    #[must_use]
    pub fn looked_at(mut self) -> Self {
        let device = |layer: &PathBuf| std::fs::symlink_metadata(layer).ok().map(|status| status.dev());
        let upper = device(&self.upper);
        self.together = upper.is_some() && self.lowers.iter().all(|lower| device(lower) == upper);
        self
    }

    /// Whether the overlay's files show its own device; else, without xino, that of what they lie on.
    pub fn lie_together(&self) -> bool {
        self.together
    }

    /// Whether a layer of an overlay lies below one of these places, by the paths that its mounter gave.
    pub fn lie_below(mount: &Mount, places: &[Vec<u8>]) -> bool {
        let given = || lower_directories(mount).into_iter().chain(mount.option(b"upperdir"));
        let below = |path: &Path| places.iter().any(|place| path.starts_with(OsStr::from_bytes(place)));
        !places.is_empty() && given().filter_map(|path| place(mount, path)).any(|path| below(&path))
    }

    /// Whether a file is an image layer's, and has never been copied up. `path` is what /proc/self/fd/N shows of it: from
    /// the container's root or from ours. False when in doubt: the path may lead through a bind mount, or the layers lie on
    /// several filesystems, where inode numbers say nothing. A file that was copied up keeps its number, and has times of
    /// its own.
    pub fn are_original(&self, path: &[u8], id: FileId) -> bool {
        self.layer_file(path, id).is_some()
    }

    /// The image layer's own file of which this one is made, where the overlay shows it unchanged: all but the device is
    /// the same. `path` as in [`Layers::are_original`].
    pub fn layer_file(&self, path: &[u8], id: FileId) -> Option<FileId> {
        self.original(path).filter(|layer| FileId { dev: id.dev, ..*layer } == id)
    }

    fn original(&self, path: &[u8]) -> Option<FileId> {
        let inside = self.inside(path)?;
        if status(&self.upper, inside).err() != Some(Missing::Absent) {
            return None;
        }
        let found =
            self.lowers.iter().map(|lower| status(lower, inside)).find(|s| s.as_ref().err() != Some(&Missing::Absent));
        found?.ok().filter(|s| s.is_regular && s.nlink == 1).map(file_id)
    }

    /// Whether nobody can write to the writable layer's own file of this inode number: the overlay's does not tell.
    /// `path` as in [`Layers::are_original`]. False when in doubt.
    pub fn has_no_writer(&self, path: &[u8], ino: u64) -> bool {
        let Some(inside) = self.inside(path) else { return false };
        let opened = rooted::open_root(&self.upper).and_then(|root| {
            let place = rooted::locate(root.as_fd(), Path::new(OsStr::from_bytes(inside)))?;
            let status = fstat(&place).map_err(bounded::missing)?;
            if status.st_ino == ino { bounded::open_place(place.as_fd()) } else { Err(Missing::Absent) }
        });
        opened.is_ok_and(|(file, _)| has_no_writer(file.as_fd()))
    }

    /// The directory in which the host shows the overlay.
    ///
    /// # Errors
    /// As [`rooted::open_root`].
    pub fn root_dir(&self) -> Field<OwnedFd> {
        rooted::open_root(Path::new(OsStr::from_bytes(&self.point)))
    }

    /// A path below that directory, or below the container's root directory. `path` as in [`Layers::are_original`].
    pub fn inside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let inside = path.strip_prefix(self.point.as_slice()).filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
        inside.strip_prefix(b"/")
    }
}

/// Where a layer lies. Docker gives relative layers where the options would exceed a page: they start two above
/// `<id>/merged` (daemon/graphdriver/overlay2/overlay.go).
fn place(mount: &Mount, path: Vec<u8>) -> Option<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(path));
    if path.is_absolute() {
        return Some(path);
    }
    let base = Path::new(OsStr::from_bytes(&mount.point)).ancestors().nth(2)?;
    Some(base.join(path))
}

/// The state of a file in a layer; no link in it leads out.
fn status(layer: &Path, inside: &[u8]) -> Result<FileStatus, Missing> {
    let root = rooted::open_root(layer)?;
    let file = rooted::locate(root.as_fd(), Path::new(OsStr::from_bytes(inside)))?;
    file_status(file.as_fd(), c"").map_err(|e| Missing::from_os(&e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn layers(point: &[u8], upper: &Path, lowers: &[&Path]) -> Layers {
        let lowers = lowers.iter().map(|lower| lower.to_path_buf()).collect();
        Layers { point: point.to_vec(), upper: upper.into(), lowers, together: false }
    }

    #[test]
    fn layers_lie_together_where_they_show_one_device() {
        let one = tempfile::tempdir().unwrap();
        assert!(layers(b"/m", one.path(), &[one.path()]).looked_at().lie_together());
        for (upper, lower) in
            [(one.path(), "/proc"), (Path::new("/proc"), "/nowhere"), (Path::new("/nowhere"), "/nowhere")]
        {
            assert!(!layers(b"/m", upper, &[Path::new(lower)]).looked_at().lie_together());
        }
    }

    #[test]
    fn a_file_is_original_until_the_writable_layer_has_it() {
        let top = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let path = top.path().join(name);
            std::fs::create_dir_all(path.join("usr/bin")).unwrap();
            path
        };
        let (upper, one, two) = (dir("upper"), dir("one"), dir("two"));
        let put = |layer: &Path, name: &str| {
            let path = layer.join("usr/bin").join(name);
            std::fs::write(&path, name).unwrap();
            file_id(status(layer, Path::new("usr/bin").join(name).as_os_str().as_bytes()).unwrap())
        };
        let layers = layers(b"/host/merged", &upper, &[&one, &two]);
        let tool = put(&two, "tool");
        assert!(layers.are_original(b"/usr/bin/tool", tool));
        assert!(layers.are_original(b"/host/merged/usr/bin/tool", tool));
        assert!(!layers.are_original(b"/host/merged2/usr/bin/tool", tool));
        assert!(!layers.are_original(b"/usr/bin/tool", FileId { ino: tool.ino + 1, ..tool }), "another file");
        assert!(!layers.are_original(b"/mnt/tool", tool), "through a bind mount");
        assert!(!layers.are_original(b"(deleted)", tool));
        let copied = FileId { ctime_ns: tool.ctime_ns + 1, ..tool };
        assert!(!layers.are_original(b"/usr/bin/tool", copied), "copied up, and moved to where its directory hides it");
        put(&upper, "tool");
        assert!(!layers.are_original(b"/usr/bin/tool", tool), "copied up");
        let hidden = put(&two, "hidden");
        put(&one, "hidden");
        assert!(!layers.are_original(b"/usr/bin/hidden", hidden), "hidden by a layer above");
        let linked = put(&two, "linked");
        std::fs::hard_link(two.join("usr/bin/linked"), two.join("usr/bin/gcc")).unwrap();
        assert!(!layers.are_original(b"/usr/bin/linked", linked), "has another name");
        std::fs::remove_dir_all(&upper).unwrap();
        assert!(!layers.are_original(b"/usr/bin/linked", linked), "no upper directory, no word on it");
    }

    #[test]
    fn what_two_overlays_show_of_a_layer_is_one_file() {
        let top = tempfile::tempdir().unwrap();
        let (upper, lower) = (top.path().join("upper"), top.path().join("lower"));
        std::fs::create_dir(&upper).unwrap();
        std::fs::create_dir(&lower).unwrap();
        std::fs::write(lower.join("tool"), "tool").unwrap();
        let layers = layers(b"/merged", &upper, &[&lower]);
        let layer = file_id(status(&lower, b"tool").unwrap());
        assert_eq!(layers.layer_file(b"/tool", FileId { dev: 4711, ..layer }), Some(layer));
        assert_eq!(layers.layer_file(b"/tool", FileId { ctime_ns: 0, ..layer }), None, "another state of it");
        std::fs::write(upper.join("tool"), "tool").unwrap();
        assert_eq!(layers.layer_file(b"/tool", layer), None, "copied up");
    }

    #[test]
    fn relative_layers_start_two_above() {
        let text = b"1 0 0:9 / /data/overlay2/abc/merged rw - overlay overlay rw,lowerdir=l/A:l/B,upperdir=abc/diff,workdir=abc/work";
        let mount = crate::host::mountinfo::parse(text).remove(0);
        let layers = Layers::of(&mount).unwrap();
        assert_eq!(layers.upper, Path::new("/data/overlay2/abc/diff"));
        assert_eq!(layers.lowers, [Path::new("/data/overlay2/l/A"), Path::new("/data/overlay2/l/B")]);
        let below = |place: &[u8]| Layers::lie_below(&mount, &[b"/proc/x".to_vec(), place.to_vec()]);
        assert!(below(b"/data/overlay2/l") && below(b"/data/overlay2/abc/diff") && below(b"/"));
        assert!(!below(b"/data/overlay2/l/C") && !below(b"/data/over") && !Layers::lie_below(&mount, &[]));
        let shallow = b"1 0 0:9 / /m rw - overlay overlay rw,lowerdir=/far:/b";
        let shallow = crate::host::mountinfo::parse(shallow).remove(0);
        assert!(Layers::lie_below(&shallow, &[b"/far".to_vec()]));
        let read_only = b"1 0 0:9 / /m rw - overlay overlay ro,lowerdir=/a:/b";
        assert_eq!(Layers::of(&crate::host::mountinfo::parse(read_only).remove(0)), None);
    }
}
