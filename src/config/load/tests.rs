//! Files that are refused, and what is said of them. Test only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ccwatch.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    (directory, path)
}

fn message(path: &Path) -> String {
    let error = Config::load(Some(path)).unwrap_err();
    assert_eq!(error.exit_code(), 78, "{error}");
    error.to_string().replace(&path.display().to_string(), "F")
}

#[test]
fn a_named_file_must_exist_and_the_default_need_not() {
    let missing = Path::new("/nonexistent/ccwatch.toml");
    assert_eq!(message(missing), "read F: no such file");
    let optional = Source { path: missing.into(), named: false }.load().unwrap();
    assert_eq!(optional.config, Config::default());
    assert!(!optional.exists());
}

#[test]
fn each_link_on_the_way_is_looked_at() {
    let (directory, path) = file("");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("anybodys")).unwrap();
    std::os::unix::fs::symlink("../ccwatch.toml", at("anybodys/link")).unwrap();
    std::os::unix::fs::symlink("anybodys/link", at("first")).unwrap();
    assert!(Config::load(Some(&at("first"))).is_ok());
    fs::set_permissions(at("anybodys"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(message(&at("first")).contains("may write to the directory"));
    fs::remove_file(&path).unwrap();
    let dangling = Source { path: at("first"), named: false };
    assert!(dangling.load().unwrap_err()[0].to_string().ends_with("a link to no file"));
    std::os::unix::fs::symlink("nowhere", at("directory")).unwrap();
    let below = Source { path: at("directory/ccwatch.toml"), named: false };
    assert!(below.load().unwrap_err()[0].to_string().ends_with("a link to no file"));
    std::os::unix::fs::symlink("itself", at("itself")).unwrap();
    assert!(Config::load(Some(&at("itself"))).is_err());
}

#[test]
fn the_sentence_of_the_contract() {
    let (_directory, path) = file(&format!("{}[syslog]\nfacilty = \"daemon\"\n", "#\n".repeat(10)));
    assert_eq!(message(&path), "read F: line 12: unknown key \"facilty\", did you mean \"facility\"?");
}

#[test]
fn of_several_the_first_and_how_many_more() {
    let (_directory, path) = file("[syslog]\na = 1\nb = 2\nc = 3\n");
    assert_eq!(message(&path), "read F: line 2: unknown key \"a\" (and 2 more: see ccwatch config check)");
    assert_eq!(Config::load_all(Some(&path)).unwrap_err().len(), 3);
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let (_directory, path) = file("");
    for mode in [0o664, 0o646, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let reason = format!("read F: group or others may write to it (mode {mode:04o}): chmod go-w would do");
        assert_eq!(message(&path), reason);
    }
    for mode in [0o644, 0o600, 0o755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(Config::load(Some(&path)).is_ok());
    }
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    assert_eq!(foreign("it", 0, 0o100_644, 1000), None);
    assert_eq!(foreign("it", 1000, 0o100_644, 1000), None);
    assert!(foreign("it", 1000, 0o100_644, 0).unwrap().starts_with("it belongs to uid 1000: "));
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let directory = top.path().join("etc/ccwatch");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ccwatch.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let link = top.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for writable in [directory.clone(), top.path().join("etc")] {
        fs::set_permissions(&writable, fs::Permissions::from_mode(0o775)).unwrap();
        let of = format!("the directory {}", writable.display());
        for name in [&path, &link] {
            let reason = format!("read F: group or others may write to {of} (mode 0775): chmod go-w would do");
            assert_eq!(message(name), reason);
        }
        fs::set_permissions(&writable, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Config::load(Some(&path)).is_ok() && Config::load(Some(&link)).is_ok());
    }
}

#[test]
fn only_a_sticky_directory_of_root_may_be_anybodys() {
    assert_eq!(foreign_directory("/tmp", 0, 0o041_777, 1000), None);
    assert!(foreign_directory("/tmp", 1000, 0o041_777, 1000).unwrap().contains("(mode 1777)"));
    assert!(foreign_directory("/srv", 0, 0o040_777, 1000).is_some());
    assert!(foreign_directory("/srv", 7, 0o040_755, 1000).unwrap().contains("belongs to uid 7"));
}

#[test]
fn only_regular_files_of_a_sane_size() {
    let (directory, path) = file("");
    assert_eq!(message(directory.path()), "read F: not a regular file");
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(message(&fifo), "read F: not a regular file");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
    assert_eq!(message(&path), "read F: larger than 1048576 bytes");
}

#[test]
fn reload_tells_whether_the_bytes_have_changed() {
    let (_directory, path) = file("[syslog]\ntag = \"one\"\n");
    let loaded = Config::load(Some(&path)).unwrap();
    assert!(loaded.reload().unwrap().is_none());
    fs::write(&path, "[syslog]\ntag = \"two\"\n").unwrap();
    let again = loaded.reload().unwrap().unwrap();
    assert_eq!(again.config.syslog.tag, "two");
    assert!(again.reload().unwrap().is_none());
    fs::write(&path, "[syslog]\ntag = 2\n").unwrap();
    assert!(again.reload().is_err());
}

#[test]
fn reload_sees_the_default_file_come_and_go() {
    let (_directory, path) = file("");
    let source = Source { path: path.clone(), named: false };
    let with = source.load().unwrap();
    fs::remove_file(&path).unwrap();
    let without = with.reload().unwrap().unwrap();
    assert_eq!((with.exists(), without.exists()), (true, false));
    assert!(without.reload().unwrap().is_none());
    assert_eq!(without.path(), path);
}
