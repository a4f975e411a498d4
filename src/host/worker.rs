//! Threads for what may hang or be slow: a pool that is fair between containers, and that leaves a thread behind
//! when its job misses the deadline. Who waits for the deadline is the caller: it calls [`Pool::abandon`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::process::run_at_once;

/// Names one job of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads that work.
    pub threads: usize,
    /// Threads that work for one share at a time, so that it cannot make all others wait.
    pub threads_per_share: usize,
    /// Threads that may hang, left behind, before no more are made.
    pub stuck: usize,
    /// Jobs that may wait for each share.
    pub queue: usize,
    /// Its threads run before normal ones.
    pub early: bool,
}

/// Threads that run jobs of type `J`, in turn for each share `K`.
pub struct Pool<K, J> {
    shared: Arc<Shared<K, J>>,
    name: &'static str,
}

struct Shared<K, J> {
    state: Mutex<State<K, J>>,
    work: Condvar,
    run: Box<dyn Fn(Ticket, J) + Send + Sync>,
    limits: Limits,
}

struct State<K, J> {
    /// Shares with work, in the order in which they are served.
    turns: VecDeque<K>,
    queues: HashMap<K, VecDeque<(Ticket, J)>>,
    running: HashMap<Ticket, K>,
    /// Jobs whose threads were left behind and have not come back, by share.
    left: HashMap<Ticket, K>,
    threads: usize,
    submitted: u64,
    closed: bool,
}

impl<K: Clone + Eq + Hash + Send + 'static, J: Send + 'static> Pool<K, J> {
    /// Starts the threads, named `name`; `run` does one job and sends its result where it belongs.
    pub fn start(name: &'static str, limits: Limits, run: impl Fn(Ticket, J) + Send + Sync + 'static) -> Self {
        let state = State {
            turns: VecDeque::new(),
            queues: HashMap::new(),
            running: HashMap::new(),
            left: HashMap::new(),
            threads: 0,
            submitted: 0,
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

    /// Takes a job; `None` where its share's queue is full, or where its share already holds a thread that hangs.
    pub fn submit(&self, share: K, job: J) -> Option<Ticket> {
        let mut state = self.shared.lock();
        if state.closed || state.left.values().any(|k| *k == share) {
            return None;
        }
        let ticket = Ticket(state.submitted);
        let queue = state.queues.entry(share.clone()).or_default();
        if queue.len() >= self.shared.limits.queue {
            return None;
        }
        queue.push_back((ticket, job));
        if queue.len() == 1 {
            state.turns.push_back(share);
        }
        state.submitted += 1;
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
        for queue in state.queues.values_mut() {
            queue.retain(|(t, _)| *t != ticket);
        }
        let empty: HashSet<K> = state.queues.iter().filter(|(_, q)| q.is_empty()).map(|(k, _)| k.clone()).collect();
        state.queues.retain(|k, _| !empty.contains(k));
        state.turns.retain(|k| !empty.contains(k));
    }

    /// Threads that hang in a job which nobody waits for any more.
    pub fn left_behind(&self) -> usize {
        self.shared.lock().left.len()
    }
}

impl<K, J> Drop for Pool<K, J> {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.work.notify_all();
    }
}

impl<K: Clone + Eq + Hash, J> Shared<K, J> {
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
        while let Some((ticket, job)) = self.next() {
            // A job that panics must not take the pool's thread with it: its caller sees a missed deadline.
            let run = std::panic::AssertUnwindSafe(|| (self.run)(ticket, job));
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

    fn next(&self) -> Option<(Ticket, J)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(found) = state.take(self.limits.threads_per_share) {
                return Some(found);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<K: Clone + Eq + Hash, J> State<K, J> {
    fn take(&mut self, per_share: usize) -> Option<(Ticket, J)> {
        let has_room = |k: &K| self.running.values().filter(|r| *r == k).count() < per_share;
        let turn = self.turns.iter().position(has_room)?;
        let share = self.turns.remove(turn)?;
        let queue = self.queues.get_mut(&share)?;
        let (ticket, job) = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&share);
        } else {
            self.turns.push_back(share.clone());
        }
        self.running.insert(ticket, share);
        Some((ticket, job))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crossbeam_channel::{Receiver, bounded, unbounded};

    const LIMITS: Limits = Limits { threads: 1, threads_per_share: 1, stuck: 2, queue: 100, early: false };

    type Done = Receiver<Ticket>;

    fn pool() -> (Pool<&'static str, Receiver<()>>, Done) {
        let (tx, rx) = unbounded();
        let run = move |ticket: Ticket, gate: Receiver<()>| {
            let _ = gate.recv();
            let _ = tx.send(ticket);
        };
        (Pool::start("test", LIMITS, run), rx)
    }

    fn open() -> Receiver<()> {
        bounded(0).1
    }

    #[test]
    fn shares_take_turns() {
        let (pool, done) = pool();
        let (gate, wait) = bounded::<()>(0);
        let first = pool.submit("first", wait).unwrap();
        let many: Vec<Ticket> = (0..3).map(|_| pool.submit("many", open()).unwrap()).collect();
        let one = pool.submit("one", open()).unwrap();
        drop(gate);
        let order: Vec<Ticket> = (0..5).map(|_| done.recv().unwrap()).collect();
        let [a, b, c] = many.try_into().unwrap();
        assert_eq!(order, [first, a, one, b, c]);
    }

    #[test]
    fn a_share_with_many_slow_jobs_leaves_a_thread_to_the_others() {
        let (tx, done) = unbounded();
        let run = move |ticket: Ticket, gate: Receiver<()>| {
            let _ = gate.recv();
            let _ = tx.send(ticket);
        };
        let pool = Pool::start("test", Limits { threads: 2, ..LIMITS }, run);
        let (gate, wait) = bounded::<()>(0);
        let loud: Vec<Ticket> = (0..50).map(|_| pool.submit("loud", wait.clone()).unwrap()).collect();
        // Nobody opens the gate: all of these come to their end nevertheless.
        let quiet: Vec<Ticket> = (0..50).map(|_| pool.submit("quiet", open()).unwrap()).collect();
        assert_eq!(quiet.iter().map(|_| done.recv().unwrap()).collect::<Vec<_>>(), quiet);
        drop(gate);
        assert_eq!(loud.iter().map(|_| done.recv().unwrap()).collect::<Vec<_>>(), loud);
    }

    #[test]
    fn a_hung_job_is_left_behind_and_its_share_waits() {
        let (pool, done) = pool();
        let (gate, wait) = bounded::<()>(0);
        let hung = pool.submit("hostile", wait).unwrap();
        let other = pool.submit("other", open()).unwrap();
        while !pool.shared.lock().running.contains_key(&hung) {
            std::thread::yield_now();
        }
        pool.abandon(hung);
        assert_eq!(done.recv().unwrap(), other, "the replacement serves the others");
        assert_eq!(pool.left_behind(), 1);
        assert_eq!(pool.submit("hostile", open()), None, "one hung thread a share");
        drop(gate);
        assert_eq!(done.recv().unwrap(), hung);
        while pool.left_behind() > 0 {
            std::thread::yield_now();
        }
        let again = pool.submit("hostile", open()).unwrap();
        assert_eq!(done.recv().unwrap(), again);
    }

    #[test]
    fn a_queued_job_can_be_given_up_and_a_full_queue_refuses() {
        let (pool, done) = pool();
        let (gate, wait) = bounded::<()>(0);
        let first = pool.submit("a", wait).unwrap();
        while pool.shared.lock().running.is_empty() {
            std::thread::yield_now();
        }
        let mut queued: Vec<Ticket> = (0..100).map(|_| pool.submit("b", open()).unwrap()).collect();
        assert_eq!(pool.submit("b", open()), None);
        let last = queued.pop().unwrap();
        for ticket in queued {
            pool.abandon(ticket);
        }
        drop(gate);
        assert_eq!((done.recv().unwrap(), done.recv().unwrap()), (first, last));
    }

    #[test]
    fn a_panic_ends_the_job_alone() {
        let (tx, done) = unbounded();
        let pool = Pool::start("test", LIMITS, move |ticket: Ticket, bad: bool| {
            assert!(!bad, "as the test wants it");
            let _ = tx.send(ticket);
        });
        pool.submit("a", true).unwrap();
        let good = pool.submit("a", false).unwrap();
        assert_eq!(done.recv().unwrap(), good);
    }
}
