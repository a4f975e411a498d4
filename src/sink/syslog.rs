//! Alerts to the local syslog: RFC 3164 by the `syslog` crate's formatter, sent by a transport of our own, for the
//! crate's blocks for ever on a stalled reader and never connects again.
//!
//! A reader that is missing, restarts or stalls costs nobody anything: messages wait in the queue, in order, and go out
//! when it is back. What the socket has taken is the reader's: nobody can tell whether it keeps it. At the watcher's end
//! a reader that is missing is tried once more and not waited for.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use syslog::Formatter3164;

use super::header::prefix;
use super::queue::{Message, Next, Queue};
use super::socket::{Outcome, Socket};
use super::watch::Watch;
use super::{Form, Sink};
use crate::alert::document::Document;
use crate::alert::{Severity, fit};
use crate::config::{self, Invalid, Message as Body};
use crate::error::{Error, Result};
use crate::escape;

/// Bytes of a whole message: rsyslog cuts at 8,096 (imuxsock), and cut JSON is no JSON.
pub const MESSAGE_LIMIT: usize = 8000;

/// Between two tries to connect, doubled up to the latter. inotify mostly ends the wait before.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Once the socket has appeared: its maker may not listen yet.
const BACKOFF_APPEARED: Duration = Duration::from_millis(5);

/// Between two tries where poll(2) says writable and send(2) does not agree, doubled up to the latter.
const STALL: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_secs(1);

/// A reader that takes nothing for less than this is merely behind: the kernel lets ten messages wait
/// (net.unix.max_dgram_qlen), and what would be said of each such moment goes to that same reader's journal.
const PATIENCE: Duration = Duration::from_secs(1);

/// The sink.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    socket: Socket,
    header: Formatter3164,
    cookie: String,
    form: Form,
    /// The first message as it goes out; empty where it is still to be rendered.
    current: Vec<u8>,
    /// Largest message that the socket is known to take.
    largest: usize,
    trouble: Option<Trouble>,
}

/// Since when and how it does not work.
#[derive(Debug)]
struct Trouble {
    watch: Option<Watch>,
    backoff: Duration,
    retry_at: Instant,
    /// How often in a row the reader took nothing.
    stalls: u32,
    began: Instant,
    /// The log knows of it, and will of its end.
    said: bool,
}

impl Syslog {
    /// From the section `[syslog]`. Fails where its target, facility, tag or cookie cannot be used; a socket that is not
    /// there is no failure.
    pub fn new(section: &config::Syslog) -> Result<Self> {
        let wrong = |key: &str, reason: String| Error::Config { act: "check", object: key.to_owned(), reason };
        if let Some(Invalid { key, reason }) = section.check().into_iter().next() {
            return Err(wrong(key, reason));
        }
        let path = section.socket().ok_or_else(|| wrong("syslog.target", "is no local socket".into()))?;
        let facility = section.facility.parse().map_err(|()| wrong("syslog.facility", "is unknown".into()))?;
        let header = Formatter3164 {
            facility,
            // Local daemons take the host's name from themselves, and a word in its place for the tag.
            hostname: None,
            process: section.tag.clone(),
            pid: std::process::id(),
        };
        let room = MESSAGE_LIMIT - prefix(&header, &section.cookie, Severity::Low).len();
        let form = match section.message {
            Body::Ecs => Form::Ecs { limit: room },
            Body::Text => Form::Text { limit: room },
        };
        Ok(Self {
            path: path.into(),
            socket: Socket::new(path)?,
            header,
            cookie: section.cookie.clone(),
            form,
            current: Vec::new(),
            largest: MESSAGE_LIMIT,
            trouble: None,
        })
    }

    /// Tries to deliver the queue's first message, or waits for what hinders it. Breaks where the watcher ends and there
    /// is no reader.
    fn deliver(&mut self, message: &Message, queue: &Queue) -> ControlFlow<()> {
        let stopping = queue.is_stopping();
        if !stopping && self.trouble.as_ref().is_some_and(|trouble| Instant::now() < trouble.retry_at) {
            self.wait_for_reader(queue);
            return ControlFlow::Continue(());
        }
        if self.current.is_empty() {
            match self.render(message) {
                Some(rendered) => self.current = rendered,
                None => {
                    queue.give_up("the message is longer than its socket takes");
                    return ControlFlow::Continue(());
                }
            }
        }
        match self.socket.send(&self.current) {
            Outcome::Sent => {
                self.current.clear();
                queue.delivered();
                if self.trouble.take().is_some_and(|trouble| trouble.said) {
                    log::info!("syslog {}: works again", self.path.display());
                }
            }
            Outcome::TooLong => {
                self.largest = self.current.len() * 3 / 4;
                self.current.clear();
            }
            Outcome::Full => self.wait_until_writable(queue),
            Outcome::Broken(_) if stopping && self.trouble.is_some() => return ControlFlow::Break(()),
            Outcome::Broken(error) => self.broken(error),
        }
        ControlFlow::Continue(())
    }

    /// Header, cookie and body within the largest size known; `None` where the body cannot be made that small.
    fn render(&self, message: &Message) -> Option<Vec<u8>> {
        let mut out = prefix(&self.header, &self.cookie, message.severity);
        let room = self.largest.checked_sub(out.len())?;
        if message.body.len() <= room {
            out.extend_from_slice(&message.body);
        } else if room < fit::MINIMUM {
            return None;
        } else if matches!(self.form, Form::Ecs { .. }) {
            let document: Document = serde_json::from_slice(&message.body).ok()?;
            out.extend(fit::fit(&document, room));
        } else {
            out.extend_from_slice(escape::cut(std::str::from_utf8(&message.body).ok()?, room).as_bytes());
        }
        Some(out)
    }

    /// There is no reader. The first time it is tried again at once, for the watch may have come too late for it.
    fn broken(&mut self, error: Errno) {
        self.largest = MESSAGE_LIMIT;
        let first = self.trouble.is_none();
        self.say(|| format!("{}; alerts wait until it is back", std::io::Error::from(error)));
        if let Some(trouble) = &mut self.trouble
            && !first
        {
            trouble.retry_at = Instant::now() + trouble.backoff;
            trouble.backoff = (trouble.backoff * 2).min(BACKOFF_MAX);
            if trouble.watch.is_none() {
                trouble.watch = Watch::new(&self.path).ok();
            }
        }
    }

    /// Once for each trouble.
    fn say(&mut self, what: impl FnOnce() -> String) {
        let trouble = self.begin_trouble();
        if !std::mem::replace(&mut trouble.said, true) {
            log::warn!("syslog {}: {}", self.path.display(), what());
        }
    }

    fn begin_trouble(&mut self) -> &mut Trouble {
        let path = &self.path;
        self.trouble.get_or_insert_with(|| Trouble {
            watch: Watch::new(path).ok(),
            backoff: BACKOFF,
            retry_at: Instant::now(),
            stalls: 0,
            began: Instant::now(),
            said: false,
        })
    }

    /// Until the next try is due, or the socket has appeared.
    fn wait_for_reader(&mut self, queue: &Queue) {
        let Some(trouble) = &mut self.trouble else { return };
        let left = trouble.retry_at.saturating_duration_since(Instant::now());
        let fds: Vec<_> = trouble.watch.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)).collect();
        queue.wait(&fds, Some(left));
        if trouble.watch.as_mut().is_some_and(Watch::saw) {
            trouble.backoff = BACKOFF_APPEARED;
            trouble.retry_at = Instant::now();
        }
    }

    /// Until the reader has taken something, or another socket stands in its place.
    fn wait_until_writable(&mut self, queue: &Queue) {
        let patience = PATIENCE.saturating_sub(self.begin_trouble().began.elapsed());
        if patience.is_zero() {
            self.say(|| "its reader takes nothing; alerts wait".into());
        }
        let (Some(trouble), Some(socket)) = (&mut self.trouble, self.socket.fd()) else { return };
        // POLLOUT comes when the reader takes something or dies (unix_dgram_poll()). Where it comes and send(2) says
        // EAGAIN again, a timer keeps us from spinning.
        let spins = trouble.stalls >= 2;
        let pause = spins.then(|| (STALL * (1 << trouble.stalls.min(8))).min(STALL_MAX));
        // Woken up once more, to say it.
        let pause = if trouble.said { pause } else { Some(pause.map_or(patience, |pause| pause.min(patience))) };
        let mut fds: Vec<_> = trouble.watch.iter().map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)).collect();
        if !spins {
            fds.push(PollFd::new(socket, PollFlags::POLLOUT));
        }
        if queue.wait(&fds, pause) || spins {
            trouble.stalls += 1;
        }
        if trouble.watch.as_mut().is_some_and(Watch::saw) {
            self.socket.close();
        }
    }
}

impl Sink for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn form(&self) -> Form {
        self.form
    }

    fn run(&mut self, queue: &Queue) {
        loop {
            match queue.next() {
                Next::Closed => return,
                Next::Reopen => {}
                Next::Idle => drop(queue.wait(&[], None)),
                Next::Message(message) => {
                    if self.deliver(&message, queue).is_break() {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
