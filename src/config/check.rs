//! What a value may be, beyond its type. Reads no file: a setting that names something which is not there is the
//! business of whoever opens it, and of `ccwatch doctor`.

use std::path::Path;
use std::time::Duration;

use super::{Config, FINDINGS, FanotifySwitch, Switch, Syslog, duration};

/// The facilities of syslog(3). `kern` is missing: daemons keep it for the kernel and rewrite it.
const FACILITIES: [&str; 19] = [
    "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "local0", "local1",
    "local2", "local3", "local4", "local5", "local6", "local7",
];

/// `sun_path` of unix(7) has 108 bytes, the last for the terminating zero.
const MAX_SOCKET_PATH: usize = 107;

/// RFC 3164 4.1.3: the tag must not exceed 32 characters.
const MAX_TAG: usize = 32;

/// A wrong value: where, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// `section.key` as in the file, or a `section` as a whole.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Config {
    /// Everything that is wrong with the values; empty where all is well.
    pub fn check(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut require = |holds: bool, key: &'static str, reason: String| {
            if !holds {
                found.push(Invalid { key, reason });
            }
        };

        let sensors = &self.sensors;
        let blind = sensors.proc_connector == Switch::Off
            && sensors.procfs_poll == Switch::Off
            && sensors.fanotify == FanotifySwitch::Off;
        require(!blind, "sensors", "all of them are off: nothing would be seen".into());

        let findings = &self.policy.findings;
        require(!findings.is_empty(), "policy.findings", format!("is empty: name some of {}", FINDINGS.join(", ")));
        for kind in findings {
            let known = FINDINGS.contains(&kind.as_str());
            require(known, "policy.findings", format!("{kind:?} is none of {}", FINDINGS.join(", ")));
        }

        let limits = &self.limits;
        require(limits.alerts_per_container > 0, "limits.alerts-per-container", "must be at least 1".into());
        require(limits.alerts > 0, "limits.alerts", "must be at least 1".into());
        require(limits.read_bytes > 0, "limits.read-bytes", "must be at least 1".into());

        let (gap, max) = (self.session.gap, self.session.max);
        let shortest = Duration::from_millis(100);
        let longest = Duration::from_secs(600);
        require(
            (shortest..=longest).contains(&gap),
            "session.gap",
            format!("{} is not between 100ms and 10min", duration::format(gap)),
        );
        require(
            max >= gap,
            "session.max",
            format!("{} is less than session.gap, {}", duration::format(max), duration::format(gap)),
        );

        for (key, path) in [("alert-file.path", &self.alert_file.path), ("state.directory", &self.state.directory)] {
            let reason = unfit_path(path);
            require(reason.is_none(), key, reason.unwrap_or_default());
        }
        found.extend(self.syslog.check());
        found
    }
}

impl Syslog {
    /// What is wrong with this section's values.
    pub fn check(&self) -> Vec<Invalid> {
        let facility = self.facility.as_str();
        let cookie = self.cookie.as_str();
        let unknown = || format!("{facility:?} is none of {}", FACILITIES.join(", "));
        let odd = || format!("{cookie:?} is neither \"\" nor \"@cee:\"");
        let reasons = [
            ("syslog.target", unfit_target(&self.target)),
            ("syslog.facility", (!FACILITIES.contains(&facility)).then(unknown)),
            ("syslog.tag", unfit_tag(&self.tag)),
            ("syslog.cookie", (!matches!(cookie, "" | "@cee:")).then(odd)),
        ];
        reasons.into_iter().filter_map(|(key, reason)| Some(Invalid { key, reason: reason? })).collect()
    }
}

/// Why alerts cannot be sent to `target`.
fn unfit_target(target: &str) -> Option<String> {
    let Some(path) = target.strip_prefix("unix:") else {
        return Some(format!("{target:?}: this version sends to a local socket only, such as \"unix:/dev/log\""));
    };
    if path == "/" {
        return Some("names a directory, not a socket".into());
    }
    if path.len() > MAX_SOCKET_PATH {
        return Some(format!("a socket's path has at most {MAX_SOCKET_PATH} bytes"));
    }
    unfit_path(Path::new(path))
}

/// Why `tag` would not survive syslog: receivers end it at the first `[`, `:` or blank.
fn unfit_tag(tag: &str) -> Option<String> {
    if tag.is_empty() || tag.len() > MAX_TAG {
        return Some(format!("must have 1 to {MAX_TAG} characters"));
    }
    let fits = tag.bytes().all(|b| b.is_ascii_graphic() && b != b'[' && b != b':');
    (!fits).then(|| "must be printable ASCII without \"[\", \":\" and blanks".into())
}

/// Why `path` cannot be used: the daemon's working directory is nothing to count on.
fn unfit_path(path: &Path) -> Option<String> {
    if !path.is_absolute() {
        return Some(format!("{:?} is no absolute path", path.display().to_string()));
    }
    path.to_string_lossy().contains('\0').then(|| "holds a zero byte".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Sensors;
    use crate::fingerprint::Kind;

    /// The key that is refused after `change`, and why.
    fn refused(change: impl FnOnce(&mut Config)) -> Vec<(&'static str, String)> {
        let mut config = Config::default();
        change(&mut config);
        config.check().into_iter().map(|invalid| (invalid.key, invalid.reason)).collect()
    }

    fn keys(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        refused(change).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_defaults_pass() {
        assert_eq!(Config::default().check(), []);
    }

    #[test]
    fn findings_are_the_toolchain_kinds() {
        let kinds =
            [Kind::Compiler, Kind::CompilerInternal, Kind::Assembler, Kind::Linker, Kind::BuildTool, Kind::NotCompiler];
        let toolchain: Vec<&str> = kinds.into_iter().filter(|kind| kind.is_toolchain()).map(Kind::as_str).collect();
        assert_eq!(FINDINGS.to_vec(), toolchain);
        assert_eq!(keys(|c| c.policy.findings.clear()), ["policy.findings"]);
        assert_eq!(keys(|c| c.policy.findings.push("build-tool".into())), ["policy.findings"]);
        assert_eq!(keys(|c| c.policy.findings = vec!["compiler".into()]), [""; 0]);
    }

    #[test]
    fn durations_have_a_range() {
        assert_eq!(keys(|c| c.session.gap = Duration::from_millis(99)), ["session.gap"]);
        assert_eq!(keys(|c| c.session.gap = Duration::from_secs(601)), ["session.gap", "session.max"]);
        assert_eq!(keys(|c| c.session.gap = Duration::from_millis(100)), [""; 0]);
        assert_eq!(keys(|c| c.session.max = c.session.gap), [""; 0]);
        assert_eq!(
            refused(|c| c.session.max = Duration::from_secs(4)),
            [("session.max", "4s is less than session.gap, 5s".to_string())]
        );
    }

    #[test]
    fn only_local_sockets_yet() {
        for target in
            ["udp://10.0.0.1:514", "tls://log:6514", "/dev/log", "unix:dev/log", "unix:", "unix:/", "unix://x\0y", ""]
        {
            assert_eq!(keys(|c| c.syslog.target = target.into()), ["syslog.target"], "{target}");
        }
        assert_eq!(keys(|c| c.syslog.target = format!("unix:/{}", "x".repeat(106))), [""; 0]);
        assert_eq!(keys(|c| c.syslog.target = format!("unix:/{}", "x".repeat(107))), ["syslog.target"]);
        let config = Config::default();
        assert_eq!(config.syslog.socket().unwrap(), Path::new("/dev/log"));
    }

    #[test]
    fn a_tag_survives_every_receiver() {
        for tag in ["", "cc watch", "cc[1]", "a:b", "é", "a\u{1b}b", &"x".repeat(33)] {
            assert_eq!(keys(|c| c.syslog.tag = tag.into()), ["syslog.tag"], "{tag}");
        }
        for tag in ["ccwatch", "a/b.c-d_e", &"x".repeat(32)] {
            assert_eq!(keys(|c| c.syslog.tag = tag.into()), [""; 0], "{tag}");
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(keys(|c| c.syslog.facility = "AUTHPRIV".into()), ["syslog.facility"]);
        assert_eq!(keys(|c| c.syslog.facility = "local8".into()), ["syslog.facility"]);
        assert_eq!(keys(|c| c.syslog.cookie = "@cee".into()), ["syslog.cookie"]);
        assert_eq!(keys(|c| c.limits.alerts = 0), ["limits.alerts"]);
        assert_eq!(keys(|c| c.limits.alerts_per_container = 0), ["limits.alerts-per-container"]);
        assert_eq!(keys(|c| c.limits.read_bytes = 0), ["limits.read-bytes"]);
        assert_eq!(keys(|c| c.alert_file.path = "alerts.json".into()), ["alert-file.path"]);
        assert_eq!(keys(|c| c.state.directory = "".into()), ["state.directory"]);
        let off = |c: &mut Config| {
            c.sensors =
                Sensors { proc_connector: Switch::Off, fanotify: FanotifySwitch::Off, procfs_poll: Switch::Off };
        };
        assert_eq!(keys(off), ["sensors"]);
    }
}
