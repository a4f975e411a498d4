//! The facts of a host and of its watcher, judged, and written for people. No input or output of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Place, Running};
use crate::config::{Sensors, Switch};
use crate::container::ContainerKey;
use crate::escape;
use crate::host::kernel::{Capabilities, Initial, Kernel, OLDEST};
use crate::sensor::fanotify_group::{OPENS_ALONE, Way};
use crate::sensor::status::{ContainerCoverage, Coverage};

/// Containers that are listed, and of each the mounts that are not covered.
const LISTED: usize = 100;
const LISTED_MOUNTS: usize = 8;

/// The facts.
#[derive(Debug)]
pub struct Report {
    /// Kernel, privileges and namespaces.
    pub kernel: Kernel,
    /// Whether the kernel can filter the watcher's own system calls.
    pub call_filters: bool,
    /// Which configuration holds, and whether there is a file.
    pub config: (PathBuf, bool),
    /// Which sensors are wanted.
    pub sensors: Sensors,
    /// Whether the process connector works; `None` where it is switched off.
    pub connector: Option<std::result::Result<(), String>>,
    /// Whether fanotify's exec events work; `None` where they are switched off.
    pub fanotify: Option<std::result::Result<Way, String>>,
    /// What a running watcher covers; `None` where none runs, or it does not answer.
    pub coverage: Option<Coverage>,
    /// The runtimes found.
    pub runtimes: Vec<String>,
    /// Running containers.
    pub containers: BTreeSet<ContainerKey>,
    /// The container in which this process itself runs.
    pub own: Option<ContainerKey>,
    /// The syslog socket; `None` where it is switched off.
    pub syslog: Option<Place>,
    /// The alert file; `None` where it is switched off.
    pub alert_file: Option<Place>,
    /// The state directory.
    pub state: Place,
    /// An operator's part of the database: where, and how many files, or what is wrong with one of them.
    pub database: std::result::Result<(PathBuf, usize), String>,
    /// The watcher that runs with it.
    pub watcher: Option<Running>,
}

/// How a finding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// Something will not work, or not in full.
    Degraded,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Degraded => "degraded",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it counts.
    pub state: State,
    /// What it is about.
    pub subject: &'static str,
    /// A sentence, or less.
    pub text: String,
}

impl Report {
    /// Whether anything will not work, or not in full.
    pub fn is_degraded(&self) -> bool {
        self.findings().iter().any(|finding| finding.state == State::Degraded)
    }

    /// The facts, judged, in the order in which they are shown.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        let mut add = |state, subject, text: String| all.push(Finding { state, subject, text });
        self.judge_host(&mut add);
        self.judge_sensors(&mut add);

        self.judge_coverage(&mut add);
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for container in &self.containers {
            *numbers.entry(container.runtime.as_str()).or_default() += 1;
        }
        let total = self.containers.len();
        let each: Vec<String> = numbers.iter().map(|(runtime, number)| format!("{runtime} {number}")).collect();
        let none = "none found".to_string();
        add(State::Note, "runtimes", if self.runtimes.is_empty() { none } else { self.runtimes.join(", ") });
        let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
        add(State::Note, "containers", format!("{total} running{each}"));

        for (subject, place) in [("syslog", &self.syslog), ("alert file", &self.alert_file)] {
            match place {
                Some(place) => judge_place(&mut add, subject, place),
                None => add(State::Note, subject, "switched off".into()),
            }
        }
        judge_place(&mut add, "state", &self.state);
        match &self.database {
            Ok((directory, files)) => {
                add(State::Fine, "database", format!("compiled in, and {files} files of {}", directory.display()));
            }
            Err(why) => add(State::Degraded, "database", why.clone()),
        }
        match self.watcher.as_ref().map(Running::describe) {
            Some((true, text)) => add(State::Fine, "watcher", text),
            Some((false, text)) => add(State::Note, "watcher", text),
            None => add(State::Note, "watcher", "none runs with this state directory".into()),
        }
        self.judge_watcher(&mut add);
        let (path, exists) = (self.config.0.display(), self.config.1);
        let config = if exists { path.to_string() } else { format!("{path} is not there, the defaults hold") };
        add(State::Note, "config", config);
        all
    }

    fn judge_host(&self, add: &mut impl FnMut(State, &'static str, String)) {
        let kernel = &self.kernel;
        let release = kernel.release.clone().unwrap_or_else(|why| format!("unknown: {}", why.as_str()));
        if kernel.too_old() {
            let (major, minor) = OLDEST;
            add(State::Degraded, "kernel", format!("{release} is older than {major}.{minor}, the oldest supported"));
        } else {
            add(State::Fine, "kernel", release);
        }

        match kernel.capabilities.map(Capabilities::missing) {
            Ok(missing) if missing.is_empty() => add(State::Fine, "capabilities", "all that are needed".into()),
            Ok(missing) => {
                for capability in missing {
                    let text = format!("{} is missing, needed {}", capability.name, capability.why);
                    add(State::Degraded, "capabilities", text);
                }
            }
            Err(why) => add(State::Degraded, "capabilities", format!("unknown: {}", why.as_str())),
        }

        if self.call_filters {
            add(State::Fine, "system calls", "the watcher's are filtered by seccomp".into());
        } else {
            add(
                State::Note,
                "system calls",
                "the watcher's are not filtered: this kernel has no seccomp filters".into(),
            );
        }

        if kernel.ptrace_scope == Some(3) {
            let text = "kernel.yama.ptrace_scope is 3: a packed program's memory cannot be read, nor arguments beyond the \
                        first page before Linux 4.2";
            add(State::Note, "memory", text.into());
        }

        if let Some(own) = &self.own {
            add(State::Degraded, "place", format!("runs inside the container {own}, not on the host"));
        }
        let kinds = [
            ("pid", kernel.pid_ns),
            ("user", kernel.user_ns),
            ("network", kernel.net_ns),
            ("cgroup", kernel.cgroup_ns),
        ];
        let of = |wanted: Initial| {
            let names: Vec<&str> = kinds.iter().filter(|(_, is)| *is == wanted).map(|(kind, _)| *kind).collect();
            names.join(", ")
        };
        let (foreign, unknown) = (of(Initial::No), of(Initial::Unknown));
        if !foreign.is_empty() {
            add(State::Degraded, "namespaces", format!("not the host's: {foreign}"));
        }
        if !unknown.is_empty() {
            add(State::Note, "namespaces", format!("not known whether they are the host's: {unknown}"));
        }
        if foreign.is_empty() && unknown.is_empty() {
            add(State::Fine, "namespaces", "the host's".into());
        }
        if let Some(value) = &kernel.hidepid {
            add(State::Note, "/proc", format!("hidepid={value}: needs CAP_SYS_PTRACE to see other users' processes"));
        }
    }

    fn judge_sensors(&self, add: &mut impl FnMut(State, &'static str, String)) {
        match &self.connector {
            None => add(State::Note, "proc-connector", "switched off".into()),
            Some(Ok(())) => add(State::Fine, "proc-connector", "available".into()),
            Some(Err(why)) => {
                let why = match self.kernel.connector_obstacle() {
                    Some(obstacle) => format!("{why} ({obstacle})"),
                    None => why.clone(),
                };
                add(State::Degraded, "proc-connector", why);
            }
        }
        match &self.fanotify {
            None => add(State::Note, "fanotify", "switched off".into()),
            Some(Ok(_)) if !self.has_fanotify() => {
                add(State::Note, "fanotify", format!("not to be had: {OPENS_ALONE}"));
            }
            Some(Ok(way)) => add(State::Fine, "fanotify", format!("available: {}", way.describe())),
            // Every kernel that is supported has it (2.6.37): one without it was built so, or somebody refuses it.
            Some(Err(why)) => add(State::Degraded, "fanotify", format!("not to be had: {why}")),
        }
        match self.sensors.procfs_poll {
            Switch::Off => add(State::Degraded, "procfs-poll", "switched off: nothing repairs a loss of events".into()),
            Switch::Auto | Switch::On => {
                let role = if self.has_connector() { "baseline and repair" } else { "the only sensor" };
                add(State::Fine, "procfs-poll", format!("available: {role}"));
            }
        }
    }

    /// For each running container which sensors cover it, and by which mark.
    fn judge_coverage(&self, add: &mut impl FnMut(State, &'static str, String)) {
        let Some(coverage) = &self.coverage else {
            return add(State::Note, "coverage", "no watcher with this state directory tells of it now".into());
        };
        let fanotify = coverage.fanotify.as_deref().unwrap_or("no fanotify");
        let unexamined = coverage.unexamined;
        let connector = if coverage.connector {
            let pace = if coverage.eager { "looks at each exec at once (eager)" } else { "rests in a storm (lazy)" };
            format!("the connector {pace}; {unexamined} of the host's {} execs unexamined", coverage.execs)
        } else {
            format!("no connector that would count the host's execs; {unexamined} unexamined")
        };
        add(State::Note, "coverage", format!("{fanotify}; {connector}"));
        let is_marked = |name: &String| coverage.containers.iter().any(|container| container.name == *name);
        let others = self.containers.iter().map(ToString::to_string).filter(|name| !is_marked(name));
        let others = others.map(|name| ContainerCoverage { name, ..ContainerCoverage::default() });
        let mut containers = coverage.containers.iter().cloned().chain(others);
        for container in containers.by_ref().take(LISTED) {
            add(State::Note, "coverage", describe(&container, coverage));
        }
        let more = containers.count();
        if more > 0 {
            add(State::Note, "coverage", format!("and {more} more containers"));
        }
    }

    /// Whether the watcher that runs has what this host offers and the configuration wants.
    fn judge_watcher(&self, add: &mut impl FnMut(State, &'static str, String)) {
        let Some(sensing) = self.watcher.as_ref().and_then(|watcher| watcher.sensors) else { return };
        let mut all_there = true;
        let mut differ = |text: String| {
            all_there = false;
            add(State::Degraded, "its sensors", text);
        };
        let kinds = [
            ("proc-connector", sensing.connector, self.connector.is_some(), self.has_connector()),
            ("fanotify", sensing.fanotify, self.fanotify.is_some(), self.has_fanotify()),
        ];
        for (name, has, wanted, offered) in kinds {
            if offered && !has {
                differ(format!(
                    "it has no {name}, which this host offers: refused to it at its start, or configured since"
                ));
            } else if has && !wanted {
                differ(format!("it has {name}, which the configuration switches off since its start"));
            }
        }
        match (&self.coverage, &self.fanotify) {
            (None, _) if sensing.fanotify => differ("it does not say what fanotify covers".into()),
            (Some(Coverage { fanotify: Some(has), .. }), Some(Ok(way))) if has != way.describe() => {
                differ(format!("its fanotify has {has}, where this host offers {}", way.describe()));
            }
            _ => {}
        }
        if all_there {
            add(State::Fine, "its sensors", sensing.describe());
        }
    }

    fn has_connector(&self) -> bool {
        matches!(self.connector, Some(Ok(())))
    }

    /// An open tells of an exec only together with the connector.
    fn has_fanotify(&self) -> bool {
        matches!(self.fanotify, Some(Ok(way)) if way != Way::Open || self.has_connector())
    }

    /// What nobody will see with the sensors that are there.
    pub fn not_covered(&self) -> Vec<&'static str> {
        let short = if self.has_fanotify() && !self.has_connector() {
            "a process that ends within the poll's interval, executed from memory, from a FUSE filesystem without \
             allow_other, or before the poll has found a mount: it is neither seen nor counted"
        } else if self.has_fanotify() {
            "a process that ends in well under a millisecond, executed from memory, from a FUSE filesystem without \
             allow_other, or in the first moment of a mount: it is counted as unexamined"
        } else if self.has_connector() {
            "a process that ends before it is looked at, in well under a millisecond: it is counted as unexamined, and \
             its file and container stay unknown"
        } else {
            "a process that lives less than the poll's interval: it is neither seen nor counted"
        };
        vec![
            short,
            "a compiler of a family that the database does not know, under a name that says nothing",
            "a compiler that is no process: loaded as a library (libtcc, libgccjit), or injected into another process",
            "what runs in a guest of its own: the execs of gVisor and Kata containers are not the host's",
            "a container without a cgroup of its own (rootless podman with cgroupfs) is named by its mount namespace only",
        ]
    }

    /// The report, as it is printed.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let findings = self.findings();
        for Finding { state, subject, text: line } in &findings {
            // Names of containers and paths are not ours.
            let _ = writeln!(text, "{:<9} {subject:<15} {}", state.as_str(), escape::text(line));
        }
        text.push_str("\nnot covered:\n");
        for line in self.not_covered() {
            let _ = writeln!(text, "- {line}");
        }
        let degraded = findings.iter().filter(|finding| finding.state == State::Degraded).count();
        let _ = match degraded {
            0 => writeln!(text, "\nall well"),
            1 => writeln!(text, "\n1 degraded"),
            more => writeln!(text, "\n{more} degraded"),
        };
        text
    }
}

/// One container on a line.
fn describe(container: &ContainerCoverage, by: &Coverage) -> String {
    let connector = match (by.connector, by.eager) {
        (false, _) => "no connector",
        (true, true) => "connector (eager)",
        (true, false) => "connector (lazy)",
    };
    let mut line = format!("{}: {connector}", container.name);
    if container.by_filesystem {
        line.push_str(", fanotify by a mark on its filesystem");
    }
    if container.mounts > 0 {
        let _ = write!(line, ", fanotify on {} of its mounts", container.mounts);
    }
    if container.far > 0 {
        let _ = write!(line, ", by a group of its own on {} that a server answers for", container.far);
    }
    let missed = container.uncovered.iter().take(LISTED_MOUNTS);
    let missed: Vec<String> = missed.map(|u| format!("{} ({}: {})", u.point, u.fs_type, u.why)).collect();
    if !missed.is_empty() {
        let _ = write!(line, "; by the connector alone: {}", missed.join(", "));
    }
    line
}

fn judge_place(add: &mut impl FnMut(State, &'static str, String), subject: &'static str, (name, usable): &Place) {
    match usable {
        Ok(None) => add(State::Fine, subject, name.clone()),
        Ok(Some(remark)) => add(State::Note, subject, format!("{name}: {remark}")),
        Err(why) => add(State::Degraded, subject, format!("{name}: {why}")),
    }
}

#[cfg(test)]
mod tests;
