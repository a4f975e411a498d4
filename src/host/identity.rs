//! Who this host is: the `host.*` fields of every alert, read once at start.
//! The state of its kernel's sensors is not told here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More than any of these files holds.
const READ_LIMIT: u64 = 4096;

/// The host, as each alert names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// The node name of the uts namespace that we run in; empty where it cannot be read.
    pub hostname: String,
    /// /etc/machine-id, 32 hexadecimal digits; `None` where the host has none.
    pub id: Option<String>,
    /// The kernel's machine word: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Always `linux`.
    pub os_type: String,
    /// Kernel release: `3.10.0-1160.el7.x86_64`.
    pub kernel: String,
}

impl HostFacts {
    /// Reads below `root` (`/` on a real host): proc/sys/kernel/hostname, proc/sys/kernel/osrelease, etc/machine-id
    /// and, where that is missing (Ubuntu 14.04), var/lib/dbus/machine-id. What cannot be read stays empty.
    pub fn read(root: &Path) -> Self {
        let id = ["etc/machine-id", "var/lib/dbus/machine-id"]
            .iter()
            .find_map(|file| word(&root.join(file)).filter(|id| is_machine_id(id)));
        Self {
            hostname: word(&root.join("proc/sys/kernel/hostname")).unwrap_or_default(),
            id,
            architecture: architecture(),
            os_type: "linux".into(),
            kernel: word(&root.join("proc/sys/kernel/osrelease")).unwrap_or_default(),
        }
    }
}

/// The kernel's word and not the one we were compiled for: a 32-bit watcher may run under a 64-bit kernel.
fn architecture() -> String {
    nix::sys::utsname::uname()
        .ok()
        .map(|names| names.machine().to_string_lossy().into_owned())
        .filter(|machine| !machine.is_empty())
        .unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// machine-id(5): 32 lower-case hexadecimal digits. `uninitialized` stands there in an image's first boot.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A file's first line without its end; `None` where it cannot be read or is empty.
fn word(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_LIMIT).read_to_end(&mut bytes).ok()?;
    let line = bytes.split(|b| *b == b'\n').next()?;
    let text = String::from_utf8_lossy(line).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn host(files: &[(&str, &str)]) -> HostFacts {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        HostFacts::read(root.path())
    }

    #[test]
    fn reads_each_fact() {
        let facts = host(&[
            ("proc/sys/kernel/hostname", "node7\n"),
            ("proc/sys/kernel/osrelease", "3.10.0-1160.el7.x86_64\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ]);
        assert_eq!(facts.hostname, "node7");
        assert_eq!(facts.kernel, "3.10.0-1160.el7.x86_64");
        assert_eq!(facts.id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(facts.os_type, "linux");
        assert!(!facts.architecture.is_empty());
    }

    #[test]
    fn falls_back_to_the_id_of_dbus() {
        let id = "fedcba9876543210fedcba9876543210";
        let facts = host(&[("etc/machine-id", "uninitialized\n"), ("var/lib/dbus/machine-id", id)]);
        assert_eq!(facts.id.as_deref(), Some(id));
    }

    #[test]
    fn an_empty_root_gives_empty_facts() {
        let facts = host(&[]);
        assert_eq!((facts.hostname.as_str(), facts.id, facts.kernel.as_str()), ("", None, ""));
    }
}
