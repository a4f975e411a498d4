//! What the database says of a name, a class or a module, and whether an exec is worth judging: asked for each exec, so
//! nothing here allocates for a name. What a call's arguments mean is `script`'s and `arguments`' affair.

use super::arguments::Grammar;
use super::database::{COMM_LEN, Database, Family, Rule};
use super::name;
use super::script::Launcher;
use super::{Candidate, Invocation};
use crate::event::basename;

/// Where a name comes from; not every source may claim every family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The executed file's path, or the only name that is known of it: may claim all.
    File,
    /// A script's path: no name that only a file may claim (a script named `go` is somebody's own).
    Script,
    /// `argv[0]` or comm of a known file: as a script's, and no path, for the process chose it.
    Process,
}

/// A name that was recognised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit<'d, 'n> {
    pub(super) family: &'d Family,
    pub(super) version: Option<&'n [u8]>,
    /// The directory fits too.
    pub(super) by_path: bool,
}

impl Database {
    /// Whether a new process has to be looked at more closely, by what is known of it without reading its arguments:
    /// file and comm. Allocates nothing; called for each exec in a container. `argv[0]` is not known here, so a file
    /// without a compiler's name, exec'd with one as `argv[0]` alone, is `No`.
    pub fn candidate(&self, call: &Invocation<'_>) -> Candidate {
        let file = self.file(call.path, None, call.comm);
        if let Some(hit) = file {
            if hit.family.kind.is_toolchain() {
                return Candidate::ByName;
            }
            if hit.family.wrapper {
                return Candidate::No;
            }
        }
        if self.claimed_by_process(call.path, None, call.comm).is_some() {
            let env = file.is_some_and(|hit| hit.family.runs == Some(Launcher::Env));
            return if env { Candidate::IfArguments } else { Candidate::ByName };
        }
        match file {
            Some(hit) if hit.family.runs.is_some_and(Launcher::is_told_by_arguments) => Candidate::IfArguments,
            Some(hit) if !hit.family.compile_commands.is_empty() => Candidate::IfArguments,
            _ => Candidate::No,
        }
    }

    /// Whether execs of a file can concern us, by its path alone: [`Candidate::No`] also for ld.so, as each program that
    /// is linked dynamically comes by it.
    pub fn file_candidate(&self, path: &[u8]) -> Candidate {
        let loader = self.file(path, None, b"").is_some_and(|hit| hit.family.runs == Some(Launcher::Loader));
        if loader { Candidate::No } else { self.candidate(&Invocation { path, comm: b"", args: None }) }
    }

    /// What the executed file is by its own name; where its path is not known, by `argv[0]` or comm instead.
    pub(super) fn file<'d, 'n>(
        &'d self,
        path: &'n [u8],
        argv0: Option<&'n [u8]>,
        comm: &'n [u8],
    ) -> Option<Hit<'d, 'n>> {
        if !path.is_empty() {
            return self.find(path, Source::File);
        }
        let by_argv0 = argv0.and_then(|name| self.find(name, Source::File));
        if by_argv0.is_some_and(|hit| hit.family.kind.is_toolchain()) {
            return by_argv0;
        }
        let by_comm = self.find_comm(comm, Source::File);
        if by_comm.is_some_and(|hit| hit.family.kind.is_toolchain()) { by_comm } else { by_argv0.or(by_comm) }
    }

    /// The toolchain that `argv[0]` or comm of a known file claims, and whether comm did.
    pub(super) fn claimed_by_process<'d, 'n>(
        &'d self,
        path: &[u8],
        argv0: Option<&'n [u8]>,
        comm: &'n [u8],
    ) -> Option<(Hit<'d, 'n>, bool)> {
        let file = basename(path);
        let of_toolchain = |hit: &Hit<'_, '_>| hit.family.kind.is_toolchain();
        if let Some(hit) = argv0.and_then(|name| self.find(name, Source::Process)).filter(of_toolchain) {
            return Some((hit, false));
        }
        if comm == file.get(..COMM_LEN).unwrap_or(file) {
            return None;
        }
        self.find_comm(comm, Source::Process).filter(of_toolchain).map(|hit| (hit, true))
    }

    /// comm is cut after 15 bytes: what fills it may be the beginning of a longer name.
    fn find_comm<'d, 'n>(&'d self, comm: &'n [u8], source: Source) -> Option<Hit<'d, 'n>> {
        self.find(comm, source).or_else(|| {
            let rule = self.clipped.get(comm)?;
            let family = self.families.get(rule.family)?;
            (source == Source::File || !rule.file_only).then_some(Hit { family, version: None, by_path: false })
        })
    }

    /// The family of a path or bare name. A fitting directory is the best of reasons, then a name for files alone, then
    /// any name; a literal name goes before a shorter one with a version (`cc65`, `go1`, `d21`).
    pub(super) fn find<'d, 'n>(&'d self, path: &'n [u8], source: Source) -> Option<Hit<'d, 'n>> {
        let base = basename(path);
        // What memfd_create calls its files in /proc/PID/exe.
        let base = base.strip_prefix(b"memfd:").unwrap_or(base);
        name::parts(base)
            .find_map(|parts| {
                let rules = self.names.get(parts.core)?;
                let by_path = |rule: &'d Rule| {
                    let version = rule.path.as_ref()?.matches(path)?;
                    self.hit(rule, version.or(parts.version), true)
                };
                let by_name = |file_only| {
                    let fits = |r: &&Rule| r.path.is_none() && r.file_only == file_only && r.name.admits(&parts);
                    rules.iter().find(fits).and_then(|rule| self.hit(rule, parts.version, false))
                };
                let path_hit = || if source == Source::Process { None } else { rules.iter().find_map(by_path) };
                let file_hit = || if source == Source::File { by_name(true) } else { None };
                path_hit().or_else(file_hit).or_else(|| by_name(false))
            })
            .or_else(|| {
                let fits = |r: &&Rule| (source == Source::File || !r.file_only) && r.name.star_matches(base);
                self.stars.iter().find(fits).and_then(|rule| self.hit(rule, None, false))
            })
    }

    fn hit<'d, 'n>(&'d self, rule: &Rule, version: Option<&'n [u8]>, by_path: bool) -> Option<Hit<'d, 'n>> {
        Some(Hit { family: self.families.get(rule.family)?, version, by_path })
    }

    /// The family of a Java main class, `module/class` or module, dots or slashes.
    pub(super) fn java_class(&self, class: &[u8]) -> Option<&Family> {
        let dotted = |name: &[u8]| {
            let name: Vec<u8> = name.iter().map(|&b| if b == b'/' { b'.' } else { b }).collect();
            self.java_classes.get(&*name).and_then(|&family| self.families.get(family))
        };
        let inside = class.iter().position(|&b| b == b'/').and_then(|slash| class.get(slash + 1..));
        if class.len() > 4096 { None } else { dotted(class).or_else(|| inside.and_then(dotted)) }
    }

    /// The family of a Python module, or of the package at its head.
    pub(super) fn python_module(&self, module: &[u8]) -> Option<&Family> {
        let package = module.split(|&b| b == b'.').next().unwrap_or_default();
        let family = self.python_modules.get(module).or_else(|| self.python_modules.get(package))?;
        self.families.get(*family)
    }

    /// The grammar of a family's queries: its own, else the one named `default`.
    pub(super) fn grammar(&self, family: &Family) -> Option<&Grammar> {
        match family.grammar {
            Some(index) => self.grammars.get(index),
            None => self.grammars.iter().find(|g| g.name() == "default"),
        }
    }

    /// All grammars: one may delegate to another.
    pub(super) fn grammars(&self) -> &[Grammar] {
        &self.grammars
    }
}
