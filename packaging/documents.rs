//! Writes the man pages and the shell completions into a directory: `cargo run --example documents -- DIRECTORY`. What
//! `--help` says and what the man page says come from the same place, and so do config/ccwatch.toml and its page.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use clap::{ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_complete::aot::generate;

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: documents DIRECTORY"))?;
    let directory = Path::new(&directory);
    fs::create_dir_all(directory)?;
    let mut command = visible(&ccwatch::cli::Cli::command());
    command.build();
    fs::write(directory.join("ccwatch.8"), command_page(&command)?)?;
    fs::write(directory.join("ccwatch.toml.5"), configuration_page(include_str!("../config/ccwatch.toml")))?;
    for (name, page) in [
        ("ccwatch-alerts", include_str!("man/ccwatch-alerts.5")),
        ("ccwatch-fingerprints", include_str!("man/ccwatch-fingerprints.5")),
    ] {
        // Written by hand, but for its first line.
        fs::write(directory.join(format!("{name}.5")), title(&name.to_uppercase(), 5) + page)?;
    }
    for (shell, name) in [(Shell::Bash, "ccwatch.bash"), (Shell::Zsh, "_ccwatch"), (Shell::Fish, "ccwatch.fish")] {
        let mut text = Vec::new();
        generate(shell, &mut command, "ccwatch", &mut text);
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// The command without its hidden subcommands, which completions would offer.
fn visible(command: &Command) -> Command {
    let mut shown = Command::new(lasting(command.get_name()));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(lasting(version));
    }
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let subcommands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    shown.args(arguments.cloned()).subcommands(subcommands.map(visible)).disable_help_subcommand(true)
}

/// clap takes names that live as long as the program, which ends soon.
fn lasting(text: &str) -> &'static str {
    Box::leak(text.into())
}

/// A page's first line; the date is the release's, which the changelog has.
fn title(name: &str, section: u8) -> String {
    format!(".TH {name} {section} \"\" \"ccwatch {}\"\n", env!("CARGO_PKG_VERSION"))
}

/// ccwatch(8): what clap knows of each command, and the sections that it does not know.
fn command_page(command: &Command) -> io::Result<String> {
    let mut page = title("CCWATCH", 8);
    // The apostrophe of clap_mangen's texts.
    page.push_str(".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n");
    page.push_str(".SH NAME\nccwatch \\- report compilers that are executed in containers\n.SH SYNOPSIS\n");
    for (path, subcommand) in leaves("ccwatch", command) {
        let _ = writeln!(page, ".B {path}{}\n.br", usage(subcommand));
    }
    page.push_str(".SH DESCRIPTION\n");
    page.push_str(&paragraphs(command));
    page.push_str(".SH COMMANDS\n");
    for (path, subcommand) in leaves("ccwatch", command) {
        let _ = writeln!(page, ".SS {path}");
        page.push_str(&paragraphs(subcommand));
        let mut options = Vec::new();
        clap_mangen::Man::new(subcommand.clone()).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options).into_owned();
        let heads = [".SH", ".ie", ".el"];
        let below = options.lines().filter(|line| !heads.iter().any(|head| line.starts_with(head)));
        page.extend(below.map(|line| format!("{line}\n")));
    }
    page.push_str(include_str!("man/ccwatch.8.sections"));
    Ok(page)
}

/// The commands that do something, each with the words that call it.
fn leaves<'a>(path: &str, command: &'a Command) -> Vec<(String, &'a Command)> {
    let mut all = Vec::new();
    for subcommand in command.get_subcommands() {
        let path = format!("{path} {}", subcommand.get_name());
        let below = leaves(&path, subcommand);
        if below.is_empty() { all.push((path, subcommand)) } else { all.extend(below) }
    }
    all
}

/// Its options and operands in one line: what can be left out in brackets, what can be given again with dots.
fn usage(command: &Command) -> String {
    let mut line = String::new();
    for argument in command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
    {
        let value = argument.get_value_names().and_then(|names| names.first()).map(|name| name.to_string());
        let takes = argument.get_num_args().is_none_or(|number| number.takes_values());
        let value = value.filter(|_| takes);
        let again = if matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
        let text = match (argument.get_long(), value) {
            (Some(long), Some(value)) => format!("--{long} {value}{again}"),
            (Some(long), None) => format!("--{long}"),
            (None, Some(value)) if argument.is_last_set() => format!("-- {value}{again}"),
            (None, Some(value)) => format!("{value}{again}"),
            (None, None) => argument.get_id().to_string(),
        };
        let text = if argument.is_required_set() { text } else { format!("[{text}]") };
        let _ = write!(line, " {}", escape(&text));
    }
    line
}

/// What it says of itself, at full length.
fn paragraphs(command: &Command) -> String {
    let text = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    prose(&text)
}

/// Text, its empty lines made paragraphs.
fn prose(text: &str) -> String {
    let mut page = String::new();
    for line in text.lines() {
        if line.trim().is_empty() {
            page.push_str(".PP\n");
        } else {
            let _ = writeln!(page, "{}", line_of_prose(line));
        }
    }
    page
}

/// One line that troff takes for text: backslashes doubled, dashes kept, no dot or quote at the beginning.
fn line_of_prose(line: &str) -> String {
    let escaped = escape(line);
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// ccwatch.toml(5): the shipped file, its sections, keys with their defaults, and sentences in its order. In it `##`
/// is prose, `#` a key with its default.
fn configuration_page(file: &str) -> String {
    let mut page = title("CCWATCH.TOML", 5);
    page.push_str(".SH NAME\nccwatch.toml \\- configuration of ccwatch\n.SH DESCRIPTION\n");
    let mut prose_before = Vec::new();
    for line in file.lines() {
        if let Some(prose) = line.strip_prefix("##") {
            prose_before.push(prose.trim());
        } else if line.starts_with('[') || line.starts_with("#[") {
            let _ = writeln!(page, ".SH \"{}\"", escape(line.trim_start_matches('#')));
            page.push_str(&prose(&prose_before.join("\n")));
            prose_before.clear();
        } else if let Some(key) = line.strip_prefix('#') {
            let _ = writeln!(page, ".TP\n\\fB{}\\fR", escape(key.trim()));
            page.push_str(&prose(&prose_before.join("\n")));
            prose_before.clear();
        } else if line.is_empty() && !prose_before.is_empty() {
            page.push_str(&prose(&prose_before.join("\n")));
            page.push_str(".PP\n");
            prose_before.clear();
        }
    }
    page.push_str(&prose(&prose_before.join("\n")));
    page.push_str(include_str!("man/ccwatch.toml.5.sections"));
    page
}
