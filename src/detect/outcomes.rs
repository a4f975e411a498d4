//! What the workers have to say, and who waited for it.

use crate::detect::Detection;
use crate::detect::enrich::Outcome;
use crate::detect::pending::Pending;
use crate::detect::reads::Again;
use crate::host::clock;

impl Detection {
    pub(super) fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done(ticket) => {
                if let Some(number) = self.jobs.remove(&ticket) {
                    if let Some(pending) = self.pending.get_mut(&number) {
                        pending.waiting.retain(|t| *t != ticket);
                    }
                    self.settle_if_complete(number);
                }
            }
            Outcome::Metadata(key, metadata) => {
                self.registry.learn(&key, metadata, clock::now());
                self.answered(|pending| {
                    let waiting = pending.unnamed.len();
                    pending.unnamed.retain(|other| *other != key);
                    pending.unnamed.len() < waiting
                });
            }
            Outcome::Alive(session, alive) => self.sessions.answer(session, &alive, clock::now()),
            Outcome::Content(id, payer, finding, ignored) => {
                let again = self.reading.remove(&id).and_then(|read| read.again);
                let later = again.as_ref().map(|again| self.held.take_from(id, again.held)).unwrap_or_default();
                let (says, unreadable) = (finding.says, finding.content.is_err());
                (self.settled, self.last_settled) = (self.settled.saturating_add(1), clock::now());
                self.judged.learn(id, payer, *finding);
                if let Some(file) = ignored {
                    self.fanotify.ignore(file);
                }
                if unreadable {
                    self.give_up(id)
                } else {
                    self.release(id, says)
                }
                if let Some(Again { mount, file, payer, image, .. }) = again {
                    self.read_content((id, mount), &file, payer, image, None);
                    later.into_iter().for_each(|exec| self.hold(id, exec));
                }
                self.answered(|pending| pending.content.take_if(|awaited| *awaited == id).is_some());
                self.weigh_again(id);
            }
        }
    }

    /// Settles what waited for an answer alone: `takes` it, and says whether it was waited for.
    fn answered(&mut self, takes: impl Fn(&mut Pending) -> bool) {
        let answered = self.pending.iter_mut().filter_map(|(number, pending)| takes(pending).then_some(*number));
        answered.collect::<Vec<u64>>().into_iter().for_each(|number| self.settle_if_complete(number));
    }
}
