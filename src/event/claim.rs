//! Open files that are under way from one thread to another, counted so that they stay few where the other is late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are under way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UnderWay {
    count: Arc<AtomicUsize>,
    most: usize,
}

/// Some of them, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    count: Arc<AtomicUsize>,
    files: usize,
}

impl UnderWay {
    /// None of at most so many.
    pub fn new(most: usize) -> Self {
        Self { count: Arc::default(), most }
    }

    /// Counts so many more; `None` where there is no room for them.
    pub fn claim(&self, files: usize) -> Option<Claim> {
        let more = |count: usize| count.checked_add(files).filter(|count| *count <= self.most);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Claim { count: Arc::clone(&self.count), files })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.count.fetch_sub(self.files, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_is_room_again_for_what_has_arrived() {
        let under_way = UnderWay::new(3);
        let two = under_way.claim(2).unwrap();
        assert!(under_way.claim(2).is_none() && under_way.claim(usize::MAX).is_none());
        let one = under_way.claim(1).unwrap();
        assert!(under_way.claim(0).is_some());
        drop(two);
        assert!(under_way.claim(2).is_some());
        drop(one);
        assert!(under_way.claim(3).is_some());
    }
}
