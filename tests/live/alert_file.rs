//! The alert file on a disk that is full: counted, told, and written again when there is room.

use std::path::Path;

use crate::common::watcher::Setup;
use crate::common::{self, Alert, Container, eventually};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A small tmpfs, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Self {
        common::need_root();
        let directory = tempfile::Builder::new().prefix("ccwatch-test-").tempdir().unwrap();
        let options = format!("size={size},mode=700");
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills what room there is; the file that did it.
    fn fill(&self) -> std::path::PathBuf {
        let filler = self.path().join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
        filler
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_is_told_and_overcome() {
    let disk = Tmpfs::new("256k");
    let container = Container::start();
    container.put("f.c", "int f;\n");
    let file = disk.path().join("alerts.json");
    let watcher = Setup::new().set("alert-file", "path", file.display().to_string()).start();
    let compile = |nth: usize| {
        container.exec(&["sh", "-c", &format!("gcc -c f.c -o {nth}.o")]);
        let closed = |a: &&Alert| a.is_of(&container.id) && a.state() == "closed";
        eventually("closed", || (watcher.alerts().iter().filter(closed).count() == nth).then_some(()));
    };
    let lines = || Alert::of_file(&file);
    compile(1);
    eventually("the first alerts in the file", || (lines().len() >= 2).then_some(()));
    let filler = disk.fill();
    // Each alert still reaches stdout; in the file there is room for the rest of a page at most.
    for nth in 2..=4 {
        compile(nth);
    }
    watcher.await_stderr("the full disk", |line| line.contains("alerts.json") && line.contains("No space left"));
    std::fs::remove_file(filler).unwrap();
    compile(5);
    let last = watcher.alerts().iter().rfind(|a| a.is_of(&container.id)).unwrap().text("event.id").to_owned();
    // Every line is whole: a line that had no room may be missing, and its number with it, but none is cut.
    eventually("the last alert in the file", || lines().iter().any(|a| a.text("event.id") == last).then_some(()));
    let alerts = watcher.stop();
    assert!(std::fs::read_to_string(&file).unwrap().ends_with('\n'));
    let lines = lines();
    let is_in_the_file = |a: &&Alert| lines.iter().any(|line| line.text("event.id") == a.text("event.id"));
    let of_this_sink = |a: &&Alert| a.text("ccwatch.lost.sensor") == "alert-file";
    // What tells the others that it failed is among them: each number that the file lacks is accounted for.
    let missing = alerts.iter().filter(|a| !is_in_the_file(a)).count();
    let told: u64 = lines.iter().filter(of_this_sink).map(|a| a.number("ccwatch.lost.count")).sum();
    assert!(missing > 0);
    assert_eq!(told, missing as u64);
}
