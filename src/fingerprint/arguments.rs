//! What a call of a toolchain's program asks for: to compile, or only for information. Grammars of options come from
//! the database; what an interpreter's arguments run is `script`'s affair.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Request;

/// A call with more arguments than this is no query, and is not looked through.
const MAX_ARGUMENTS: usize = 4096;

/// The options of one program, as far as telling a query from a compile needs them; `[[queries]]` in the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawGrammar {
    name: String,
    #[serde(default)]
    information: Vec<String>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    ignored: Vec<String>,
    #[serde(default)]
    information_commands: Vec<String>,
    #[serde(default)]
    delegates: BTreeMap<String, String>,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    bare_is_query: bool,
}

/// A compiled grammar.
#[derive(Debug)]
pub(super) struct Grammar {
    name: String,
    /// Options that print something and end.
    information: Words,
    /// Options whose value is the next argument.
    values: Words,
    /// Options that bring something to compile or link by themselves.
    inputs: Words,
    /// Arguments that are neither option nor operand.
    ignored: Words,
    /// Subcommands that compile nothing, of one word or two.
    information_commands: Vec<String>,
    /// Subcommands whose arguments follow another grammar, and that grammar's index.
    delegates: Vec<(Box<str>, usize)>,
    /// Any argument but an information option makes it a compile.
    strict: bool,
    /// Without arguments it prints a usage text or `no input files`, and ends.
    bare_is_query: bool,
}

/// Words, and beginnings of words (`-print-*`).
#[derive(Debug, Default)]
struct Words {
    exact: Vec<Box<[u8]>>,
    beginnings: Vec<Box<[u8]>>,
}

impl Words {
    fn compile(words: Vec<String>) -> Result<Self, String> {
        let mut compiled = Self::default();
        for word in words {
            match word.strip_suffix('*') {
                Some("" | "-") => return Err(format!("{word:?} matches too much")),
                Some(beginning) => compiled.beginnings.push(beginning.as_bytes().into()),
                None if word.is_empty() => return Err("an empty word matches nothing".to_owned()),
                None => compiled.exact.push(word.into_bytes().into()),
            }
        }
        Ok(compiled)
    }

    fn contain(&self, argument: &[u8]) -> bool {
        self.exact.iter().any(|word| **word == *argument) || self.beginnings.iter().any(|b| argument.starts_with(b))
    }
}

impl Grammar {
    /// Compiles the grammars of a database. An error names the grammar.
    pub(super) fn compile_all(raw: Vec<RawGrammar>) -> Result<Vec<Self>, String> {
        let names: Vec<String> = raw.iter().map(|g| g.name.clone()).collect();
        raw.into_iter()
            .map(|grammar| {
                let name = grammar.name.clone();
                Self::compile(grammar, &names).map_err(|reason| format!("queries {name:?}: {reason}"))
            })
            .collect()
    }

    fn compile(raw: RawGrammar, names: &[String]) -> Result<Self, String> {
        if names.iter().filter(|n| **n == raw.name).count() > 1 {
            return Err("it stands there twice".to_owned());
        }
        let delegates = raw
            .delegates
            .into_iter()
            .map(|(command, to)| {
                let index = names.iter().position(|n| *n == to).ok_or_else(|| format!("no queries {to:?}"))?;
                Ok((command.into(), index))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            information: Words::compile(raw.information)?,
            values: Words::compile(raw.values)?,
            inputs: Words::compile(raw.inputs)?,
            ignored: Words::compile(raw.ignored)?,
            information_commands: raw.information_commands,
            delegates,
            strict: raw.strict,
            bare_is_query: raw.bare_is_query,
            name: raw.name,
        })
    }

    /// Its name in the database.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a call with these arguments, `argv[0]` left out, asks for: a query is an information option or subcommand,
    /// and no operand, where an operand is an argument that is neither an option nor the value of one. The environment
    /// can add arguments (`CCC_OVERRIDE_OPTIONS` of clang, `JDK_JAVAC_OPTIONS`) and is not seen here.
    pub(super) fn request(&self, arguments: &[Vec<u8>], all: &[Self]) -> Request {
        if arguments.len() > MAX_ARGUMENTS {
            return Request::Compile;
        }
        if arguments.is_empty() && self.bare_is_query {
            return Request::Query;
        }
        let mut informs = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if self.inputs.contain(argument) {
                return Request::Compile;
            }
            if self.information.contain(argument) {
                informs = true;
                if self.values.contain(argument) {
                    rest.next();
                }
            } else if self.strict {
                return Request::Compile;
            } else if self.values.contain(argument) {
                rest.next();
            } else if !self.ignored.contain(argument) && !is_option(argument) {
                return self.command(argument, rest.as_slice(), all);
            }
        }
        if informs { Request::Query } else { Request::Compile }
    }

    /// An operand: a subcommand, or something to compile.
    fn command(&self, operand: &[u8], rest: &[Vec<u8>], all: &[Self]) -> Request {
        let second = rest.first().map_or(&[] as &[u8], Vec::as_slice);
        let is_it = |command: &str| match command.split_once(' ') {
            Some((first, then)) => first.as_bytes() == operand && then.as_bytes() == second,
            None => command.as_bytes() == operand,
        };
        if let Some((command, grammar)) = self.delegates.iter().find(|(command, _)| is_it(command)) {
            let rest = rest.get(usize::from(command.contains(' '))..).unwrap_or_default();
            // A delegate's own delegates are not followed: two commands deep is as deep as it goes.
            return match all.get(*grammar) {
                Some(to) if to.delegates.is_empty() => to.request(rest, all),
                _ => Request::Compile,
            };
        }
        let informs = self.information_commands.iter().any(|command| is_it(command));
        if informs && !rest.iter().any(|argument| self.inputs.contain(argument)) {
            Request::Query
        } else {
            Request::Compile
        }
    }
}

/// An option begins with a dash; a dash alone is standard input, and `@file` holds whatever arguments it likes.
fn is_option(argument: &[u8]) -> bool {
    argument.len() > 1 && argument.first() == Some(&b'-') && argument != b"--"
}
