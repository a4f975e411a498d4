//! A host with Docker, built in a directory of its own, and what may lie in the place of a configuration.
#![allow(clippy::unwrap_used)]

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

use nix::unistd::mkfifo;

const A: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

/// A host's root and its /proc, with pid 1.
pub(in crate::container) struct Host {
    top: tempfile::TempDir,
}

impl Host {
    pub(in crate::container) fn new() -> Self {
        let host = Self { top: tempfile::tempdir().unwrap() };
        fs::create_dir_all(host.root()).unwrap();
        host.process(1, "systemd", &["/sbin/init"], "/init.scope", &host.root());
        host
    }

    pub(in crate::container) fn root(&self) -> PathBuf {
        self.top.path().join("host")
    }

    pub(in crate::container) fn proc_root(&self) -> PathBuf {
        self.top.path().join("proc")
    }

    pub(in crate::container) fn process(&self, pid: i32, comm: &str, arguments: &[&str], cgroup: &str, root: &Path) {
        let process = self.proc_root().join(pid.to_string());
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("comm"), format!("{comm}\n")).unwrap();
        fs::write(process.join("cmdline"), arguments.join("\0") + "\0").unwrap();
        fs::write(process.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        symlink(root, process.join("root")).unwrap();
        symlink("/srv", process.join("cwd")).unwrap();
    }

    pub(in crate::container) fn dockerd(&self, pid: i32, arguments: &[&str]) {
        let all: Vec<&str> = ["/usr/bin/dockerd"].iter().chain(arguments).copied().collect();
        self.process(pid, "dockerd", &all, "/system.slice/docker.service", &self.root());
    }

    pub(in crate::container) fn write(&self, path: &str, bytes: &str) {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(in crate::container) fn container(&self, data_root: &str, id: &str, name: &str) {
        let json = format!(r#"{{"Name":"/{name}","Config":{{"Image":"web:1"}}}}"#);
        self.write(&format!("{data_root}/containers/{id}/config.v2.json"), &json);
    }

    fn discover(&self) -> Docker {
        Docker::discover(&self.root(), &self.proc_root())
    }

    fn name(&self) -> Field<String> {
        self.discover().metadata(A).map(|metadata| metadata.name.unwrap_or_default())
    }
}

#[test]
fn the_data_root_is_found_where_it_may_be() {
    let host = Host::new();
    assert_eq!(host.name(), Err(Missing::Absent));
    assert_eq!(host.discover().data_root(), None);
    host.container("/var/lib/docker", A, "by-default");
    assert_eq!(host.name().as_deref(), Ok("by-default"));
    assert_eq!(host.discover().data_root(), Some(Path::new("/var/lib/docker")));
    assert!(!host.discover().is_running());

    host.dockerd(100, &["-H", "fd://", "--data-root=/srv/docker"]);
    host.container("/srv/docker", A, "by-arguments");
    assert_eq!(host.name().as_deref(), Ok("by-arguments"));
    assert!(host.discover().is_running());

    host.write("/etc/docker/daemon.json", r#"{"graph":"/old","debug":true}"#);
    host.container("/old", A, "by-graph");
    assert_eq!(host.name().as_deref(), Ok("by-graph"));
    host.write("/etc/docker/daemon.json", r#"{"data-root":"/data","graph":"/old"}"#);
    host.container("/data", A, "by-configuration");
    assert_eq!(host.name().as_deref(), Ok("by-configuration"));
    assert_eq!(host.discover().data_root(), Some(Path::new("/data")));
}

#[test]
fn several_dockerds_and_their_configuration_files() {
    let host = Host::new();
    host.dockerd(100, &["--config-file", "two.json"]);
    host.write("/srv/two.json", r#"{"data-root":"/two"}"#);
    host.process(200, "docker", &["docker", "daemon", "-g", "/three"], "/system.slice/docker.service", &host.root());
    host.process(300, "docker", &["docker", "run", "-g", "/client"], "/", &host.root());
    host.process(400, "dockerd-current", &["dockerd-current", "--graph", "/four"], "/", &host.root());
    let roots = host.discover().roots;
    for (root, expected) in [("/two", true), ("/three", true), ("/client", false), ("/four", true)] {
        assert_eq!(roots.contains(&PathBuf::from(root)), expected, "{root} in {roots:?}");
    }
    host.container("/three", A, "third");
    assert_eq!(host.name().as_deref(), Ok("third"));
}

#[test]
fn who_merely_calls_himself_dockerd_is_not_believed() {
    let host = Host::new();
    let arguments = ["dockerd", "--data-root", "/forged"];
    host.process(100, "dockerd", &arguments, &format!("/docker/{A}"), &host.root());
    let other = host.root().join("sandbox");
    fs::create_dir_all(&other).unwrap();
    host.process(200, "dockerd", &arguments, "/user.slice", &other);
    host.container("/forged", A, "forged");
    assert_eq!(host.name(), Err(Missing::Absent));
    assert!(!host.discover().is_running());
}

#[test]
fn a_broken_daemon_json_leaves_the_default() {
    let host = Host::new();
    host.container("/var/lib/docker", A, "by-default");
    for json in ["", "{", "[]", r#"{"data-root":1}"#, r#"{"data-root":"relative"}"#, "null"] {
        host.write("/etc/docker/daemon.json", json);
        assert_eq!(host.name().as_deref(), Ok("by-default"), "{json}");
    }
    fs::remove_file(host.root().join("etc/docker/daemon.json")).unwrap();
    mkfifo(&host.root().join("etc/docker/daemon.json"), Mode::S_IRUSR).unwrap();
    assert_eq!(host.name().as_deref(), Ok("by-default"));
}

#[test]
fn remapped_users_have_roots_of_their_own() {
    let host = Host::new();
    host.container("/var/lib/docker/165536.165536", A, "remapped");
    assert_eq!(host.name().as_deref(), Ok("remapped"));
}

#[test]
fn links_are_followed_on_the_host_and_not_below_containers() {
    let host = Host::new();
    let config = host.root().join(format!("mnt/disk/containers/{A}/config.v2.json"));
    host.container("/mnt/disk", A, "moved");
    fs::create_dir_all(host.root().join("var/lib")).unwrap();
    symlink("/mnt/disk", host.root().join("var/lib/docker")).unwrap();
    assert_eq!(host.name().as_deref(), Ok("moved"));
    fs::remove_file(&config).unwrap();
    host.write("/secret", r#"{"Name":"/secret"}"#);
    for target in ["/secret", "../../../../secret", "../../../../../../../../../../secret"] {
        symlink(target, &config).unwrap();
        assert_eq!(host.name(), Err(Missing::Absent), "{target}");
        fs::remove_file(&config).unwrap();
    }
    symlink("config.v2.json", &config).unwrap();
    assert_eq!(host.name(), Err(Missing::Malformed), "a loop");
}

#[test]
fn what_is_no_configuration() {
    let host = Host::new();
    host.container("/var/lib/docker", A, r#"a \"b\"\nc"#);
    assert_eq!(host.name().as_deref(), Ok("a \"b\"\nc"), "kept as it is; escaped where it is printed");
    let config = host.root().join(format!("var/lib/docker/containers/{A}/config.v2.json"));
    fs::write(&config, r#"{"Name":"/web","Con"#).unwrap();
    assert_eq!(host.name(), Err(Missing::Malformed));
    fs::File::create(&config).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(host.name(), Err(Missing::TooLarge));
    fs::remove_file(&config).unwrap();
    mkfifo(&config, Mode::S_IRUSR).unwrap();
    assert_eq!(host.name(), Err(Missing::Malformed));
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    assert_eq!(host.name(), Err(Missing::Malformed));
    for id in ["", "..", "../../../../etc", &A[1..], &A.to_uppercase(), &format!("{A}/.."), &A.replace('6', "/")] {
        assert_eq!(host.discover().metadata(id), Err(Missing::Malformed), "{id}");
    }
}
