//! Programs with some of their bytes changed, and bytes of chance, read and judged: what `tests/fuzz/run.sh` asks of many
//! more cases, and with an eye to what they reach.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "fuzz/body.rs"]
mod body;

use proptest::collection::vec;
use proptest::prelude::*;

/// So much of a file, as of the seeds of `tests/fuzz/run.sh`.
const HEAD: usize = 20_000;

/// This test, a small program, and the loader.
fn seeds() -> Vec<Vec<u8>> {
    let own = std::env::current_exe().unwrap();
    [own.to_str().unwrap(), "/bin/true", "/lib64/ld-linux-x86-64.so.2"]
        .into_iter()
        .filter_map(|path| std::fs::read(path).ok())
        .map(|file| file.into_iter().take(HEAD).collect())
        .collect()
}

proptest! {
    #[test]
    fn changed_programs_are_judged_without_a_panic_and_twice_alike(
        seed in proptest::sample::select(seeds()),
        how in any::<[u8; 3]>(),
        headers in vec((0..1024_usize, any::<u8>()), 0..12),
        anywhere in vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        length in 64..HEAD,
    ) {
        let mut file = seed;
        file.truncate(length);
        for (at, byte) in headers {
            if let Some(there) = file.get_mut(at) { *there = byte }
        }
        for (at, byte) in anywhere {
            let at = at.index(file.len());
            file[at] = byte;
        }
        prop_assert!(body::hold(&[&how[..], &file].concat()));
    }

    #[test]
    fn bytes_of_chance_are_judged_as_well(bytes in vec(any::<u8>(), 3..4096), head in any::<bool>()) {
        let mut bytes = bytes;
        if head && bytes.len() > 12 {
            bytes[3..9].copy_from_slice(b"\x7fELF\x02\x01");
        }
        prop_assert!(body::hold(&bytes));
    }
}
