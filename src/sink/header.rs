//! What stands before an alert in a message to the local syslog (RFC 3164, section 4.1), and which words of the section
//! `[syslog]` can stand there. Pure.

use std::path::Path;

use syslog::{Facility, Formatter3164, LogFormat};

use crate::alert::Severity;
use crate::config;

/// syslog.h's facilities by the names of RFC 5424 and syslog.conf(5), for configuration and its messages.
const FACILITIES: [(&str, Facility); 25] = [
    ("kern", Facility::LOG_KERN),
    ("user", Facility::LOG_USER),
    ("mail", Facility::LOG_MAIL),
    ("daemon", Facility::LOG_DAEMON),
    ("auth", Facility::LOG_AUTH),
    ("security", Facility::LOG_AUTH),
    ("syslog", Facility::LOG_SYSLOG),
    ("lpr", Facility::LOG_LPR),
    ("news", Facility::LOG_NEWS),
    ("uucp", Facility::LOG_UUCP),
    ("cron", Facility::LOG_CRON),
    ("authpriv", Facility::LOG_AUTHPRIV),
    ("ftp", Facility::LOG_FTP),
    ("ntp", Facility::LOG_NTP),
    ("audit", Facility::LOG_AUDIT),
    ("alert", Facility::LOG_ALERT),
    ("clock", Facility::LOG_CLOCK_DAEMON),
    ("local0", Facility::LOG_LOCAL0),
    ("local1", Facility::LOG_LOCAL1),
    ("local2", Facility::LOG_LOCAL2),
    ("local3", Facility::LOG_LOCAL3),
    ("local4", Facility::LOG_LOCAL4),
    ("local5", Facility::LOG_LOCAL5),
    ("local6", Facility::LOG_LOCAL6),
    ("local7", Facility::LOG_LOCAL7),
];

/// The facility of this name.
pub(super) fn facility(name: &str) -> Option<Facility> {
    FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, facility)| *facility)
}

/// The path of a target `unix:PATH`, which must be absolute.
pub(super) fn target(text: &str) -> Option<&Path> {
    text.strip_prefix("unix:").map(Path::new).filter(|path| path.is_absolute() && path.file_name().is_some())
}

/// Whether a tag is one that receivers read as such. RFC 3164 has letters and digits only; everybody takes
/// `postfix/smtpd` too.
pub(super) fn is_tag(text: &str) -> bool {
    config::unfit_tag(text).is_none()
}

/// Whether a cookie can stand before the body: at most 16 printable ASCII characters, or none.
pub(super) fn is_cookie(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `<PRI>Mmm dd hh:mm:ss tag[pid]: ` and the cookie. The time is UTC, as the formatter has it; local daemons use their
/// own, and the body has the alert's.
pub(super) fn prefix(header: &Formatter3164, cookie: &str, severity: Severity) -> Vec<u8> {
    let severity = match severity {
        Severity::Low => syslog::Severity::LOG_NOTICE,
        Severity::Medium => syslog::Severity::LOG_WARNING,
        Severity::High => syslog::Severity::LOG_ERR,
        Severity::Critical => syslog::Severity::LOG_CRIT,
    };
    let mut out = Vec::new();
    // A Vec takes everything.
    let _ = header.format(&mut out, severity, "");
    // RFC 3164, section 4.1.2: the first nine days of a month have a blank and no zero.
    if let Some(day) = out.iter().position(|b| *b == b'>').and_then(|end| out.get_mut(end + 5))
        && *day == b'0'
    {
        *day = b' ';
    }
    out.extend_from_slice(cookie.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn facilities_have_their_names() {
        assert!(matches!(facility("authpriv"), Some(Facility::LOG_AUTHPRIV)));
        assert!(facility("AUTHPRIV").is_none() && facility("local8").is_none());
    }

    #[test]
    fn only_an_absolute_path_is_a_target() {
        assert_eq!(target("unix:/dev/log"), Some(Path::new("/dev/log")));
        for text in ["/dev/log", "unix:dev/log", "unix:/", "udp://h:514", ""] {
            assert_eq!(target(text), None, "{text}");
        }
    }

    #[test]
    fn tags_and_cookies_that_a_receiver_reads_as_such() {
        assert!(is_tag("ccwatch") && is_tag("a/b.c-d_e"));
        assert!(!is_tag("") && !is_tag("a b") && !is_tag("a[1]") && !is_tag(&"x".repeat(33)));
        assert!(is_cookie("") && is_cookie("@cee:"));
        assert!(!is_cookie("a b") && !is_cookie(&"x".repeat(17)));
    }

    #[test]
    fn the_header_has_priority_date_tag_and_pid() {
        let header =
            Formatter3164 { facility: Facility::LOG_LOCAL3, hostname: None, process: "builds".into(), pid: 4711 };
        for (severity, priority) in
            [(Severity::Low, 157), (Severity::Medium, 156), (Severity::High, 155), (Severity::Critical, 154)]
        {
            let text = String::from_utf8(prefix(&header, "@cee:", severity)).unwrap();
            let rest = text.strip_prefix(&format!("<{priority}>")).unwrap();
            // `Nov  5 07:01:02 `: a day of one digit has a blank before it.
            let (date, rest) = rest.split_at(16);
            assert!(date.get(4..5) != Some("0") && date.get(6..7) == Some(" "), "{text}");
            assert_eq!(rest, "builds[4711]: @cee:");
        }
    }
}
