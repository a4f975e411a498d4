//! This reader's answers against those of readelf (binutils), over programs and libraries of the machine. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use elf::endian::AnyEndian;
use elf::file::Class;

use super::Layout;
use crate::hex;

/// Files that are compared: a few seconds' work.
const FILES: usize = 300;
/// So many are found wherever there is a compiler.
const FEWEST: usize = 100;
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec"];

/// Programs and shared objects below a directory, links left out.
fn programs(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            programs(&path, found);
        } else if kind.is_file() && is_program(&path) {
            found.push(path);
        }
    }
}

fn is_program(path: &Path) -> bool {
    let mut head = [0; 18];
    let Ok(mut file) = File::open(path) else { return false };
    let is_elf = file.read_exact(&mut head).is_ok() && head.starts_with(super::MAGIC);
    // An object or a core has no program headers, or none that a kernel maps.
    let kind = if head[5] == elf::abi::ELFDATA2LSB { head[16] } else { head[17] };
    is_elf && [elf::abi::ET_EXEC, elf::abi::ET_DYN].contains(&u16::from(kind))
}

/// The same of every machine: all of few, and every so-and-so-many-th of many, in the order of their names.
fn chosen() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for directory in DIRECTORIES {
        programs(Path::new(directory), &mut all);
    }
    all.sort();
    let step = all.len().div_ceil(FILES).max(1);
    all.into_iter().step_by(step).collect()
}

/// What both are asked: class and byte order, the segments that concern us, the libraries, the build-id.
fn ours(path: &Path) -> String {
    let file = File::open(path).unwrap();
    let mut read = |buffer: &mut [u8], offset: u64| {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                got => filled += got,
            }
        }
        Ok(filled)
    };
    let layout = Layout::read(&mut read).unwrap().unwrap();
    let [reading] = &layout.readings[..] else { panic!("{} is read in two ways", path.display()) };
    let class = if reading.class == Class::ELF64 { "ELF64" } else { "ELF32" };
    let order = if reading.endian == AnyEndian::Little { "little" } else { "big" };
    let mut text = format!("{class} {order}\n");
    for s in &reading.segments {
        let kind = match s.p_type {
            elf::abi::PT_LOAD => "LOAD",
            elf::abi::PT_NOTE => "NOTE",
            elf::abi::PT_INTERP => "INTERP",
            _ => "DYNAMIC",
        };
        let flag = |bit, letter| if s.p_flags & bit != 0 { letter } else { "" };
        let flags = [flag(elf::abi::PF_R, "R"), flag(elf::abi::PF_W, "W"), flag(elf::abi::PF_X, "E")].concat();
        writeln!(text, "{kind} {:#x} {:#x} {:#x} {flags}", s.p_offset, s.p_vaddr, s.p_filesz).unwrap();
    }
    for name in layout.needed(&mut read).unwrap() {
        writeln!(text, "needs {name}").unwrap();
    }
    let id = layout.build_id(&mut read).unwrap();
    writeln!(text, "build-id {}", id.as_deref().map_or_else(|| "none".to_owned(), hex::lower)).unwrap();
    text
}

fn theirs(path: &Path) -> String {
    let output =
        Command::new("readelf").args(["-W", "-h", "-l", "-S", "-d", "-n"]).arg(path).env("LC_ALL", "C").output();
    // Of the package binutils, which tests/run.sh installs.
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let after = |key: &str| said.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_default().trim();
    let order = if after("Data:").contains("little") { "little" } else { "big" };
    let mut text = format!("{} {order}\n", after("Class:"));
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    let headers = said.lines().skip_while(|line| !line.starts_with("Program Headers:")).skip(2);
    for line in headers.take_while(|line| !line.is_empty()) {
        // Type, offset, address, physical address, size in the file and in memory, flags, alignment.
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() > 7 && ["LOAD", "NOTE", "INTERP", "DYNAMIC"].contains(&words[0]) {
            let [offset, address, size] = [1, 2, 4].map(|at| number(words[at]));
            let flags = words[6..words.len() - 1].concat();
            writeln!(text, "{} {offset:#x} {address:#x} {size:#x} {flags}", words[0]).unwrap();
        }
    }
    for line in said.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split_once('[').and_then(|(_, rest)| rest.rsplit_once(']')).unwrap().0;
        writeln!(text, "needs {name}").unwrap();
    }
    let id = noted(&said, &text).unwrap_or("none");
    writeln!(text, "build-id {id}").unwrap();
    text
}

/// The first build-id that lies in one of the note segments of `segments`. readelf asks the sections; Go's linker leaves
/// the build-id out of its note segment, so that nobody who has the program alone finds it.
fn noted<'s>(said: &'s str, segments: &str) -> Option<&'s str> {
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let noted: Vec<_> = segments
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.strip_prefix("NOTE ")?.split(' ').collect();
            Some((number(words[0])?, number(words[2])?))
        })
        .collect();
    let section = |name: &str| {
        let line = said.lines().find(|line| line.contains(&format!("] {name} ")))?;
        number(line.split_once("NOTE")?.1.split_whitespace().nth(1)?)
    };
    said.split("Displaying notes found ").skip(1).find_map(|part| {
        let place = part.lines().next()?;
        let offset = match place.strip_prefix("in: ") {
            Some(name) => section(name)?,
            None => number(place.strip_prefix("at file offset ")?.split(' ').next()?)?,
        };
        let inside = noted.iter().any(|&(at, size)| offset >= at && offset - at < size);
        part.split_once("Build ID: ").filter(|_| inside)?.1.split_whitespace().next()
    })
}

#[test]
fn readelf_says_the_same() {
    let files = chosen();
    assert!(files.len() >= FEWEST, "{} programs below {DIRECTORIES:?}", files.len());
    for path in &files {
        assert_eq!(ours(path), theirs(path), "{}", path.display());
    }
}
