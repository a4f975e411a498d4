//! `ccwatch run`: checks what it needs, starts the watcher, and lives by its signals until it is told to end.

mod sensors;
mod service;
mod vitals;
mod watcher;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::service::Service;
use self::watcher::Watcher;
use super::demo::Demo;
use crate::cli::RunOptions;
use crate::config::{Config, Loaded, Message};
use crate::error::{Error, Result};
use crate::fingerprint::Database;
use crate::fingerprint::files::Files;
use crate::host::kernel::Kernel;
use crate::host::privilege;
use crate::logging::say;
use crate::sensor::far::messenger;
use crate::sink::life::Life;
use crate::sys::process::{let_go_of_code, limit_malloc_arenas, return_free_memory};

/// A second signal ends the process with what the shell shows for SIGINT.
const INTERRUPTED: i32 = 130;
/// Descriptors: at most two for each exec under way, and some for channels and sinks.
const DESCRIPTORS: u64 = 16_384;

/// What stdout shows: what was asked for, or text on a terminal, and in the demo, which is there to be read.
fn stdout_form(options: &RunOptions) -> Option<Message> {
    let is_read = options.demo || std::io::stdout().is_terminal();
    options.stdout.or_else(|| is_read.then_some(Message::Text))
}

/// Watches until SIGTERM or SIGINT.
///
/// # Errors
/// Configuration, privileges, or a part that does not start.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    limit_malloc_arenas(2);
    let mut loaded = Config::load(options.config.config.as_deref())?;
    let mut files = Files::read(&loaded.fingerprints())?;
    let database = files.compile()?;
    let kernel = Kernel::read(Path::new("/proc"), Path::new("/boot"));
    if let Some(missing) = kernel.missing_capability() {
        return Err(Error::Permission(missing));
    }
    raise_descriptor_limit();
    // A container, which the demo makes, takes more than the watcher has use for.
    if let Ok(held) = kernel.capabilities
        && !options.demo
    {
        privilege::give_up(held);
    }
    let mut signals = handle_signals()?;
    let started = loaded.config.clone();
    let watcher = Watcher::start(&started, database, options)?;
    announce(&loaded.config, options, &watcher);
    watcher.tell(Life::Started { sensors: watcher.sensors() });
    let service = Service::start(watcher.vitals(), options.pid_file.as_deref())?;
    say("watching");
    // What the database took while it was read, and what has read it.
    return_free_memory();
    let_go_of_code();
    let demo = if options.demo { play(Demo::start(say)) } else { None };
    for signal in signals.forever() {
        match signal {
            SIGHUP => service.reload(|| reload(&mut loaded, &mut files, &started, &watcher)),
            SIGCHLD => messenger::reap(),
            _ => break,
        }
    }
    if let Some(demo) = demo {
        demo.stop();
    }
    let pid_file = service.stop();
    watcher.stop();
    drop(pid_file);
    Ok(ExitCode::SUCCESS)
}

/// A demo that cannot be played is no reason not to watch.
fn play(demo: Result<Demo>) -> Option<Demo> {
    demo.map_err(|e| log::error!("the demo: {e}")).ok()
}

/// The first SIGTERM or SIGINT is handled in order, a second one ends the process at once.
fn handle_signals() -> Result<Signals> {
    let failed = |e| Error::os("handle", "signals", e);
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&ending)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&ending)).map_err(failed)?;
    }
    Signals::new([SIGHUP, SIGTERM, SIGINT, SIGCHLD]).map_err(failed)
}

fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft.max(DESCRIPTORS.min(hard)), hard));
    if let Err(e) = raised {
        log::warn!("raise the limit on descriptors: {e}");
    }
}

/// What has changed since it was last taken over.
#[derive(Default)]
struct Changes {
    config: Option<Loaded>,
    database: Option<(Files, Database)>,
}

impl Changes {
    /// Reads both again.
    ///
    /// # Errors
    /// What cannot be used of the one or the other: then neither is to be taken over.
    fn read(loaded: &Loaded, files: &Files) -> Result<Self> {
        let read = Files::read(&loaded.fingerprints())?;
        let database = if read == *files { None } else { Some(read.compile()?) };
        Ok(Self { config: loaded.reload()?, database: database.map(|database| (read, database)) })
    }

    /// As the service manager shows it.
    fn describe(&self) -> &'static str {
        match (&self.config, &self.database) {
            (None, None) => "Watching; the configuration has not changed",
            (Some(_), None) => "Watching; the configuration was read again",
            (None, Some(_)) => "Watching; the database was read again",
            (Some(_), Some(_)) => "Watching; configuration and database were read again",
        }
    }
}

/// Log rotation sends SIGHUP every night: files are reopened always, configuration and database are taken over only if
/// changed, and only together.
/// What cannot be taken over is named as long as it differs from what the watcher was `started` with. The outcome is for
/// the service manager to show.
fn reload(loaded: &mut Loaded, files: &mut Files, started: &Config, watcher: &Watcher) -> &'static str {
    watcher.reopen();
    let changes = Changes::read(loaded, files).and_then(|changes| {
        // The one step that can fail.
        changes.config.as_ref().map_or(Ok(()), |new| watcher.reconfigure(&new.config)).map(|()| changes)
    });
    let changes = match changes {
        Ok(changes) => changes,
        Err(e) => {
            log::error!("the old configuration is kept: {e}");
            watcher.tell(Life::Refused { why: e.to_string() });
            return "Watching; a changed configuration was refused";
        }
    };
    let outcome = changes.describe();
    let (config, database) = (changes.config.is_some(), changes.database.is_some());
    if let Some((read, database)) = changes.database {
        watcher.replace_database(database);
        *files = read;
    }
    if let Some(new) = changes.config {
        if let Some(warning) = for_next_start(&new.config.sections_for_next_start(started)) {
            log::warn!("{warning}");
        }
        *loaded = new;
    }
    if config || database {
        log::info!("{outcome}");
        watcher.tell(Life::Reloaded { config, database });
    }
    outcome
}

/// `[sensors] and [state] were changed: that holds from the next start`
fn for_next_start(sections: &[&str]) -> Option<String> {
    let names: Vec<String> = sections.iter().map(|section| format!("[{section}]")).collect();
    let verb = if names.len() == 1 { "was" } else { "were" };
    (!names.is_empty()).then(|| format!("{} {verb} changed: that holds from the next start", names.join(" and ")))
}

/// Says what is watched, with which sensors, and where alerts go.
fn announce(config: &Config, options: &RunOptions, watcher: &Watcher) {
    say(&format!("ccwatch {}: compilers executed in any container of this host", env!("CARGO_PKG_VERSION")));
    for line in &watcher.sensor_lines {
        say(&format!("  sensor {line}"));
    }
    if config.syslog.enabled {
        say(&format!("  alerts to syslog: {}, facility {}", config.syslog.target, config.syslog.facility));
    }
    if config.alert_file.enabled {
        say(&format!("  alerts to the file {}", config.alert_file.path.display()));
    }
    if let Some(form) = stdout_form(options) {
        say(&format!("  alerts to stdout as {}", if form == Message::Ecs { "ecs" } else { "text" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_what_waits() {
        assert_eq!(for_next_start(&[]), None);
        assert_eq!(
            for_next_start(&["sensors"]).as_deref(),
            Some("[sensors] was changed: that holds from the next start")
        );
        assert_eq!(
            for_next_start(&["sensors", "state"]).as_deref(),
            Some("[sensors] and [state] were changed: that holds from the next start")
        );
    }
}
