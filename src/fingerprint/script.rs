//! What an interpreter, a virtual machine or a loader runs, read off its arguments: a script, a class, a module,
//! another program. Whether that is a compiler is the database's affair.

use serde::Deserialize;

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

/// Options of java(1) whose value is the next argument.
const JAVA_VALUES: [&[u8]; 14] = [
    b"-cp",
    b"-classpath",
    b"--class-path",
    b"-p",
    b"--module-path",
    b"--upgrade-module-path",
    b"--add-modules",
    b"--add-opens",
    b"--add-exports",
    b"--add-reads",
    b"--patch-module",
    b"--limit-modules",
    b"--enable-native-access",
    b"-d",
];
/// Classes that start another one, named among their arguments: kotlinc's and groovyc's scripts run these.
const JAVA_STARTERS: [&[u8]; 2] =
    [b"org.jetbrains.kotlin.preloading.Preloader", b"org.codehaus.groovy.tools.GroovyStarter"];
/// Options of node(1) whose value is the next argument.
const NODE_VALUES: [&[u8]; 9] = [
    b"-r",
    b"--require",
    b"--import",
    b"--loader",
    b"--experimental-loader",
    b"-C",
    b"--conditions",
    b"--inspect-port",
    b"--icu-data-dir",
];
/// Options of node(1) after which no script follows.
const NODE_ENDS: [&[u8]; 6] = [b"-e", b"--eval", b"-p", b"--print", b"-pe", b"-i"];
/// Options of dotnet(1) and mono(1) whose value is the next argument.
const DOTNET_VALUES: [&[u8]; 8] = [
    b"--additionalprobingpath",
    b"--additional-deps",
    b"--depsfile",
    b"--fx-version",
    b"--roll-forward",
    b"--runtimeconfig",
    b"--config",
    b"-O",
];
/// Options of guile(1) whose value is the next argument.
const GUILE_VALUES: [&[u8]; 6] = [b"-L", b"-C", b"-x", b"-l", b"-e", b"--language"];
/// Options of guile(1) after which no script follows.
const GUILE_ENDS: [&[u8]; 5] = [b"-c", b"-h", b"--help", b"-v", b"--version"];
/// Options of ld.so(8) and of musl's loader whose value is the next argument.
const LOADER_VALUES: [&[u8]; 7] = [
    b"--library-path",
    b"--preload",
    b"--argv0",
    b"--audit",
    b"--inhibit-rpath",
    b"--glibc-hwcaps-prepend",
    b"--glibc-hwcaps-mask",
];
/// Options of ld.so(8) with which the program is not run.
const LOADER_ENDS: [&[u8]; 6] =
    [b"--list", b"--verify", b"--list-tunables", b"--list-diagnostics", b"--help", b"--version"];
/// Options of qemu-user(1) whose value is the next argument.
const EMULATOR_VALUES: [&[u8]; 15] = [
    b"-L",
    b"-cpu",
    b"-E",
    b"-U",
    b"-0",
    b"-s",
    b"-g",
    b"-B",
    b"-R",
    b"-d",
    b"-D",
    b"-p",
    b"-seed",
    b"-r",
    b"-dfilter",
];

/// Whether the argument after this option of java(1) is its value.
pub(super) fn java_takes_value(option: &[u8]) -> bool {
    JAVA_VALUES.contains(&option) || option == b"--source"
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
            Self::Node => first_operand(arguments, &NODE_VALUES, &NODE_ENDS).map_or(Target::Nothing, Target::Script),
            Self::Dotnet => dotnet(arguments),
            Self::Shell => shell(arguments),
            Self::Script => script(arguments),
            Self::Guile => first_operand(arguments, &GUILE_VALUES, &GUILE_ENDS).map_or(Target::Nothing, Target::Script),
            Self::Erlang => erlang(arguments),
            Self::Env => Target::Nothing,
            Self::Loader => {
                first_operand(arguments, &LOADER_VALUES, &LOADER_ENDS).map_or(Target::Nothing, Target::Program)
            }
            Self::Emulator => first_operand(arguments, &EMULATOR_VALUES, &[]).map_or(Target::Nothing, Target::Program),
        }
    }
}

/// The arguments from the first operand on.
fn first_operand<'a>(arguments: &'a [Vec<u8>], values: &[&[u8]], ends: &[&[u8]]) -> Option<&'a [Vec<u8>]> {
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        let argument = argument.as_slice();
        if ends.contains(&argument) {
            return None;
        }
        rest = if argument == b"--" {
            return (!after.is_empty()).then_some(after);
        } else if values.contains(&argument) {
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

/// `-e` and `-E`, clustered or not, bring the code along; `-c` has the script checked.
fn script(arguments: &[Vec<u8>]) -> Target<'_> {
    let operand = arguments.iter().position(|a| !(a.len() > 1 && a.starts_with(b"-")));
    let (options, rest) = arguments.split_at(operand.unwrap_or(arguments.len()));
    let inline = options.iter().any(|o| !o.starts_with(b"--") && (o.ends_with(b"e") || o.ends_with(b"E")));
    if inline || rest.is_empty() { Target::Nothing } else { Target::Script(rest) }
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
