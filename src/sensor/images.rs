//! Which image each process showed last: a look that came too late saw that of the next exec. Pure, clock passed in.

use std::time::Duration;

use crate::event::{Comm, ImageId, Inode, Monotonic, Pid};

/// A power of two.
const IMAGES: usize = 1024;
/// The kernel shows the new image so long before the time stamp of its EXEC, unless it is interrupted for longer.
const BEFORE_ITS_EXEC: Duration = Duration::from_millis(5);

/// The image that a process showed.
#[derive(Clone, Copy)]
pub struct Shown {
    /// Where more was asked for than its file and its name.
    pub image: Option<ImageId>,
    /// Its file.
    pub file: Inode,
    /// Its name.
    pub comm: Comm,
    /// The exec of which it was taken to be.
    pub exec: Monotonic,
    /// When it was seen.
    pub looked: Monotonic,
}

impl Shown {
    /// Whether an earlier look saw this image.
    fn was_seen_in(&self, earlier: &Self) -> bool {
        match (self.image, earlier.image) {
            (Some(image), Some(before)) => image == before,
            // The same file executed again would have been executed after that look.
            _ => {
                let same = (self.file, self.comm) == (earlier.file, earlier.comm);
                same && self.exec <= earlier.looked.plus(BEFORE_ITS_EXEC)
            }
        }
    }
}

/// The image last seen in a process, each in a place that its pid tells: they are given away one after the other, and what
/// an exec touches of our memory is a part of what it costs.
pub struct Images(Box<[Option<(Pid, Shown)>]>);

impl Default for Images {
    fn default() -> Self {
        Self(vec![None; IMAGES].into())
    }
}

impl Images {
    /// Remembers what a process shows; gives the exec for which this very image was taken before, by a look that came too
    /// late.
    pub fn shown_before(&mut self, pid: Pid, shown: Shown) -> Option<Monotonic> {
        let place = self.0.get_mut(pid.0.unsigned_abs() as usize % IMAGES)?;
        let (_, before) = place.replace((pid, shown)).filter(|(known, _)| *known == pid)?;
        shown.was_seen_in(&before).then_some(before.exec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_alone_shows_the_image_of_an_exec_that_had_begun_before_the_look() {
        let ms = 1_000_000;
        let shown = |ino, exec, looked| Shown {
            image: None,
            file: Inode { dev: 1, ino },
            comm: Comm::new(b"sh"),
            exec: Monotonic(exec),
            looked: Monotonic(looked),
        };
        let first = shown(7, 10 * ms, 11 * ms);
        assert!(shown(7, 10 * ms + 1, 12 * ms).was_seen_in(&first), "the look came too late");
        assert!(shown(7, 12 * ms, 13 * ms).was_seen_in(&first), "its EXEC was still to come");
        assert!(!shown(7, 17 * ms, 18 * ms).was_seen_in(&first), "executed again");
        assert!(!shown(8, 10 * ms + 1, 12 * ms).was_seen_in(&first), "another file");
        let script = Shown { comm: Comm::new(b"c99"), ..shown(7, 10 * ms + 1, 12 * ms) };
        assert!(!script.was_seen_in(&first), "another script");
    }
}
