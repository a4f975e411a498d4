//! Alerts on standard output, for a terminal or a pipe. A reader that stalls costs this thread alone; what its queue
//! cannot hold is counted like any sink's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::unistd::write;

use super::queue::{Next, Queue};
use super::{Form, Sink};
use crate::alert::fit;
use crate::config;
use crate::error::{Error, Result};

/// A pipe that poll(2) calls writable takes this much without blocking (`PIPE_BUF`, pipe(7)), also where the descriptor
/// was not opened non-blocking; to set O_NONBLOCK would set it for everybody who shares the terminal.
const CHUNK: usize = 4096;

/// The sink.
#[derive(Debug)]
pub struct Stdout {
    out: OwnedFd,
    form: Form,
    /// Bytes of the first message that are written already.
    done: usize,
    /// The line before was given up after a part of it was out.
    torn: bool,
}

impl Stdout {
    /// On a duplicate of descriptor 1.
    pub fn new(message: config::Message) -> Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned().map_err(|e| Error::os("duplicate", "stdout", e))?;
        Ok(Self::on(out, message))
    }

    /// On any descriptor.
    pub fn on(out: OwnedFd, message: config::Message) -> Self {
        let form = match message {
            config::Message::Ecs => Form::Ecs { limit: fit::LINE_LIMIT },
            config::Message::Text => Form::Text { limit: fit::LINE_LIMIT },
        };
        Self { out, form, done: 0, torn: false }
    }

    /// Writes the next piece of `body` and its newline; true once all of it is out.
    fn write_some(&mut self, body: &[u8]) -> nix::Result<bool> {
        let line: &[u8] = match body.get(self.done..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => b"\n",
        };
        // The newline goes out with the last piece where it has room: two writers then mix lines and not their parts.
        let piece = match line.get(..CHUNK) {
            Some(piece) => piece.to_vec(),
            None if line == b"\n" => line.to_vec(),
            None => [line, b"\n"].concat(),
        };
        if self.torn {
            write(&self.out, b"\n")?;
            self.torn = false;
        }
        self.done += write(&self.out, &piece)?;
        Ok(self.done > body.len())
    }

    /// Leaves the line as it is.
    fn tear(&mut self) {
        self.torn |= std::mem::take(&mut self.done) > 0;
    }
}

impl Sink for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn form(&self) -> Form {
        self.form
    }

    fn run(&mut self, queue: &Queue) {
        loop {
            let message = match queue.next() {
                Next::Closed => return,
                Next::Reopen => continue,
                Next::Idle => {
                    queue.wait(&[], None);
                    continue;
                }
                Next::Message(message) => message,
            };
            // Not ready: the bell rang, or the deadline has passed. An error (POLLERR) shows at the write.
            if !queue.wait(&[PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)], None) {
                continue;
            }
            match self.write_some(&message.body) {
                Ok(false) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Ok(true) => {
                    self.done = 0;
                    queue.delivered();
                }
                Err(error) => {
                    self.tear();
                    queue.give_up(&format!("write stdout: {}", io::Error::from(error)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use crossbeam_channel::unbounded;

    use super::super::queue::{Message, Report};
    use super::*;
    use crate::alert::Severity;

    fn message(body: String) -> Message {
        Message { body: body.into_bytes().into(), severity: Severity::Low, tells: 0 }
    }

    #[test]
    fn lines_come_out_whole_and_a_stalled_reader_holds_up_only_the_sink() {
        let (reports, _) = unbounded();
        let queue = Arc::new(Queue::new("stdout", reports).unwrap());
        let (mut reader, writer) = std::io::pipe().unwrap();
        // More than a pipe holds: the sink stalls until we read.
        let bodies: Vec<String> = (0..60).map(|n| format!("{n}").repeat(2500 + n)).collect();
        bodies.iter().for_each(|body| assert!(queue.push(message(body.clone()))));
        let sink = thread::spawn({
            let queue = Arc::clone(&queue);
            move || Stdout::on(writer.into(), config::Message::Ecs).run(&queue)
        });
        queue.retire(Instant::now() + Duration::from_secs(60));
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        sink.join().unwrap();
        assert_eq!(all, bodies.join("\n") + "\n");
    }

    #[test]
    fn a_stalled_reader_does_not_hold_up_the_end() {
        let (reports, _) = unbounded();
        let queue = Queue::new("stdout", reports).unwrap();
        let (_reader, writer) = std::io::pipe().unwrap();
        (0..30).for_each(|_| assert!(queue.push(message("x".repeat(5000)))));
        queue.retire(Instant::now() + Duration::from_millis(50));
        Stdout::on(writer.into(), config::Message::Text).run(&queue);
        assert!(queue.waiting() > 0);
    }

    #[test]
    fn what_follows_a_torn_line_is_whole() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut sink = Stdout::on(writer.into(), config::Message::Text);
        assert!(!sink.write_some(&[b'x'; CHUNK + 1]).unwrap());
        sink.tear();
        assert!(sink.write_some(b"next").unwrap());
        drop(sink);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "x".repeat(CHUNK) + "\nnext\n");
    }

    #[test]
    fn a_reader_that_left_is_told() {
        let (reports, received) = unbounded();
        let queue = Queue::new("stdout", reports).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        queue.push(message("a".into()));
        queue.push(message("b".into()));
        queue.retire(Instant::now() + Duration::from_secs(60));
        Stdout::on(writer.into(), config::Message::Text).run(&queue);
        assert!(matches!(received.try_recv().unwrap(), Report::Failing("stdout", why) if why.contains("Broken pipe")));
        assert_eq!(queue.take_loss().unwrap().count, 2);
    }
}
