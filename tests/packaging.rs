//! What the packages install, as far as it can be checked without building one: the unit against the program, each
//! drop-in against the systemd versions that know it, and the pages against the files that they describe.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// The directives of a unit file, in their order.
fn directives(name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(packaging("systemd").join(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty());
    lines.map(|line| line.split_once('=').map(|(key, value)| (key.into(), value.into())).unwrap()).collect()
}

fn value(name: &str, key: &str) -> String {
    directives(name).into_iter().find(|(found, _)| found == key).unwrap_or_else(|| panic!("no {key} in {name}")).1
}

/// Directive and the first systemd that knows it, by its NEWS file; 219 and older are 219.
const SINCE: &[(&str, u32)] = &[
    ("CPUShares", 219),
    ("CPUWeight", 232),
    // With its "+".
    ("ExecStartPre", 231),
    ("KeyringMode", 235),
    ("LockPersonality", 235),
    ("MemoryDenyWriteExecute", 231),
    ("MemoryLimit", 219),
    ("MemoryMax", 231),
    ("PrivateMounts", 239),
    ("ProtectClock", 245),
    ("ProtectControlGroups", 232),
    ("ProtectHome", 219),
    ("ProtectKernelLogs", 244),
    ("ProtectKernelModules", 232),
    ("ProtectKernelTunables", 232),
    ("ProtectSystem", 232),
    ("ReadWritePaths", 231),
    ("RestrictNamespaces", 233),
    ("RestrictSUIDSGID", 242),
    ("SystemCallErrorNumber", 219),
    ("SystemCallFilter", 241),
    ("TasksMax", 227),
];

/// What systemd 219 has, of what the unit uses.
const OF_219: &[&str] = &[
    "After",
    "Before",
    "CapabilityBoundingSet",
    "Description",
    "DevicePolicy",
    "Documentation",
    "ExecReload",
    "ExecStart",
    "KillMode",
    "LimitCORE",
    "LimitNICE",
    "LimitNOFILE",
    "LimitRTPRIO",
    "Nice",
    "NoNewPrivileges",
    "NotifyAccess",
    "OOMScoreAdjust",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestrictAddressFamilies",
    "StartLimitBurst",
    "StartLimitInterval",
    "SystemCallArchitectures",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "UMask",
    "WantedBy",
    "WatchdogSec",
];

#[test]
fn the_unit_says_nothing_that_systemd_219_does_not_know() {
    for (key, _) in directives("ccwatch.service") {
        assert!(OF_219.contains(&key.as_str()), "{key}");
    }
}

#[test]
fn each_drop_in_is_for_systemds_that_know_it() {
    let mut checked = 0;
    for entry in fs::read_dir(packaging("systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(version) = name.strip_prefix("from-").and_then(|rest| rest.strip_suffix(".conf")) else { continue };
        let version: u32 = version.parse().unwrap();
        for (key, _) in directives(&name) {
            let since = SINCE.iter().find(|(known, _)| *known == key).unwrap_or_else(|| panic!("{key}: since when?")).1;
            assert!(since <= version, "{name}: {key} came with {since}");
            checked += 1;
        }
    }
    assert!(checked > 10);
}

/// With one of these the sensors are blind, or the alerts do not leave.
#[test]
fn nothing_hides_what_the_sensors_need() {
    let forbidden = [
        "ProtectProc",
        "ProcSubset",
        "PrivateUsers",
        "PrivatePIDs",
        "PrivateNetwork",
        "PrivateDevices",
        "PrivateTmp",
        "DynamicUser",
        "CPUQuota",
        "AmbientCapabilities",
        "ProtectHostname",
        "RestrictRealtime",
    ];
    for entry in fs::read_dir(packaging("systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".conf") || name.ends_with(".service") {
            for (key, _) in directives(&name) {
                assert!(!forbidden.contains(&key.as_str()), "{name}: {key}");
            }
        }
    }
    let families = value("ccwatch.service", "RestrictAddressFamilies");
    assert_eq!(families, "AF_UNIX AF_NETLINK");
}

#[test]
fn the_packages_places_are_the_defaults() {
    let config = ccwatch::config::Config::default();
    let writable = value("from-239.conf", "ReadWritePaths");
    let state = config.state.directory.display().to_string();
    let alerts = config.alert_file.path.parent().unwrap().display().to_string();
    assert_eq!(writable, format!("-{state} -{alerts}"));
    for script in ["deb/postinst", "deb/postrm"] {
        let text = fs::read_to_string(packaging(script)).unwrap();
        assert!(text.contains(&state) && text.contains(&alerts), "{script}");
    }
}

#[test]
fn whatever_is_written_to_the_log_directory_is_rotated() {
    let rotation = fs::read_to_string(packaging("logrotate/ccwatch")).unwrap();
    let stanzas: Vec<&str> = rotation.split("\n}").collect();
    let stanza = |file: &str| {
        let named = format!("{file} {{");
        *stanzas.iter().find(|stanza| stanza.lines().any(|line| line == named)).unwrap_or_else(|| panic!("{file}"))
    };
    let mut files = 0;
    for writer in ["sysv/ccwatch", "rsyslog/30-ccwatch.conf"] {
        let text = fs::read_to_string(packaging(writer)).unwrap();
        for file in text.split(['"', '=', '\n']).filter(|word| word.starts_with("/var/log/ccwatch/")) {
            stanza(file);
            files += 1;
        }
    }
    assert_eq!(files, 2);
    // Nobody can have the shell's redirection opened anew.
    assert!(stanza("/var/log/ccwatch/ccwatch.log").contains("copytruncate"));
    assert!(stanza("/var/log/ccwatch/syslog.json").contains("rsyslogd"));
}

/// Debian Policy 9.3.2: what is left of a removed package starts nothing, and says nothing.
#[test]
fn the_init_script_is_silent_where_the_program_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("ccwatch");
    let text = fs::read_to_string(packaging("sysv/ccwatch")).unwrap();
    let gone = directory.path().display();
    let text = text.replace("DAEMON=/usr/sbin/ccwatch", &format!("DAEMON={gone}/gone"));
    // This machine's functions may hand the call to systemd, and its watcher may run.
    let text = text.replace("/lib/lsb/init-functions", "/nonexistent").replace("/var/run/", &format!("{gone}/"));
    fs::write(&script, text).unwrap();
    for (act, code) in [("start", 0), ("restart", 0), ("reload", 0), ("force-reload", 0), ("stop", 0), ("status", 3)] {
        let output = std::process::Command::new("sh").arg(&script).arg(act).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{act}: {output:?}");
        assert!(["stop", "status"].contains(&act) || output.stdout.is_empty(), "{act}: {output:?}");
    }
}

/// The keys of a table of the database, as the struct has them that it is read into; with a key that is a table itself,
/// the struct of that and whether there may be several.
fn keys_of<'a>(source: &'a str, table: &str) -> Vec<(String, Option<(&'a str, bool)>)> {
    let (_, fields) = source.split_once(&format!("struct {table} {{\n")).unwrap_or_else(|| panic!("no {table}"));
    let (fields, _) = fields.split_once("\n}").unwrap();
    let mut renamed = None;
    let mut keys = Vec::new();
    for line in fields.lines().map(str::trim_start) {
        if let Some((_, name)) = line.split_once("rename = \"") {
            renamed = name.split('"').next();
        } else if let Some((name, kind)) = line.split_once(": ").filter(|_| !line.starts_with(['#', '/'])) {
            let name = renamed.take().unwrap_or(name.trim_start_matches("pub(super) ")).replace('_', "-");
            let inner = kind.split(['<', '>', ',']).find(|word| word.starts_with("Raw"));
            keys.push((name, inner.map(|inner| (inner, kind.starts_with("Vec")))));
        }
    }
    assert!(!keys.is_empty(), "{table}");
    keys
}

/// The words in bold of a section.
fn described<'a>(page: &'a str, section: &str) -> BTreeSet<&'a str> {
    let (_, text) = page.split_once(&format!(".SH {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n.SH ").next().unwrap();
    let bold = text.lines().filter_map(|line| line.strip_prefix(".B ").or(line.strip_prefix(".BR ")));
    bold.flat_map(|line| line.split([',', ' ', '"'])).collect()
}

#[test]
fn the_page_of_fingerprints_describes_every_key() {
    let page = fs::read_to_string(packaging("man/ccwatch-fingerprints.5")).unwrap().replace('\\', "");
    let source = ["raw", "arguments", "structure"].map(|file| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/fingerprint/{file}.rs"))).unwrap()
    });
    let source = source.concat();
    let demand = |section: &str, key: &str| {
        assert!(described(&page, section).contains(key), "{key} is not described in the section {section}");
    };
    for (key, table) in keys_of(&source, "RawDatabase") {
        let Some((table, is_list)) = table else {
            demand("\"THE FILE\"", &key);
            continue;
        };
        let section = if is_list { format!("\"[[{key}]]\"") } else { format!("\"[{key}]\"") };
        for (inner, below) in keys_of(&source, table) {
            // A table within a table has no section of its own.
            let Some((below, _)) = below else {
                demand(&section, &inner);
                continue;
            };
            demand(&section, &format!("[[{key}.{inner}]]"));
            for (last, _) in keys_of(&source, below) {
                demand(&section, &last);
            }
        }
    }
}

/// Paths of all fields below one; a list's elements are the list's.
fn fields(path: &str, value: &Value, all: &mut BTreeSet<String>) {
    match value {
        // Their keys are others' words, and names of fields.
        Value::Object(_) if ["container.labels", "ccwatch.missing"].contains(&path) => drop(all.insert(path.into())),
        Value::Object(of) => of.iter().for_each(|(name, value)| match path {
            "" => fields(name, value, all),
            path => fields(&format!("{path}.{name}"), value, all),
        }),
        Value::Array(elements) if !elements.is_empty() => elements.iter().for_each(|value| fields(path, value, all)),
        _ => drop(all.insert(path.into())),
    }
}

#[test]
fn the_page_of_alerts_describes_every_field() {
    let page = fs::read_to_string(packaging("man/ccwatch-alerts.5")).unwrap().replace('\\', "");
    let lines: Vec<&str> = page.lines().collect();
    let tags = lines.windows(2).filter(|pair| pair[0] == ".TP").filter_map(|pair| pair[1].strip_prefix(".B "));
    let described: BTreeSet<&str> = tags.flat_map(|names| names.split(", ")).collect();
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fields("", &serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(), &mut written);
        }
    }
    assert!(written.len() > 80);
    let unnamed: Vec<_> = written.iter().filter(|field| !described.contains(field.as_str())).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
}

/// Each page that the packages ship, by its name and section, names the others at its end.
#[test]
fn the_pages_name_each_other() {
    let sources = [
        ("ccwatch (8)", "ccwatch.8.sections"),
        ("ccwatch.toml (5)", "ccwatch.toml.5.sections"),
        ("ccwatch-alerts (5)", "ccwatch-alerts.5"),
        ("ccwatch-fingerprints (5)", "ccwatch-fingerprints.5"),
    ];
    for (page, source) in sources {
        let text = fs::read_to_string(packaging("man").join(source)).unwrap().replace('\\', "");
        let (_, others) = text.split_once(".SH SEE ALSO\n").unwrap();
        for (other, _) in sources.iter().filter(|(other, _)| *other != page) {
            assert!(others.contains(&format!(".BR {other}")), "{page}: no {other}");
        }
    }
}
