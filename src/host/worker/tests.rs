//! Who has to wait for whom in a pool. Test only.

#![allow(clippy::unwrap_used)]
use super::*;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

const LIMITS: Limits = Limits { threads: 1, threads_per_share: 1, stuck: 2, queue: 100, early: false };

type Done = Receiver<Ticket>;

impl Share for &'static str {
    type Group = Self;

    fn group(&self) -> &Self {
        self
    }
}

/// By a name that it chose itself, in one that it cannot choose.
type Nested = (u32, &'static str);

impl Share for Nested {
    type Group = &'static str;

    fn group(&self) -> &&'static str {
        &self.1
    }
}

/// Each job lasts until its gate opens.
fn behind_gates<K>(tx: Sender<Ticket>) -> impl Fn(&K, Ticket, Receiver<()>) {
    move |_, ticket, gate| {
        let _ = gate.recv();
        let _ = tx.send(ticket);
    }
}

fn nested(limits: Limits) -> (Pool<Nested, Receiver<()>>, Done) {
    let (tx, rx) = unbounded();
    (Pool::start("test", limits, behind_gates(tx)), rx)
}

#[test]
fn jobs_of_two_pools_are_not_taken_for_one_another() {
    let ((one, _), (other, _)) = (nested(LIMITS), nested(LIMITS));
    assert_ne!(one.submit((0, "a"), open()), other.submit((0, "a"), open()));
}

#[test]
fn a_group_of_many_shares_has_one_turn_and_leaves_a_thread() {
    let (pool, done) = nested(Limits { threads: 3, threads_per_share: 2, ..LIMITS });
    let (gate, wait) = bounded::<()>(0);
    let loud: Vec<Ticket> = (0..50).map(|n| pool.submit((n, "loud"), wait.clone()).unwrap()).collect();
    // Nobody opens the gate: all of these come to their end nevertheless.
    let quiet: Vec<Ticket> = (0..50).map(|n| pool.submit((n, "quiet"), open()).unwrap()).collect();
    assert_eq!(quiet.iter().map(|_| done.recv().unwrap()).collect::<Vec<_>>(), quiet);
    drop(gate);
    assert!(loud.iter().all(|_| done.recv().is_ok()));
}

#[test]
fn a_group_of_many_shares_hangs_and_queues_no_more_than_its_part() {
    let (pool, done) = nested(Limits { stuck: 8, ..LIMITS });
    let (gate, wait) = bounded::<()>(0);
    for n in 0..2 {
        let hung = pool.submit((n, "loud"), wait.clone()).unwrap();
        while !pool.shared.lock().running.contains_key(&hung) {
            std::thread::yield_now();
        }
        pool.abandon(hung);
    }
    assert_eq!(pool.submit((2, "loud"), open()), None, "a quarter of those that may hang");
    let busy = pool.submit((0, "busy"), wait.clone()).unwrap();
    while !pool.shared.lock().running.contains_key(&busy) {
        std::thread::yield_now();
    }
    let queued = (0..1000).filter(|n| pool.submit((*n, "busy"), wait.clone()).is_some()).count();
    assert_eq!(queued, LIMITS.queue * QUEUES_OF_GROUP);
    let quiet = pool.submit((0, "quiet"), open()).unwrap();
    drop(gate);
    let order: Vec<Ticket> = (0..queued + 4).map(|_| done.recv().unwrap()).collect();
    assert!(order.iter().position(|t| *t == quiet).unwrap() <= 5, "{order:?}");
    assert!(pool.shared.lock().turns.is_empty());
}

fn pool() -> (Pool<&'static str, Receiver<()>>, Done) {
    let (tx, rx) = unbounded();
    (Pool::start("test", LIMITS, behind_gates(tx)), rx)
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
    let pool = Pool::start("test", Limits { threads: 2, ..LIMITS }, behind_gates(tx));
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
    let pool = Pool::start("test", LIMITS, move |_: &&str, ticket: Ticket, bad: bool| {
        assert!(!bad, "as the test wants it");
        let _ = tx.send(ticket);
    });
    pool.submit("a", true).unwrap();
    let good = pool.submit("a", false).unwrap();
    assert_eq!(done.recv().unwrap(), good);
}
