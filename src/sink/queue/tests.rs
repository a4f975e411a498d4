//! What bounds, losses and heirs leave of what waits. Test only.

#![allow(clippy::unwrap_used, clippy::panic)]

use crossbeam_channel::{Receiver, unbounded};

use super::*;

fn queue(max_messages: usize, max_bytes: usize) -> (Queue, Receiver<Report>) {
    let (reports, received) = unbounded();
    (Queue::with_bounds("test", reports, max_messages, max_bytes).unwrap(), received)
}

fn message(body: &str, tells: u64) -> Message {
    Message { body: body.as_bytes().into(), severity: Severity::Low, tells }
}

fn first(queue: &Queue) -> String {
    match queue.next() {
        Next::Message(message) => String::from_utf8(message.body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bounds_hold_and_losses_are_told_once() {
    let (queue, reports) = queue(2, 10);
    assert!(queue.push(message("a", 0)) && queue.push(message("b", 0)));
    assert!(!queue.push(message("c", 0)) && !queue.push(message("d", 0)));
    assert_eq!(reports.try_recv().unwrap(), Report::Failing("test", "its queue is full".into()));
    assert!(reports.is_empty());
    assert_eq!(first(&queue), "a");
    queue.delivered();
    assert_eq!(reports.try_recv().unwrap(), Report::Working("test"));
    assert!(!queue.push(message("0123456789", 0)), "bytes are bounded too");
    assert_eq!(queue.take_loss().map(|loss| loss.count), Some(3));
    assert_eq!(queue.take_loss(), None);
    assert_eq!(first(&queue), "b");
}

#[test]
fn a_lost_telling_is_told_again() {
    let (queue, reports) = queue(5, 100);
    queue.push(message("a", 0));
    queue.give_up("no room");
    queue.push(message("b", 0));
    queue.delivered();
    assert_eq!(reports.try_iter().count(), 2);
    let count = queue.take_loss().unwrap().count;
    queue.push(message("1 lost", count));
    queue.push(message("c", 0));
    queue.give_up("no room");
    assert_eq!(reports.try_recv().unwrap(), Report::Failing("test", "no room".into()));
    queue.delivered();
    assert_eq!(reports.try_recv().unwrap(), Report::Working("test"));
    assert_eq!(queue.take_loss().unwrap().count, 2);
}

#[test]
fn a_lasting_loss_makes_one_report_at_a_time() {
    let (queue, reports) = queue(1, 100);
    for _ in 0..10 {
        queue.push(message("a", 0));
        queue.push(message("b", 0));
        queue.delivered();
    }
    assert_eq!(reports.try_iter().count(), 2);
    let told = queue.take_loss().unwrap().count;
    assert_eq!(told, 10);
    assert!(queue.push(message("10 lost", told)));
    assert!(!queue.push(message("c", 0)));
    queue.delivered();
    let after: Vec<_> = reports.try_iter().collect();
    assert_eq!(after, [Report::Failing("test", "its queue is full".into()), Report::Working("test")]);
}

#[test]
fn closing_lets_the_rest_out_until_the_deadline() {
    let (queue, _reports) = queue(5, 100);
    queue.push(message("a", 0));
    queue.push(message("b", 0));
    queue.retire(Instant::now() + Duration::from_secs(3600));
    assert!(!queue.push(message("c", 0)));
    assert_eq!(first(&queue), "a");
    queue.delivered();
    queue.retire(Instant::now());
    assert!(matches!(queue.next(), Next::Closed));
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn what_waits_is_taken_over_once() {
    for ended in [true, false] {
        let (queue, reports) = queue(5, 100);
        ["a", "b", "c"].iter().for_each(|body| assert!(queue.push(message(body, 0))));
        queue.replace();
        queue.leave();
        assert!(matches!(queue.next(), Next::Closed));
        if ended {
            queue.end();
        }
        let taken: Vec<_> = queue.take_over().iter().map(|message| message.body.to_vec()).collect();
        let expected: &[&[u8]] = if ended { &[b"a", b"b", b"c"] } else { &[b"b", b"c"] };
        assert_eq!((taken, reports.is_empty()), (expected.iter().map(|b| b.to_vec()).collect(), true));
        // What it was in the middle of.
        if !ended {
            queue.give_up("no room");
            queue.end();
        }
        let told: Vec<_> = reports.try_iter().collect();
        assert_eq!(told, if ended { vec![] } else { vec![Report::Left("test", 1)] });
    }
}

#[test]
fn a_sink_without_an_heir_says_at_its_end_what_it_left() {
    let (queue, reports) = queue(2, 100);
    queue.push(message("a", 0));
    queue.push(message("2 lost", 2));
    queue.replace();
    queue.retire(Instant::now());
    assert!(!queue.push(message("c", 0)) && reports.is_empty());
    queue.end();
    assert_eq!(reports.try_iter().collect::<Vec<_>>(), [Report::Left("test", 5)]);
}

#[test]
fn each_change_wakes_the_sink() {
    let (queue, _reports) = queue(5, 100);
    let queue = Arc::new(queue);
    let (done, woken) = unbounded();
    let sink = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || loop {
            match queue.next() {
                Next::Reopen => done.send("reopen").unwrap(),
                Next::Message(_) => {
                    queue.delivered();
                    done.send("message").unwrap();
                }
                Next::Idle => drop(queue.wait(&[], None)),
                Next::Closed => return,
            }
        }
    });
    for _ in 0..100 {
        queue.push(message("a", 0));
        assert_eq!(woken.recv().unwrap(), "message");
        queue.reopen();
        assert_eq!(woken.recv().unwrap(), "reopen");
    }
    queue.retire(Instant::now() + Duration::from_secs(3600));
    sink.join().unwrap();
}
