//! The files of one filesystem that bear a mark of ours, each with the name by which it can be found again: a mark is taken
//! away through its file alone, and an open file would keep its filesystem mounted. Pure.

use lru::LruCache;

/// A longer name is not kept.
const NAME: usize = 256;

/// Which they are, in the order in which they were last heard of: what is ignored is not heard of again.
#[derive(Debug)]
pub struct Ignored {
    files: LruCache<u64, Box<[u8]>>,
    refused: usize,
}

impl Default for Ignored {
    fn default() -> Self {
        Self { files: LruCache::unbounded(), refused: 0 }
    }
}

impl Ignored {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Whether a file, by its inode's number, is among them; it was just heard of.
    pub fn hear_of(&mut self, ino: u64) -> bool {
        self.files.get(&ino).is_some()
    }

    /// A file gets its mark; without a name it is never chosen by [`Ignored::let_go`].
    pub fn add(&mut self, ino: u64, name: &[u8]) {
        let name = if name.len() <= NAME { name } else { b"" };
        self.files.put(ino, name.into());
    }

    /// A file gets none, because there is no room; how many did not since one was let go.
    pub fn refuse(&mut self) -> usize {
        self.refused += 1;
        self.refused
    }

    /// So many of those that were heard of longest ago are let go, if `take_away` can take their mark, by inode number and
    /// name; how many were.
    pub fn let_go(&mut self, count: usize, mut take_away: impl FnMut(u64, &[u8]) -> bool) -> usize {
        self.refused = 0;
        let before = self.count();
        for _ in 0..count {
            let Some((ino, name)) = self.files.pop_lru() else { break };
            if name.is_empty() || !take_away(ino, &name) {
                self.files.put(ino, name);
            }
        }
        before - self.count()
    }

    /// All marks were taken away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_heard_of_longest_ago_are_let_go_first() {
        let mut ignored = Ignored::default();
        for (ino, name) in [(1, "/one"), (2, ""), (3, "/three"), (4, "/four"), (5, "/five")] {
            ignored.add(ino, name.as_bytes());
        }
        assert!(ignored.hear_of(1) && !ignored.hear_of(6));
        let mut asked = Vec::new();
        let gone = ignored.let_go(3, |ino, name| {
            asked.push((ino, name.to_vec()));
            ino != 3
        });
        assert_eq!((gone, asked), (1, vec![(3, b"/three".to_vec()), (4, b"/four".to_vec())]));
        assert!(!ignored.hear_of(4) && ignored.count() == 4);
        assert_eq!(ignored.let_go(9, |_, _| true), 3, "the nameless stays");
        ignored.add(7, &[b'n'; NAME + 1]);
        assert_eq!((ignored.let_go(9, |_, _| true), ignored.count()), (0, 2));
    }
}
