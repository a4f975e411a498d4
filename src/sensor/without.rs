//! What a test takes away from the sensors, to see that it is missed then: each countermeasure against a compile unseen
//! is proven by that. Nothing but a test sets it.

use std::sync::OnceLock;

/// A list of words with commas between them.
const VARIABLE: &str = "CCWATCH_TEST_WITHOUT";

/// What can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The watch over containers' own mount tables.
    Namespaces,
    /// The connector's looks at what executes something.
    Looks,
    /// The watch for writes that comes with each ignore mark, and what the kernel does to an ignored file that is written.
    WriteMarks,
    /// That an ignore mark is an inode's: it is all of its mount's then.
    Inodes,
    /// That only an image layer's own files are ignored on an overlay.
    Layers,
    /// That a file of a writable layer, or on a disk, is believed only if nobody can write to it while it is read, and one
    /// whose state says nothing never.
    Leases,
    /// That a file has to lie unchanged for a while before what is read of it is believed.
    Rest,
    /// Room for many ignore marks on a filesystem.
    Room,
    /// That files of several names are not ignored.
    Links,
    /// The marks on the host's files while a container sees the host's processes.
    HostMarks,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::Namespaces,
        Self::Looks,
        Self::WriteMarks,
        Self::Inodes,
        Self::Layers,
        Self::Leases,
        Self::Rest,
        Self::Room,
        Self::Links,
        Self::HostMarks,
    ];

    fn bit(self) -> u16 {
        1 << self as u16
    }

    fn word(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Looks => "looks",
            Self::WriteMarks => "write-marks",
            Self::Inodes => "inodes",
            Self::Layers => "layers",
            Self::Leases => "leases",
            Self::Rest => "rest",
            Self::Room => "room",
            Self::Links => "links",
            Self::HostMarks => "host-marks",
        }
    }
}

/// Whether a test has taken it away.
pub fn without(part: Part) -> bool {
    static TAKEN: OnceLock<u16> = OnceLock::new();
    let read = || {
        let list = std::env::var(VARIABLE).unwrap_or_default();
        if !list.is_empty() {
            log::warn!("{VARIABLE} is set, for tests alone: it takes away {list}");
        }
        let named = Part::ALL.into_iter().filter(|part| list.split(',').any(|word| word == part.word()));
        named.fold(0, |taken, part| taken | part.bit())
    };
    TAKEN.get_or_init(read) & part.bit() != 0
}
