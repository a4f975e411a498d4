//! The verdict on one exec: the names that it goes by, asked one after the other, and what its arguments make of it.
//! Names come from the database, and what a content says will join them here.

use super::database::{Database, Family};
use super::lookup::{Hit, Source};
use super::script::{Launcher, Target};
use super::{Confidence, Content, ContentSays, Evidence, Invocation, Judgement, Kind, Request, Verdict};

/// How many programs may stand one inside the other (`ld.so ld.so java ...`) before we stop to look.
const MAX_NESTING: usize = 4;
/// The family of what no pattern fits.
const UNKNOWN: &str = "unknown";
/// A version longer than this is no version.
const MAX_VERSION: usize = 32;

/// A toolchain's program, and why it is one.
struct Found<'d> {
    family: &'d Family,
    version: Option<String>,
    evidence: Vec<Evidence>,
    request: Request,
}

impl Database {
    /// The verdict on an exec and what it asks for. Names are asked in this order: the executed file's, that of a
    /// script or class which an interpreter runs, `argv[0]`, comm; the first that stands for a toolchain decides, so
    /// that no innocent name hides another. The request of what is no toolchain's program means nothing.
    ///
    /// `argv[0]` and comm of a file that is known claim fewer names: the process chose them, and `as`, `go` or `opt`
    /// may be anybody's. A known wrapper (ccache, rustup, env, busybox) claims nothing by them, as what it runs is an
    /// exec of its own.
    pub fn judge(&self, call: &Invocation<'_>, content: Option<&Content>) -> Judgement {
        let mut judgement = match self.recognise(call) {
            Ok(found) => {
                Judgement { verdict: verdict(found.family, found.version, found.evidence), request: found.request }
            }
            Err(file) => {
                let verdict = match file {
                    Some(hit) => verdict(hit.family, version(&hit), names(&hit)),
                    None => innocent(),
                };
                Judgement { verdict, request: Request::Compile }
            }
        };
        if content.is_some_and(|content| content.truncated) && judgement.verdict.kind.is_toolchain() {
            judgement.verdict.evidence.push(Evidence::ReadLimit);
        }
        judgement
    }

    /// What a file is by its content alone, whoever executes it and by whatever name.
    pub fn content_says(&self, _content: &Content) -> ContentSays {
        ContentSays::Innocent
    }

    /// The toolchain's program that an exec is; else what its file's name says.
    fn recognise<'d, 'n>(&'d self, call: &Invocation<'n>) -> Result<Found<'d>, Option<Hit<'d, 'n>>> {
        let (mut path, mut comm) = (call.path, call.comm);
        let mut arguments = call.args.filter(|args| !args.is_empty());
        let mut outer = None;
        for depth in 0..MAX_NESTING {
            let argv0 = arguments.and_then(<[_]>::first).map(Vec::as_slice);
            let rest = arguments.map(|args| args.get(1..).unwrap_or_default());
            let file = self.file(path, argv0, comm);
            let through: &[Evidence] = if depth == 0 { &[] } else { &[Evidence::Arguments] };
            if depth == 0 {
                outer = file;
            }
            let found = |hit: &Hit<'d, '_>, mut evidence: Vec<Evidence>, request| {
                evidence.extend_from_slice(through);
                Found { family: hit.family, version: version(hit), evidence, request }
            };
            if let Some(hit) = file {
                if hit.family.kind.is_toolchain() {
                    return Ok(found(&hit, names(&hit), self.request(hit.family, rest)));
                }
                if hit.family.wrapper {
                    break;
                }
            }
            let target = match (file.and_then(|hit| hit.family.runs), rest) {
                (Some(launcher), Some(rest)) => launcher.target(rest),
                _ => Target::Nothing,
            };
            if let Target::Program(program) = target {
                let Some(first) = program.first() else { break };
                (path, comm, arguments) = (first, &[], Some(program));
                continue;
            }
            if let Some(found) = file.and_then(|hit| self.run_by(hit.family, target)) {
                return Ok(found);
            }
            let env = file.is_some_and(|hit| hit.family.runs == Some(Launcher::Env));
            if env && arguments.is_some_and(|args| self.env_is_followed(args)) {
                break;
            }
            if let Some((hit, by_comm)) = self.claimed_by_process(path, argv0, comm) {
                // comm of an interpreter is its script's name, and its arguments are not that script's.
                let script = by_comm && file.is_some_and(|hit| hit.family.runs.is_some());
                let evidence = vec![if script { Evidence::Script } else { Evidence::Name }];
                let request = if script { Request::Compile } else { self.request(hit.family, rest) };
                return Ok(found(&hit, evidence, request));
            }
            break;
        }
        Err(outer)
    }

    /// The toolchain's program that a launcher runs in its own process.
    fn run_by<'d>(&'d self, launcher: &'d Family, target: Target<'_>) -> Option<Found<'d>> {
        let by_arguments = |family: &'d Family, request| {
            let evidence = vec![Evidence::Arguments];
            family.kind.is_toolchain().then_some(Found { family, version: None, evidence, request })
        };
        match target {
            Target::Nothing | Target::Program(_) => None,
            Target::Source => by_arguments(self.java_class(b"com.sun.tools.javac.launcher.Main")?, Request::Compile),
            Target::Named(name, rest) => {
                let family = self.java_class(name).or_else(|| self.python_module(name))?;
                by_arguments(family, self.request(family, Some(rest)))
            }
            Target::Script(run) => {
                let (script, rest) = run.split_first()?;
                if launcher.compile_commands.iter().any(|command| **command == **script) {
                    let evidence = vec![Evidence::Name, Evidence::Arguments];
                    return Some(Found { family: launcher, version: None, evidence, request: Request::Compile });
                }
                let hit = self.find_script(script).filter(|hit| hit.family.kind.is_toolchain())?;
                let evidence =
                    if hit.by_path { vec![Evidence::Script, Evidence::Path] } else { vec![Evidence::Script] };
                let request = self.request(hit.family, Some(rest));
                Some(Found { family: hit.family, version: version(&hit), evidence, request })
            }
        }
    }

    /// Whether what env executes next is an interpreter whose arguments will tell what it runs: then the script is
    /// counted there. `#!/usr/bin/env -S node` comes as one argument.
    fn env_is_followed(&self, arguments: &[Vec<u8>]) -> bool {
        let mut words = arguments.iter().take(3).flat_map(|argument| argument.split(|&b| b == b' '));
        words.any(|word| {
            self.find(word, Source::File).and_then(|hit| hit.family.runs).is_some_and(Launcher::is_told_by_arguments)
        })
    }

    /// A script's family by its name, with its ending or without.
    fn find_script<'d, 'n>(&'d self, script: &'n [u8]) -> Option<Hit<'d, 'n>> {
        const ENDINGS: [&[u8]; 8] = [b".js", b".mjs", b".cjs", b".py", b".pyc", b".pl", b".rb", b".jar"];
        self.find(script, Source::Script).or_else(|| {
            let stem = ENDINGS.iter().find_map(|ending| script.strip_suffix(*ending))?;
            self.find(stem, Source::Script)
        })
    }

    /// What a family's program is asked for; unknown arguments are no query.
    fn request(&self, family: &Family, arguments: Option<&[Vec<u8>]>) -> Request {
        match (self.grammar(family), arguments) {
            (Some(grammar), Some(arguments)) => grammar.request(arguments, self.grammars()),
            _ => Request::Compile,
        }
    }
}

/// What the name of a file is evidence of: its own, and its directory's.
fn names(hit: &Hit<'_, '_>) -> Vec<Evidence> {
    if hit.by_path { vec![Evidence::Name, Evidence::Path] } else { vec![Evidence::Name] }
}

fn version(hit: &Hit<'_, '_>) -> Option<String> {
    let version = hit.version.filter(|v| v.len() <= MAX_VERSION)?;
    std::str::from_utf8(version).ok().map(str::to_owned)
}

/// A name is all we have: confidence is low. A subcommand that compiles makes a compiler of its launcher.
fn verdict(family: &Family, version: Option<String>, evidence: Vec<Evidence>) -> Verdict {
    let compiles = evidence.contains(&Evidence::Arguments) && !family.kind.is_toolchain();
    Verdict {
        kind: if compiles { Kind::Compiler } else { family.kind },
        family: family.family.clone(),
        toolchain: family.toolchain.clone(),
        version,
        confidence: Confidence::Low,
        evidence,
        masquerade: false,
        packed: false,
    }
}

fn innocent() -> Verdict {
    Verdict {
        kind: Kind::NotCompiler,
        family: UNKNOWN.to_owned(),
        toolchain: None,
        version: None,
        confidence: Confidence::Low,
        evidence: Vec::new(),
        masquerade: false,
        packed: false,
    }
}
