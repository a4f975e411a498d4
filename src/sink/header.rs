//! What stands before an alert in a message to the local syslog (RFC 3164, section 4.1). Pure.

use syslog::{Formatter3164, LogFormat};

use crate::alert::Severity;

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
    use syslog::Facility;

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
