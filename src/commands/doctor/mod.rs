//! `ccwatch doctor`: what this host offers, which sensors will run, and what nobody will see. [`gather()`] collects the
//! facts, a [`Report`] judges them and writes them down.

mod gather;
mod places;
mod report;
mod running;

use std::path::Path;
use std::process::ExitCode;

pub use gather::{Probes, Roots, gather};
pub use places::Place;
pub use report::{Finding, Report, State};
pub use running::{Privileges, Running, Sensing};

use super::print;
use crate::cli::ConfigOption;
use crate::config::Config;
use crate::error::Result;

/// Prints the report; exit code 0 where all is well, 1 where something is degraded.
///
/// # Errors
/// A configuration that cannot be used, or a stdout that cannot be written to.
pub fn run(options: &ConfigOption) -> Result<ExitCode> {
    let loaded = Config::load(options.config.as_deref())?;
    let roots = Roots { proc: Path::new("/proc"), boot: Path::new("/boot"), run: Path::new("/run") };
    let report = gather(roots, &loaded, &gather::Installed);
    print(&report.render())?;
    Ok(if report.is_degraded() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
