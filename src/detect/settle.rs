//! From what was read of an exec to its session: judged, weighed, counted; and a session's last alert completed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use lru::LruCache;

use crate::alert::ExecFacts;
use crate::container::ContainerKey;
use crate::detect::exception::Subject;
use crate::detect::held::Unjudged;
use crate::detect::member::Member;
use crate::detect::pending::{Pending, Standing};
use crate::detect::policy::{Case, Ruling};
use crate::detect::session::Draft;
use crate::detect::{DEADLINE, Detection};
use crate::event::{FileId, Monotonic, Pid, SensorKind};
use crate::fingerprint::{Candidate, Content, ContentSays, Invocation, Judgement, Request};
use crate::host::clock::{self, Ticks};
use crate::sensor::{FileIs, FileTriage};

/// Of execs that were told before their reads had ended, what was read late is kept for their session's last alert.
const UNFINISHED: usize = 256;
/// And so much of memory with them.
const UNFINISHED_BYTES: usize = 16 << 20;
/// What each counts beside that.
const ONE: usize = UNFINISHED_BYTES / UNFINISHED;

impl Detection {
    pub(super) fn settle_if_complete(&mut self, number: u64) {
        if self.pending.get(&number).is_some_and(Pending::is_complete) {
            self.settle(number);
        }
    }

    /// Judges one exec with what is known by now, and hands it to its session.
    pub(super) fn settle(&mut self, number: u64) {
        let Some(mut pending) = self.pending.remove(&number) else { return };
        self.end_wait(number, &mut pending);
        let content = pending.file().and_then(|id| self.judged.content(id));
        if self.ask_program(&mut pending, content.as_deref()) {
            self.pending.insert(number, pending);
            return;
        }
        self.settled = self.settled.saturating_add(1);
        self.last_settled = pending.at;
        let judged = self.judge(&pending, content.as_deref());
        if !judged.verdict.kind.is_toolchain() {
            return self.leave_unjudged(pending, content.as_deref());
        }
        pending.unread = content.is_none() && pending.file().is_some_and(|id| self.judged.says(id).is_none());
        self.withdraw_attempts(&pending);
        let member = match self.member(&pending, judged, content.as_deref()) {
            Ok(member) => member,
            Err(Ruling::Silenced { .. }) => return self.limits.hold_back(&pending.inner),
            Err(_) => return,
        };
        if !pending.asked_kin && self.sessions.would_escalate(&member) {
            self.read_kin(number, &mut pending);
            if !pending.waiting.is_empty() {
                pending.deadline = clock::now().plus(DEADLINE);
                self.pending.insert(number, pending);
                return;
            }
        }
        if pending.unfinished || pending.unread {
            self.unfinished.put((pending.pid, pending.at), pending.keep());
            self.bound_unfinished();
        }
        self.note_unexamined();
        let effects = self.sessions.add(member, clock::now());
        self.carry_out(effects);
    }

    /// What its session needs of an exec that is a finding; else what the policy makes of it.
    fn member(&self, pending: &Pending, judged: Judgement, content: Option<&Content>) -> Result<Member, Ruling> {
        let outermost = pending.outermost();
        let ticks = Ticks::read();
        let assembled = pending.assemble(judged, content, ticks);
        // Whatever the session did before the watcher began was seen by nobody.
        let older = assembled.session_start.is_some_and(|start| ticks.moment(start) < self.began);
        let mut facts = assembled.facts;
        // Where something was told already, what a file is only called is no news before it is read.
        let unread = pending.unread && !self.sessions.is_reported(&pending.inner, assembled.posix);
        let severity = match self.rule(&facts, unread, outermost) {
            Ruling::Finding { severity, exception } => {
                facts.exception = exception;
                severity
            }
            other => return Err(other),
        };
        Ok(Member {
            container: pending.inner.clone(),
            outermost: outermost.clone(),
            posix: assembled.posix,
            pid: pending.pid,
            start: pending.look.stat.as_ref().ok().map(|s| s.start),
            parent: assembled.parent,
            at: pending.at,
            name: pending.name(),
            named_by_file: pending.comm().is_none(),
            severity,
            inexact: older
                || pending.known_by == [SensorKind::Poll]
                || matches!(pending.standing, Standing::Joined | Standing::Unheard)
                || !self.ledger.is_connected(),
            covered: self.is_reported(pending),
            counts: pending.standing != Standing::Attempted,
            root_command: assembled.root_command,
            file: pending.file(),
            facts,
        })
    }

    /// A file was read after execs of it were told: they may be worse than their names said.
    pub(super) fn weigh_again(&mut self, id: FileId) {
        let is_late = |pending: &Pending| pending.unread && pending.file() == Some(id);
        let late: Vec<_> = self.unfinished.iter().filter(|(_, p)| is_late(p)).map(|(key, _)| *key).collect();
        for key in late {
            let Some(pending) = self.unfinished.peek_mut(&key) else { continue };
            pending.unread = false;
            let Some(pending) = self.unfinished.peek(&key) else { continue };
            let content = self.judged.content(id);
            let judged = self.judge(pending, content.as_deref());
            if !judged.verdict.kind.is_toolchain() {
                continue;
            }
            let Ok(member) = self.member(pending, judged, content.as_deref()) else { continue };
            let effects = self.sessions.weigh_again(member).into_iter().collect();
            self.carry_out(effects);
        }
    }

    /// No toolchain's, as far as is known. Where what would tell is being read it waits for that, and where nobody can read
    /// it it is unexamined.
    fn leave_unjudged(&mut self, pending: Pending, content: Option<&Content>) {
        let database = self.database.load();
        let runs = pending.invocation(|call| database.loaded(call, content).is_some());
        let is_unknown = match pending.program.filter(|_| runs) {
            Some(id) if self.judged.says(id).is_none() => {
                return self.hold(id, Unjudged::Loading(Box::new(pending.keep())));
            }
            Some(id) => self.judged.says(id) == Some(ContentSays::Unknown),
            None if pending.slate.memory().args.is_ok() && !pending.arguments_were_cut() => runs,
            None => match pending.file().and_then(|id| self.judged.says(id)) {
                Some(says) => says.depends_on_arguments(),
                None => pending.invocation(|call| database.candidate(call)) == Candidate::IfArguments,
            },
        };
        if is_unknown {
            self.counters.add_unexamined(1, clock::now());
        }
    }

    /// Whether fanotify reports each exec of its file.
    fn is_reported(&self, pending: &Pending) -> bool {
        let Some((exe, file)) = pending.look.exe.as_ref().ok().and_then(|exe| Some((exe, exe.id.ok()?))) else {
            return false;
        };
        let is = self.screen.judge(&exe.path, file);
        matches!(is, FileIs::Toolchain | FileIs::Unjudged | FileIs::Doubted) && self.mounts.covers(file.dev, exe.mount)
    }

    /// What containers decide the size of is bounded in bytes too. What a worker writes later is counted the next time. The
    /// container that has most of it gives way.
    fn bound_unfinished(&mut self) {
        let is_full = |unfinished: &LruCache<(Pid, Monotonic), Pending>| {
            let bytes = unfinished.iter().map(|(_, pending)| pending.slate.size()).sum::<usize>();
            unfinished.len() > UNFINISHED || bytes > UNFINISHED_BYTES
        };
        while is_full(&self.unfinished) {
            let mut shares: HashMap<&ContainerKey, (usize, (Pid, Monotonic))> = HashMap::new();
            // The most recent first: what stays is each one's oldest.
            for (key, pending) in &self.unfinished {
                let (size, oldest) = shares.entry(pending.outermost()).or_insert((0, *key));
                (*size, *oldest) = (*size + ONE + pending.slate.size(), *key);
            }
            let Some((_, oldest)) = shares.into_values().max_by_key(|(size, _)| *size) else { return };
            self.unfinished.pop(&oldest);
        }
    }

    fn judge(&self, pending: &Pending, content: Option<&Content>) -> Judgement {
        let program = pending.program.and_then(|id| self.judged.content(id));
        let database = self.database.load();
        let expanded = pending.slate.memory().expanded.clone();
        let mut judged = pending.invocation(|call| {
            let expanded = expanded.as_deref().filter(|_| database.is_java(call, content));
            let call = &Invocation { args: expanded.or(call.args), ..*call };
            match &program {
                Some(program) => database.judge_loaded(call, content, program),
                None => database.judge(call, content),
            }
        });
        if pending.arguments_were_cut() {
            // What makes it a compile may stand where nobody read.
            judged.request = Request::Compile;
        }
        judged
    }

    /// A session's last alert shows what the workers have read of its lead since.
    pub(super) fn complete(&mut self, draft: &mut Draft) {
        let Some(late) = self.unfinished.pop(&(draft.lead.pid, draft.lead.at)) else { return };
        let content = draft.lead.file.and_then(|id| self.judged.content(id));
        let judged = self.judge(&late, content.as_deref());
        let assembled = late.assemble(judged, content.as_deref(), Ticks::read());
        let mut lead = Member::clone(&draft.lead);
        if !assembled.facts.ancestors.is_empty() && draft.session.root_command == lead.root_command {
            draft.session.root_command = assembled.root_command;
        }
        let exception = lead.facts.exception.take();
        lead.facts = ExecFacts { exception, ..assembled.facts };
        draft.lead = Arc::new(lead);
    }

    fn rule(&self, facts: &ExecFacts, unread: bool, outermost: &ContainerKey) -> Ruling {
        let metadata = self.registry.metadata(outermost);
        let subject = Subject {
            container: metadata.and_then(|m| m.name.as_deref()),
            image: metadata.and_then(|m| m.image_name.as_deref()),
            labels: metadata.map(|m| &m.labels),
            host_uid: facts.host_uid,
            family: Some(&facts.verdict.family),
            ..Subject::default()
        };
        let (query, origin, runtime) = (facts.query, facts.origin, outermost.runtime);
        self.rules.rule(Case { verdict: &facts.verdict, unread, query, origin, runtime }, &subject, SystemTime::now())
    }
}
