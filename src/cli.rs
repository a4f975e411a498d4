//! The command line: commands and options, with the texts that `--help` and the man pages show. What a command does is
//! its file's affair under `commands`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Message;

/// The argument with which the sensors execute this program to see whether they see it.
pub const CANARY: &str = "canary";

/// The hidden command by which the demo's container is built from copies of this program.
pub const DEMO_STAGE: &str = "demo-stage";

/// Reports compilers that are executed in containers.
///
/// Containers should not execute compilers: one that does is an attacker at work, or ships its build stage. ccwatch
/// watches all containers from the host, without eBPF, and tells syslog which compiler ran, where, and who started it.
#[derive(Debug, Parser)]
#[command(
    name = "ccwatch",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = "Exit codes: 0 done, 1 degraded (doctor), 64 usage, 70 internal, 77 permission, 78 configuration, 130 second signal."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch, and report to syslog, to the alert file, and to a terminal
    ///
    /// Says "watching" once every sensor runs or is reported as degraded. SIGHUP reopens the alert file, and reads the
    /// configuration and the database files of fingerprints.d again if one of them has changed (what the sections sensors
    /// and state say holds from the next start); SIGTERM and SIGINT close the open sessions, send what is left, and end; a
    /// second one ends at once.
    Run(RunOptions),
    /// Say what a file is: which compiler, or none, and why
    ///
    /// Judges as the watcher does, by content, name and arguments. A file that cannot be read is named on standard error,
    /// and the exit code tells of it; the others are judged all the same.
    Fingerprint(FingerprintOptions),
    /// Say what this host offers, which sensors will run, and what is not covered
    ///
    /// Exits with 0 where all is well, with 1 where something is degraded.
    Doctor(ConfigOption),
    /// Check or show the configuration
    Config {
        /// Which of the two.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Nothing: the sensors' own exec.
    #[command(name = CANARY, hide = true)]
    Canary,
    /// One process of the demo's container.
    #[command(name = DEMO_STAGE, hide = true)]
    DemoStage {
        /// Which.
        #[command(subcommand)]
        stage: DemoStage,
    },
}

/// What concerns the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration: every error with its line, exit code 78 if there is any
    Check(ConfigOption),
    /// Print the configuration that holds, defaults included, as TOML
    Show(ConfigOption),
}

/// Which configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigOption {
    /// Read this file instead of /etc/ccwatch/ccwatch.toml, and the fingerprints.d beside it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `ccwatch fingerprint` can be told.
#[derive(Debug, Clone, Default, Args)]
pub struct FingerprintOptions {
    /// Files to judge
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Print the database entry that would recognise the file, for a file in fingerprints.d
    #[arg(long, conflicts_with_all = ["json", "args"])]
    pub entry: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigOption,
    /// Arguments to judge with: `-- build ./...`
    #[arg(last = true, value_name = "ARGUMENTS")]
    pub args: Vec<OsString>,
}

/// What `ccwatch run` can be told.
#[derive(Debug, Clone, Default, Args)]
pub struct RunOptions {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigOption,
    /// Print alerts, as text for people or as ECS JSON; without it, text if stdout is a terminal, and in the demo
    #[arg(long, value_name = "FORM")]
    pub stdout: Option<Message>,
    /// Once watching, make a throw-away container and compile a C file in it, to show an alert
    ///
    /// The container has namespaces of its own and a root in memory; it needs no container engine, and nothing of it
    /// stays.
    #[arg(long)]
    pub demo: bool,
    /// Write the process id to this file once watching, and remove it at the end: for hosts without systemd
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
}

/// The processes of the demo's container.
#[derive(Debug, Subcommand)]
pub enum DemoStage {
    /// Makes the namespaces and the root, waits for the end, and cleans up.
    Outer(DemoPlan),
    /// The container's first process.
    Init(DemoPlan),
    /// Plays a compiler where there is none: lives as long as one would, and does nothing.
    StandIn {
        /// What a compiler would be given.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// What the demo's processes have to know.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DemoPlan {
    /// The directory on which the container's root is mounted.
    #[arg(long)]
    pub root: PathBuf,
    /// The directory of the container's own cgroup, where it has one.
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
    /// The compiler as found on the host; without it the stand-in.
    #[arg(long)]
    pub compiler: Option<PathBuf>,
}

impl ValueEnum for Message {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Text, Self::Ecs]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Text => "text",
            Self::Ecs => "ecs",
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_its_options() {
        let cli = Cli::try_parse_from(["ccwatch", "run", "--config", "/f", "--stdout", "ecs", "--demo"]).unwrap();
        let Command::Run(options) = cli.command else { panic!("{cli:?}") };
        assert_eq!(options.config.config.unwrap(), PathBuf::from("/f"));
        assert_eq!((options.stdout, options.demo), (Some(Message::Ecs), true));
        assert!(Cli::try_parse_from(["ccwatch", "run", "--stdout", "xml"]).is_err());
    }

    #[test]
    fn help_shows_what_is_meant_for_people() {
        let help = Cli::command().render_help().to_string();
        for command in ["run", "doctor", "config"] {
            assert!(help.contains(&format!("\n  {command} ")), "{help}");
        }
        for hidden in [CANARY, DEMO_STAGE] {
            assert!(!help.contains(hidden), "{help}");
        }
    }

    #[test]
    fn a_stand_in_takes_any_arguments() {
        let cli = Cli::try_parse_from(["gcc", "demo-stage", "stand-in", "-o", "hello", "--", "x"]).unwrap();
        assert!(matches!(cli.command, Command::DemoStage { stage: DemoStage::StandIn { .. } }));
    }
}
