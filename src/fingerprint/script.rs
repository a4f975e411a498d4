//! What an interpreter, a virtual machine or a loader runs, read off its arguments: a script, a class, a module,
//! another program. Whether that is a compiler is the database's affair.

mod options;

use serde::Deserialize;

pub(super) use options::java_takes_value;
use options::{
    DOTNET_VALUES, GUILE_ENDS, GUILE_VALUES, JAVA_ENDS, JAVA_VALUES, LOADER_ENDS, LOADER_VALUES, NODE_ENDS,
    emulator_takes_value, node_takes_value,
};

/// Classes that start another one, named among their arguments: kotlinc's and groovyc's scripts run these.
const JAVA_STARTERS: [&[u8]; 2] =
    [b"org.jetbrains.kotlin.preloading.Preloader", b"org.codehaus.groovy.tools.GroovyStarter"];
/// How many arguments of a starter class are looked at for the class that it starts.
const STARTED_WITHIN: usize = 32;

/// How a program's command line names what it runs; `runs` in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Launcher {
    /// `java [option...] class|-jar file|-m module|File.java`
    Java,
    /// `python [option...] script|-m module|-c code`
    Python,
    /// `node [option...] script`, deno, bun
    Node,
    /// `dotnet [option...] [exec] assembly|command`, mono
    Dotnet,
    /// `sh [option...] script`: the script's name is comm already.
    Shell,
    /// The same of perl, ruby and their like.
    Script,
    /// `ocamlrun [option...] program`
    Ocaml,
    /// `guile [option...] [-s] script`: Scheme's compiler is a script of its interpreter.
    Guile,
    /// `beam.smp [option...] [-s|-run module...] [-extra +word...]`, the virtual machine of Erlang
    Erlang,
    /// `env [option...] [NAME=value...] program`: what it executes is seen by itself.
    Env,
    /// `ld.so [option...] program`
    Loader,
    /// `qemu-x86_64 [option...] program`
    Emulator,
}

/// What is run. Each slice of arguments begins with what the variant says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// Code on the command line or standard input, a prompt, a usage text, or something not understood.
    Nothing,
    /// A program, its path first.
    Program(&'a [Vec<u8>]),
    /// A script, an assembly, a jar or a subcommand, its name first.
    Script(&'a [Vec<u8>]),
    /// A Java class or Python module, and the arguments after it.
    Named(&'a [u8], &'a [Vec<u8>]),
    /// A Java source file, which the launcher compiles first.
    Source,
}

impl Launcher {
    /// Whether only its arguments tell that it compiles. A script's name is comm, and what a shell's script runs is an
    /// exec of its own: to read the arguments of each shell would cost much and tell nothing.
    pub(super) fn is_told_by_arguments(self) -> bool {
        !matches!(self, Self::Shell | Self::Script | Self::Env)
    }

    /// Whether it runs programs of the machine, whose files tell what they are.
    pub(super) fn runs_programs(self) -> bool {
        matches!(self, Self::Loader | Self::Emulator)
    }

    /// What a call runs; `arguments` without `argv[0]`.
    pub(super) fn target(self, arguments: &[Vec<u8>]) -> Target<'_> {
        match self {
            Self::Java => java(arguments),
            Self::Python => python(arguments),
            Self::Node => operand(arguments, node_takes_value, &NODE_ENDS).map_or(Target::Nothing, Target::Script),
            Self::Ocaml => first_operand(arguments, &[b"-I"], &[]).map_or(Target::Nothing, Target::Script),
            Self::Dotnet => dotnet(arguments),
            Self::Shell => shell(arguments),
            Self::Script => script(arguments),
            Self::Guile => first_operand(arguments, &GUILE_VALUES, &GUILE_ENDS).map_or(Target::Nothing, Target::Script),
            Self::Erlang => erlang(arguments),
            Self::Env => Target::Nothing,
            Self::Loader => {
                first_operand(arguments, &LOADER_VALUES, &LOADER_ENDS).map_or(Target::Nothing, Target::Program)
            }
            Self::Emulator => operand(arguments, emulator_takes_value, &[]).map_or(Target::Nothing, Target::Program),
        }
    }

    /// What else a call may run: where a long option that the list does not have stands before what `target` takes for a
    /// script, that may be the option's value. A word alone is more often an argument of the script than one.
    pub(super) fn other_targets(self, arguments: &[Vec<u8>]) -> impl Iterator<Item = Target<'_>> {
        let next = move |rest: &[Vec<u8>]| operand(rest, node_takes_value, &NODE_ENDS).map(<[_]>::len);
        let at = move |len: usize| arguments.len().checked_sub(len);
        let first = if self == Self::Node { next(arguments) } else { None };
        std::iter::successors(first, move |&len| {
            let option = arguments.get(at(len)?.checked_sub(1)?)?;
            let may_take_value = option.len() > 2
                && option.starts_with(b"--")
                && !option.starts_with(b"--no-")
                && !option.contains(&b'=');
            if may_take_value { next(arguments.get(at(len)? + 1..)?) } else { None }
        })
        .skip(1)
        .filter_map(move |len| arguments.get(at(len)?..))
        .filter(|run| run.first().is_some_and(|script| script.contains(&b'/')))
        .map(Target::Script)
    }
}

/// The arguments from the first operand on.
fn first_operand<'a>(arguments: &'a [Vec<u8>], values: &[&[u8]], ends: &[&[u8]]) -> Option<&'a [Vec<u8>]> {
    operand(arguments, |option| values.contains(&option), ends)
}

/// The same; `takes_value` tells the options whose value is the next argument.
fn operand<'a>(arguments: &'a [Vec<u8>], takes_value: impl Fn(&[u8]) -> bool, ends: &[&[u8]]) -> Option<&'a [Vec<u8>]> {
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        let argument = argument.as_slice();
        if ends.contains(&argument) {
            return None;
        }
        rest = if argument == b"--" {
            return (!after.is_empty()).then_some(after);
        } else if takes_value(argument) {
            after.get(1..)?
        } else if argument.len() > 1 && argument.starts_with(b"-") {
            after
        } else {
            return Some(rest);
        };
    }
    None
}

fn java(arguments: &[Vec<u8>]) -> Target<'_> {
    let mut rest = arguments;
    let mut source = false;
    while let Some((argument, after)) = rest.split_first() {
        let argument = argument.as_slice();
        rest = match argument {
            b"-jar" => return if after.is_empty() { Target::Nothing } else { Target::Script(after) },
            b"-m" | b"--module" => {
                return after.split_first().map_or(Target::Nothing, |(class, after)| Target::Named(class, after));
            }
            b"--source" => {
                source = true;
                after.get(1..).unwrap_or_default()
            }
            // One word with its value in a script's first line, which the launcher parts (args.c, expand).
            _ if argument.starts_with(b"--source ") || argument.starts_with(b"--source=") => {
                source = true;
                after
            }
            _ if JAVA_ENDS.contains(&argument) || argument.starts_with(b"--describe-module=") => {
                return Target::Nothing;
            }
            _ if JAVA_VALUES.contains(&argument) => after.get(1..).unwrap_or_default(),
            // What an @file holds stands in its place, where it could be read.
            _ if argument.starts_with(b"-") || argument.starts_with(b"@") => {
                match argument.strip_prefix(b"--module=") {
                    Some(class) => return Target::Named(class, after),
                    None => after,
                }
            }
            // "Launch-Single-File Source-Code Programs", JEP 330: only the ending or --source makes it source.
            _ if source || argument.ends_with(b".java") => return Target::Source,
            class => return started(class, after),
        };
    }
    Target::Nothing
}

/// The class that runs in the end, where the main class is a starter.
fn started<'a>(class: &'a [u8], arguments: &'a [Vec<u8>]) -> Target<'a> {
    if !JAVA_STARTERS.contains(&class) {
        return Target::Named(class, arguments);
    }
    let mut rest = arguments;
    for _ in 0..STARTED_WITHIN {
        let Some((argument, after)) = rest.split_first() else { break };
        rest = match argument.as_slice() {
            b"--main" => after,
            b"--conf" | b"--classpath" | b"-cp" => after.get(1..).unwrap_or_default(),
            option if option.starts_with(b"-") => after,
            class => return Target::Named(class, after),
        };
    }
    Target::Nothing
}

fn python(arguments: &[Vec<u8>]) -> Target<'_> {
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        let Some(letters) = argument.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            return if argument == b"-" { Target::Nothing } else { Target::Script(rest) };
        };
        rest = after;
        if argument == b"--check-hash-based-pycs" {
            rest = after.get(1..).unwrap_or_default();
        } else if !letters.starts_with(b"-") {
            // Flags may be clustered, and the value of the last one attached: `-Im ziglang`, `-mziglang`.
            let Some(at) = letters.iter().position(|b| b"cmWX".contains(b)) else { continue };
            let attached = letters.get(at + 1..).filter(|value| !value.is_empty());
            match (letters.get(at), attached) {
                (Some(b'm'), Some(module)) => return Target::Named(module, after),
                (Some(b'm'), None) => {
                    return after.split_first().map_or(Target::Nothing, |(module, after)| Target::Named(module, after));
                }
                (Some(b'c'), _) => return Target::Nothing,
                (_, None) => rest = after.get(1..).unwrap_or_default(),
                (_, Some(_)) => {}
            }
        }
    }
    Target::Nothing
}

fn dotnet(arguments: &[Vec<u8>]) -> Target<'_> {
    match first_operand(arguments, &DOTNET_VALUES, &[]) {
        Some([command, after @ ..]) if command == b"exec" => {
            first_operand(after, &DOTNET_VALUES, &[]).map_or(Target::Nothing, Target::Script)
        }
        Some(operand) => Target::Script(operand),
        None => Target::Nothing,
    }
}

/// `-c`, clustered or not, brings the code along, and `-s` has it read from standard input; `-e` ends a shell at the first
/// error. `-o` and `-O` take a value, `+` switches off.
fn shell(arguments: &[Vec<u8>]) -> Target<'_> {
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        let letters: &[u8] = match argument.as_slice() {
            b"-" | b"--" => return if after.is_empty() { Target::Nothing } else { Target::Script(after) },
            b"--rcfile" | b"--init-file" => b"o",
            option if option.starts_with(b"--") => b"",
            [b'-' | b'+', letters @ ..] => letters,
            _ => return Target::Script(rest),
        };
        if letters.iter().any(|letter| b"cs".contains(letter)) {
            return Target::Nothing;
        }
        let takes_value = letters.last().is_some_and(|last| b"oO".contains(last));
        rest = if takes_value { after.get(1..).unwrap_or_default() } else { after };
    }
    Target::Nothing
}

/// `-e` and `-E`, clustered or not, bring the code along; `-c` has the script checked. What follows other letters in their
/// word is their value (perlrun(1), ruby(1)), and that of `-I` and `-r` may be the next argument.
fn script(arguments: &[Vec<u8>]) -> Target<'_> {
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        let Some(letters) = argument.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            return Target::Script(rest);
        };
        rest = after;
        let at = letters.iter().position(|letter| b"eEIrmMixCDFJV:".contains(letter));
        let Some(at) = at.filter(|_| !letters.starts_with(b"-")) else { continue };
        match (letters.get(at), at + 1 == letters.len()) {
            // Ruby's -E has an encoding.
            (Some(b'e'), _) | (Some(b'E'), true) => return Target::Nothing,
            (Some(b'I' | b'r'), true) => rest = after.get(1..).unwrap_or_default(),
            _ => {}
        }
    }
    Target::Nothing
}

/// elixirc and erlc have the machine start what they name: the former by a word for elixir's own options, after `-extra`,
/// the latter by a module (erlc.c in erts/etc/common). `-s elixir` says what starts the former.
fn erlang(arguments: &[Vec<u8>]) -> Target<'_> {
    let extra = arguments.iter().position(|argument| argument == b"-extra");
    let (options, extra) = arguments.split_at(extra.unwrap_or(arguments.len()));
    if let Some(word) = extra.iter().position(|argument| argument.starts_with(b"+")) {
        return extra.get(word..).map_or(Target::Nothing, Target::Script);
    }
    let started =
        options.windows(2).position(|pair| matches!(pair, [option, _] if option == b"-s" || option == b"-run"));
    started.and_then(|at| options.get(at + 1..)).map_or(Target::Nothing, Target::Script)
}
