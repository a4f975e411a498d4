//! The doorway: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ccwatch::commands::main(std::env::args_os().collect())
}
