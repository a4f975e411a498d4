//! Threads for what may hang or be slow: a pool that is fair between containers and between those around them, and that
//! leaves a thread behind when its job misses the deadline. Who waits for the deadline is the caller: it calls
//! [`Pool::abandon`].

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::process::run_at_once;

/// Names one job: the word that it is done bears no pool's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A share's name can be made up by whoever it is: a group's cannot.
pub const QUEUES_OF_GROUP: usize = 4;

/// For whom a job is done.
pub trait Share: Clone + Eq + Hash + Send + 'static {
    /// What takes its turns and has its bounds together, however many shares it is.
    type Group: Clone + Eq + Send;

    /// Its group.
    fn group(&self) -> &Self::Group;
}

/// Bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads that work.
    pub threads: usize,
    /// Threads that work for one share at a time, so that it cannot make all others wait; for a group one thread less than
    /// all, where that is more.
    pub threads_per_share: usize,
    /// Threads that may hang, left behind, before no more are made: one for each share, and a quarter of them for a group.
    pub stuck: usize,
    /// Jobs that may wait for each share; for a group [`QUEUES_OF_GROUP`] times as many.
    pub queue: usize,
    /// Its threads run before normal ones.
    pub early: bool,
}

/// Threads that run jobs of type `J`, in turn for each share `K`.
pub struct Pool<K: Share, J> {
    shared: Arc<Shared<K, J>>,
    name: &'static str,
}

type Run<K, J> = dyn Fn(&K, Ticket, J) + Send + Sync;

struct Shared<K: Share, J> {
    state: Mutex<State<K, J>>,
    work: Condvar,
    run: Box<Run<K, J>>,
    limits: Limits,
}

/// A group with work.
struct Turn<K: Share> {
    group: K::Group,
    /// Its shares with work, in the order in which they are served.
    shares: VecDeque<K>,
    /// Their jobs.
    jobs: usize,
}

struct State<K: Share, J> {
    /// In the order in which they are served.
    turns: VecDeque<Turn<K>>,
    queues: HashMap<K, VecDeque<(Ticket, J)>>,
    running: HashMap<Ticket, K>,
    /// Jobs whose threads were left behind and have not come back, by share.
    left: HashMap<Ticket, K>,
    threads: usize,
    closed: bool,
}

impl<K: Share, J: Send + 'static> Pool<K, J> {
    /// Starts the threads, named `name`; `run` does one job of a share and sends its result where it belongs.
    pub fn start(name: &'static str, limits: Limits, run: impl Fn(&K, Ticket, J) + Send + Sync + 'static) -> Self {
        let state = State {
            turns: VecDeque::new(),
            queues: HashMap::new(),
            running: HashMap::new(),
            left: HashMap::new(),
            threads: 0,
            closed: false,
        };
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), run: Box::new(run), limits };
        let pool = Self { shared: Arc::new(shared), name };
        for _ in 0..limits.threads {
            pool.spawn(&mut pool.shared.lock());
        }
        pool
    }

    fn spawn(&self, state: &mut State<K, J>) {
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name(self.name.into()).spawn(move || shared.work());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(e) => log::error!("start a worker thread for {}: {e}", self.name),
        }
    }

    /// Takes a job; `None` where its share's queue is full or its group's are, or where its share already holds a thread
    /// that hangs, or its group too many.
    pub fn submit(&self, share: K, job: J) -> Option<Ticket> {
        let mut state = self.shared.lock();
        let limits = self.shared.limits;
        let stuck = state.left.values().filter(|k| k.group() == share.group()).count();
        if state.closed || stuck >= (limits.stuck / 4).max(1) || state.left.values().any(|k| *k == share) {
            return None;
        }
        let ticket = Ticket::next();
        if !state.enter(share, ticket, job, limits.queue) {
            return None;
        }
        drop(state);
        self.shared.work.notify_one();
        Some(ticket)
    }

    /// Gives up a job: it is taken from the queue, or its thread is left behind and replaced.
    pub fn abandon(&self, ticket: Ticket) {
        let mut state = self.shared.lock();
        if let Some(share) = state.running.remove(&ticket) {
            state.left.insert(ticket, share);
            state.threads = state.threads.saturating_sub(1);
            if state.left.len() <= self.shared.limits.stuck {
                self.spawn(&mut state);
            } else {
                log::error!("{}: {} threads hang, no more are started", self.name, state.left.len());
            }
            return;
        }
        state.withdraw(ticket);
    }

    /// Threads that hang in a job which nobody waits for any more.
    #[cfg(test)]
    fn left_behind(&self) -> usize {
        self.shared.lock().left.len()
    }
}

impl<K: Share, J> Drop for Pool<K, J> {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.work.notify_all();
    }
}

impl<K: Share, J> Shared<K, J> {
    /// A thread that panicked held no lock while it ran its job, so that the state is whole.
    fn lock(&self) -> MutexGuard<'_, State<K, J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        // What a worker reads of a process is gone with the process.
        if self.limits.early
            && let Err(e) = run_at_once()
        {
            log::debug!("a worker runs like any other thread: {e}");
        }
        while let Some((share, ticket, job)) = self.next() {
            // A job that panics must not take the pool's thread with it: its caller sees a missed deadline.
            let run = std::panic::AssertUnwindSafe(|| (self.run)(&share, ticket, job));
            if std::panic::catch_unwind(run).is_err() {
                log::error!("a worker's job panicked");
            }
            let mut state = self.lock();
            if state.running.remove(&ticket).is_none() {
                // Left behind: somebody else works in this thread's place.
                state.left.remove(&ticket);
                if state.threads >= self.limits.threads {
                    return;
                }
                state.threads += 1;
            }
        }
    }

    fn next(&self) -> Option<(K, Ticket, J)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(found) = state.take(&self.limits) {
                return Some(found);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<K: Share, J> State<K, J> {
    /// Puts a job at the end of its share's queue; false where there is no room.
    fn enter(&mut self, share: K, ticket: Ticket, job: J, room: usize) -> bool {
        let waiting = self.queues.get(&share).map_or(0, VecDeque::len);
        let turn = self.turns.iter_mut().find(|turn| turn.group == *share.group());
        let of_group = turn.as_ref().map_or(0, |turn| turn.jobs);
        if waiting >= room || of_group >= room.saturating_mul(QUEUES_OF_GROUP) {
            return false;
        }
        self.queues.entry(share.clone()).or_default().push_back((ticket, job));
        match turn {
            Some(turn) => {
                turn.jobs += 1;
                if waiting == 0 {
                    turn.shares.push_back(share);
                }
            }
            None => self.turns.push_back(Turn { group: share.group().clone(), shares: [share].into(), jobs: 1 }),
        }
        true
    }

    /// Takes a job that waits out of its queue.
    fn withdraw(&mut self, ticket: Ticket) {
        self.queues.values_mut().for_each(|queue| queue.retain(|(t, _)| *t != ticket));
        self.queues.retain(|_, queue| !queue.is_empty());
        let queues = &self.queues;
        for turn in &mut self.turns {
            turn.shares.retain(|share| queues.contains_key(share));
            turn.jobs = turn.shares.iter().filter_map(|share| queues.get(share)).map(VecDeque::len).sum();
        }
        self.turns.retain(|turn| !turn.shares.is_empty());
    }

    fn take(&mut self, limits: &Limits) -> Option<(K, Ticket, J)> {
        let of_group = limits.threads_per_share.max(limits.threads.saturating_sub(1));
        let count = |of: &dyn Fn(&K) -> bool| self.running.values().filter(|k| of(k)).count();
        let has_room = |k: &K| count(&|r| r == k) < limits.threads_per_share;
        let next = |turn: &Turn<K>| {
            let may = count(&|r| *r.group() == turn.group) < of_group;
            turn.shares.iter().position(has_room).filter(|_| may)
        };
        let (at, share) = self.turns.iter().enumerate().find_map(|(at, turn)| Some((at, next(turn)?)))?;
        let mut turn = self.turns.remove(at)?;
        let share = turn.shares.remove(share)?;
        let queue = self.queues.get_mut(&share)?;
        let (ticket, job) = queue.pop_front()?;
        turn.jobs = turn.jobs.saturating_sub(1);
        if queue.is_empty() {
            self.queues.remove(&share);
        } else {
            turn.shares.push_back(share.clone());
        }
        if !turn.shares.is_empty() {
            self.turns.push_back(turn);
        }
        self.running.insert(ticket, share.clone());
        Some((share, ticket, job))
    }
}

#[cfg(test)]
mod tests;
