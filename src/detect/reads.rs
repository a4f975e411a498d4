//! What is asked of the workers about an exec: its containers' metadata, its ancestors, and the content of its file.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{DEADLINE, Detection, PENDING, Share};
use crate::container::{ContainerKey, Payer};
use crate::detect::enrich::Job;
use crate::detect::executable::{Executable, RunningAs};
use crate::detect::pending::Pending;
use crate::event::{FileId, Look, Missing, Monotonic, MountNumber};
use crate::fingerprint::Content;
use crate::host::clock;
use crate::host::worker::Ticket;
use crate::sensor::mounts::Served;

/// An alert waits so long for a file never read before that is as large as cc1plus.
const LARGE_DEADLINE: Duration = Duration::from_millis(200);
const LARGE: u64 = 8 << 20;
/// A read of a whole file, or of a runtime's, that takes longer hangs.
const HANGS: Duration = Duration::from_secs(30);

/// A file that a worker reads.
pub(super) struct BeingRead {
    pub(super) ticket: Ticket,
    /// The read hangs, should it last until then.
    pub(super) hangs: Monotonic,
    /// For whom it is read.
    pub(super) payer: Payer,
    /// When that was asked for.
    pub(super) asked: Monotonic,
    pub(super) again: Option<Again>,
}

/// An exec that came while its file was being read, and that this reading says nothing of: another one follows.
pub(super) struct Again {
    pub(super) mount: Option<MountNumber>,
    pub(super) file: Arc<OwnedFd>,
    pub(super) payer: Payer,
    pub(super) image: Option<RunningAs>,
    /// Execs that were held before it.
    pub(super) held: usize,
}

impl Detection {
    /// Has the runtimes' files read where the containers are not known, or not lately.
    pub(super) fn ask_metadata(&mut self, pending: &mut Pending) {
        let now = clock::now();
        let keys = [Some(pending.inner.clone()), pending.outer.clone()];
        let keys: Vec<ContainerKey> = keys.into_iter().flatten().collect();
        let wanted: Vec<ContainerKey> = keys.iter().filter(|k| self.registry.wants(k, now)).cloned().collect();
        if !wanted.is_empty() {
            match self.reads.submit(Share::new(pending.payer(), false), Job::Metadata(wanted.clone())) {
                Some(ticket) => self.questions.push_back((now.plus(HANGS), ticket)),
                None => wanted.iter().for_each(|key| self.registry.learn(key, Err(Missing::Busy), now)),
            }
        }
        // Or asked for by another exec: whichever is told first is to know the name.
        if self.pending.len() < PENDING {
            pending.unnamed = keys.into_iter().filter(|key| self.registry.is_first_asked(key)).collect();
        }
    }

    /// Has the ancestors read for a session that was not reported yet.
    pub(super) fn ask_kin(&mut self, number: u64, pending: &mut Pending) {
        let posix = pending.look.stat.as_ref().ok().and_then(|stat| stat.session);
        if !self.sessions.is_reported(&pending.inner, posix) {
            self.read_kin(number, pending);
        }
    }

    pub(super) fn read_kin(&mut self, number: u64, pending: &mut Pending) {
        pending.asked_kin = true;
        let job = Job::Kin(Arc::clone(&pending.look), Arc::clone(&pending.slate));
        self.ask(number, pending, true, job);
    }

    fn ask(&mut self, number: u64, pending: &mut Pending, may_hang: bool, job: Job) {
        if let Some(ticket) = self.reads.submit(Share::new(pending.payer(), may_hang), job) {
            self.jobs.insert(ticket, number);
            pending.waiting.push(ticket);
        }
    }

    /// Has the executed file read, unless it was or is being read.
    pub(super) fn ask_content(&mut self, pending: &mut Pending) {
        let Some((exe, id)) = pending.look.exe.as_ref().ok().and_then(|e| Some((e, e.id.ok()?))) else { return };
        if self.judged.says(id).is_some() {
            return;
        }
        let image = image_of(&pending.look);
        // A named file is handed over open only now and then.
        let is_read = self.reading.contains_key(&id)
            || exe
                .file
                .as_ref()
                .is_ok_and(|file| self.read_content((id, exe.mount), file, pending.payer(), image, None));
        if !is_read {
            return;
        }
        pending.content = Some(id);
        if id.size >= LARGE {
            pending.deadline = pending.deadline.max(clock::now().plus(LARGE_DEADLINE));
        }
    }

    /// Has the program read that a loader runs, whose file is not the executed one; whether its content is awaited.
    pub(super) fn ask_program(&mut self, pending: &mut Pending, content: Option<&Content>) -> bool {
        if pending.program.is_some() || self.pending.len() >= PENDING {
            return false;
        }
        let database = self.database.load();
        let runs = pending.invocation(|call| database.loaded(call, content).is_some());
        let Some(program) = pending.slate.take_program().filter(|_| runs) else { return false };
        pending.program = Some(program.id);
        let known = self.judged.says(program.id).is_some();
        if known || !self.read_content((program.id, program.mount), &program.file, pending.payer(), None, None) {
            return false;
        }
        let wait = if program.id.size >= LARGE { LARGE_DEADLINE } else { DEADLINE };
        (pending.content, pending.deadline) = (Some(program.id), clock::now().plus(wait));
        true
    }

    /// Has a file of a container read, unless it is being read; whether somebody does. Where only what is read `since` counts,
    /// it is read again after that.
    pub(super) fn read_content(
        &mut self,
        (id, mount): (FileId, Option<MountNumber>),
        file: &Arc<OwnedFd>,
        payer: Payer,
        image: Option<RunningAs>,
        since: Option<Monotonic>,
    ) -> bool {
        if let Some(read) = self.reading.get_mut(&id) {
            if since.is_some_and(|since| since > read.asked) && read.again.is_none() {
                let held = self.held.of(id);
                read.again = Some(Again { mount, file: Arc::clone(file), payer, image, held });
            }
            return true;
        }
        let on = self.mounts.of(id.dev, mount);
        let served = Served::of(on.as_deref());
        let on = on.filter(|_| served == Served::No);
        let on_disk = on.as_ref().is_some_and(|on| on.is_on_disk());
        let ignorable = on_disk || on.is_some_and(|on| on.layers.is_some());
        let executable = Executable { file: Arc::clone(file), mount, served, on_disk, ignorable };
        let job = Job::Content(id, payer.clone(), executable, self.read_bytes, image);
        // What hangs must not keep local filesystems from being read, and what is not covered may be anything.
        let may_hang = served == Served::Yes || !self.mounts.covers(id.dev, mount);
        let Some(ticket) = self.contents.submit(Share::new(payer.clone(), may_hang), job) else { return false };
        let asked = clock::now();
        let hangs = asked.plus(HANGS);
        self.reading.insert(id, BeingRead { ticket, hangs, payer, asked, again: None });
        true
    }
}

pub(super) fn image_of(look: &Look) -> Option<RunningAs> {
    let dir = look.dir.as_ref().ok()?;
    Some((Arc::clone(dir), look.exe.as_ref().ok()?.path.clone()))
}
