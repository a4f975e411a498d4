//! `ccwatch run`: stub, to be replaced. Plays the demo until stdin ends.

use std::io::Read as _;
use std::process::ExitCode;

use super::demo::Demo;
use crate::cli::RunOptions;
use crate::error::{Error, Result};
use crate::logging::say;

/// Stub.
///
/// # Errors
/// Always, but with `--demo`.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    crate::config::Config::load(options.config.config.as_deref())?;
    let kernel = crate::host::kernel::Kernel::read("/proc".as_ref(), "/boot".as_ref());
    if let Some(missing) = kernel.missing_capability() {
        return Err(Error::Permission(missing));
    }
    if !options.demo {
        return Err(Error::Usage("run is not there yet".into()));
    }
    say("watching");
    let demo = Demo::start(say)?;
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    demo.stop();
    Ok(ExitCode::SUCCESS)
}
