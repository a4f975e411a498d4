//! What detection does when its time has come, and what follows for sessions and alerts.

use crate::alert::SessionState;
use crate::container::Payer;
use crate::detect::enrich::Job;
use crate::detect::sessions::{Effect, SessionNumber};
use crate::detect::{Detection, MANY, QUIET, Share};
use crate::event::{FileId, Monotonic, ProcessId};
use crate::host::clock;
use crate::sys::process::return_free_memory;

impl Detection {
    pub(super) fn next_due(&self) -> Option<Monotonic> {
        let pending = self.pending.values().map(|p| p.deadline).min();
        let reading = self.reading.values().map(|read| read.hangs).min();
        let orphan = [&self.orphans, &self.questions].iter().filter_map(|jobs| jobs.front().map(|(due, _)| *due)).min();
        let trim = (self.settled >= MANY).then(|| self.last_settled.plus(QUIET));
        let others = [
            trim,
            orphan,
            self.merge.next_due(),
            self.hearing.next_due(),
            self.sessions.next_due(),
            self.limits.next_due(),
            self.telling.next_due(),
        ];
        [pending, reading].into_iter().chain(others).flatten().min()
    }

    pub(super) fn due(&mut self, now: Monotonic) {
        self.merge.set_behind(self.ledger.behind(now));
        let merged = self.merge.due(now);
        self.merged(merged);
        self.give_up_parked(now);
        self.counters.add_unexamined(self.merge.take_unexamined(), now);
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(n, _)| *n).collect();
        for number in late {
            if self.is_in_grace(number, now) {
                continue;
            }
            if let Some(pending) = self.pending.get_mut(&number) {
                pending.unfinished = !pending.waiting.is_empty() || !pending.unnamed.is_empty();
                // Whoever has not answered by now is left behind.
                for ticket in pending.waiting.drain(..) {
                    self.jobs.remove(&ticket);
                    self.reads.abandon(ticket);
                }
                pending.unnamed.clear();
                pending.content = None;
            }
            self.settle(number);
        }
        for given_up in [&mut self.orphans, &mut self.questions] {
            while let Some((_, ticket)) = given_up.front().copied().filter(|(due, _)| *due <= now) {
                given_up.pop_front();
                self.reads.abandon(ticket);
            }
        }
        let hung: Vec<FileId> = self.reading.iter().filter(|(_, read)| read.hangs <= now).map(|(id, _)| *id).collect();
        for id in hung {
            if let Some(read) = self.reading.remove(&id) {
                self.contents.abandon(read.ticket);
            }
            self.give_up(id);
        }
        self.note_unexamined();
        let effects = self.sessions.due(now);
        self.carry_out(effects);
        self.tell_suppressed(false);
        if self.telling.is_due(now) {
            self.tell_losses(now);
        }
        if self.settled >= MANY && now.since(self.last_settled) >= QUIET {
            self.settled = 0;
            return_free_memory();
        }
    }

    pub(super) fn tell_losses(&mut self, now: Monotonic) {
        let attempts = self.merge.take_lost(now);
        self.telling.losses(attempts, self.merge.is_lossy(), now, &self.registry);
    }

    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(mut draft) => {
                    if draft.session.state == SessionState::Closed {
                        self.complete(&mut draft);
                    } else if !self.limits.allow(&draft.lead.container, &draft.lead.outermost) {
                        continue;
                    }
                    let content = draft.lead.file.and_then(|id| self.judged.content(id));
                    let held_back = self.limits.take_untold();
                    self.telling.session(*draft, content.as_deref(), &self.registry, held_back);
                }
                Effect::AskAlive(number, living) => self.ask_alive(number, living),
            }
        }
    }

    fn ask_alive(&mut self, number: SessionNumber, living: Vec<ProcessId>) {
        let nobody = Share::new(Payer::host(), false);
        if self.reads.submit(nobody, Job::Alive(number, living.clone())).is_none() {
            // Nobody can say: they are taken to live, and asked for again after the gap.
            self.sessions.answer(number, &living, clock::now());
        }
    }

    pub(super) fn tell_suppressed(&mut self, all: bool) {
        for (container, count) in self.limits.due(clock::now(), all) {
            self.telling.suppressed(&container, count, &self.registry);
        }
    }
}
