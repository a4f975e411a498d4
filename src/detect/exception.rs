//! What an operator has accepted: an exception lowers a finding, or silences it, and says why. Pure; it looks only at
//! what the host knows of the outermost container and of the exec.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// What an exception does to a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mercy {
    /// It is told, as `low`.
    Lower,
    /// It is not told, but counted.
    Silence,
}

/// One thing that must fit; patterns are globs over the whole string, `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    /// The container's name.
    Container(String),
    /// The image's name, without its tag.
    Image(String),
    /// The orchestrator's namespace.
    Namespace(String),
    /// A label's value.
    Label(String, String),
    /// The uid on the host.
    HostUid(u32),
    /// The verdict's family.
    Family(String),
    /// The executed file, where it lies in an image layer.
    Path(String),
}

/// One exception: all its criteria must fit.
#[derive(Debug, Clone)]
pub struct Exception {
    /// What must fit; an exception without any fits nothing.
    pub criteria: Vec<Criterion>,
    /// What follows.
    pub mercy: Mercy,
    /// Why, in the operator's words: `ccwatch.exception`.
    pub reason: String,
    /// It holds until then.
    pub expires: Option<SystemTime>,
}

/// What an exception is asked about; what is not known fits no criterion.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Name of the outermost container that a host runtime's files know.
    pub container: Option<&'a str>,
    /// Its image.
    pub image: Option<&'a str>,
    /// Its namespace in the orchestrator.
    pub namespace: Option<&'a str>,
    /// Its labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// The uid on the host.
    pub host_uid: Option<u32>,
    /// Family of what was executed.
    pub family: Option<&'a str>,
    /// The executed file, only where it lies in an image layer.
    pub path: Option<&'a str>,
}

impl Exception {
    /// Whether it covers this exec at this time.
    pub fn covers(&self, subject: &Subject<'_>, now: SystemTime) -> bool {
        let holds = self.expires.is_none_or(|end| now < end);
        holds && !self.criteria.is_empty() && self.criteria.iter().all(|criterion| criterion.fits(subject))
    }
}

impl Criterion {
    fn fits(&self, subject: &Subject<'_>) -> bool {
        let like = |pattern: &str, value: Option<&str>| value.is_some_and(|value| glob(pattern, value));
        match self {
            Self::Container(pattern) => like(pattern, subject.container),
            Self::Image(pattern) => like(pattern, subject.image),
            Self::Namespace(pattern) => like(pattern, subject.namespace),
            Self::Label(key, pattern) => {
                like(pattern, subject.labels.and_then(|labels| labels.get(key)).map(String::as_str))
            }
            Self::HostUid(uid) => subject.host_uid == Some(*uid),
            Self::Family(pattern) => like(pattern, subject.family),
            Self::Path(pattern) => like(pattern, subject.path),
        }
    }
}

/// Whether `pattern` fits all of `text`: `*` any characters, `?` one. Takes steps linear in their product at most.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on when the last star has to take one character more.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some(p), Some(t)) if p == '?' || p == t => {}
            _ => {
                let Some((after_star, mut rest)) = retry.take() else { return false };
                if rest.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), rest.clone());
                retry = Some((after_star, rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn globs_fit_the_whole_string() {
        let rows = [
            ("ci-*", "ci-7", true),
            ("ci-*", "my-ci-7", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*/gcc*/*", "usr/gcc-12/cc1", true),
            ("*ab", "aab", true),
            ("*ab", "aba", false),
            ("a**b", "ab", true),
            ("?", "é", true),
        ];
        for (pattern, text, fits) in rows {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
        let (pattern, text) = (format!("{}b", "*a".repeat(40)), "a".repeat(2000));
        assert!(!glob(&pattern, &text));
    }

    #[test]
    fn all_criteria_must_fit_until_it_expires() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let labels = BTreeMap::from([("team".to_owned(), "build".to_owned())]);
        let subject =
            Subject { container: Some("runner-1"), labels: Some(&labels), host_uid: Some(7), ..Subject::default() };
        let exception = |criteria| Exception { criteria, mercy: Mercy::Lower, reason: "CI".into(), expires: None };
        let runner = || Criterion::Container("runner-*".into());
        let team = |value: &str| Criterion::Label("team".into(), value.into());
        assert!(exception(vec![runner(), team("b*"), Criterion::HostUid(7)]).covers(&subject, now));
        assert!(!exception(vec![runner(), team("web")]).covers(&subject, now));
        assert!(!exception(vec![Criterion::Image("*".into())]).covers(&subject, now), "unknown fits nothing");
        assert!(!exception(Vec::new()).covers(&subject, now));
        let expired = Exception { expires: Some(now), ..exception(vec![runner()]) };
        assert!(!expired.covers(&subject, now));
    }
}
