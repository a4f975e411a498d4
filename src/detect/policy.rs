//! Which execs matter and how bad they are. Pure; what lowers severity looks only at what the host knows.

use std::time::SystemTime;

use crate::alert::{Origin, Severity};
use crate::config::{Policy, Treatment};
use crate::container::Runtime;
use crate::detect::exception::{Exception, Mercy, Subject};
use crate::fingerprint::{Confidence, Kind, Verdict};

/// What decides about one exec.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What was executed.
    pub verdict: &'a Verdict,
    /// Its file was not read in time: the name may be true, and what is told now is not to be told again when it is.
    pub unread: bool,
    /// It only asks for information.
    pub query: bool,
    /// Where its file lies.
    pub origin: Origin,
    /// The runtime of the outermost container.
    pub runtime: Runtime,
}

/// What the policy makes of an exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Nobody wants to know.
    Ignored,
    /// It is told.
    Finding {
        /// How bad.
        severity: Severity,
        /// The reason of the exception that lowered it.
        exception: Option<String>,
    },
    /// It would be told, but for an exception.
    Silenced {
        /// Its reason.
        exception: String,
    },
}

/// The policy in the form in which it is asked.
#[derive(Debug, Clone)]
pub struct Rules {
    findings: Vec<&'static str>,
    exceptions: Vec<Exception>,
    queries: Treatment,
    build_containers: Treatment,
}

impl Rules {
    /// Takes the checked configuration; kinds that it does not know are left out.
    pub fn new(policy: &Policy) -> Self {
        let kinds = [Kind::Compiler, Kind::CompilerInternal, Kind::Assembler, Kind::Linker];
        let wanted = |k: &Kind| policy.findings.iter().any(|f| f == k.as_str());
        let findings = kinds.iter().filter(|k| wanted(k)).map(|k| k.as_str()).collect();
        Self { findings, exceptions: Vec::new(), queries: policy.queries, build_containers: policy.build_containers }
    }

    /// What is made of an exec.
    pub fn rule(&self, case: Case<'_>, subject: &Subject<'_>, now: SystemTime) -> Ruling {
        let Some(severity) = self.severity(case) else { return Ruling::Ignored };
        match self.exceptions.iter().find(|exception| exception.covers(subject, now)) {
            None => Ruling::Finding { severity, exception: None },
            Some(Exception { mercy: Mercy::Lower, reason, .. }) => {
                Ruling::Finding { severity: Severity::Low, exception: Some(reason.clone()) }
            }
            Some(Exception { mercy: Mercy::Silence, reason, .. }) => Ruling::Silenced { exception: reason.clone() },
        }
    }

    /// The exec's severity; `None` where it is no finding. The first that fits, as the contract orders them.
    fn severity(&self, case: Case<'_>) -> Option<Severity> {
        let build = case.runtime.builds();
        let ignored = (build && self.build_containers == Treatment::Ignore)
            || (case.query && self.queries == Treatment::Ignore)
            || !self.findings.contains(&case.verdict.kind.as_str());
        if ignored {
            return None;
        }
        // That a file is packed is no guess, whatever it is.
        let guessed = case.verdict.confidence == Confidence::Low && !case.unread && !case.verdict.packed;
        Some(if build || guessed {
            Severity::Low
        } else if case.verdict.masquerade || case.verdict.packed || case.origin == Origin::Memfd {
            Severity::High
        } else if case.query {
            Severity::Low
        } else {
            Severity::Medium
        })
    }
}

/// What to do, in order, as concrete as what is known allows.
pub fn remediation(runtime: Runtime, image: Option<&str>, executable: Option<&str>) -> Vec<String> {
    let what = executable.unwrap_or("the compiler");
    if runtime.builds() {
        return vec!["A build step ran it: see that the last stage of the image does not keep it".to_owned()];
    }
    if runtime == Runtime::Sandbox {
        return vec![
            format!(
                "Find out who made this sandbox and executed {what} in it: see process.parent and ccwatch.ancestors"
            ),
            "No container engine that is known made it: it has a mount namespace and a root directory of its own"
                .to_owned(),
        ];
    }
    let image = image.map_or_else(|| "the image".to_owned(), |name| format!("the image {name}"));
    vec![
        format!("Build {image} in two stages and copy only the result into the last one, so that {what} is not in it"),
        "Find out who started it: see process.parent, process.session_leader and ccwatch.ancestors".to_owned(),
        "Where it was installed after the start, recreate the container from its image and close the way in".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::exception::Criterion;

    fn verdict(kind: Kind, confidence: Confidence) -> Verdict {
        Verdict {
            kind,
            family: "gcc-driver".into(),
            toolchain: Some("gnu".into()),
            version: None,
            confidence,
            evidence: Vec::new(),
            masquerade: false,
            packed: false,
        }
    }

    #[test]
    fn the_first_that_fits() {
        let rules = Rules::new(&Policy::default());
        let (low, sure) = (verdict(Kind::Compiler, Confidence::Low), verdict(Kind::Compiler, Confidence::Certain));
        let hidden = Verdict { masquerade: true, ..sure.clone() };
        let packed = Verdict { packed: true, ..sure.clone() };
        let unseen = Verdict { packed: true, ..low.clone() };
        let (d, u) = (Runtime::Docker, Origin::Unknown);
        let rows = [
            (&low, false, u, d, Severity::Low),
            (&sure, false, u, d, Severity::Medium),
            (&sure, true, u, d, Severity::Low),
            (&sure, false, Origin::Memfd, d, Severity::High),
            (&hidden, true, u, d, Severity::High),
            (&packed, false, u, d, Severity::High),
            (&unseen, false, u, d, Severity::High),
            (&unseen, false, u, Runtime::BuildKit, Severity::Low),
            (&hidden, false, u, Runtime::BuildKit, Severity::Low),
        ];
        for (verdict, query, origin, runtime, want) in rows {
            assert_eq!(rules.severity(Case { verdict, unread: false, query, origin, runtime }), Some(want));
        }
        let unread = Case { verdict: &low, unread: true, query: false, origin: u, runtime: d };
        assert_eq!(rules.severity(unread), Some(Severity::Medium), "its name may be true");
    }

    #[test]
    fn an_exception_lowers_or_silences() {
        let sure = verdict(Kind::Compiler, Confidence::Certain);
        let case =
            Case { verdict: &sure, unread: false, query: false, origin: Origin::Memfd, runtime: Runtime::Docker };
        let exception = |uid, mercy| Exception {
            criteria: vec![Criterion::HostUid(uid)],
            mercy,
            reason: "CI".into(),
            expires: None,
        };
        let exceptions = vec![exception(1, Mercy::Lower), exception(2, Mercy::Silence)];
        let rules = Rules { exceptions, ..Rules::new(&Policy::default()) };
        let ruling = |uid| {
            let subject = Subject { host_uid: Some(uid), ..Subject::default() };
            rules.rule(case, &subject, SystemTime::UNIX_EPOCH)
        };
        assert_eq!(ruling(0), Ruling::Finding { severity: Severity::High, exception: None });
        assert_eq!(ruling(1), Ruling::Finding { severity: Severity::Low, exception: Some("CI".into()) });
        assert_eq!(ruling(2), Ruling::Silenced { exception: "CI".into() });
    }

    #[test]
    fn what_is_not_asked_for_is_no_finding() {
        let policy = Policy {
            findings: vec!["compiler".into()],
            queries: Treatment::Ignore,
            build_containers: Treatment::Ignore,
        };
        let rules = Rules::new(&policy);
        let (compiler, linker) = (verdict(Kind::Compiler, Confidence::High), verdict(Kind::Linker, Confidence::High));
        let case = |verdict, query, runtime| Case { verdict, unread: false, query, origin: Origin::Unknown, runtime };
        assert!(rules.severity(case(&compiler, false, Runtime::Docker)).is_some());
        assert_eq!(rules.severity(case(&compiler, true, Runtime::Docker)), None);
        assert_eq!(rules.severity(case(&compiler, false, Runtime::BuildKit)), None);
        assert_eq!(rules.severity(case(&linker, false, Runtime::Docker)), None);
    }
}
