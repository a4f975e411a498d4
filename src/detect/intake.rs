//! What comes in: sightings and attempts, whose they are, whether they are new, and which reads each waits for.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::container::{ContainerKey, Home, Payer};
use crate::detect::hearing::Hears;
use crate::detect::held::Unjudged;
use crate::detect::merge::{Looked, Merged};
use crate::detect::pending::{Nested, Pending, Standing};
use crate::detect::reads::image_of;
use crate::detect::triage::Reading;
use crate::detect::{DEADLINE, Detection, PENDING};
use crate::event::{Attempt, Comm, Exe, FileId, Monotonic, SensorKind, Sighting};
use crate::fingerprint::{Candidate, ContentSays, Invocation};
use crate::host::clock;
use crate::sensor::Control;
use crate::sensor::ledger::{self, Counted, LastName};

impl Detection {
    /// The attempt that belongs to a sighting, where it came first; else it is remembered for when it comes.
    fn attempt_of(&mut self, sighting: &Sighting, is_named: bool) -> Option<Attempt> {
        if !self.ledger.is_kept() {
            return None;
        }
        let file = sighting.look.file();
        let comm = sighting.look.comm();
        // The image ran when it was looked at, of whichever exec it is.
        self.merge.look(Looked { pid: sighting.pid, at: sighting.look.at, file, comm, is_named })
    }

    /// What fanotify saw: each waits for its EXEC.
    pub(super) fn attempts(&mut self, attempts: Vec<Attempt>) {
        let connected = self.ledger.is_connected();
        for attempt in attempts {
            if attempt.on_host {
                self.read_of_host(&attempt);
                continue;
            }
            if attempt.by_open && attempt.unjudged {
                self.read_opened(&attempt);
            }
            // An open says nothing by itself.
            let waits = connected || attempt.by_open;
            let merged = if waits { self.merge.attempt(attempt) } else { Some(Merged::Unconfirmed(attempt)) };
            self.merged(merged);
        }
    }

    pub(super) fn merged(&mut self, merged: impl IntoIterator<Item = Merged>) {
        for one in merged {
            match one {
                Merged::Confirmed(attempt) => self.attempted(attempt, Standing::Confirmed),
                Merged::Recorded(attempt) => self.attempted(attempt, Standing::Recorded),
                Merged::Joined(attempt) => self.attempted(attempt, Standing::Joined),
                Merged::Unconfirmed(attempt) => self.not_confirmed(attempt),
            }
        }
    }

    pub(super) fn attempted(&mut self, attempt: Attempt, standing: Standing) {
        if standing == Standing::Unheard {
            self.merge.give_up(attempt.pid);
        }
        match self.says_of(&attempt).filter(|_| attempt.unjudged) {
            None if attempt.unjudged => self.hold_unseen(attempt, standing),
            Some(ContentSays::Toolchain) | None => self.exec_unseen(attempt, standing),
            Some(ContentSays::Unknown) => self.drop_unjudged([Unjudged::Unseen { attempt, standing }]),
            // It is gone, and its arguments with it.
            Some(ContentSays::ByArguments) if standing == Standing::Confirmed => {
                self.drop_unjudged([Unjudged::Unseen { attempt, standing }]);
            }
            Some(_) => {}
        }
    }

    /// What is known of an attempt's file, as it was executed.
    fn says_of(&self, attempt: &Attempt) -> Option<ContentSays> {
        self.says_since(attempt.file, since(attempt))
    }

    fn says_since(&self, id: FileId, since: Option<Monotonic>) -> Option<ContentSays> {
        self.judged.says_since(id, since.map_or(UNIX_EPOCH, clock::wall))
    }

    /// No EXEC came: it was none, or nobody heard it. Where none comes at all the connector is to prove itself.
    fn not_confirmed(&mut self, attempt: Attempt) {
        let now = clock::now();
        if self.hearing.miss(now) {
            self.connector.send(Control::Prove);
        }
        let hears = if self.ledger.is_connected() { self.hearing.hears(now) } else { Hears::No };
        let (attempt, standing) = match hears {
            Hears::Yes => (Some(attempt), Standing::Attempted),
            Hears::Asked => (self.hearing.park(attempt), Standing::Unheard),
            Hears::No => (Some(attempt), Standing::Unheard),
        };
        if let Some(attempt) = attempt {
            self.attempted(attempt, standing);
        }
    }

    /// Counts the attempts that waited in vain for the connector to prove itself.
    pub(super) fn give_up_parked(&mut self, now: Monotonic) {
        for attempt in self.hearing.due(now) {
            self.attempted(attempt, Standing::Unheard);
        }
    }

    /// A file that was opened is read even if nobody executes it: else each open of a library would be told again.
    fn read_opened(&mut self, attempt: &Attempt) {
        if let Some(file) = &attempt.open
            && self.judged.says(attempt.file).is_none()
            && let Some((inner, outer)) = self.owner_of(attempt)
        {
            self.read_content((attempt.file, attempt.mount), file, Payer::new(&inner, outer.as_ref()), None, None);
        }
    }

    /// A file that the host executes on a mount that is marked for a container's sake.
    fn read_of_host(&mut self, attempt: &Attempt) {
        if let Some(file) = attempt.open.as_ref().filter(|_| self.judged.says(attempt.file).is_none()) {
            self.read_content((attempt.file, attempt.mount), file, Payer::host(), None, None);
        }
    }

    fn hold_unseen(&mut self, mut attempt: Attempt, standing: Standing) {
        if let Some(file) = attempt.open.take()
            && let Some((inner, outer)) = self.owner_of(&attempt)
        {
            let payer = Payer::new(&inner, outer.as_ref());
            self.read_content((attempt.file, attempt.mount), &file, payer, None, since(&attempt));
        }
        self.hold(attempt.file, Unjudged::Unseen { attempt, standing });
    }

    /// An exec whose process nobody saw: its file and its filesystem are all that is known.
    pub(super) fn exec_unseen(&mut self, attempt: Attempt, standing: Standing) {
        let Some(nested) = self.owner_of(&attempt) else { return self.counters.add_unexamined(1, clock::now()) };
        self.screen.tally(attempt.at, &nested.0, 1);
        let number = self.number();
        let mut pending = Pending::of_attempt(attempt, standing, nested, clock::now().plus(DEADLINE));
        self.ask_metadata(&mut pending);
        if self.pending.len() < PENDING {
            self.ask_content(&mut pending);
            self.await_exec(number, &mut pending);
        }
        self.pending.insert(number, pending);
        self.settle_if_complete(number);
    }

    /// The containers of an attempt: by its filesystem, else by its process.
    fn owner_of(&mut self, attempt: &Attempt) -> Option<Nested> {
        let by_mount = attempt.mounted.and_then(|id| self.screen.owner(id));
        let Some(look) =
            attempt.look.as_deref().filter(|_| by_mount.as_ref().is_none_or(|(inner, _)| inner.is_sandbox()))
        else {
            return by_mount;
        };
        let Home::Container { inner, outer, .. } = self.registry.place(look, None) else { return by_mount };
        let nested = self.screen.credible((inner, outer));
        // Its root directory lies there: so the filesystem is its container's.
        if let Some(id) = attempt.mounted
            && look.root.is_ok_and(|root| root.dev == attempt.file.dev)
        {
            self.screen.learn(id, nested.clone());
        }
        Some(nested)
    }

    /// One sighting: where it belongs, whether it is new, and which reads it waits for.
    pub(super) fn exec(&mut self, mut sighting: Sighting) {
        let reading = self.screen.take(sighting.begun);
        let candidate = self.candidate(&sighting);
        let parent = sighting.parent.as_ref().and_then(|p| p.look.as_deref());
        let home = self.registry.place(&sighting.look, parent);
        // Of one that ended while it was looked at, an attempt tells more: it is not to be taken for part of this.
        let saw_nothing = candidate == Candidate::No && sighting.look.file().is_none();
        if matches!(home, Home::Unknown) || (saw_nothing && !matches!(home, Home::Host)) {
            self.exec_nowhere(&sighting);
            return self.leave(reading);
        }
        let attempt = self.attempt_of(&sighting, candidate == Candidate::ByName);
        let Home::Container { inner, outer, .. } = home else { return self.leave(reading) };
        if self.is_known(&sighting) {
            return self.leave(reading);
        }
        if let Some(attempt) = attempt.as_ref().filter(|_| sighting.look.exe.is_err()) {
            sighting.look.exe = Ok(attempt.exe());
        }
        let nested = self.screen.credible((inner, outer));
        // What the mount says goes before what the process says, unless it gives way; of the same container, that knows more.
        let by_mount = attempt.as_ref().and_then(|a| self.screen.owner(a.mounted?));
        let knows_more = |inner: &ContainerKey| !inner.gives_way_to(&nested.0) && nested.1.as_ref() != Some(inner);
        let nested = match by_mount {
            // Of the same container the process knows what is around it, and the mount who made it.
            Some((inner, _)) if inner.id == nested.0.id => (inner, nested.1),
            Some(other) if knows_more(&other.0) => other,
            _ => nested,
        };
        let attempted = (attempt.is_some(), attempt.as_ref().and_then(since));
        let is_interpreted =
            |attempt: &Attempt| attempt.script && sighting.look.file().is_none_or(|file| !attempt.is_on(&file));
        // What env executes next is counted under the script's name.
        let is_counted_next = candidate == Candidate::ByName
            && sighting.look.exe.as_ref().is_ok_and(|exe| self.database.load().is_env(&exe.path));
        match attempt.filter(|attempt| is_interpreted(attempt) && !is_counted_next) {
            Some(script) => self.exec_by_script(script, sighting, reading, nested),
            None => self.exec_of_image(sighting, candidate, reading, attempted, nested),
        }
    }

    /// What was attempted is a script: its text goes before what is known of its interpreter.
    fn exec_by_script(&mut self, mut script: Attempt, sighting: Sighting, reading: Option<Reading>, nested: Nested) {
        let says = self.says_of(&script);
        match (says, script.open.take()) {
            (None, Some(file)) => {
                let payer = Payer::new(&nested.0, nested.1.as_ref());
                self.read_content((script.file, script.mount), &file, payer, None, since(&script));
                let (id, script, sighting) = (script.file, Box::new(script), Box::new(sighting));
                self.hold(id, Unjudged::Script { script, sighting, reading, nested });
            }
            // One that is known by its name is not always handed over open: then that tells.
            (says, _) => self.exec_of_script(says.unwrap_or(ContentSays::Innocent), &script, sighting, reading, nested),
        }
    }

    /// An exec of a script of which this is known.
    pub(super) fn exec_of_script(
        &mut self,
        says: ContentSays,
        script: &Attempt,
        mut sighting: Sighting,
        reading: Option<Reading>,
        nested: Nested,
    ) {
        if says == ContentSays::Toolchain {
            sighting.look.exe = Ok(script.exe());
            return self.admit(sighting, reading, true, nested);
        }
        let candidate = self.candidate(&sighting);
        // What it is nobody can say, unless what interprets it does.
        if says == ContentSays::Unknown && candidate == Candidate::No {
            return self.leave_unexamined(reading);
        }
        self.exec_of_image(sighting, candidate, reading, (true, None), nested);
    }

    fn candidate(&self, sighting: &Sighting) -> Candidate {
        self.database.load().candidate(&Invocation::of(&sighting.look))
    }

    /// An exec of what runs.
    fn exec_of_image(
        &mut self,
        sighting: Sighting,
        candidate: Candidate,
        reading: Option<Reading>,
        (attempted, since): (bool, Option<Monotonic>),
        nested: Nested,
    ) {
        if candidate != Candidate::No {
            return self.admit(sighting, reading, attempted, nested);
        }
        let Some(id) = sighting.look.file() else { return self.leave(reading) };
        match self.says_since(id, since) {
            Some(ContentSays::Toolchain | ContentSays::ByArguments | ContentSays::Loader) => {
                self.admit(sighting, reading, attempted, nested);
            }
            Some(ContentSays::Innocent) => self.leave(reading),
            Some(ContentSays::Unknown) => self.leave_unexamined(reading),
            None => {
                if let Ok(Exe { file: Ok(file), mount, .. }) = &sighting.look.exe {
                    let payer = Payer::new(&nested.0, nested.1.as_ref());
                    self.read_content((id, *mount), file, payer, image_of(&sighting.look), since);
                }
                let sighting = Box::new(sighting);
                self.hold(id, Unjudged::Seen { sighting, reading, attempted, nested });
            }
        }
    }

    /// Nobody can say what was executed.
    fn leave_unexamined(&mut self, reading: Option<Reading>) {
        self.counters.add_unexamined(1, clock::now());
        self.leave(reading);
    }

    /// Nobody waits for what is being read of an exec; if it hangs, it must not keep its thread.
    pub(super) fn leave(&mut self, reading: Option<Reading>) {
        let ticket = reading.and_then(|reading| reading.ticket);
        self.orphans.extend(ticket.map(|ticket| (clock::now().plus(DEADLINE), ticket)));
    }

    /// An exec that may be a toolchain's goes on to its verdict.
    pub(super) fn admit(&mut self, sighting: Sighting, reading: Option<Reading>, attempted: bool, nested: Nested) {
        let deadline = clock::now().plus(DEADLINE);
        let ticket = reading.as_ref().and_then(|r| r.ticket);
        let slate = reading.map_or_else(Arc::default, |r| r.slate);
        let number = self.number();
        let mut pending = Pending::new(sighting, slate, nested, deadline);
        if attempted {
            pending.known_by.insert(0, SensorKind::Fanotify);
        }
        self.ask_metadata(&mut pending);
        if self.pending.len() >= PENDING {
            self.orphans.extend(ticket.map(|ticket| (deadline, ticket)));
            self.pending.insert(number, pending);
            return self.settle(number);
        }
        // Whatever ends from here on says so by an outcome, and that is handled after this.
        if let Some(ticket) = ticket.filter(|_| !pending.slate.is_done()) {
            self.jobs.insert(ticket, number);
            pending.waiting.push(ticket);
        }
        self.ask_kin(number, &mut pending);
        self.ask_content(&mut pending);
        self.pending.insert(number, pending);
        self.settle_if_complete(number);
    }

    /// A process that does not tell where it was or what it executed, as one that has ended: its file may.
    fn exec_nowhere(&mut self, sighting: &Sighting) {
        if !self.ledger.is_kept() || sighting.known_by != SensorKind::Connector {
            return self.counters.add_unexamined(1, clock::now());
        }
        let image = match (&sighting.look.stat, sighting.look.file()) {
            (Ok(stat), None) => {
                ledger::Image::Ended(LastName { comm: Comm::new(&stat.comm), known_by: SensorKind::Connector })
            }
            _ => ledger::Image::Unknown,
        };
        let exec = Counted { pid: sighting.pid, at: sighting.at, image };
        let merged = self.merge.exec(exec);
        self.merged(merged);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether this very image was counted before: a sweep or the baseline adds nothing to what the connector saw,
    /// and the connector nothing to what the baseline saw after the exec.
    fn is_known(&mut self, sighting: &Sighting) -> bool {
        let Ok(stat) = &sighting.look.stat else { return false };
        let (key, image) = ((sighting.pid, stat.start), sighting.look.image());
        let before = self.recent.put(key, (image, sighting.known_by));
        let Some((seen, by)) = before else { return false };
        seen == image && (sighting.known_by == SensorKind::Poll || by == SensorKind::Poll)
    }
}

/// From when on what is read of an attempt's file counts, where earlier readings do not.
fn since(attempt: &Attempt) -> Option<Monotonic> {
    attempt.doubted.then_some(attempt.at)
}
