//! Patterns for the names of programs, and how a name is taken apart: a triplet in front, a version behind. Directories
//! are `path`'s affair, and which family a pattern stands for the database's.

use std::ops::Range;

/// No file name is longer (NAME_MAX in linux/limits.h); what is longer comes from `argv[0]` and is no name.
pub(super) const MAX_NAME: usize = 255;
/// What the braces of one pattern may expand to.
const MAX_EXPANSIONS: usize = 512;

/// Whether a GNU triplet and a dash (`x86_64-linux-gnu-`) stand before the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Never.
    Never,
    /// `[triplet-]`: perhaps.
    Optional,
    /// `<triplet->`: always.
    Required,
}

/// How a version may stand behind the name. A thread model of mingw (`-win32`, `-posix`) belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suffix {
    /// None may.
    Never,
    /// `[-version]`: after a dash, `gcc-12`.
    Dash,
    /// `[version]`: attached, `luac5.4`.
    Attached,
    /// `[-?version]`: either way.
    Either,
}

/// A compiled pattern for a basename: triplet, core, version. Without a star it is found by hashing its core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamePattern {
    /// What must stand there literally; with a star, what stands before it.
    pub(super) core: Box<[u8]>,
    /// What must stand after the star.
    pub(super) tail: Option<Box<[u8]>>,
    /// Triplet.
    pub(super) prefix: Prefix,
    /// Version.
    pub(super) suffix: Suffix,
}

impl NamePattern {
    /// Compiles a pattern; its braces and brackets may make several of it. An error is a sentence about the pattern.
    pub(super) fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (prefix, rest) = if let Some(rest) = text.strip_prefix("[triplet-]") {
            (Prefix::Optional, rest)
        } else if let Some(rest) = text.strip_prefix("<triplet->") {
            (Prefix::Required, rest)
        } else {
            (Prefix::Never, text)
        };
        let (suffix, rest) = if let Some(rest) = rest.strip_suffix("[-version]") {
            (Suffix::Dash, rest)
        } else if let Some(rest) = rest.strip_suffix("[version]") {
            (Suffix::Attached, rest)
        } else if let Some(rest) = rest.strip_suffix("[-?version]") {
            (Suffix::Either, rest)
        } else {
            (Suffix::Never, rest)
        };
        let mut patterns = Vec::new();
        for name in expand(rest)? {
            let (core, tail) = match name.split_once('*') {
                Some((core, tail)) => (core, Some(tail)),
                None => (name.as_str(), None),
            };
            check_literal(core)?;
            if let Some(tail) = tail {
                check_literal(tail)?;
                if prefix != Prefix::Never || suffix != Suffix::Never {
                    return Err("a star goes with neither triplet nor version".to_owned());
                }
                if core.len() < 3 {
                    return Err("fewer than three characters before the star match too much".to_owned());
                }
            } else if core.is_empty() {
                return Err("without a literal part it matches everything".to_owned());
            }
            patterns.push(Self {
                core: core.as_bytes().into(),
                tail: tail.map(|t| t.as_bytes().into()),
                prefix,
                suffix,
            });
        }
        Ok(patterns)
    }

    /// Whether a name that was taken apart has the triplet and version that the pattern allows; its core is not looked
    /// at.
    pub(super) fn admits(&self, parts: &Parts<'_>) -> bool {
        let prefix = match self.prefix {
            Prefix::Never => !parts.triplet,
            Prefix::Optional => true,
            Prefix::Required => parts.triplet,
        };
        let suffix = match parts.joint {
            Joint::Whole => true,
            Joint::Dash => matches!(self.suffix, Suffix::Dash | Suffix::Either),
            Joint::Attached => matches!(self.suffix, Suffix::Attached | Suffix::Either),
        };
        prefix && suffix
    }

    /// Whether the pattern has a star and the whole name matches it.
    pub(super) fn star_matches(&self, name: &[u8]) -> bool {
        self.tail.as_ref().is_some_and(|tail| name.strip_prefix(&*self.core).is_some_and(|rest| rest.ends_with(tail)))
    }
}

/// How core and version of a name are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// No version was split off.
    Whole,
    /// `gcc-12`
    Dash,
    /// `luac5.4`
    Attached,
}

/// One way to take a name apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The name without triplet and version.
    pub(super) core: &'a [u8],
    /// Digits and dots, never empty; `None` also where only a thread model was split off.
    pub(super) version: Option<&'a [u8]>,
    /// A triplet was split off.
    pub(super) triplet: bool,
    /// How the version was joined.
    pub(super) joint: Joint,
}

/// All ways to take a name apart, the one that takes least away first: a greedy triplet would eat the `gcc-` of
/// `x86_64-linux-gnu-gcc-12`. At most fifteen.
pub(super) fn parts(name: &[u8]) -> impl Iterator<Item = Parts<'_>> {
    let name = if name.len() > MAX_NAME { &[] } else { name };
    triplet_ends(name).into_iter().flatten().filter_map(move |start| name.get(start..)).enumerate().flat_map(
        |(i, rest)| {
            let triplet = i > 0;
            let whole = Parts { core: rest, version: None, triplet, joint: Joint::Whole };
            [Some(whole), split_version(whole)].into_iter().flatten().filter(|p| !p.core.is_empty())
        },
    )
}

/// Where a name may begin: at 0, and after each thing that may be a triplet of one to four parts.
fn triplet_ends(name: &[u8]) -> [Option<usize>; 5] {
    let mut ends = [Some(0), None, None, None, None];
    let mut start = 0;
    let mut kernel = false;
    for (count, slot) in ends.iter_mut().enumerate().skip(1) {
        let Some(rest) = name.get(start..) else { break };
        let Some(dash) = rest.iter().position(|&b| b == b'-') else { break };
        let Some(part) = rest.get(..dash) else { break };
        let ordinary = !part.is_empty() && part.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
        // A fourth part follows only a kernel's name (CPU-VENDOR-KERNEL-OS); otherwise it is the program's own, as in
        // `x86_64-linux-gnu-pcc-cpp`.
        if !ordinary || (count == 1 && !is_architecture(part)) || (count == 4 && !kernel) {
            break;
        }
        start += dash + 1;
        *slot = Some(start);
        kernel = part == b"linux" || part == b"uclinux";
    }
    ends
}

/// CPU names of config.sub (GNU config), sorted.
#[rustfmt::skip]
const ARCHITECTURES: [&[u8]; 68] = [
    b"aarch64", b"aarch64_be", b"alpha", b"amdgcn", b"arc", b"arceb", b"arm", b"arm64", b"armeb", b"avr", b"avr32",
    b"bfin", b"bpf", b"c6x", b"cris", b"csky", b"epiphany", b"fr30", b"frv", b"ft32", b"h8300", b"hppa", b"hppa64",
    b"ia16", b"ia64", b"iq2000", b"lm32", b"loongarch32", b"loongarch64", b"m32c", b"m32r", b"m6811", b"m68hc11",
    b"m68k", b"mcore", b"microblaze", b"microblazeel", b"mingw32", b"mmix", b"mn10300", b"moxie", b"msp430",
    b"nds32be", b"nds32le", b"nios2", b"nvptx", b"nvptx64", b"or1k", b"pdp11", b"ppc", b"ppc64", b"ppc64le", b"pru",
    b"rl78", b"rx", b"s390", b"s390x", b"sh", b"spu", b"tilegx", b"tricore", b"v850", b"vax", b"visium", b"wasm32",
    b"wasm64", b"xtensa", b"z80",
];
/// CPU names that go on with a model: `armv7a`, `mips64el`, `riscv64`, `x86_64_v3`.
const ARCHITECTURE_FAMILIES: [&[u8]; 8] =
    [b"armv", b"mips", b"powerpc", b"riscv", b"sh4", b"sparc", b"thumbv", b"x86_64"];

/// Whether this is a CPU's name, as the first part of a triplet.
pub(super) fn is_architecture(part: &[u8]) -> bool {
    ARCHITECTURES.binary_search(&part).is_ok()
        || ARCHITECTURE_FAMILIES.iter().any(|family| part.starts_with(family))
        || matches!(part, [b'i', b'3'..=b'7', b'8', b'6'])
}

/// Splits a version off the end, or the thread model alone.
fn split_version(whole: Parts<'_>) -> Option<Parts<'_>> {
    let bare = whole.core.strip_suffix(b"-win32").or_else(|| whole.core.strip_suffix(b"-posix"));
    let name = bare.unwrap_or(whole.core);
    match version_at_end(name) {
        Some((range, joint)) => {
            let core = name.get(..range.start - usize::from(joint == Joint::Dash))?;
            Some(Parts { core, version: name.get(range), joint, ..whole })
        }
        None => bare.map(|core| Parts { core, joint: Joint::Dash, ..whole }),
    }
}

/// A file's name as a compiler of the machine's own kind is mostly called: without this machine's triplet, and without the
/// version after that.
pub fn plain_name(name: &[u8]) -> &[u8] {
    let native = [std::env::consts::ARCH.as_bytes(), b"-linux-gnu-"].concat();
    let Some(called) = name.strip_prefix(native.as_slice()) else { return name };
    let core = match version_at_end(called) {
        Some((range, Joint::Dash)) => called.get(..range.start - 1),
        _ => None,
    };
    core.filter(|core| !core.is_empty()).unwrap_or(called)
}

/// Where a version stands at the end of a name: digits and dots, beginning and ending with a digit.
fn version_at_end(name: &[u8]) -> Option<(Range<usize>, Joint)> {
    if !name.last()?.is_ascii_digit() {
        return None;
    }
    let head = name.iter().rposition(|b| !(b.is_ascii_digit() || *b == b'.'))?;
    let digits = name.get(head + 1..)?.iter().position(u8::is_ascii_digit)?;
    let start = head + 1 + digits;
    let joint = if digits == 0 && name.get(head) == Some(&b'-') { Joint::Dash } else { Joint::Attached };
    Some((start..name.len(), joint))
}

/// Writes `{a,b}` and `[a]` out: `ocaml{c,opt}[.opt]` is four names. They do not nest.
pub(super) fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(['{', '[', '}', ']']) {
        let (literal, group) = rest.split_at(at);
        let (close, optional) = match group.chars().next() {
            Some('{') => ('}', false),
            Some('[') => (']', true),
            _ => return Err("a bracket closes that was not opened".to_owned()),
        };
        let inner = group.get(1..).unwrap_or_default();
        let (inside, after) = inner.split_once(close).ok_or("a bracket is not closed")?;
        if inside.contains(['{', '[', '}', ']']) {
            return Err("brackets do not nest".to_owned());
        }
        if optional && (inside.ends_with("version") || inside == "triplet-") {
            return Err(format!("[{inside}] stands at one end of the name only"));
        }
        let choices: Vec<&str> = if optional { vec!["", inside] } else { inside.split(',').collect() };
        if done.len() * choices.len() > MAX_EXPANSIONS {
            return Err(format!("it stands for more than {MAX_EXPANSIONS} names"));
        }
        done = done
            .iter()
            .flat_map(|start| choices.iter().map(move |choice| format!("{start}{literal}{choice}")))
            .collect();
        rest = after;
    }
    for pattern in &mut done {
        pattern.push_str(rest);
    }
    Ok(done)
}

/// A literal part holds what names of programs are made of; another character is a slip of the pen.
pub(super) fn check_literal(text: &str) -> Result<(), String> {
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '@'))) {
        Some(c) => Err(format!("{c:?} is no character of a name")),
        None => Ok(()),
    }
}

/// The first name that a pattern stands for, without triplet and version.
pub(super) fn first_of(pattern: &str) -> Result<String, String> {
    let first = NamePattern::parse(pattern)?.into_iter().next().ok_or("it stands for no name")?;
    Ok(String::from_utf8_lossy(&first.core).into_owned())
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn a_native_file_loses_triplet_and_version() {
        let native = |rest: &str| format!("{}-linux-gnu-{rest}", std::env::consts::ARCH);
        for (rest, want) in [("as", "as"), ("gcc-12", "gcc"), ("ld.bfd", "ld.bfd"), ("g++-4.8", "g++"), ("12", "12")] {
            assert_eq!(plain_name(native(rest).as_bytes()), want.as_bytes());
        }
        for name in ["as", "gcc-12", "riscv64-linux-gnu-gcc-12", ""] {
            assert_eq!(plain_name(name.as_bytes()), name.as_bytes());
        }
    }
}
