//! Docker Engine's own files: a container's name, image and labels from config.v2.json, without asking the daemon.
//! Users and images wrote most of what stands there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::container::Metadata;
use crate::event::{Field, Missing};
use crate::host::bounded;
use crate::host::process::Proc;
use crate::host::rooted;

const DAEMON_JSON: usize = 256 << 10;
/// Environment and labels of a container may be large; a megabyte is not sane.
const CONFIG: usize = 1 << 20;
const LABELS: usize = 64;
const LABEL_KEY: usize = 256;
const LABEL_VALUE: usize = 1024;

/// The data root of a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    data_root: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DaemonJson {
    #[serde(rename = "data-root")]
    data_root: Option<PathBuf>,
    graph: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigV2 {
    name: Option<String>,
    image: Option<String>,
    config: ContainerConfig,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerConfig {
    image: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl Docker {
    /// At a known data root.
    pub fn at(data_root: PathBuf) -> Self {
        Self { data_root }
    }

    /// Finds the data root of every engine that runs, as it was told on its command line or in its daemon.json; and,
    /// for one that may run later, the place of /etc/docker/daemon.json or the default.
    pub fn discover(host_root: &Path, proc: Option<&Proc>) -> Vec<Self> {
        let absolute = |root: PathBuf| host_root.join(root.strip_prefix("/").unwrap_or(&root));
        let by_file = |file: &Path| {
            let json = bounded::read(None, &absolute(file.to_path_buf()), DAEMON_JSON).ok()?;
            let parsed: DaemonJson = serde_json::from_slice(&json).ok()?;
            parsed.data_root.or(parsed.graph)
        };
        let by_args = |args: &[Vec<u8>]| {
            let file = option_of(args, &["--config-file"]);
            option_of(args, &["--data-root", "--graph", "-g"]).or_else(|| by_file(&file?))
        };
        let default = || by_file(Path::new("/etc/docker/daemon.json")).unwrap_or_else(|| "/var/lib/docker".into());
        let daemons = proc.map(running_daemons).unwrap_or_default();
        let told = daemons.iter().filter_map(|args| by_args(args)).chain([default()]);
        let mut found: Vec<Self> = Vec::new();
        for engine in told.map(|root| Self::at(absolute(root))) {
            if !found.contains(&engine) {
                found.push(engine);
            }
        }
        found
    }

    /// Where images and containers are kept.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// What the engine says of the container with this id, 64 hexadecimal digits.
    ///
    /// # Errors
    /// `Gone` where it is none of this engine's; `Malformed` or `TooLarge` for a file that no engine wrote.
    pub fn metadata(&self, id: &str) -> Field<Metadata> {
        if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Missing::Malformed);
        }
        let root = rooted::open_root(&self.data_root)?;
        let path = Path::new("containers").join(id).join("config.v2.json");
        parse(&rooted::read(std::os::fd::AsFd::as_fd(&root), &path, CONFIG)?)
    }
}

/// The arguments of every dockerd that runs.
pub fn running_daemons(proc: &Proc) -> Vec<Vec<Vec<u8>>> {
    let dirs = proc.pids().unwrap_or_default().into_iter().filter_map(|pid| proc.process(pid).ok());
    let daemons = dirs.filter(|dir| dir.stat().is_ok_and(|s| s.comm == b"dockerd" || s.comm == b"dockerd-current"));
    daemons.filter_map(|dir| dir.arguments().ok()).map(|args| args.kept).collect()
}

/// The value of an option: `--name VALUE` or `--name=VALUE`.
fn option_of(args: &[Vec<u8>], names: &[&str]) -> Option<PathBuf> {
    let text: Vec<&str> = args.iter().map(|a| std::str::from_utf8(a).unwrap_or_default()).collect();
    text.iter().enumerate().find_map(|(i, arg)| match arg.split_once('=') {
        Some((name, value)) if names.contains(&name) => Some(value.into()),
        None if names.contains(arg) => text.get(i + 1).map(PathBuf::from),
        _ => None,
    })
}

fn parse(json: &[u8]) -> Field<Metadata> {
    let parsed: ConfigV2 = serde_json::from_slice(json).map_err(|_| Missing::Malformed)?;
    // The engine names every container.
    let name = parsed.name.ok_or(Missing::Malformed)?;
    let reference = parsed.config.image.unwrap_or_default();
    let (image_name, image_tag) = split_reference(&reference);
    let labels = parsed.config.labels.unwrap_or_default().into_iter().take(LABELS);
    Ok(Metadata {
        name: Some(name.strip_prefix('/').unwrap_or(&name).to_owned()),
        image_name,
        image_tag,
        image_id: parsed.image,
        labels: labels.map(|(k, v)| (cut(k, LABEL_KEY), cut(v, LABEL_VALUE))).collect(),
    })
}

fn cut(mut text: String, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// `registry:5000/name:tag@sha256:...` to name and tag. A colon before a slash is a port.
fn split_reference(reference: &str) -> (Option<String>, Option<String>) {
    let whole = reference.split_once('@').map_or(reference, |(name, _)| name);
    let (name, tag) = match whole.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (whole, None),
    };
    // An image started by its id has no name.
    let named = !name.is_empty() && reference != "sha256" && !reference.starts_with("sha256:");
    if named { (Some(name.to_owned()), tag.map(str::to_owned)) } else { (None, None) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: &str = "3ad7b26ded6d8e7b23da7d48fe889434573036c27ae5a74837233de441c3601e";

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join("containers").join(ID);
        std::fs::create_dir_all(&dir).unwrap();
        (tree, dir.join("config.v2.json"))
    }

    #[test]
    fn reads_what_the_engine_wrote() {
        let (tree, file) = tree();
        let json = r#"{"StreamConfig":{},"State":{"Pid":7},"ID":"x","Name":"/we\"b\n-1","Image":"sha256:11",
            "Config":{"Image":"reg:5000/shop/web:1.4","Labels":{"com.docker.compose.project":"shop","a":"b"}}}"#;
        std::fs::write(file, json).unwrap();
        let got = Docker::at(tree.path().into()).metadata(ID).unwrap();
        assert_eq!(got.name.as_deref(), Some("we\"b\n-1"));
        assert_eq!(got.image_name.as_deref(), Some("reg:5000/shop/web"));
        assert_eq!((got.image_tag.as_deref(), got.image_id.as_deref()), (Some("1.4"), Some("sha256:11")));
        assert_eq!(got.labels.get("com.docker.compose.project").map(String::as_str), Some("shop"));
    }

    #[test]
    fn hostile_files_are_refused() {
        let (tree, file) = tree();
        let docker = Docker::at(tree.path().into());
        assert_eq!(docker.metadata(ID), Err(Missing::Gone));
        let deep = format!("{{\"Config\":{}", "[".repeat(100_000));
        for text in ["", "{", "[]", "{\"Name\":7}", "{\"Config\":{\"Labels\":[1]}}", "\u{0}", &deep] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(docker.metadata(ID), Err(Missing::Malformed), "{}", &text[..text.len().min(40)]);
        }
        std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(docker.metadata(ID), Err(Missing::TooLarge));
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(docker.metadata(ID), Err(Missing::Malformed));
        std::fs::remove_file(&file).unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "{\"Name\":\"/out\"}").unwrap();
        std::os::unix::fs::symlink(outside.path(), &file).unwrap();
        assert_eq!(docker.metadata(ID), Err(Missing::Gone), "a link out of the data root");
        for id in ["", "..", "../../etc", &ID[..63], "3ad7b26ded6d8e7b23da7d48fe889434573036c27ae5a74837233de441c360/."]
        {
            assert_eq!(docker.metadata(id), Err(Missing::Malformed), "{id}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let labels: BTreeMap<String, String> = (0..200).map(|n| (format!("{n:0300}"), "ä".repeat(2000))).collect();
        let json = serde_json::json!({"Name": "/web", "Config": {"Labels": labels}}).to_string();
        let got = parse(json.as_bytes()).unwrap();
        assert!(got.labels.len() <= LABELS);
        assert!(got.labels.iter().all(|(k, v)| k.len() <= LABEL_KEY && v.len() <= LABEL_VALUE));
    }

    #[test]
    fn references_are_split() {
        let rows = [
            ("gcc", Some("gcc"), None),
            ("gcc:12", Some("gcc"), Some("12")),
            ("reg:5000/a/b", Some("reg:5000/a/b"), None),
            ("reg:5000/a/b:1@sha256:00", Some("reg:5000/a/b"), Some("1")),
            ("sha256:00", None, None),
            ("", None, None),
        ];
        for (reference, name, tag) in rows {
            let got = split_reference(reference);
            assert_eq!((got.0.as_deref(), got.1.as_deref()), (name, tag), "{reference}");
        }
    }

    #[test]
    fn the_data_root_is_found() {
        let tree = tempfile::tempdir().unwrap();
        let (root, proc_root) = (tree.path(), tree.path().join("proc"));
        let place = |name: &str| Docker::at(root.join(name));
        assert_eq!(Docker::discover(root, None), [place("var/lib/docker")]);
        std::fs::create_dir_all(root.join("etc/docker")).unwrap();
        std::fs::write(root.join("etc/docker/daemon.json"), "{\"data-root\": \"/mnt/d\"}").unwrap();
        std::fs::write(root.join("etc/other.json"), "{\"graph\": \"/mnt/o\"}").unwrap();
        assert_eq!(Docker::discover(root, None), [place("mnt/d")]);
        let lines = [
            "dockerd --data-root /a",
            "dockerd -D --data-root=/b",
            "dockerd -g /c -H fd://",
            "dockerd --graph=/a",
            "dockerd --config-file /etc/other.json",
            "dockerd -H fd://",
        ];
        for (pid, line) in lines.iter().enumerate() {
            let dir = proc_root.join((pid + 7).to_string());
            std::fs::create_dir_all(&dir).unwrap();
            let zeros = "0 ".repeat(30);
            std::fs::write(dir.join("stat"), format!("7 (dockerd) S 1 1 1 {zeros}")).unwrap();
            std::fs::write(dir.join("cmdline"), line.replace(' ', "\0") + "\0").unwrap();
        }
        let proc = Proc::open(&proc_root).unwrap();
        let mut found = Docker::discover(root, Some(&proc));
        found.sort_by(|a, b| a.data_root.cmp(&b.data_root));
        assert_eq!(found, ["a", "b", "c", "mnt/d", "mnt/o"].map(place));
    }
}
