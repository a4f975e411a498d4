//! What the jobs about one exec write as they learn it, so that whoever cannot wait for their end takes what is there.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Field, FileId, Missing, MountNumber};
use crate::host::ancestry::Kin;
use crate::host::process::memory::Arguments;
use crate::host::stat::Status;

/// What an argument takes beyond its own bytes: its place in a list, and what the allocator needs.
const ARGUMENT: usize = 48;

/// What was read of a process without touching its memory.
#[derive(Debug, Clone)]
pub struct Facts {
    /// uid of the host and innermost pid.
    pub status: Field<Status>,
    /// The uid as the container sees it.
    pub uid: Field<u32>,
    /// Working directory.
    pub cwd: Field<Vec<u8>>,
    /// The parent, be it within the container or who entered it; without its command line.
    pub parent: Option<Kin>,
    /// Ancestors within the container, nearest first, without their command lines.
    pub kin: Vec<Kin>,
}

/// What lies in memory that the container controls, or in its files.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Its arguments.
    pub args: Field<Arguments>,
    /// Its arguments as a Java launcher reads them, with those that files and the environment hold; `None` where these hold
    /// none.
    pub expanded: Option<Vec<Vec<u8>>>,
    /// Ancestors with their command lines.
    pub kin: Vec<Kin>,
    /// The user's name in the container's /etc/passwd.
    pub user_name: Field<String>,
}

impl Memory {
    fn size(&self) -> usize {
        let args = self.args.as_ref().map(|args| args.kept.as_slice()).unwrap_or_default();
        let each = args.iter().chain(self.expanded.iter().flatten()).map(|arg| arg.len() + ARGUMENT);
        each.sum::<usize>() + self.kin.iter().flat_map(|kin| &kin.command_line).map(Vec::len).sum::<usize>()
    }
}

/// What the jobs about one exec have learned so far.
#[derive(Debug)]
pub struct Slate {
    facts: Mutex<Facts>,
    memory: Mutex<Memory>,
    /// The program that its arguments name, should it be a loader.
    program: Mutex<Named>,
    /// The job that was begun with the look has ended.
    done: AtomicBool,
}

/// A program that arguments name, as it was found in the container.
#[derive(Debug)]
pub struct Program {
    /// Its identity.
    pub id: FileId,
    /// The mount through which it was found, where that is known.
    pub mount: Option<MountNumber>,
    /// An `O_PATH` descriptor on it.
    pub file: Arc<OwnedFd>,
}

/// Whether a program was looked for: one that is found after nobody asks any more must keep no mount alive.
#[derive(Debug, Default)]
enum Named {
    #[default]
    Unknown,
    Found(Program),
    Taken,
}

impl Default for Slate {
    fn default() -> Self {
        let why = Missing::Deadline;
        let facts = Facts { status: Err(why), uid: Err(why), cwd: Err(why), parent: None, kin: Vec::new() };
        let memory = Memory { args: Err(why), expanded: None, kin: Vec::new(), user_name: Err(why) };
        let program = Mutex::default();
        Self { facts: Mutex::new(facts), memory: Mutex::new(memory), program, done: AtomicBool::new(false) }
    }
}

impl Slate {
    /// What was learned by now; the locks are held for no read.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same of memory.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was learned of the arguments: without what they stand for nobody may judge them.
    pub fn learn_arguments(&self, args: Field<Arguments>, expanded: Option<Vec<Vec<u8>>>) {
        let mut memory = self.memory();
        (memory.args, memory.expanded) = (args, expanded);
    }

    /// The program that the arguments name, where it was found. Asked for once.
    pub fn take_program(&self) -> Option<Program> {
        match std::mem::replace(&mut *self.named(), Named::Taken) {
            Named::Found(program) => Some(program),
            Named::Unknown | Named::Taken => None,
        }
    }

    /// Keeps the program that the arguments name, unless somebody asked already.
    pub fn found(&self, program: Program) {
        let mut named = self.named();
        if matches!(*named, Named::Unknown) {
            *named = Named::Found(program);
        }
    }

    /// Bytes that it holds of what containers decide the size of, about.
    pub fn size(&self) -> usize {
        self.memory().size()
    }

    /// Whether the job that was begun with the look has ended.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// The job that was begun with the look has written all it could.
    pub fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }

    /// Marks a part that could not be read at all.
    pub fn refuse_facts(&self, why: Missing) {
        let mut facts = self.facts();
        (facts.status, facts.uid, facts.cwd) = (Err(why), Err(why), Err(why));
    }

    /// The same of memory.
    pub fn refuse_memory(&self, why: Missing) {
        let mut memory = self.memory();
        (memory.args, memory.user_name) = (Err(why), Err(why));
    }
}
