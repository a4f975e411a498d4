//! Who forked whom: for a process that died in the middle of its look, its parent tells the container and the POSIX
//! session. Best effort: FORK events may be lost, and then the parent is not known.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::event::{Look, Missing, Monotonic, Parent, Pid};
use crate::host::process::Proc;
use crate::sensor::proc_event::ProcEvent;
use crate::sensor::proc_socket::{Listener, Purpose};

const CHILDREN: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
const LOOKS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// A living parent is looked at again after this: it may have begun a session of its own (setsid(2)).
const FRESH: Duration = Duration::from_millis(100);

/// Parents by child, and looks at parents.
#[derive(Debug)]
pub struct Lineage {
    listener: Option<Listener>,
    parents: LruCache<Pid, Pid>,
    looks: LruCache<Pid, Arc<Look>>,
}

impl Default for Lineage {
    fn default() -> Self {
        Self { listener: None, parents: LruCache::new(CHILDREN), looks: LruCache::new(LOOKS) }
    }
}

impl Lineage {
    /// Listens from now on.
    pub fn open(&mut self) {
        if self.listener.is_none() {
            self.listener = Listener::open(Purpose::Lineage).map_err(|e| log::warn!("no lineage: {e}")).ok();
        }
    }

    /// Listens no more and forgets.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// Where it listened, and fell silent, it does so on a new socket; what it knew may be outdated.
    pub fn reopen(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.fall_silent();
            self.close();
            self.open();
        }
    }

    /// Takes in what has arrived.
    pub fn drain(&mut self) {
        let Self { listener: Some(listener), parents, looks, .. } = self else { return };
        loop {
            let drained = listener.drain(|event| match event {
                ProcEvent::Fork { parent, child } => {
                    looks.pop(&child);
                    parents.put(child, parent);
                }
                // Its children in this very drain may still ask for it: it goes when its pid is used again.
                ProcEvent::Exit { pid } => {
                    looks.demote(&pid);
                }
                _ => {}
            });
            if drained.is_ok_and(|messages| messages > 0) {
                continue;
            }
            break;
        }
        if listener.new_drops() > 0 {
            // A FORK that was lost may have given a pid to somebody else.
            self.parents.clear();
            self.looks.clear();
        }
    }

    /// It executed something: what was seen of it before may be of another session.
    pub fn executed(&mut self, pid: Pid) {
        if !self.looks.is_empty() {
            self.looks.pop(&pid);
        }
    }

    /// The parent of a process whose own look is incomplete, looked at where it lives.
    pub fn parent(&mut self, look: &Look, pid: Pid, proc: &Proc, now: Monotonic) -> Option<Parent> {
        let by_stat = look.stat.as_ref().ok().map(|s| s.ppid).filter(|p| p.0 > 1);
        let parent = by_stat.or_else(|| self.parents.get(&pid).copied())?;
        let known = self.looks.get(&parent).cloned();
        if known.as_ref().is_some_and(|look| now.since(look.at) < FRESH) {
            return Some(Parent { pid: parent, look: known });
        }
        let mut look = proc.look(parent, now);
        look.let_go(Missing::Gone);
        // Where it has died meanwhile, it is known as it was.
        let look = if look.stat.is_ok() { Some(Arc::new(look)) } else { known };
        if let Some(look) = &look {
            self.looks.push(parent, Arc::clone(look));
        }
        Some(Parent { pid: parent, look })
    }
}
