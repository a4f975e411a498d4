//! The program as it is called: commands, exit codes, what goes to stdout and what to stderr. Nothing here needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ccwatch");

fn ccwatch(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// By another process: a test that starts one while this one writes would leave it a file that cannot be executed.
fn copy(to: &Path) {
    assert!(Command::new("cp").arg(PROGRAM).arg(to).status().unwrap().success());
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Exit code, stdout and stderr.
fn outcome(output: &Output) -> (i32, &str, &str) {
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn config(content: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ccwatch.toml");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let name = path.to_str().unwrap().to_string();
    (directory, name)
}

#[test]
fn help_and_version_go_to_stdout_and_are_no_error() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["config", "check", "-h"]] {
        let output = ccwatch(arguments);
        let (code, stdout, stderr) = outcome(&output);
        assert_eq!((code, stderr), (0, ""), "{arguments:?}");
        assert!(!stdout.is_empty());
    }
    assert_eq!(text(&ccwatch(&["--version"]).stdout), concat!("ccwatch ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_command_line_that_cannot_be_is_64() {
    for arguments in [&[][..], &["bogus"], &["run", "--stdout", "xml"], &["config"], &["doctor", "--nope"]] {
        let output = ccwatch(arguments);
        let (code, stdout, stderr) = outcome(&output);
        assert_eq!((code, stdout), (64, ""), "{arguments:?}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn the_canary_does_nothing_but_wait() {
    assert_eq!(outcome(&ccwatch(&["canary"])), (0, "", ""));
    assert_eq!(outcome(&ccwatch(&["canary", "--whatever"])), (0, "", ""));
}

#[test]
fn config_check_tells_every_error() {
    let (_directory, path) = config("[syslog]\nfacilty = \"daemon\"\n[session]\ngap = \"1h\"\ngpa = 1\n");
    let output = ccwatch(&["config", "check", "--config", &path]);
    let (code, stdout, stderr) = outcome(&output);
    assert_eq!((code, stdout), (78, ""));
    assert_eq!(
        stderr,
        format!(
            "ccwatch: error: read {path}: line 2: unknown key \"facilty\", did you mean \"facility\"?\n\
             ccwatch: error: read {path}: line 5: unknown key \"gpa\", did you mean \"gap\"?\n"
        )
    );
}

#[test]
fn config_check_of_a_good_file() {
    let (_directory, path) = config("[syslog]\nfacility = \"daemon\"\n");
    let output = ccwatch(&["config", "check", "--config", &path]);
    assert_eq!(outcome(&output), (0, format!("{path}: ok\n").as_str(), ""));
    let output = ccwatch(&["config", "check", "--config", "/nonexistent/f"]);
    assert_eq!(outcome(&output), (78, "", "ccwatch: error: read /nonexistent/f: no such file\n"));
}

#[test]
fn config_show_is_a_file_that_says_the_same() {
    let (_directory, path) = config("[session]\ngap = \"90s\"\n");
    let shown = ccwatch(&["config", "show", "--config", &path]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(text(&shown.stdout).contains("gap = \"1min 30s\"\n"));
    let (_directory, again) = config(text(&shown.stdout));
    assert_eq!(ccwatch(&["config", "show", "--config", &again]).stdout, shown.stdout);
}

#[test]
fn every_command_refuses_a_file_that_others_may_write() {
    let (_directory, path) = config("");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    for command in [&["run"][..], &["doctor"], &["config", "check"], &["config", "show"], &["fingerprint", PROGRAM]] {
        let output = ccwatch(&[command, &["--config", &path]].concat());
        let (code, stdout, stderr) = outcome(&output);
        assert_eq!((code, stdout), (78, ""), "{command:?}");
        assert!(stderr.contains("group or others may write to it"), "{stderr}");
    }
}

#[test]
fn doctor_reports_on_stdout_and_by_its_exit_code() {
    let (_directory, path) = config("[syslog]\nenabled = false\n[alert-file]\nenabled = false\n");
    let output = ccwatch(&["doctor", "--config", &path]);
    let (code, stdout, stderr) = outcome(&output);
    assert_eq!(stderr, "");
    for subject in [
        "kernel",
        "capabilities",
        "namespaces",
        "proc-connector",
        "fanotify",
        "procfs-poll",
        "containers",
        "not covered",
    ] {
        assert!(stdout.contains(subject), "{stdout}");
    }
    assert_eq!(code, i32::from(!stdout.ends_with("\nall well\n")), "{stdout}");

    let (_directory, path) = config("[syslog]\ntarget = \"unix:/nonexistent/log\"\n");
    let output = ccwatch(&["doctor", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("degraded  syslog          unix:/nonexistent/log: No such file"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(PROGRAM).args(["config", "show"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn without_privileges_one_sentence_and_77() {
    // Where the build lies, another user may not be able to go.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("ccwatch");
    copy(&program);
    let mut command = Command::new(&program);
    command.arg("run").stdin(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let (code, stdout, stderr) = outcome(&output);
    assert_eq!((code, stdout), (77, ""));
    assert!(stderr.contains("CAP_NET_ADMIN is missing, needed to listen to"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// Exit code, stdout as JSON objects, and stderr.
fn fingerprint(arguments: &[&str]) -> (i32, Vec<serde_json::Value>, String) {
    let (_directory, path) = config("");
    let output = ccwatch(&[&["fingerprint", "--json", "--config", &path], arguments].concat());
    let (code, stdout, stderr) = outcome(&output);
    (code, stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), stderr.to_owned())
}

#[test]
fn fingerprint_judges_each_file_and_names_those_it_cannot_read() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("gcc-13");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let script = script.to_str().unwrap();
    let (code, answers, stderr) =
        fingerprint(&["/nonexistent/\u{1b}x", PROGRAM, "/dev/null", directory.path().to_str().unwrap(), script]);
    assert_eq!(code, 70);
    assert_eq!(
        stderr,
        format!(
            "ccwatch: error: read /nonexistent/\\x1bx: No such file or directory (os error 2)\n\
             ccwatch: error: read /dev/null: is no regular file, or shrinks while it is read\n\
             ccwatch: error: read {}: is no regular file, or shrinks while it is read\n",
            directory.path().display()
        )
    );
    let [own, named] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((&own["path"], &own["kind"]), (&PROGRAM.into(), &"not-compiler".into()));
    for hash in ["sha256", "code_hash"] {
        assert_eq!(own[hash].as_str().unwrap().len(), 64, "{own}");
    }
    assert_eq!((&named["family"], &named["confidence"]), (&"gcc-driver".into(), &"low".into()));
    assert_eq!((&named["toolchain"], &named["version"]), (&"gnu".into(), &"13".into()));
    assert_eq!(named["evidence"], serde_json::json!(["name"]));
    assert!(named.get("code_hash").is_none() && named.get("query").is_none(), "{named}");
}

#[test]
fn fingerprint_judges_arguments_and_follows_links() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("rustc"), directory.path().join("any"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let link = link.to_str().unwrap();
    for (arguments, query) in [(&["--version"][..], true), (&["a.rs"], false)] {
        let (code, answers, stderr) = fingerprint(&[&[link, "--"], arguments].concat());
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert_eq!((&answers[0]["family"], &answers[0]["query"]), (&"rustc".into(), &query.into()));
    }
}

#[test]
fn fingerprint_prints_text_or_an_entry() {
    let output = ccwatch(&["fingerprint", PROGRAM]);
    let (code, stdout, stderr) = outcome(&output);
    assert_eq!((code, stderr), (0, ""));
    assert!(stdout.starts_with(&format!("{PROGRAM}: not-compiler\n  sha256: ")), "{stdout}");
    let output = ccwatch(&["fingerprint", "--entry", PROGRAM]);
    let (code, stdout, _) = outcome(&output);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("schema = 1\n") && stdout.contains("\n[[content]]\nfamily = \"local-ccwatch-"));
    ccwatch::fingerprint::Database::parse(stdout).unwrap();
    assert_eq!(ccwatch(&["fingerprint", "--entry", "--json", PROGRAM]).status.code(), Some(64));
}

#[test]
fn fingerprints_beside_the_configuration_are_checked_and_used() {
    let (directory, path) = config("");
    // The same content by two names, and another one by the same name.
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (program, copy, other) = (at("report"), at("copy"), at("other/report"));
    fs::create_dir(directory.path().join("other")).unwrap();
    for (from, to) in [(PROGRAM, &program), (PROGRAM, &copy), ("/bin/true", &other)] {
        fs::copy(from, to).unwrap();
    }
    let entry = ccwatch(&["fingerprint", "--config", &path, "--entry", &program, &copy, &other]).stdout;
    let beside = directory.path().join("fingerprints.d");
    fs::create_dir(&beside).unwrap();
    let file = beside.join("own.toml");
    fs::write(&file, entry).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let checked = ccwatch(&["config", "check", "--config", &path]);
    assert_eq!(outcome(&checked), (0, format!("{path}: ok\n{}: ok, files: 1\n", beside.display()).as_str(), ""));
    let judged = ccwatch(&["fingerprint", "--config", &path, "--json", &copy, &other]);
    let families = text(&judged.stdout).lines().map(|line| {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["confidence"], "certain");
        answer["family"].as_str().unwrap().to_owned()
    });
    let families: Vec<String> = families.collect();
    assert!(families.iter().all(|family| family.starts_with("local-report-")) && families[0] != families[1]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = ccwatch(&["config", "check", "--config", &path]);
    let (code, stdout, stderr) = outcome(&refused);
    assert_eq!((code, stdout), (78, ""));
    assert!(stderr.starts_with(&format!("ccwatch: error: read {}: group or others may write", file.display())));
}

#[test]
fn fingerprint_waits_for_nobody_and_tells_what_it_may_not_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [fifo, socket, closed, program] = ["fifo", "socket", "closed", "ccwatch"].map(|n| directory.path().join(n));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for place in [&fifo, &socket] {
        let (code, answers, stderr) = fingerprint(&[place.to_str().unwrap()]);
        assert_eq!((code, answers.len()), (70, 0));
        assert!(stderr.contains("is no regular file"), "{stderr}");
    }
    fs::write(&closed, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Where the build lies, another user may not be able to go.
    copy(&program);
    let mut command = Command::new(&program);
    command.arg("fingerprint").arg(&closed).stdin(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let (code, stdout, stderr) = outcome(&output);
    assert_eq!((code, stdout), (77, ""), "{stderr}");
    assert!(stderr.contains("ermission denied"), "{stderr}");
}

#[test]
fn a_database_that_would_match_everything_is_refused() {
    let (directory, path) = config("");
    let beside = directory.path().join("fingerprints.d");
    fs::create_dir(&beside).unwrap();
    let file = beside.join("own.toml");
    for (entry, reason) in [
        ("[[content]]\nfamily = 'tcc'\nmarks = ['x']", "a mark of fewer than 6 bytes stands in too many files"),
        ("[[content]]\nfamily = 'tcc'\nmarks = ['        ']", "one byte over and over"),
        ("[[content]]\nfamily = 'tcc'\ngo-paths = ['*']", "fewer than three characters"),
        ("[[content]]\nfamily = 'tcc'\nmarks = ['a mark']\nalso-named = ['*']", "fewer than three"),
        ("[[content]]\nfamily = 'tcc'\nmarks = ['GLIBC_']", "it makes /bin/sh a compiler, tcc"),
        ("[[content]]\nfamily = 'tcc'\nmarks = ['abcdefgh', '/lib64/ld-linux-x86-64.so.2']\nat-least = 1", "/bin/sh"),
        (
            "[[content]]\nfamily = 'tcc'\nscript = true\nmarks = ['#!/bin/']",
            "it makes a script of two words a compiler, tcc",
        ),
        (
            "[[family]]\nfamily = 'x'\nkind = 'not-compiler'\n[[content]]\nfamily = 'x'\nmarks = ['GLIBC_2']",
            "its marks make /bin/sh one of x",
        ),
        ("[[family]]\nfamily = 'x'\nkind = 'compiler'\nnames = ['*']", "fewer than three"),
        ("[[family]]\nfamily = \"x\\n\"\nkind = 'compiler'\nnames = ['xcc']", "is no name"),
        ("[[family]]\nfamily = ''\nkind = 'compiler'\nnames = ['xcc']", "is no name"),
        ("[[family]]\nfamily = 'x'\nkind = 'compiler'\nnames = ['']", "matches everything"),
    ] {
        fs::write(&file, format!("schema = 1\n{entry}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        for command in [&["config", "check"][..], &["fingerprint", PROGRAM]] {
            let output = ccwatch(&[command, &["--config", &path]].concat());
            let (code, stdout, stderr) = outcome(&output);
            assert_eq!((code, stdout), (78, ""), "{entry}");
            assert!(stderr.contains("own.toml") && stderr.contains(reason), "{entry}: {stderr}");
        }
    }
}

#[test]
fn log_rotation_names_the_default_alert_file() {
    let rotation =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/logrotate/ccwatch")).unwrap();
    let path = ccwatch::config::AlertFile::default().path;
    assert!(rotation.lines().any(|line| line == format!("{} {{", path.display())));
}
