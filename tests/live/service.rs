//! The watcher as a service: what it gives up, what it tells the service manager, what the alert stream tells of its own
//! life.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::common::program::Frozen;
use crate::common::watcher::Setup;
use crate::common::{self, Alert};
use nix::sys::signal::Signal;

/// A line of every thread's /proc status, without its key.
fn of_each_thread(pid: i32, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).unwrap();
    let statuses = tasks.map(|task| status(task.unwrap()));
    statuses.map(|s| s.lines().find_map(|l| l.strip_prefix(key)).unwrap().trim().to_owned()).collect()
}

#[test]
fn every_thread_has_four_capabilities_and_a_filter() {
    let watcher = Setup::new().start();
    let threads = of_each_thread(watcher.pid(), "CapEff:");
    assert!(threads.len() > 3, "{threads:?}");
    for key in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let sets = of_each_thread(watcher.pid(), key);
        let bits = |set: &String| u64::from_str_radix(set, 16).unwrap();
        // A root without CAP_SYS_RESOURCE, as in some virtual machines, cannot raise its limits and keeps CAP_SYS_NICE.
        assert!(sets.iter().all(|set| bits(set) & !(1 << 23) == 0x28_1004), "{key} {sets:?}");
    }
    let only = |key, value: &str| assert!(of_each_thread(watcher.pid(), key).iter().all(|v| v == value), "{key}");
    only("CapInh:", "0000000000000000");
    only("CapAmb:", "0000000000000000");
    only("NoNewPrivs:", "1");
    only("Seccomp:", "2");
    watcher.stop();
}

/// A datagram from the watcher, as lines.
fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect()
}

#[test]
fn the_service_manager_hears_of_it() {
    common::need_root();
    let setup = Setup::new();
    let socket = UnixDatagram::bind(setup.home().join("notify")).unwrap();
    let mut command = setup.command();
    command.env("NOTIFY_SOCKET", setup.home().join("notify")).env("WATCHDOG_USEC", "600000").env_remove("WATCHDOG_PID");
    let watcher = setup.spawn(&mut command);
    let ready = heard(&socket);
    assert_eq!(ready[0], "READY=1");
    assert!(ready[1].starts_with("STATUS=Watching, sensors "), "{ready:?}");
    let alive = heard(&socket);
    assert_eq!(alive[0], "WATCHDOG=1");
    assert!(alive[1].contains(" containers met, ") && alive[1].ends_with(" alerts"), "{alive:?}");

    watcher.signal(Signal::SIGHUP);
    let after = |wanted: &str| {
        loop {
            let message = heard(&socket);
            if message[0] == wanted {
                return message;
            }
        }
    };
    after("RELOADING=1");
    assert_eq!(after("READY=1")[1], "STATUS=Watching; the configuration has not changed");
    // It still moves.
    after("WATCHDOG=1");
    watcher.signal(Signal::SIGTERM);
    after("STOPPING=1");
    watcher.end();
}

/// A thread that is held gives no sign of life, and so nobody does, until it is let go.
#[test]
fn no_sign_of_life_from_a_thread_that_is_stuck() {
    common::need_root();
    let watchdog = Duration::from_millis(900);
    let setup = Setup::new();
    let socket = UnixDatagram::bind(setup.home().join("notify")).unwrap();
    let mut command = setup.command();
    command.env("NOTIFY_SOCKET", setup.home().join("notify")).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    let watcher = setup.spawn(command.env_remove("WATCHDOG_PID"));
    let await_beat = || while heard(&socket)[0] != "WATCHDOG=1" {};
    for (thread, told) in [
        ("detection", "detection does not answer"),
        ("connector", "the thread connector does not answer"),
        ("fanotify", "the thread fanotify does not answer"),
        ("procfs-poll", "the thread procfs-poll does not answer"),
    ] {
        await_beat();
        let is_told = |line: &&String| line.contains("no sign of life is given") && line.contains(told);
        let times = || watcher.stderr().iter().filter(is_told).count();
        // A busy machine may have had it silent for a moment.
        let before = times();
        let frozen = Frozen::thread(watcher.pid(), thread);
        common::eventually(told, || (times() > before).then_some(()));
        // What was given before.
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 1024]).is_ok() {}
        socket.set_nonblocking(false).unwrap();
        // The manager would restart it now.
        socket.set_read_timeout(Some(watchdog)).unwrap();
        let beat = socket.recv(&mut [0; 1024]);
        assert!(beat.is_err(), "a sign of life while {thread} is held: {:#?}", watcher.stderr());
        socket.set_read_timeout(None).unwrap();
        // Detection is who tells of the others.
        let degraded = |a: &Alert| a.text("event.action") == "sensor-degraded" && a.0.to_string().contains(told);
        if thread != "detection" {
            watcher.await_alert("that it hangs", degraded);
        }
        frozen.release();
        await_beat();
    }
    watcher.stop();
}

/// The watcher's own alerts, in their order: action and reason.
fn life(alerts: &[Alert]) -> Vec<(&str, &str)> {
    let own = alerts.iter().filter(|a| a.text("event.action").starts_with("watcher-"));
    own.map(|a| (a.text("event.action"), a.text("event.reason"))).collect()
}

#[test]
fn starts_reloads_and_stops_are_alerts() {
    let setup = Setup::new();
    let first = setup.start();
    let setup = setup.set("session", "gap", "3s");
    setup.write();
    first.signal(Signal::SIGHUP);
    first.await_alert("reload", |a| a.text("event.reason") == "configuration-changed");
    std::fs::write(setup.home().join("ccwatch.toml"), "facilty = 1\n").unwrap();
    first.signal(Signal::SIGHUP);
    first.await_alert("refusal", |a| a.text("event.reason") == "configuration-refused");
    let alerts = first.stop();
    let expected = [
        ("watcher-started", "first-start"),
        ("watcher-reloaded", "configuration-changed"),
        ("watcher-reloaded", "configuration-refused"),
        ("watcher-stopped", "stopped"),
    ];
    assert_eq!(life(&alerts), expected, "{alerts:#?}");

    let started =
        |watcher: &common::Watcher| watcher.await_alert("start", |a| a.text("event.action") == "watcher-started");
    let second = setup.start();
    let alert = started(&second);
    assert_eq!(alert.text("event.reason"), "after-stop");
    assert!(alert.at("ccwatch.lost.gap_ms").is_u64(), "{alert}");
    second.kill();
    let third = setup.start();
    let alert = started(&third);
    assert_eq!(alert.text("event.reason"), "after-kill");
    assert!(alert.at("ccwatch.lost.since").is_string(), "{alert}");
    third.stop();
}

/// A database that is new beside a configuration that cannot be used waits for it.
#[test]
fn a_reload_is_taken_over_whole_or_not_at_all() {
    let setup = Setup::new();
    let watcher = setup.start();
    let own = setup.home().join("fingerprints.d");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("a.toml"), "schema = 1\ndisable = ['tcc']\n").unwrap();
    std::fs::write(setup.home().join("ccwatch.toml"), "facilty = 1\n").unwrap();
    watcher.signal(Signal::SIGHUP);
    watcher.await_alert("refusal", |a| a.text("event.reason") == "configuration-refused");
    // The configuration is the old one again: what is taken over now is the database.
    setup.write();
    watcher.signal(Signal::SIGHUP);
    watcher.await_alert("reload", |a| a.text("event.reason") == "database-changed");
    watcher.await_stderr("the database", |line| line.contains("the database was read again"));
    std::fs::write(own.join("a.toml"), "nonsense\n").unwrap();
    let setup = setup.set("session", "gap", "3s");
    setup.write();
    watcher.signal(Signal::SIGHUP);
    watcher
        .await_stderr("the refusal", |line| line.contains("the old configuration is kept") && line.contains("a.toml"));
    std::fs::write(own.join("a.toml"), "schema = 1\n").unwrap();
    watcher.signal(Signal::SIGHUP);
    watcher.await_stderr("both", |line| line.contains("configuration and database were read again"));
    watcher.stop();
}

#[test]
fn doctor_and_the_pid_file_know_the_running_watcher() {
    common::need_root();
    let setup = Setup::new();
    let mut command = setup.command();
    let pid_file = setup.home().join("pid");
    // What a dead watcher left.
    std::fs::write(&pid_file, "1\n").unwrap();
    let watcher = setup.spawn(command.arg("--pid-file").arg(&pid_file));
    watcher.await_stderr("watching", |line| line.starts_with("watching"));
    let pid = watcher.pid();
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), format!("{pid}\n"));
    let mut doctor = std::process::Command::new(common::watcher::BINARY);
    let report = doctor.arg("doctor").arg("--config").arg(setup.write()).output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    let line = report.lines().find(|line| line.contains(" watcher ")).unwrap();
    assert!(line.contains(&format!("runs as process {pid}: ")), "{line}");
    assert!(line.ends_with("no new privileges, system calls filtered"), "{line}");
    watcher.stop();
    assert!(!pid_file.exists());
}
