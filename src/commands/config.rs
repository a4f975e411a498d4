//! `ccwatch config check` and `config show`.

use std::process::ExitCode;

use super::print;
use crate::cli::{ConfigCommand, ConfigOption};
use crate::config::{Config, Loaded};
use crate::error::{Error, Result};
use crate::fingerprint::files::Files;

/// Checks or prints the configuration.
///
/// # Errors
/// A configuration that cannot be used, or a stdout that cannot be written to.
pub fn run(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Check(options) => check(options),
        ConfigCommand::Show(options) => print(&show(&Config::load(options.config.as_deref())?)?),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Says that all is well, or every error: the last of them is left to the caller, who has the exit code.
fn check(options: &ConfigOption) -> Result<()> {
    match Config::load_all(options.config.as_deref()) {
        Ok(loaded) => {
            let directory = loaded.fingerprints();
            let files = Files::read(&directory)?;
            files.compile()?;
            let what = if loaded.exists() { "ok" } else { "no such file, the defaults hold" };
            let mut text = format!("{}: {what}\n", loaded.path().display());
            if files.count() > 0 {
                text.push_str(&format!("{}: ok, files: {}\n", directory.display(), files.count()));
            }
            print(&text)
        }
        Err(mut errors) => {
            let last = errors.pop();
            for error in errors {
                log::error!("{error}");
            }
            last.map_or(Ok(()), Err)
        }
    }
}

/// The configuration that holds, as a file that says the same.
fn show(loaded: &Loaded) -> Result<String> {
    toml::to_string(&loaded.config).map_err(|error| Error::Config {
        act: "show",
        object: loaded.path().display().to_string(),
        reason: error.to_string(),
    })
}
