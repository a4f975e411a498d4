//! One file a command, and the way from the arguments to one of them. A command gathers, prints its result to stdout,
//! and returns its exit code; all work that is not printing belongs to the modules below.

pub mod config;
pub mod demo;
pub mod doctor;
pub mod fingerprint;
pub mod run;

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{CANARY, Cli, Command};
use crate::error::{Error, Result};
use crate::logging;
use crate::sensor::far::errand::{self, ERRAND};

/// clap's own errors, as sysexits.h has it; clap would say 2.
const USAGE: u8 = 64;

/// The whole program: `args` as the process got them, its own name first. Returns the exit code, which for an error is
/// [`Error::exit_code`].
pub fn main(args: Vec<OsString>) -> ExitCode {
    // The sensors execute this to see whether they see it, again and again: it must cost next to nothing.
    if args.get(1).is_some_and(|command| command == CANARY) {
        // Until whoever started it lets it go, or is gone.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        return ExitCode::SUCCESS;
    }
    if args.get(1).is_some_and(|command| command == ERRAND) {
        return errand::run();
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that go to stdout; where printing fails nothing can be said.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    logging::init();
    let done = match cli.command {
        Command::Run(options) => run::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Fingerprint(options) => fingerprint::run(&options),
        Command::Config { command } => config::run(&command),
        Command::Canary => Ok(ExitCode::SUCCESS),
        Command::DemoStage { stage } => Ok(demo::stage::run(&stage)),
    };
    done.unwrap_or_else(|error| {
        log::error!("{error}");
        ExitCode::from(error.exit_code())
    })
}

/// Writes a command's result to stdout. A reader that has left (`ccwatch doctor | head -1`) is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::os("write", "stdout", error)),
        _ => Ok(()),
    }
}
