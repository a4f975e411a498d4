//! The workers' jobs: everything about an exec that needs a file to be read. What a job learns of a process it writes to a
//! [`Slate`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::container::runtimes::Runtimes;
use crate::container::{ContainerKey, Metadata, Payer, cgroup, passwd};
use crate::detect::Share;
use crate::detect::executable::{Executable, RunningAs};
use crate::detect::inside::Inside;
use crate::detect::judged::{Finding, Judged};
use crate::detect::sessions::SessionNumber;
use crate::detect::slate::{Program, Slate};
use crate::detect::user_names::UserNames;
use crate::event::{Field, FileId, Look, Missing, Pid, ProcessId};
use crate::fingerprint::{ContentSays, Invocation, SharedDatabase, argfile, loaded};
use crate::host::ancestry::{Kin, climb};
use crate::host::clock;
use crate::host::file::{file_id, mount_number};
use crate::host::process::{Proc, ProcessDir};
use crate::host::worker::Ticket;
use crate::sensor::far::files::{Errands, FarFiles};
use crate::sensor::mounts::{Mounts, Served};

/// Work for a thread that may wait.
pub enum Job {
    /// Fill [`Facts`](super::slate::Facts) and then [`Memory`](super::slate::Memory), but for the ancestors.
    Process(Arc<Look>, Arc<Slate>),
    /// Fill [`Facts`](super::slate::Facts) alone: for a container that holds a worker already.
    Facts(Arc<Look>, Arc<Slate>),
    /// Fill the ancestors of both.
    Kin(Arc<Look>, Arc<Slate>),
    /// What do the runtimes say of these containers?
    Metadata(Vec<ContainerKey>),
    /// Which of these live?
    Alive(SessionNumber, Vec<ProcessId>),
    /// Read an executable's content for a container, at most so many bytes; of a packed one, its process' memory.
    Content(FileId, Payer, Executable, u64, Option<RunningAs>),
}

/// What a worker has to say.
pub enum Outcome {
    /// The job with this ticket has written all it could.
    Done(Ticket),
    /// What the runtime's files say of a container.
    Metadata(ContainerKey, Field<Metadata>),
    /// These live.
    Alive(SessionNumber, Vec<ProcessId>),
    /// An executable's content, the container for which it was read, and the file where its execs are to be ignored.
    Content(FileId, Payer, Box<Finding>, Option<Arc<OwnedFd>>),
}

/// What the jobs need.
pub struct Reads {
    proc: Arc<Proc>,
    runtimes: Runtimes,
    database: SharedDatabase,
    judged: Arc<Judged>,
    mounts: Arc<Mounts>,
    outcomes: Sender<Outcome>,
    names: UserNames,
    far: FarFiles<Share>,
}

impl Reads {
    /// Reads processes from `proc` and containers from `runtimes`, and judges files by `database`; `judged` is what was
    /// read of them before, `mounts` what they lie on.
    pub fn new(
        proc: Arc<Proc>,
        runtimes: Runtimes,
        database: SharedDatabase,
        (judged, mounts): (Arc<Judged>, Arc<Mounts>),
        outcomes: Sender<Outcome>,
    ) -> Self {
        Self {
            proc,
            runtimes,
            database,
            judged,
            mounts,
            outcomes,
            names: UserNames::default(),
            far: FarFiles::default(),
        }
    }

    /// Does one job of a share.
    pub fn run(&self, share: &Share, ticket: Ticket, job: Job) {
        let mut errands = self.far.errands(share);
        let say = |outcome| {
            // Detection has stopped: nobody is left to hear it.
            let _ = self.outcomes.send(outcome);
        };
        match job {
            Job::Process(look, slate) => {
                self.read_facts(&look, &slate);
                self.read_memory(&look, &slate, &mut errands);
                slate.finish();
            }
            Job::Facts(look, slate) => {
                self.read_facts(&look, &slate);
                slate.finish();
            }
            Job::Kin(look, slate) => {
                // First what cannot hang.
                let kin = self.climb(&look, |_, _| {});
                slate.facts().kin = kin;
                let kin = self.climb(&look, |dir, kin| kin.command_line = dir.command_line());
                slate.memory().kin = kin;
            }
            Job::Metadata(containers) => {
                for key in containers {
                    let metadata = self.runtimes.metadata(&key);
                    say(Outcome::Metadata(key, metadata));
                }
            }
            Job::Alive(session, processes) => {
                let alive = processes.into_iter().filter(|p| self.proc.lives(*p)).collect();
                say(Outcome::Alive(session, alive));
            }
            Job::Content(id, payer, file, limit, image) => {
                let mut finding = file.read(limit, image, &mut errands, self.database.load_full());
                // By now it may be known.
                finding.open |= file.served != Served::No && self.mounts.served(id.dev, file.mount) == Served::Yes;
                let innocent = file.ignorable && finding.says == ContentSays::Innocent;
                // Any other is closed here: for that a server may have to answer.
                let ignored = innocent.then(|| Arc::clone(&file.file));
                drop(file);
                say(Outcome::Content(id, payer, Box::new(finding), ignored));
            }
        }
        // Before the job is done: a server may take its time over that.
        errands.end();
        say(Outcome::Done(ticket));
    }

    fn read_facts(&self, look: &Look, slate: &Slate) {
        let dir = match &look.dir {
            Ok(dir) => ProcessDir(Arc::clone(dir)),
            Err(why) => return slate.refuse_facts(*why),
        };
        let status = dir.status();
        let uid_map = dir.small_file(c"uid_map");
        let cwd = dir.cwd();
        let uid = status.as_ref().map_err(|e| *e).and_then(|s| {
            let mapped = uid_map.and_then(|map| passwd::map_uid(&map, s.uid).ok_or(Missing::Absent));
            // Before user namespaces, and where the map is not to be had, the host's uid is the container's.
            if mapped == Err(Missing::Gone) { Err(Missing::Gone) } else { Ok(mapped.unwrap_or(s.uid)) }
        });
        let parent = look.stat.as_ref().ok().and_then(|stat| self.parent(stat.ppid));
        let mut facts = slate.facts();
        (facts.status, facts.uid, facts.cwd, facts.parent) = (status, uid, cwd, parent);
    }

    fn parent(&self, pid: Pid) -> Option<Kin> {
        let stat = self.proc.process(pid).ok()?.stat().ok()?;
        let (comm, command_line) = (stat.comm, Err(Missing::Absent));
        Some(Kin { pid, start: stat.start, comm, session: stat.session, command_line })
    }

    fn climb(&self, look: &Look, each: impl FnMut(&ProcessDir, &mut Kin)) -> Vec<Kin> {
        let Ok(stat) = &look.stat else { return Vec::new() };
        let home = cgroup::container_of(look);
        // In the host's pid namespace the cgroup tells where the container ends.
        let inside = |dir: &ProcessDir| match &home {
            Some(key) => dir.small_file(c"cgroup").is_ok_and(|c| cgroup::identify(&c).inner() == Some(key)),
            None => dir.namespace(c"ns/mnt") == look.mnt_ns,
        };
        climb(&self.proc, stat, look.pid_ns, inside, each)
    }

    fn read_memory(&self, look: &Look, slate: &Slate, errands: &mut Errands<'_, Share>) {
        let dir = match &look.dir {
            Ok(dir) => ProcessDir(Arc::clone(dir)),
            Err(why) => return slate.refuse_memory(*why),
        };
        // Opened before its arguments are read: a process that dies takes its root with it.
        let root = dir.root_dir();
        let mut inside = root.as_ref().map(|root| Inside::new(root.as_fd(), &self.mounts, errands));
        let args = dir.arguments();
        let kept = args.as_ref().ok().map(|args| args.kept.clone());
        let java = kept.as_ref().filter(|args| self.may_be_java(look, args));
        let expanded = java.and_then(|args| expanded(&dir, inside.as_mut().ok(), args));
        // An alert goes without what is not known in time, and what follows may have to wait for others.
        slate.learn_arguments(args, expanded);
        if let (Some(args), Ok(inside)) = (kept, &mut inside)
            && let Some(program) = self.program(look, &dir, inside, &args)
        {
            slate.found(program);
        }
        let user_name = dir.status().and_then(|s| {
            let (root, mut inside) = (root.as_ref().map_err(|why| *why)?, inside.map_err(|why| *why)?);
            let read = |path: &[u8], limit| inside.read(path, limit);
            self.names.name(look, &dir, root.as_fd(), (s.uid, clock::now()), read)
        });
        slate.memory().user_name = user_name;
    }

    /// The program that a loader's arguments name, in the process' root directory. A file that was not read yet may be a
    /// loader under another name.
    fn program(&self, look: &Look, dir: &ProcessDir, inside: &mut Inside<'_, '_>, args: &[Vec<u8>]) -> Option<Program> {
        let id = look.file()?;
        let call = Invocation { args: Some(args), ..Invocation::of(look) };
        let database = self.database.load();
        let arguments = match self.judged.says(id) {
            None | Some(ContentSays::Unknown) => database.perhaps_loaded(&call),
            Some(_) => database.loaded(&call, self.judged.content(id).as_deref()),
        }?;
        let name = arguments.first()?;
        let path = loaded::place(name, &dir.cwd().unwrap_or_default());
        let (file, status) = inside.find(&path).ok()?;
        let (id, mount) = (file_id(status), mount_number(status));
        status.is_regular.then(|| Program { id, mount, file: Arc::new(file) })
    }

    /// A file that was not read yet may be a Java launcher under another name.
    fn may_be_java(&self, look: &Look, args: &[Vec<u8>]) -> bool {
        let Some(id) = look.file() else { return false };
        let call = Invocation { args: Some(args), ..Invocation::of(look) };
        match self.judged.says(id) {
            None | Some(ContentSays::Unknown) => true,
            Some(_) => self.database.load().is_java(&call, self.judged.content(id).as_deref()),
        }
    }
}

/// The arguments with those that the environment holds, and files of arguments in the process' root directory; `None` where
/// neither does.
fn expanded(dir: &ProcessDir, mut inside: Option<&mut Inside<'_, '_>>, args: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let value = dir.variable(argfile::VARIABLE).ok().flatten();
    let args = match &value {
        Some(value) => &argfile::with_environment(args, value),
        None => args,
    };
    if !argfile::names_files(args) {
        return value.map(|_| args.to_vec());
    }
    let cwd = dir.cwd().unwrap_or_default();
    let read = |name: &[u8]| inside.as_mut()?.read(&loaded::place(name, &cwd), argfile::MAX_BYTES).ok();
    Some(argfile::expand(args, read))
}
