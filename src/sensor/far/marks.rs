//! Has far mounts marked by a process that may hang, one after another: asked by the thread that watches the mounts, which
//! never waits for it.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::errand::{Order, Report};
use super::messenger::{Ended, Messenger};
use crate::event::{Monotonic, MountNumber, Namespace};
use crate::host::clock;
use crate::host::mountinfo::Place;
use crate::host::process::ProcessDir;
use crate::sensor::fanotify_group::Group;

/// A server that has not answered by then does not.
const PATIENCE: Duration = Duration::from_secs(5);
/// Mounts that wait; what is beyond is asked for at the next reading of its table.
const WAITING: usize = 1024;
/// So many may be held by servers before nobody is sent any more, and so many for each outermost container.
const HELD: usize = 32;
const HELD_FOR_ONE: usize = 4;

/// A mount that is to be marked.
#[derive(Debug)]
pub struct Request {
    /// Where it is mounted.
    pub namespace: Namespace,
    /// Which.
    pub place: Place,
    /// A process that sees it.
    pub process: ProcessDir,
    /// The outermost container whose it is; empty where no runtime made that.
    pub outermost: Vec<u8>,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, and has this number: [`Marks::go_on`] is called when it is in the table.
    Reached(MountNumber),
    /// All execs through it are reported.
    Marked,
    /// It cannot be marked.
    Refused(Errno),
    /// Its server has not answered.
    Late,
}

struct Errand {
    request: Request,
    since: Monotonic,
    messenger: Messenger,
}

/// What is to be marked.
pub struct Marks {
    /// Where; `None` where the kernel reports no execs.
    group: Option<Arc<Group>>,
    waiting: VecDeque<Request>,
    under_way: Option<Errand>,
    /// Who has brought the last answer.
    idle: Option<Messenger>,
    /// Who was late, and for which outermost container.
    held: Vec<(Vec<u8>, Ended)>,
}

impl Marks {
    /// Marks in this group.
    pub fn new(group: Option<Arc<Group>>) -> Self {
        Self { group, waiting: VecDeque::new(), under_way: None, idle: None, held: Vec::new() }
    }

    /// Whether far mounts can be marked at all.
    pub fn are_possible(&self) -> bool {
        self.group.is_some()
    }

    /// Asks for a mount to be marked, be it so already or not.
    pub fn ask(&mut self, request: Request) {
        let is_same = |other: &Request| (other.namespace, &other.place) == (request.namespace, &request.place);
        if self.waiting.len() < WAITING && !self.waiting.iter().any(is_same) {
            self.waiting.push_back(request);
        }
    }

    /// When a server is too late.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.under_way.as_ref().map(|errand| errand.since.plus(PATIENCE))
    }

    /// What was heard by now of which mount, if anything. Sends for the next where none is under way; `token` is what its
    /// answer shows as.
    pub fn hear(&mut self, epoll: &Epoll, token: u64) -> Option<(Namespace, Place, Outcome)> {
        while self.under_way.is_none() {
            let Some(request) = self.waiting.pop_front() else {
                self.idle = None;
                return None;
            };
            match self.send_for(&request, epoll, token) {
                Ok(messenger) => self.under_way = Some(Errand { request, since: clock::now(), messenger }),
                Err(e) => return Some((request.namespace, request.place, Outcome::Refused(e))),
            }
        }
        let errand = self.under_way.as_ref()?;
        let outcome = match errand.messenger.report() {
            Ok(None) if clock::now().since(errand.since) < PATIENCE => return None,
            Ok(None) => Outcome::Late,
            Ok(Some((Report::Reached { number, error: 0 }, _))) => Outcome::Reached(MountNumber(number)),
            Ok(Some((Report::Marked { error: 0 }, _))) => Outcome::Marked,
            Ok(Some((Report::Reached { error, .. } | Report::Marked { error }, _))) => {
                Outcome::Refused(Errno::from_raw(error))
            }
            Ok(Some(_)) | Err(_) => Outcome::Refused(Errno::EIO),
        };
        if let Outcome::Reached(_) = outcome {
            return Some((errand.request.namespace, errand.request.place.clone(), outcome));
        }
        let Errand { request, messenger, .. } = self.under_way.take()?;
        match outcome {
            Outcome::Late => self.held.push((request.outermost, messenger.end())),
            // Who has failed may have come to his end.
            Outcome::Refused(Errno::EIO) => drop(messenger),
            _ => self.idle = Some(messenger),
        }
        Some((request.namespace, request.place, outcome))
    }

    fn send_for(&mut self, request: &Request, epoll: &Epoll, token: u64) -> nix::Result<Messenger> {
        self.held.retain(|(_, held)| held.is_held());
        let of_one = self.held.iter().filter(|(outermost, _)| *outermost == request.outermost).count();
        if self.held.len() >= HELD || of_one >= HELD_FOR_ONE {
            return Err(Errno::EAGAIN);
        }
        let said = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        let messenger = match self.idle.take() {
            Some(messenger) => messenger,
            None => {
                let new = Messenger::start().map_err(said)?;
                epoll.add(new.fd(), EpollEvent::new(EpollFlags::EPOLLIN, token))?;
                new
            }
        };
        // Opened no earlier, as it keeps what is mounted there from being unmounted.
        let root = request.process.root_dir().map_err(|_| Errno::ESTALE)?;
        let (id, dev, point) = request.place.clone();
        messenger.send(&Order::Reach { id, dev, point }, &[root.as_fd()]).map_err(said)?;
        Ok(messenger)
    }

    /// What was reached is to be marked, or left as it is.
    pub fn go_on(&mut self, wanted: bool) {
        let Some(errand) = self.under_way.take() else { return };
        let marked = self.group.as_ref().filter(|_| wanted);
        // One to whom nothing can be sent has come to his end.
        if let Some(group) = marked {
            if errand.messenger.send(&Order::Mark, &[group.fd()]).is_ok() {
                self.under_way = Some(errand);
            }
        } else {
            self.idle = Some(errand.messenger);
        }
    }
}
