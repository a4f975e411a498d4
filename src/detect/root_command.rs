//! For people: the command that started it all, chosen among the ancestors of a session's first exec. Pure.

use crate::escape::cut;
use crate::event::{Pid, basename};
use crate::host::ancestry::Kin;
use crate::host::process::memory::split_arguments;

/// Programs whose command line says more of a build than the compiler's.
const BUILD_TOOLS: &[&str] = &[
    "make",
    "gmake",
    "ninja",
    "samu",
    "cmake",
    "ctest",
    "meson",
    "bazel",
    "scons",
    "waf",
    "cargo",
    "go",
    "npm",
    "yarn",
    "pnpm",
    "pip",
    "pip3",
    "mvn",
    "gradle",
    "ant",
    "sbt",
    "rake",
    "gem",
    "bundle",
    "cpan",
    "cabal",
    "stack",
    "dotnet",
    "dpkg-buildpackage",
    "debuild",
    "rpmbuild",
    "makepkg",
    "abuild",
    "bitbake",
    "buck",
    "buck2",
    "nix-build",
];
const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox", "fish"];
const INTERPRETERS: &[&str] = &["python", "perl", "ruby", "node", "php", "lua", "tclsh", "awk"];

/// Longer commands are of no use to a reader.
const LENGTH: usize = 1024;

fn named(name: &[u8], list: &[&str]) -> bool {
    list.iter().any(|n| n.as_bytes() == name)
}

/// `python3.11` is python.
fn is_interpreter(name: &[u8]) -> bool {
    let stem =
        name.iter().position(|b| b.is_ascii_digit() || *b == b'.').map_or(name, |at| name.get(..at).unwrap_or(name));
    named(stem, INTERPRETERS)
}

/// A build tool, a script, or a shell that was given a command.
fn is_telling(kin: &Kin) -> bool {
    let Ok(line) = &kin.command_line else { return named(&kin.comm, BUILD_TOOLS) };
    let mut words = split_arguments(line);
    // A login shell's name begins with a dash.
    let first = words.next().unwrap_or_default();
    let program = basename(first.strip_prefix(b"-").unwrap_or(first));
    if named(program, BUILD_TOOLS) || named(&kin.comm, BUILD_TOOLS) {
        return true;
    }
    if named(program, SHELLS) {
        let mut rest = words.skip_while(|w| named(w, &["sh", "ash"])).peekable();
        let has_command =
            rest.clone().take_while(|w| w.starts_with(b"-")).any(|w| !w.starts_with(b"--") && w.contains(&b'c'));
        let script = rest.find(|w| !w.starts_with(b"-"));
        return has_command || script.is_some();
    }
    is_interpreter(program) && words.any(|w| !w.starts_with(b"-"))
}

fn command(kin: &Kin) -> String {
    match &kin.command_line {
        Ok(line) => join(split_arguments(line)),
        Err(_) => String::from_utf8_lossy(&kin.comm).into_owned(),
    }
}

/// Arguments joined by blanks, as text, at most 1,024 bytes.
pub fn join<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for arg in args {
        if text.len() >= LENGTH {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&String::from_utf8_lossy(arg.get(..arg.len().min(LENGTH)).unwrap_or_default()));
    }
    text.truncate(cut(&text, LENGTH).len());
    text
}

/// The outermost ancestor within the POSIX session, its leader included, that is a build tool, a script or a shell
/// with `-c`; else the outermost below the leader; else the leader; else the exec itself. `ancestors` nearest first.
pub fn root_command(own: &str, session: Option<Pid>, ancestors: &[Kin]) -> String {
    let within: Vec<&Kin> = match session {
        Some(session) => ancestors.iter().take_while(|k| k.session == Some(session)).collect(),
        None => Vec::new(),
    };
    let telling = within.iter().rev().find(|k| is_telling(k));
    let below_leader = || within.iter().rev().find(|k| Some(k.pid) != session);
    let chosen = telling.or_else(below_leader).or_else(|| within.last());
    chosen.map_or_else(|| own.to_owned(), |kin| command(kin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Missing, StartTime};

    fn kin(pid: i32, session: i32, line: &str) -> Kin {
        let comm = basename(line.split(' ').next().unwrap_or_default().as_bytes()).to_vec();
        let command_line = Ok(format!("{line} ").replace(' ', "\0").into_bytes());
        Kin { pid: Pid(pid), start: StartTime(0), comm, session: Some(Pid(session)), command_line }
    }

    type Line<'a> = (i32, i32, &'a str);

    fn chosen(lines: &[Line<'_>]) -> String {
        let ancestors: Vec<Kin> = lines.iter().map(|(p, s, l)| kin(*p, *s, l)).collect();
        root_command("gcc a.c", Some(Pid(10)), &ancestors)
    }

    #[test]
    fn the_outermost_telling_ancestor_is_chosen() {
        let rows: &[(&[Line<'_>], &str)] = &[
            (&[(12, 10, "sh -c cd x && gcc a.c"), (11, 10, "make -j8"), (10, 10, "bash")], "make -j8"),
            (&[(12, 10, "/bin/sh ./configure --quiet"), (10, 10, "-bash")], "/bin/sh ./configure --quiet"),
            (&[(10, 10, "sh -c gcc hello.c"), (1, 1, "make world")], "sh -c gcc hello.c"),
            (&[(12, 10, "env"), (11, 10, "nice"), (10, 10, "bash")], "nice"),
            (&[(10, 10, "bash")], "bash"),
            (&[(5, 5, "node server.js")], "gcc a.c"),
            (&[], "gcc a.c"),
            (&[(12, 10, "python3.11 -u setup.py build"), (10, 10, "bash -l")], "python3.11 -u setup.py build"),
            (&[(12, 10, "bash -euxc make"), (10, 10, "bash")], "bash -euxc make"),
            (&[(12, 10, "bash --rcfile"), (10, 10, "zsh")], "bash --rcfile"),
        ];
        for (lines, want) in rows {
            assert_eq!(chosen(lines), *want, "{lines:?}");
        }
        assert_eq!(root_command("gcc a.c", None, &[kin(10, 10, "make")]), "gcc a.c");
    }

    #[test]
    fn without_arguments_the_name_speaks() {
        let mut make = kin(10, 10, "make");
        make.command_line = Err(Missing::Deadline);
        assert_eq!(root_command("cc1", Some(Pid(10)), &[make]), "make");
    }

    #[test]
    fn commands_are_bounded_at_a_character() {
        let text = join(["gcc".as_bytes(), "ä".repeat(3000).as_bytes()]);
        assert!(text.len() <= LENGTH && text.len() > LENGTH - 4);
    }
}
