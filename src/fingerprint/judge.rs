//! The verdict on one exec: what its content says, the names that it goes by, asked one after the other, and what its
//! arguments make of it.
//!
//! | name says compiler | content says | verdict |
//! |---|---|---|
//! | yes | that family, or a kin | compiler, confidence from the content |
//! | yes | nothing known | compiler, low, evidence `name` |
//! | yes | another family, or a SHA-256 known to be good | what the content says; masquerade if that is a compiler |
//! | no | a compiler | compiler, masquerade unless the name is usual for that family |
//! | no | only the structure of one | compiler, family `unknown`, low |
//! | no | packed, and nobody has seen what it unpacks | compiler, family `unknown`, low, packed |
//! | no | nothing | not-compiler |
//!
//! Masquerade is decided by the file's own basename, never by what its process calls itself.

use super::database::{Database, Family, Rule, UNKNOWN};
use super::lookup::{Hit, Source};
use super::name::{self, NamePattern};
use super::recognition::MAX_VERSION;
use super::script::{Launcher, Target};
use super::{Confidence, Content, ContentSays, Evidence, Invocation, Judgement, Kind, Recognition, Request, Verdict};
use crate::event::basename;

/// How many programs may stand one inside the other (`ld.so ld.so java ...`) before we stop to look.
pub(super) const MAX_NESTING: usize = 4;

/// A toolchain's program, and why it is one.
struct Found<'d> {
    family: &'d Family,
    version: Option<String>,
    evidence: Vec<Evidence>,
    request: Request,
}

/// What the content says of the executed file itself, where it is no toolchain's.
#[derive(Clone, Copy)]
enum Outer<'d> {
    /// Nothing: its name tells.
    ByName,
    /// Another program.
    Is(&'d Family, &'d Recognition),
    /// A program known to be no compiler.
    KnownGood,
}

impl Database {
    /// The verdict on an exec and what it asks for. What the file's content says goes before its name. Where it says
    /// nothing, names are asked in this order: the executed file's, that of a script or class which an interpreter runs,
    /// `argv[0]`, comm; the first that stands for a toolchain decides, so that no innocent name hides another. The
    /// request of what is no toolchain's program means nothing.
    ///
    /// `argv[0]` and comm of a file that is known claim fewer names: the process chose them, and `as`, `go` or `opt`
    /// may be anybody's. A known wrapper (ccache, rustup, env, busybox) claims nothing by them, as what it runs is an
    /// exec of its own.
    pub fn judge(&self, call: &Invocation<'_>, content: Option<&Content>) -> Judgement {
        let recognition = content.and_then(|content| content.recognised.as_ref());
        let family = recognition.and_then(|recognition| self.family(&recognition.family));
        let mut judgement = match (recognition, family) {
            (Some(recognition), Some(family)) if family.kind.is_toolchain() => {
                self.genuine(call, recognition, family, content.is_some_and(|content| content.script))
            }
            (Some(recognition), Some(family)) => self.by_names(call, Outer::Is(family, recognition)),
            _ if content.is_some_and(|content| content.known_good) => self.by_names(call, Outer::KnownGood),
            _ => self.by_names(call, Outer::ByName),
        };
        if let Some(content) = content {
            annotate(&mut judgement.verdict, content);
        }
        judgement
    }

    /// What a content alone makes of a file: whether its execs concern us whatever it is called.
    pub fn content_says(&self, content: &Content) -> ContentSays {
        let family = content.recognised.as_ref().and_then(|recognition| self.family(&recognition.family));
        match family {
            Some(family) if family.kind.is_toolchain() => ContentSays::Toolchain,
            _ if content.known_good => ContentSays::Innocent,
            _ if content.is_hidden() => ContentSays::Toolchain,
            Some(family) if family.runs == Some(Launcher::Loader) => ContentSays::Loader,
            Some(family) if family.runs.is_some_and(Launcher::is_told_by_arguments) => ContentSays::ByArguments,
            Some(family) if !family.compile_commands.is_empty() => ContentSays::ByArguments,
            None if content.structure => ContentSays::Toolchain,
            // Whatever else was found: what would make it a compiler may stand where nobody looked.
            _ if content.unsearched || content.changed || content.packed => ContentSays::Unknown,
            _ => ContentSays::Innocent,
        }
    }

    /// A file with a toolchain's content, whatever it is called.
    fn genuine(&self, call: &Invocation<'_>, recognition: &Recognition, family: &Family, is_script: bool) -> Judgement {
        let named = self.find(call.path, Source::File);
        let usual = self.is_usual_name(call.path, named.as_ref(), family);
        let named = named.filter(|hit| usual && hit.family.kind.is_toolchain());
        let before = |args: &[Vec<u8>]| if is_script { before_arguments(args, call.path) } else { 1 };
        let rest = call.args.filter(|args| !args.is_empty()).map(|args| args.get(before(args)..).unwrap_or_default());
        let mut evidence = named.as_ref().map(names).unwrap_or_default();
        evidence.extend_from_slice(&recognition.evidence);
        Judgement {
            request: self.request(named.map_or(family, |hit| hit.family), rest),
            verdict: Verdict {
                kind: family.kind,
                family: family.family.clone(),
                toolchain: family.toolchain.clone(),
                version: recognition.version.clone().or_else(|| named.as_ref().and_then(version)),
                confidence: recognition.confidence,
                evidence,
                masquerade: !usual,
                packed: false,
            },
        }
    }

    /// Whether a file's own name is one under which its content is usual: its family's, a kin's, or one that claims a
    /// kind and no family. A name that is not known is no other name.
    fn is_usual_name(&self, path: &[u8], named: Option<&Hit<'_, '_>>, content: &Family) -> bool {
        let base = basename(path);
        let base = base.strip_prefix(b"memfd:").unwrap_or(base);
        let kin_of = |rule: &Rule| self.families.get(rule.family).is_some_and(|family| are_kin(family, content));
        let known = |parts: &name::Parts<'_>| {
            // `link` may be Go's outside of its directory, and `valac-0.56` is what `valac` is.
            let patterns = self.names.get(parts.core).is_some_and(|rules| rules.iter().any(kin_of));
            let also = |p: &NamePattern| p.tail.is_none() && *p.core == *parts.core && p.admits(parts);
            patterns || content.also_named.iter().any(also)
        };
        path.is_empty()
            || named.is_some_and(|hit| are_kin(hit.family, content))
            || name::parts(base).any(|parts| known(&parts))
            || content.also_named.iter().any(|pattern| pattern.star_matches(base))
    }

    /// A file whose content is no toolchain's, or says nothing.
    fn by_names(&self, call: &Invocation<'_>, outer: Outer<'_>) -> Judgement {
        match self.recognise(call, outer) {
            Ok(found) => {
                Judgement { verdict: verdict(found.family, found.version, found.evidence), request: found.request }
            }
            Err(file) => {
                let verdict = match (outer, file) {
                    (Outer::Is(family, recognition), _) => Verdict {
                        confidence: recognition.confidence,
                        ..verdict(family, recognition.version.clone(), recognition.evidence.clone())
                    },
                    (Outer::KnownGood, file) => Verdict {
                        kind: Kind::NotCompiler,
                        confidence: Confidence::Certain,
                        evidence: vec![Evidence::Sha256],
                        ..file.map_or_else(innocent, |hit| verdict(hit.family, None, Vec::new()))
                    },
                    (Outer::ByName, Some(hit)) => verdict(hit.family, version(&hit), names(&hit)),
                    (Outer::ByName, None) => innocent(),
                };
                Judgement { verdict, request: Request::Compile }
            }
        }
    }

    /// The toolchain's program that an exec is; else what its file's name says.
    fn recognise<'d, 'n>(&'d self, call: &Invocation<'n>, from: Outer<'d>) -> Result<Found<'d>, Option<Hit<'d, 'n>>> {
        let (mut path, mut comm) = (call.path, call.comm);
        let mut arguments = call.args.filter(|args| !args.is_empty());
        let mut outer = None;
        for depth in 0..MAX_NESTING {
            let argv0 = arguments.and_then(<[_]>::first).map(Vec::as_slice);
            let rest = arguments.map(|args| args.get(1..).unwrap_or_default());
            let file = match from {
                Outer::Is(family, _) if depth == 0 => Some(Hit { family, version: None, by_path: false }),
                Outer::KnownGood if depth == 0 => {
                    self.file(path, argv0, comm).filter(|hit| !hit.family.kind.is_toolchain())
                }
                _ => self.file(path, argv0, comm),
            };
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
            let run = file.and_then(|hit| {
                let others = || hit.family.runs?.other_targets(rest?).find_map(|other| self.run_by(hit.family, other));
                self.run_by(hit.family, target).or_else(others)
            });
            if let Some(found) = run {
                return Ok(found);
            }
            let env = file.is_some_and(|hit| hit.family.runs == Some(Launcher::Env));
            if env && arguments.is_some_and(|args| self.env_is_followed(args)) {
                break;
            }
            // What is known to be no compiler becomes none by what its process calls itself, unless it runs others' code.
            let known = depth == 0 && !matches!(from, Outer::ByName);
            if known && file.is_none_or(|hit| hit.family.runs.is_none()) {
                break;
            }
            // Nor by argv[0] then: that of a script's interpreter is the interpreter's.
            let argv0 = argv0.filter(|_| !known);
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
                let (mut script, mut rest) = run.split_first()?;
                // `run build` runs a script of that name.
                let mut may_be_command = true;
                if launcher.goes_on(script) {
                    may_be_command = script.contains(&b'.');
                    let Target::Script(run) = launcher.runs?.target(rest) else { return None };
                    (script, rest) = run.split_first()?;
                }
                if may_be_command && launcher.compiles(script) {
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

    /// Whether a program of this path is env, which executes another in its process: of that the arguments will tell.
    pub fn is_env(&self, path: &[u8]) -> bool {
        self.find(path, Source::File).is_some_and(|hit| hit.family.runs == Some(Launcher::Env))
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

/// Whether the programs of two families may go by each other's names: `f951` and `cc1` do not surprise, nor what names
/// claim a kind alone.
fn are_kin(named: &Family, content: &Family) -> bool {
    let compiles = |family: &Family| matches!(family.kind, Kind::Compiler | Kind::CompilerInternal);
    let same_kind = named.kind == content.kind || (compiles(named) && compiles(content));
    let same_toolchain = named.toolchain.is_some() && named.toolchain == content.toolchain;
    named.family == content.family
        || same_kind && (same_toolchain || named.family == UNKNOWN)
        || same_toolchain && named.kind == Kind::BuildTool
}

/// How many words stand before a script's arguments: its interpreter, perhaps what that is told, and the script
/// (fs/binfmt_script.c).
fn before_arguments(args: &[Vec<u8>], script: &[u8]) -> usize {
    args.iter().take(3).position(|arg| basename(arg) == basename(script)).map_or(1, |at| at + 1)
}

/// What is to be told of a content besides what it is.
fn annotate(verdict: &mut Verdict, content: &Content) {
    let innocent = !verdict.kind.is_toolchain();
    if content.structure {
        if innocent {
            verdict.kind = Kind::Compiler;
            (verdict.family, verdict.toolchain, verdict.version) = (UNKNOWN.to_owned(), None, None);
            verdict.evidence = vec![Evidence::Structure];
        } else if verdict.evidence.contains(&Evidence::Name) {
            verdict.evidence.push(Evidence::Structure);
        }
    }
    if content.is_hidden() && innocent {
        // Whoever packs a program hides what it is: that is a finding of its own.
        *verdict = Verdict { kind: Kind::Compiler, ..self::innocent() };
    }
    verdict.packed = content.packed;
    if content.packed {
        verdict.evidence.push(Evidence::Packed);
    }
    if content.truncated {
        verdict.evidence.push(Evidence::ReadLimit);
    }
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
