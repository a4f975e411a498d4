//! Programs that are not executed but loaded: `ld.so PROGRAM`, `qemu-x86_64 PROGRAM`. The executed file is the loader's, so
//! the program is found by the arguments, and judged as an executed file is. Pure: opening it is a worker's affair.

use super::database::Database;
use super::judge::MAX_NESTING;
use super::lookup::Source;
use super::script::{Launcher, Target};
use super::{Content, Evidence, Invocation, Judgement};

impl Database {
    /// The program that a call of a loader or emulator runs, and its arguments, the program's path first. What was
    /// executed is told by its content, and by its name where that says nothing.
    pub fn loaded<'a>(&self, call: &Invocation<'a>, content: Option<&Content>) -> Option<&'a [Vec<u8>]> {
        let family = match content.and_then(|content| content.recognised.as_ref()) {
            Some(recognition) => self.family(&recognition.family)?,
            None => self.find(call.path, Source::File)?.family,
        };
        self.innermost(family.runs?, call.args?)
    }

    /// The same of a file that may be a loader: its content is not known yet.
    pub fn perhaps_loaded<'a>(&self, call: &Invocation<'a>) -> Option<&'a [Vec<u8>]> {
        self.loaded(call, None).or_else(|| self.innermost(Launcher::Loader, call.args?))
    }

    /// What is run in the end: a loader may be told to load a loader.
    fn innermost<'a>(&self, launcher: Launcher, arguments: &'a [Vec<u8>]) -> Option<&'a [Vec<u8>]> {
        let (mut launcher, mut arguments) = (launcher, arguments);
        for _ in 0..MAX_NESTING {
            let Target::Program(program) = launcher.target(arguments.get(1..)?) else { return None };
            arguments = program;
            match self.find(program.first()?, Source::File).and_then(|hit| hit.family.runs) {
                Some(next) if next.runs_programs() => launcher = next,
                _ => return Some(program),
            }
        }
        None
    }

    /// The verdict on an exec of a loader or emulator that runs a program whose content was read.
    pub fn judge_loaded(&self, call: &Invocation<'_>, content: Option<&Content>, program: &Content) -> Judgement {
        let judged = self.judge(call, content);
        let Some(arguments) = self.loaded(call, content) else { return judged };
        let path = arguments.first().map(Vec::as_slice).unwrap_or_default();
        let mut inner = self.judge(&Invocation { path, comm: b"", args: Some(arguments) }, Some(program));
        if inner.verdict.kind.is_toolchain() {
            if !inner.verdict.evidence.contains(&Evidence::Arguments) {
                inner.verdict.evidence.insert(0, Evidence::Arguments);
            }
        } else if !judged.verdict.evidence.contains(&Evidence::Arguments) {
            // A name was all that spoke for it, and it was not that program's.
            return judged;
        }
        inner
    }
}

/// Where a loader finds a program of this name. glibc's finds none without a slash, whatever its library path is; musl's
/// opens it like any other.
pub fn place(name: &[u8], cwd: &[u8]) -> Vec<u8> {
    if name.starts_with(b"/") { name.to_vec() } else { [cwd, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fingerprint::{Confidence, Kind, Recognition, Request};

    const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so.2";

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn content(family: &str, kind: Kind, toolchain: Option<&str>) -> Content {
        let recognised = Recognition {
            family: family.to_owned(),
            kind,
            toolchain: toolchain.map(str::to_owned),
            version: None,
            confidence: Confidence::High,
            evidence: vec![Evidence::Marker],
        };
        Content { elf: true, recognised: Some(recognised), ..Content::default() }
    }

    fn tcc() -> Content {
        content("tcc", Kind::Compiler, Some("tcc"))
    }

    #[test]
    fn the_program_is_found_by_the_arguments() {
        let database = Database::builtin().unwrap();
        let loader = content("ld.so", Kind::NotCompiler, None);
        for (path, content, arguments, program) in [
            (LOADER, None, "ld.so ./report -c a.c", Some("./report -c a.c")),
            (LOADER, None, "ld.so --library-path /x --preload y --argv0 z ./report a.c", Some("./report a.c")),
            (LOADER, None, "ld.so /lib64/ld-linux-x86-64.so.2 ./report a.c", Some("./report a.c")),
            (LOADER, None, "ld.so ld.so ld.so ld.so ld.so ld.so ./report", None),
            (LOADER, None, "ld.so --list ./report", None),
            (LOADER, None, "ld.so", None),
            (b"/usr/bin/qemu-aarch64-static", None, "qemu -L /x ./report a.c", Some("./report a.c")),
            (b"/tmp/any", Some(&loader), "any ./report a.c", Some("./report a.c")),
            (b"/tmp/any", Some(&tcc()), "any ./report a.c", None),
            (b"/tmp/any", None, "any ./report a.c", None),
            (LOADER, Some(&tcc()), "ld.so ./report a.c", None),
            (b"/usr/bin/java", None, "java ./report", None),
        ] {
            let arguments = words(arguments);
            let call = Invocation { path, comm: b"", args: Some(&arguments) };
            assert_eq!(database.loaded(&call, content), program.map(words).as_deref(), "{arguments:?}");
        }
        let arguments = words("any ./report a.c");
        let call = Invocation { path: b"/tmp/any", comm: b"any", args: Some(&arguments) };
        assert_eq!(database.perhaps_loaded(&call), Some(&words("./report a.c")[..]));
        assert_eq!(database.perhaps_loaded(&Invocation { args: None, ..call }), None);
    }

    #[test]
    fn a_loaded_program_is_judged_as_an_executed_one() {
        let database = Database::builtin().unwrap();
        let judge = |arguments: &str, program: &Content| {
            let arguments = words(arguments);
            let call = Invocation { path: LOADER, comm: b"ld-linux-x86-64", args: Some(&arguments) };
            database.judge_loaded(&call, None, program)
        };
        let judged = judge("ld.so ./report -c a.c", &tcc());
        assert_eq!((judged.verdict.family.as_str(), judged.verdict.masquerade), ("tcc", true));
        assert_eq!(judged.verdict.evidence, [Evidence::Arguments, Evidence::Marker]);
        assert_eq!(judge("ld.so ./report -v", &tcc()).request, Request::Query);
        let judged = judge("ld.so ./tcc -c a.c", &tcc());
        assert_eq!((judged.verdict.confidence, judged.verdict.masquerade), (Confidence::High, false));
        let innocent = Content { elf: true, ..Content::default() };
        assert_eq!(judge("ld.so ./report -c a.c", &innocent).verdict.kind, Kind::NotCompiler);
        // A name counts with low confidence, unless the content is known to be another's.
        assert_eq!(judge("ld.so ./tcc -c a.c", &innocent).verdict.confidence, Confidence::Low);
        let good = Content { known_good: true, ..innocent };
        assert_eq!(judge("ld.so ./tcc -c a.c", &good).verdict.kind, Kind::NotCompiler);
    }

    #[test]
    fn a_name_is_taken_from_the_working_directory() {
        assert_eq!(place(b"/opt/report", b"/work"), b"/opt/report");
        assert_eq!(place(b"../report", b"/work"), b"/work/../report");
        assert_eq!(place(b"report", b"/"), b"//report");
        assert_eq!(place(b"report", b""), b"/report");
    }
}
