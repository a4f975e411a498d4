//! The look that the connector's reader takes at a process after its EXEC: whether what is found under the pid is what
//! was executed, and whether anybody wants it.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::major;

use crate::event::{
    BegunReads, Comm, Exe, FileId, Inode, Look, Missing, Monotonic, MountNumber, MountedId, Pid, RootId, SensorKind,
    Sighting, Stat,
};
use crate::host::clock::{self, Ticks};
use crate::host::file::{file_id, mount_number, mount_of_descriptor};
use crate::host::process::{Proc, ProcessDir};
use crate::sensor::images::{Images, Shown};
use crate::sensor::ledger::{Image, LastName};
use crate::sensor::mounts::Mounts;
use crate::sensor::without::{Part, without};
use crate::sensor::{Triage, is_entering};

/// Of what a glance would settle without telling whose it is, one in so many is looked at whole, and counted for all.
const WHOLE: u32 = 64;

/// A pid is not given to another process sooner than this after the exec of the one that had it: all others were forked
/// in between, of which there are 32,768 unless somebody has made them less.
const GIVEN_AWAY: Duration = Duration::from_millis(20);

/// What a look found.
pub enum Seen {
    /// Known to be none of our business.
    Settled(Image),
    /// Nothing of it could be seen.
    Dead,
    /// This image was already taken for that of the process' exec at that time, whose look came too late: that exec's own
    /// image was never seen.
    Earlier(Monotonic),
    /// It lives, and could not be looked at: no descriptor was left, or no permission.
    Refused,
    /// Detection wants it.
    Wanted(Box<Sighting>),
}

/// Takes the looks, and knows the images seen before.
pub struct ExecLook {
    proc: Arc<Proc>,
    triage: Arc<dyn Triage>,
    ticks: Ticks,
    mounts: Arc<Mounts>,
    uncovered: u32,
    /// Where nothing but the connector tells of containers.
    glances: u32,
    /// The last one is looked at whole in the place of all.
    stands_for_others: bool,
    /// The host's root directory.
    root: Option<RootId>,
    images: Images,
    /// The last one that was looked at was gone: so may the next be.
    last_gone: bool,
}

impl ExecLook {
    /// Looks through this procfs and asks this triage; `mounts` are those that fanotify covers.
    pub fn new(proc: Arc<Proc>, triage: Arc<dyn Triage>, mounts: Arc<Mounts>) -> Self {
        let root = nix::sys::stat::stat("/").ok().map(|s| RootId { dev: s.st_dev, ino: s.st_ino });
        Self {
            proc,
            triage,
            ticks: Ticks::read(),
            mounts,
            uncovered: 0,
            glances: 0,
            stands_for_others: false,
            root,
            images: Images::default(),
            last_gone: true,
        }
    }

    /// Looks since the last call that found an exec of a container on a filesystem that is not marked.
    pub fn take_uncovered(&mut self) -> u32 {
        std::mem::take(&mut self.uncovered)
    }

    /// What was begun for an exec of which detection will not hear.
    pub fn leave(&self, begun: BegunReads) {
        self.triage.leave(begun);
    }

    /// The procfs that is looked through.
    pub fn proc(&self) -> &Proc {
        &self.proc
    }

    /// Whether a process is known to be gone, at the least cost: where the last one was not, only its look tells.
    pub fn is_gone(&self, pid: Pid) -> bool {
        without(Part::Looks) || (self.last_gone && self.does_not_exist(pid))
    }

    fn does_not_exist(&self, pid: Pid) -> bool {
        // What costs less than kill(2), which asks for more before it looks.
        let gone = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid.0))) == Err(nix::Error::ESRCH);
        if gone {
            self.mounts.requests.note_unseen_death();
        }
        gone
    }

    fn dead(&self) -> Seen {
        self.mounts.requests.note_unseen_death();
        Seen::Dead
    }

    /// Looks at what executed something at `at`.
    pub fn look(&mut self, pid: Pid, at: Monotonic) -> Seen {
        self.stands_for_others = false;
        let seen = self.glance(pid, at).unwrap_or_else(|| self.look_closely(pid, at));
        self.last_gone = matches!(seen, Seen::Dead);
        seen
    }

    fn look_closely(&mut self, pid: Pid, at: Monotonic) -> Seen {
        let mut look = self.proc.begin_look(pid, clock::now());
        match look.dir {
            Ok(_) => {}
            Err(Missing::Gone) => return self.dead(),
            Err(_) => return Seen::Refused,
        }
        self.mounts.requests.executed();
        let exe = look.exe.as_ref().ok().and_then(|exe| Some((exe.id.ok()?, exe)));
        let covered = exe.and_then(|(file, exe)| self.covered_after_asking(file, exe.mount, || asked(&look)));
        if covered.is_none() {
            self.proc.read_cgroup(&mut look);
            if !self.triage.is_contained(&look) {
                self.proc.read_mnt_ns(&mut look);
            }
            let unknown = look.mnt_ns.ok().filter(|namespace| !self.mounts.knows_namespace(*namespace));
            if let Some(namespace) = unknown.filter(|_| self.mounts.are_watched()) {
                self.mounts.requests.ask(namespace, pid);
            }
        }
        self.proc.read_stat(&mut look);
        if look.exe.is_err() && look.stat.is_err() {
            return Seen::Dead;
        }
        let inode = look.file().map(|file| file.inode());
        if let Some(other) = look.stat.as_ref().ok().and_then(|stat| self.other_image(pid, stat, inode, at)) {
            return other;
        }
        if covered.is_none() && self.triage.is_host(&look) {
            return Self::settled(&look);
        }
        let innocent = self.triage.is_innocent(&look);
        match covered {
            Some(mounted) if innocent => {
                self.triage.count_on(mounted, look.at);
                return Self::settled(&look);
            }
            Some(_) => {
                self.proc.read_cgroup(&mut look);
                // A zombie's cgroup may be a false one: that it lived is asked afterwards.
                self.proc.read_stat(&mut look);
            }
            None => {}
        }
        self.triage.count(&look, if self.stands_for_others { u64::from(WHOLE) } else { 1 });
        if !innocent {
            self.proc.complete_look(&mut look);
        }
        self.note_uncovered(pid, &look);
        // The root directory may tell what the first part of the look did not.
        if innocent || self.triage.is_host(&look) || is_entering(&self.proc, &*self.triage, &look) {
            return Self::settled(&look);
        }
        let begun = self.triage.begin(&look);
        let known_by = SensorKind::Connector;
        Seen::Wanted(Box::new(Sighting { pid, at, known_by, look, parent: None, begun }))
    }

    /// Settles what is known to be innocent by the two reads that tell, where nothing else of it is wanted: where
    /// fanotify covers its file, or covers nothing.
    fn glance(&mut self, pid: Pid, at: Monotonic) -> Option<Seen> {
        let watched = self.mounts.are_watched();
        let status = match self.proc.glance_at_file(pid) {
            Ok(status) => status,
            Err(Missing::Gone) => return self.settle_ended(pid, at),
            Err(_) => return None,
        };
        let file = file_id(status);
        let asked = || {
            self.triage.innocent_name(file)?;
            mount_of_program(&self.proc.process(pid).ok()?)
        };
        let covered = if watched { Some(self.covered_after_asking(file, mount_number(status), asked)?) } else { None };
        let comm = self.triage.innocent_name(file)?;
        // After the file: what was executed in between shows another name.
        let stat = if is_young(at) {
            (self.proc.glance_at_name(pid) == Ok(comm)).then_some(None)
        } else {
            self.proc.glance_at_stat(pid).ok().filter(|stat| Comm::new(&stat.comm) == comm).map(Some)
        }?;
        match covered {
            Some(mounted) => self.triage.count_on(mounted, at),
            None if self.is_counted_whole() => return None,
            None => {}
        }
        self.mounts.requests.executed();
        let file = file.inode();
        let other = match stat {
            Some(stat) => self.other_image(pid, &stat, Some(file), at),
            None => {
                let shown = Shown { image: None, file, comm, exec: at, looked: clock::now() };
                self.images.shown_before(pid, shown).map(Seen::Earlier)
            }
        };
        Some(other.unwrap_or(Seen::Settled(Image::File(file, comm))))
    }

    /// Whether this one of those that a glance could settle is to be looked at whole.
    fn is_counted_whole(&mut self) -> bool {
        self.glances = self.glances.wrapping_add(1);
        self.stands_for_others = self.glances.is_multiple_of(WHOLE);
        self.stands_for_others
    }

    /// Settles what has ended, where its name is no compiler's.
    fn settle_ended(&mut self, pid: Pid, at: Monotonic) -> Option<Seen> {
        let name = if is_young(at) {
            self.proc.glance_at_name(pid).map(Some)
        } else {
            let stat = self.proc.glance_at_stat(pid);
            stat.map(|stat| (!self.is_another(&stat, at)).then(|| Comm::new(&stat.comm)))
        };
        let comm = match name {
            Ok(Some(comm)) => comm,
            Ok(None) | Err(Missing::Gone) => return Some(self.dead()),
            Err(_) => return None,
        };
        if !self.triage.is_innocent_end(comm) || !self.mounts.are_watched() && self.is_counted_whole() {
            return None;
        }
        self.mounts.requests.note_unseen_death();
        Some(Seen::Settled(ended_as(comm)))
    }

    fn settled(look: &Look) -> Seen {
        Seen::Settled(match (look.file(), &look.stat) {
            (Some(file), _) => Image::File(file.inode(), look.comm()),
            (None, Ok(stat)) => ended_as(Comm::new(&stat.comm)),
            (None, Err(_)) => Image::Unknown,
        })
    }

    /// What its file lies on, where that is a container's alone and fanotify reports all execs on it: so it needs no other
    /// sign of whose it is.
    fn covered(&self, file: FileId, mount: Option<MountNumber>) -> Option<MountedId> {
        self.mounts.of(file.dev, mount).filter(|on| on.is_covered() && !on.of_host).map(|on| on.id)
    }

    /// The same where its state tells no mount (before 5.8): that is asked for where the answer is worth its price, as the
    /// root directories and tmpfs of containers lie on no device, and the host's on one.
    fn covered_after_asking(
        &self,
        file: FileId,
        mount: Option<MountNumber>,
        asked: impl FnOnce() -> Option<MountNumber>,
    ) -> Option<MountedId> {
        let covered = self.covered(file, mount);
        if covered.is_some() || mount.is_some() || major(file.dev) != 0 || !self.mounts.are_watched() {
            return covered;
        }
        self.covered(file, Some(asked()?))
    }

    /// The file of a look where fanotify reports all execs on what it lies on.
    pub fn covered_file(&self, look: &Look) -> Option<Inode> {
        let exe = look.exe.as_ref().ok()?;
        let file = exe.id.ok()?;
        self.covered(file, mount_of(look, exe)).map(|_| file.inode())
    }

    /// [`Seen::Dead`] where the pid is another process' by now, [`Seen::Earlier`] where this image was taken for that of an
    /// earlier exec; `None` where it is this one's.
    fn other_image(&mut self, pid: Pid, stat: &Stat, file: Option<Inode>, at: Monotonic) -> Option<Seen> {
        if self.is_another(stat, at) {
            return Some(Seen::Dead);
        }
        let (image, comm, looked) = (stat.image(file), Comm::new(&stat.comm), clock::now());
        // A zombie shows its name alone.
        let shown = Shown { image, file: file?, comm, exec: at, looked };
        self.images.shown_before(pid, shown).map(Seen::Earlier)
    }

    /// Counts an exec within a container's root directory on a filesystem that fanotify does not cover.
    fn note_uncovered(&mut self, pid: Pid, look: &Look) {
        let Ok(exe) = &look.exe else { return };
        if !self.mounts.are_watched() || exe.id.is_ok_and(|file| self.mounts.covers(file.dev, mount_of(look, exe))) {
            return;
        }
        // A runtime that enters a container still has the host's root directory.
        let root = look.root.or_else(|_| look.dir.clone().and_then(|dir| ProcessDir(dir).root()));
        if root.is_ok_and(|root| Some(root) != self.root) {
            self.uncovered += 1;
            // It may have been mounted since.
            look.mnt_ns.ok().into_iter().for_each(|namespace| self.mounts.requests.ask(namespace, pid));
        }
    }

    /// Whether the pid was given to another process since the exec: that was forked after it. Start times count whole
    /// ticks.
    fn is_another(&mut self, stat: &Stat, at: Monotonic) -> bool {
        let forked_after = |ticks: Ticks| ticks.moment(stat.start) > at.plus(ticks.length());
        if forked_after(self.ticks) {
            // The machine may have been suspended since: that moves the boot clock against the monotonic one.
            self.ticks = Ticks::read();
        }
        forked_after(self.ticks)
    }
}

/// Whether nobody else can have been given the pid since.
fn is_young(exec: Monotonic) -> bool {
    clock::now().since(exec) < GIVEN_AWAY
}

fn ended_as(comm: Comm) -> Image {
    Image::Ended(LastName { comm, known_by: SensorKind::Connector })
}

/// The mount of a process' executable: where its state does not tell (before 5.8), a descriptor on it does.
fn mount_of(look: &Look, exe: &Exe) -> Option<MountNumber> {
    exe.mount.or_else(|| asked(look))
}

fn asked(look: &Look) -> Option<MountNumber> {
    match &look.exe.as_ref().ok()?.file {
        Ok(file) => mount_of_descriptor(file.as_fd()).map(MountNumber),
        Err(_) => mount_of_program(&ProcessDir(look.dir.clone().ok()?)),
    }
}

fn mount_of_program(dir: &ProcessDir) -> Option<MountNumber> {
    mount_of_descriptor(dir.exe_file().ok()?.as_fd()).map(MountNumber)
}

#[cfg(test)]
mod tests;
