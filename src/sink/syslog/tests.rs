//! Readers that are away, behind, or come late. Test only.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{bounded, unbounded};

use super::*;

/// No test waits for so long; what would hang ends the test by it.
const LONG: Duration = Duration::from_secs(3600);
const HANGS: Duration = Duration::from_secs(60);

/// A sink that has found no socket twice and waits, with two messages.
fn in_its_backoff(path: &Path) -> (Syslog, Arc<Queue>) {
    let target = format!("unix:{}", path.display());
    let mut sink = Syslog::new(&config::Syslog { target, ..Default::default() }).unwrap();
    let queue = Queue::new("syslog", unbounded().0).unwrap();
    let message = Message { body: b"{}"[..].into(), severity: Severity::Low, tells: 0 };
    for _ in 0..2 {
        queue.push(message.clone());
        assert!(sink.deliver(&message, &queue).is_continue());
    }
    sink.trouble.as_mut().unwrap().retry_at = Instant::now() + LONG;
    (sink, Arc::new(queue))
}

/// Ends once the sink has.
fn run(mut sink: Syslog, queue: &Arc<Queue>) -> crossbeam_channel::Receiver<()> {
    let (ended_in, ended) = bounded(1);
    let queue = Arc::clone(queue);
    thread::spawn(move || {
        sink.run(&queue);
        let _ = ended_in.send(());
    });
    ended
}

#[test]
fn what_the_configuration_may_say_can_be_used() {
    let mut config = config::Config::default();
    for (tag, facility, cookie) in [("a/b.c-d_e", "local7", "@cee:"), ("x", "ftp", ""), ("!", "uucp", "")] {
        (config.syslog.tag, config.syslog.facility, config.syslog.cookie) =
            (tag.into(), facility.into(), cookie.into());
        assert_eq!(config.check(), []);
        assert!(Syslog::new(&config.syslog).is_ok(), "{tag} {facility} {cookie}");
    }
}

/// A reader whose socket holds as much as it may, and a sink with one message for it.
fn behind(path: &Path) -> (UnixDatagram, Syslog, Queue) {
    let reader = UnixDatagram::bind(path).unwrap();
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"x", path).is_ok() {}
    let target = format!("unix:{}", path.display());
    let sink = Syslog::new(&config::Syslog { target, ..Default::default() }).unwrap();
    let queue = Queue::new("syslog", unbounded().0).unwrap();
    queue.push(Message { body: b"{}"[..].into(), severity: Severity::Low, tells: 0 });
    (reader, sink, queue)
}

/// Delivers the first message, and comes back from the wait that follows where the reader takes nothing.
fn deliver_once(sink: &mut Syslog, queue: &Queue) {
    queue.reopen();
    let Next::Reopen = queue.next() else { panic!("it was asked for") };
    queue.reopen();
    let message = Message { body: b"{}"[..].into(), severity: Severity::Low, tells: 0 };
    assert!(sink.deliver(&message, queue).is_continue());
}

#[test]
fn a_reader_that_is_behind_for_a_moment_is_no_trouble_worth_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, mut sink, queue) = behind(&dir.path().join("log"));
    for _ in 0..3 {
        deliver_once(&mut sink, &queue);
        assert!(!sink.trouble.as_ref().unwrap().said);
    }
    reader.recv(&mut [0; 64]).unwrap();
    deliver_once(&mut sink, &queue);
    assert!(sink.trouble.is_none());
}

#[test]
fn a_reader_that_takes_nothing_for_long_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_reader, mut sink, queue) = behind(&dir.path().join("log"));
    deliver_once(&mut sink, &queue);
    let trouble = sink.trouble.as_mut().unwrap();
    trouble.began = Instant::now().checked_sub(PATIENCE).unwrap();
    deliver_once(&mut sink, &queue);
    assert!(sink.trouble.as_ref().unwrap().said);
}

#[test]
fn at_the_stop_a_missing_reader_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, queue) = in_its_backoff(&dir.path().join("log"));
    queue.stop(Instant::now() + LONG);
    run(sink, &queue).recv_timeout(HANGS).unwrap();
    assert_eq!(queue.waiting(), 2);
}

#[test]
fn a_sink_that_waits_learns_of_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, queue) = in_its_backoff(&dir.path().join("log"));
    let ended = run(sink, &queue);
    queue.stop(Instant::now() + LONG);
    ended.recv_timeout(HANGS).unwrap();
}

#[test]
fn at_the_stop_a_reader_that_has_come_gets_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (sink, queue) = in_its_backoff(&path);
    let reader = UnixDatagram::bind(&path).unwrap();
    queue.stop(Instant::now() + LONG);
    run(sink, &queue).recv_timeout(HANGS).unwrap();
    assert_eq!(queue.waiting(), 0);
    assert!(reader.recv(&mut [0; 64]).is_ok());
}

#[test]
fn a_sink_that_is_replaced_waits_for_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (sink, queue) = in_its_backoff(&path);
    queue.retire(Instant::now() + LONG);
    let ended = run(sink, &queue);
    let _reader = UnixDatagram::bind(&path).unwrap();
    ended.recv_timeout(HANGS).unwrap();
    assert_eq!(queue.waiting(), 0);
}
