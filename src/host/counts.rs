//! How many there are of each kind, so that none takes the place of all others. Pure.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Kinds of which there are none take no memory.
#[derive(Debug)]
pub struct Counts<K> {
    by_kind: HashMap<K, usize>,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { by_kind: HashMap::new() }
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// How many there are of a kind.
    pub fn of<Q: Eq + Hash + ?Sized>(&self, kind: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.by_kind.get(kind).copied().unwrap_or(0)
    }

    /// One more.
    pub fn add(&mut self, kind: K) {
        *self.by_kind.entry(kind).or_default() += 1;
    }

    /// One less.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, kind: &Q)
    where
        K: Borrow<Q>,
    {
        let Some(count) = self.by_kind.get_mut(kind) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.by_kind.remove(kind);
        }
    }

    /// Whether there is none of any kind.
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty()
    }
}

#[cfg(test)]
impl<K: Eq + Hash> PartialEq<HashMap<K, usize>> for Counts<K> {
    fn eq(&self, other: &HashMap<K, usize>) -> bool {
        self.by_kind == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_which_there_are_none_are_forgotten() {
        let mut counts = Counts::default();
        ["a", "b", "a"].into_iter().for_each(|kind| counts.add(kind));
        assert_eq!(counts, HashMap::from([("a", 2), ("b", 1)]));
        counts.remove("b");
        counts.remove("c");
        counts.remove("a");
        assert_eq!((counts.of("a"), counts.of("b")), (1, 0));
        counts.remove("a");
        assert!(counts.is_empty());
    }
}
