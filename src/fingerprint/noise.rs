//! Noise against everything that takes names and arguments from outside. Test only.

#![allow(clippy::indexing_slicing)]

use super::name_table::database;
use super::{Candidate, Invocation};
use crate::noise::Random;

/// Noise, and noise made of what the parsers look for: no panic, and a candidate by name is always judged a
/// toolchain's.
#[test]
fn survives_hostile_names_and_arguments() {
    const PIECES: [&[u8]; 32] = [
        b"gcc",
        b"-",
        b"/",
        b"x86_64",
        b"linux",
        b"gnu",
        b"12",
        b".",
        b"ld",
        b"java",
        b"-m",
        b"-jar",
        b"python3",
        b"--",
        b"@",
        b"=",
        b" ",
        b"\n",
        b"\xff",
        b"\0",
        b"ld-linux-x86-64.so.2",
        b"node",
        b"go",
        b"build",
        b"win32",
        b"memfd:",
        b"-cp",
        b"org.codehaus.groovy.tools.GroovyStarter",
        b"--main",
        b"env",
        b"pkg/tool/x/compile",
        b"cargo/bin/rustc",
    ];
    let database = database();
    let mut random = Random::new(42);
    let word = |random: &mut Random| -> Vec<u8> {
        let mut word = Vec::new();
        for _ in 0..random.below(7) {
            if random.below(4) == 0 {
                word.push(random.byte());
            } else {
                word.extend_from_slice(PIECES[random.below(PIECES.len())]);
            }
        }
        word
    };
    for _ in 0..50_000 {
        let (path, comm) = (word(&mut random), word(&mut random));
        let args: Vec<Vec<u8>> = (0..random.below(6)).map(|_| word(&mut random)).collect();
        let bare = Invocation { path: &path, comm: &comm, args: None };
        let judged = database.judge(&bare, None).verdict.kind.is_toolchain();
        match database.candidate(&bare) {
            Candidate::ByName => assert!(judged, "{path:?} {comm:?}"),
            Candidate::No => assert!(!judged, "{path:?} {comm:?}"),
            Candidate::IfArguments => {}
        }
        database.judge(&Invocation { args: Some(&args), ..bare }, None);
    }
    for long in [vec![b'-'; 100_000], b"x86_64-".repeat(10_000), b"1.".repeat(50_000), vec![b'/'; 100_000]] {
        let args = vec![long.clone(); 5_000.min(100_000 / long.len() + 4)];
        database.judge(&Invocation { path: &long, comm: &long, args: Some(&args) }, None);
        database.judge(&Invocation { path: b"/usr/bin/java", comm: b"java", args: Some(&args) }, None);
    }
}
