//! `ccwatch doctor`: what this host offers, which sensors will run, and what nobody will see. The facts are judged and
//! written here; [`gather()`] collects them.

mod gather;
mod places;
mod running;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use gather::{Probes, Roots, gather};
pub use places::Place;
pub use running::{Privileges, Running, Sensing};

use super::print;
use crate::alert::escape;
use crate::cli::ConfigOption;
use crate::config::{Config, Sensors, Switch};
use crate::container::ContainerKey;
use crate::error::Result;
use crate::host::kernel::{Capabilities, Initial, Kernel, OLDEST};
use crate::sensor::fanotify::group::{OPENS_ALONE, Way};
use crate::sensor::mounts::status::{ContainerCoverage, Coverage};

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
    /// What a running watcher covers; `None` where none runs, or it marks nothing.
    pub coverage: Option<Coverage>,
    /// The runtimes found.
    pub runtimes: Vec<String>,
    /// Running containers: their number for each runtime.
    pub containers: BTreeMap<&'static str, usize>,
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
        let total: usize = self.containers.values().sum();
        let each: Vec<String> = self.containers.iter().map(|(runtime, number)| format!("{runtime} {number}")).collect();
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
            return add(State::Note, "coverage", "no watcher with this state directory marks containers now".into());
        };
        let pace = if coverage.eager { "looks at each exec at once (eager)" } else { "rests in a storm (lazy)" };
        let (execs, unexamined) = (coverage.execs, coverage.unexamined);
        add(
            State::Note,
            "coverage",
            format!("{}; the connector {pace}; {unexamined} of the host's {execs} execs unexamined", coverage.fanotify),
        );
        for container in coverage.containers.iter().take(LISTED) {
            add(State::Note, "coverage", describe(container, coverage.eager));
        }
        let more = coverage.containers.len().saturating_sub(LISTED);
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
            (Some(coverage), Some(Ok(way))) if coverage.fanotify != way.describe() => {
                let offered = way.describe();
                differ(format!("its fanotify has {}, where this host offers {offered}", coverage.fanotify));
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
        let short = if self.has_fanotify() {
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
fn describe(container: &ContainerCoverage, eager: bool) -> String {
    let mut line = format!("{}: connector ", container.name);
    line.push_str(if eager { "(eager)" } else { "(lazy)" });
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::container::Runtime;
    use crate::event::Missing;
    use crate::sensor::mounts::status::Uncovered;

    fn well() -> Report {
        Report {
            kernel: Kernel {
                release: Ok("4.18.0-553.el8".into()),
                version: Ok(procfs::KernelVersion::new(4, 18, 0)),
                capabilities: Ok(Capabilities(u64::MAX)),
                pid_ns: Initial::Yes,
                user_ns: Initial::Yes,
                cgroup_ns: Initial::Yes,
                net_ns: Initial::Yes,
                connector: true,
                proc_events: Some(true),
                hidepid: None,
                ptrace_scope: None,
            },
            call_filters: true,
            config: ("/etc/ccwatch/ccwatch.toml".into(), false),
            sensors: Sensors::default(),
            connector: Some(Ok(())),
            fanotify: Some(Ok(Way::Mount)),
            coverage: None,
            runtimes: vec!["docker (/var/lib/docker)".into()],
            containers: [("docker", 2), ("podman", 1)].into(),
            own: None,
            syslog: Some(("unix:/dev/log".into(), Ok(None))),
            alert_file: None,
            state: ("/var/lib/ccwatch".into(), Ok(None)),
            database: Ok(("/etc/ccwatch/fingerprints.d".into(), 2)),
            watcher: None,
        }
    }

    fn degraded(report: &Report) -> Vec<&'static str> {
        assert_eq!(report.is_degraded(), report.findings().iter().any(|f| f.state == State::Degraded));
        report.findings().iter().filter(|f| f.state == State::Degraded).map(|f| f.subject).collect()
    }

    #[test]
    fn all_well() {
        let text = well().render();
        assert_eq!(
            text.split("\nnot covered").next().unwrap(),
            "\
ok        kernel          4.18.0-553.el8
ok        capabilities    all that are needed
ok        system calls    the watcher's are filtered by seccomp
ok        namespaces      the host's
ok        proc-connector  available
ok        fanotify        available: exec events, a mark on each mount of a container (no marks on filesystems before 4.20)
ok        procfs-poll     available: baseline and repair
note      coverage        no watcher with this state directory marks containers now
note      runtimes        docker (/var/lib/docker)
note      containers      3 running: docker 2, podman 1
ok        syslog          unix:/dev/log
note      alert file      switched off
ok        state           /var/lib/ccwatch
ok        database        compiled in, and 2 files of /etc/ccwatch/fingerprints.d
note      watcher         none runs with this state directory
note      config          /etc/ccwatch/ccwatch.toml is not there, the defaults hold
"
        );
        assert!(text.ends_with("\nall well\n"), "{text}");
        assert!(text.contains("counted as unexamined"));
    }

    #[test]
    fn coverage_is_listed_by_container() {
        let mut report = well();
        let uncovered = Uncovered { point: "/far".into(), fs_type: "nfs4".into(), why: "a network filesystem".into() };
        let near =
            ContainerCoverage { name: "docker/aa".into(), by_filesystem: true, mounts: 5, far: 1, uncovered: vec![] };
        let far = ContainerCoverage {
            name: "docker/bb".into(),
            uncovered: vec![uncovered],
            mounts: 0,
            far: 0,
            ..near.clone()
        };
        let containers = vec![near, far];
        let fanotify = Way::Filesystem.describe().into();
        report.coverage = Some(Coverage { fanotify, eager: true, execs: 9, unexamined: 2, containers });
        let text = report.render();
        assert!(text.contains("looks at each exec at once (eager); 2 of"), "{text}");
        assert_eq!(text.matches("connector (eager)").count(), 2, "it is one reader: {text}");
        report.coverage.as_mut().unwrap().eager = false;
        let text = report.render();
        assert!(text.contains("rests in a storm (lazy); 2 of the host's 9 execs unexamined\n"), "{text}");
        let near = "docker/aa: connector (lazy), fanotify by a mark on its filesystem, fanotify on 5 of its mounts, \
                    by a group of its own on 1 that a server answers for\n";
        assert!(text.contains(near), "{text}");
        let far = "docker/bb: connector (lazy), fanotify by a mark on its filesystem; by the connector alone: /far (nfs4: a \
                   network filesystem)\n";
        assert!(text.contains(far), "{text}");
    }

    #[test]
    fn fanotify_covers_what_is_short() {
        let mut report = well();
        report.fanotify = Some(Ok(Way::Open));
        assert!(report.render().contains("executed from memory"));
        report.connector = Some(Err("none".into()));
        assert!(report.render().contains("note      fanotify        not to be had: this kernel has no exec events"));
        report.connector = Some(Ok(()));
        report.fanotify = Some(Ok(Way::Filesystem));
        let text = report.render();
        assert!(text.contains("ok        fanotify        available"), "{text}");
        assert!(text.contains("executed from memory"), "{text}");
        report.fanotify = None;
        assert!(report.render().contains("note      fanotify        switched off"));
    }

    #[test]
    fn no_connector_is_degraded_and_says_why() {
        let mut report = well();
        report.fanotify = None;
        report.connector = Some(Err("no answer within 100 ms".into()));
        report.kernel.connector = false;
        assert_eq!(degraded(&report), ["proc-connector"]);
        let text = report.render();
        assert!(text.contains("no answer within 100 ms (/proc/net/connector does not list cn_proc"), "{text}");
        assert!(text.contains("available: the only sensor"), "{text}");
        assert!(text.contains("less than the poll's interval"), "{text}");
        assert!(text.ends_with("\n1 degraded\n"), "{text}");
        report.connector = None;
        assert_eq!(degraded(&report), [""; 0]);
    }

    /// What a watcher differs in from what this host offers.
    fn differences(report: &Report) -> Vec<String> {
        let findings = report.findings();
        let differing = findings.iter().filter(|f| f.subject == "its sensors" && f.state == State::Degraded);
        differing.map(|f| f.text.clone()).collect()
    }

    #[test]
    fn a_watcher_that_has_less_than_the_host_is_degraded() {
        let mut report = well();
        let running = |connector, fanotify| {
            let sensors = Some(Sensing { connector, fanotify });
            Some(Running { pid: crate::event::Pid(9), privileges: None, sensors })
        };
        report.coverage = Some(Coverage { fanotify: Way::Mount.describe().into(), ..Coverage::default() });
        report.watcher = running(true, true);
        assert!(report.render().contains("ok        its sensors     proc-connector, fanotify, procfs-poll\n"));
        assert_eq!(degraded(&report), [""; 0]);
        report.watcher = running(false, true);
        assert!(differences(&report)[0].starts_with("it has no proc-connector, which this host offers"));
        report.coverage = None;
        report.watcher = running(true, false);
        assert!(differences(&report)[0].starts_with("it has no fanotify, which this host offers"));
        // What the host does not offer is told of the host.
        report.fanotify = Some(Err("fanotify_init: EPERM".into()));
        assert_eq!(degraded(&report), ["fanotify"]);
        report.fanotify = None;
        assert_eq!(degraded(&report), [""; 0]);
        report.watcher = running(true, true);
        assert_eq!(differences(&report).len(), 2, "switched off since, and says nothing");
        report.fanotify = Some(Ok(Way::Filesystem));
        report.coverage = Some(Coverage { fanotify: Way::Open.describe().into(), ..Coverage::default() });
        assert!(differences(&report)[0].starts_with("its fanotify has open events"));
    }

    #[test]
    fn a_renamed_compiler_is_not_said_to_be_missed() {
        let text = well().render();
        assert!(text.contains("- a compiler of a family that the database does not know"), "{text}");
        assert!(!text.contains("not judged"), "{text}");
    }

    #[test]
    fn everything_else_that_degrades() {
        let mut report = well();
        report.kernel.capabilities = Ok(Capabilities(1 << 12 | 1 << 19));
        report.kernel.version = Ok(procfs::KernelVersion::new(2, 6, 32));
        report.kernel.pid_ns = Initial::No;
        report.kernel.net_ns = Initial::Unknown;
        report.own = Some(ContainerKey { runtime: Runtime::Docker, id: "a\x1bb".into() });
        report.syslog = Some(("unix:/dev/log".into(), Err("No such file or directory".into())));
        report.alert_file = Some(("/var/log/x".into(), Err("Read-only file system".into())));
        report.state.1 = Err("Permission denied".into());
        report.database = Err("/etc/ccwatch/fingerprints.d/a.toml: nonsense".into());
        report.fanotify = Some(Err("fanotify_init: ENOSYS: Function not implemented".into()));
        report.sensors.procfs_poll = Switch::Off;
        let subjects = [
            "kernel",
            "capabilities",
            "capabilities",
            "place",
            "namespaces",
            "fanotify",
            "procfs-poll",
            "syslog",
            "alert file",
            "state",
            "database",
        ];
        assert_eq!(degraded(&report), subjects);
        let text = report.render();
        assert!(text.contains("docker/a\\x1bb"), "{text}");
        assert!(text.contains("not known whether they are the host's: network"), "{text}");
        report.kernel.capabilities = Err(Missing::Denied);
        assert!(report.render().contains("capabilities    unknown: denied"));
    }
}
