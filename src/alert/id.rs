//! Identifiers that are unique over hosts and restarts: ULIDs (github.com/ulid/spec), 48 bits of milliseconds and 80
//! random bits in Crockford's base 32. Entropy is read once; making one asks nobody.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Makes identifiers.
#[derive(Debug, Clone)]
pub struct IdSource {
    seed: [u8; 32],
    made: u64,
}

impl IdSource {
    /// Seeded from /dev/urandom, which never blocks (random(4)); without it from what differs between two starts.
    pub fn new() -> Self {
        let mut seed = [0; 32];
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
        if read.is_err() {
            seed = poor_seed();
        }
        Self::with_seed(seed)
    }

    /// With a given seed: the same identifiers again, for tests.
    pub fn with_seed(seed: [u8; 32]) -> Self {
        Self { seed, made: 0 }
    }

    /// The next identifier: 26 characters; `now` is its time, so that identifiers sort by it.
    pub fn next(&mut self, now: SystemTime) -> String {
        self.made += 1;
        let hash = Sha256::new().chain_update(self.seed).chain_update(self.made.to_le_bytes()).finalize();
        let random = hash.iter().take(10).fold(0u128, |acc, byte| (acc << 8) | u128::from(*byte));
        let millis = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()) & ((1 << 48) - 1);
        let value = (millis << 80) | random;
        // 26 digits of 5 bits are 130: the first digit holds the topmost three.
        (0..26)
            .rev()
            .filter_map(|digit| ALPHABET.get(((value >> (digit * 5)) & 31) as usize))
            .map(|byte| char::from(*byte))
            .collect()
    }
}

impl Default for IdSource {
    fn default() -> Self {
        Self::new()
    }
}

/// For a root directory without /dev: pid, clock, and the kernel's own random words where /proc is there.
fn poor_seed() -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in ["/proc/sys/kernel/random/uuid", "/proc/self/auxv", "/proc/self/stat"] {
        let mut bytes = Vec::new();
        if File::open(file).and_then(|f| f.take(4096).read_to_end(&mut bytes)).is_ok() {
            hash.update(&bytes);
        }
    }
    hash.update(std::process::id().to_le_bytes());
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    hash.update(nanos.to_le_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_leads_and_digits_are_crockfords() {
        let mut ids = IdSource::with_seed([7; 32]);
        // The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41.
        let id = ids.next(UNIX_EPOCH + Duration::from_millis(1_469_918_176_385));
        assert_eq!(id.len(), 26);
        assert!(id.starts_with("01ARYZ6S41"), "{id}");
        assert!(id.bytes().all(|b| ALPHABET.contains(&b)));
    }

    #[test]
    fn two_sources_and_one_moment_give_different_ids() {
        let now = SystemTime::now();
        let (mut a, mut b) = (IdSource::new(), IdSource::new());
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(a.next(now)) && seen.insert(b.next(now)));
        }
        assert_ne!(poor_seed(), poor_seed());
    }
}
