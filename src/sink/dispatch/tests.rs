#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::*;
use crate::alert::samples;

const LONG: Duration = Duration::from_secs(60);

const RELOADED: Life = Life::Reloaded { config: true, database: false };

/// Watches nothing; syslog at `log` in the directory, and the alert file there.
fn configuration(home: &Path, log: &str, alert_file: bool) -> Config {
    let mut config = Config::default();
    config.syslog.target = format!("unix:{}", home.join(log).display());
    config.alert_file = config::AlertFile { enabled: alert_file, path: home.join("alerts.json") };
    config.state.directory = home.join("state");
    config
}

fn reader(home: &Path, log: &str) -> UnixDatagram {
    let reader = UnixDatagram::bind(home.join(log)).unwrap();
    reader.set_read_timeout(Some(LONG)).unwrap();
    reader
}

/// What the next message is about: its number, its action, and how many were lost.
fn next(reader: &UnixDatagram) -> (u64, String, Option<u64>) {
    let mut message = [0; 65_536];
    let length = reader.recv(&mut message).unwrap();
    let body = message[..length].iter().position(|byte| *byte == b'{').unwrap();
    let alert: serde_json::Value = serde_json::from_slice(&message[body..length]).unwrap();
    let event = &alert["event"];
    let lost = alert["ccwatch"]["lost"]["count"].as_u64();
    (event["sequence"].as_u64().unwrap(), event["action"].as_str().unwrap().to_owned(), lost)
}

#[test]
fn what_waits_for_a_sink_goes_to_the_one_that_takes_its_place() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let dispatch = Dispatch::start(&configuration(home, "mistaken", false), samples::host(), None).unwrap();
    dispatch.tell(RELOADED);
    dispatch.tell(RELOADED);
    dispatch.pulse(LONG).unwrap();
    let reader = reader(home, "log");
    dispatch.reconfigure(&configuration(home, "log", false)).unwrap();
    dispatch.tell(RELOADED);
    let told: Vec<u64> = (0..3).map(|_| next(&reader).0).collect();
    assert_eq!(told, [1, 2, 3]);
    assert_eq!(dispatch.flush_and_stop(LONG), 0);
}

#[test]
fn what_a_sink_without_an_heir_leaves_is_told_to_the_others() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let dispatch = Dispatch::start(&configuration(home, "missing", true), samples::host(), None).unwrap();
    dispatch.tell(RELOADED);
    dispatch.pulse(LONG).unwrap();
    let mut config = configuration(home, "missing", true);
    config.syslog.enabled = false;
    dispatch.reconfigure(&config).unwrap();
    let deadline = Instant::now() + LONG;
    let told = || std::fs::read_to_string(home.join("alerts.json")).unwrap_or_default();
    while told().lines().count() < 2 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let told = told();
    assert!(told.lines().last().unwrap().contains("1 alert did not reach the sink syslog"), "{told}");
    assert_eq!(dispatch.flush_and_stop(LONG), 0);
}
