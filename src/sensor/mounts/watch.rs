//! The thread that watches mounts: the host's table, where container runtimes mount what their containers run from, and
//! the containers' own, where everything else appears. Sleeps until something changes, or a sensor asks.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Mounts;
use super::book::Book;
use super::host::HostTable;
use super::spaces::Spaces;
use super::tools::Tools;
use crate::error::{Error, Result};
use crate::event::Monotonic;
use crate::host::clock;
use crate::host::process::Proc;
use crate::sensor::counters::Counters;
use crate::sensor::fanotify_group::{Group, Way};
use crate::sensor::far::marks::{Marks, Outcome};
use crate::sensor::ledger::Ledger;
use crate::sensor::status::{Coverage, StatusSocket};
use crate::sensor::without::{Part, without};
use crate::sensor::{Control, ControlInlet, Controls, FileTriage};
use crate::sys::process::{run_early, thread_cpu_ns};

/// Changes that follow each other are read once: a runtime mounts, unmounts and mounts again.
const COALESCE: Duration = Duration::from_millis(5);
/// Looking through all processes may take one part in so many of the time; through the young ones, while a container is
/// made, that of the second.
const SHARE: u32 = 1000;
/// Each such look in a row that finds nothing new makes the share half as large, so many times.
const FRUITLESS: u32 = 2;
const SHARE_YOUNG: u32 = 1;
/// Something died unseen: the living are looked through after this.
const SWEEP_DELAY: Duration = Duration::from_millis(50);
const EVENTS: usize = 64;
/// Tables that are read until orders are looked for.
const READINGS: usize = 16;

const ORDERS: u64 = 0;
const HOST: u64 = 1;
const REQUESTS: u64 = 2;
const STATUS: u64 = 3;
const FAR: u64 = 4;

/// What the watcher works with.
pub struct Parts {
    /// Where processes are found.
    pub proc: Arc<Proc>,
    /// The table that it keeps.
    pub mounts: Arc<Mounts>,
    /// What it marks with.
    pub group: Arc<Group>,
    /// What it marks far mounts with; `None` where the kernel has no exec events.
    pub far_group: Option<Arc<Group>>,
    /// Who is told whose a mount is.
    pub triage: Arc<dyn FileTriage>,
    /// The connector's reader, which may rest while fanotify covers all containers; `None` where there is none.
    pub connector: Option<Controls>,
    /// What the sensors count.
    pub counters: Arc<Counters>,
    /// What of it is not counted yet.
    pub ledger: Arc<Ledger>,
    /// The state directory.
    pub state: PathBuf,
}

/// The watcher; [`Watcher::run`] is its thread.
pub struct Watcher {
    epoll: Epoll,
    host: HostTable,
    book: Book,
    group: Arc<Group>,
    far: Marks,
    mounts: Arc<Mounts>,
    spaces: Spaces,
    control: ControlInlet,
    asked: Arc<EventFd>,
    connector: Option<Controls>,
    /// Whether the connector was last told that it alone covers some container; it begins so.
    eager: bool,
    counters: Arc<Counters>,
    ledger: Arc<Ledger>,
    /// Where it is told what is covered; `None` where that cannot be had.
    status: Option<StatusSocket>,
    /// Looks through all processes.
    sweeps: Turns,
    /// Looks through the young ones.
    young: Turns,
    /// Looks through all in a row that found nothing.
    fruitless: u32,
}

impl Watcher {
    /// Opens process 1's table below `proc_root`, and takes in what is mounted now, on the host and in containers.
    ///
    /// # Errors
    /// The table cannot be read, or no descriptor is left.
    pub fn open(proc_root: &Path, parts: Parts, control: ControlInlet) -> Result<Self> {
        let Parts { proc, mounts, group, far_group, triage, connector, counters, ledger, state } = parts;
        let failed = |e: nix::Error| Error::os("watch", "the mounts", e);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let asked = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(failed)?);
        let host = HostTable::open(proc_root)?;
        // A change shows as POLLPRI and POLLERR (fs/proc_namespace.c, `mounts_poll`).
        epoll.add(host.fd(), EpollEvent::new(EpollFlags::EPOLLPRI, HOST)).map_err(failed)?;
        epoll.add(control.wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, ORDERS)).map_err(failed)?;
        epoll.add(asked.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, REQUESTS)).map_err(failed)?;
        let status = StatusSocket::make(&state);
        if let Some(status) = &status {
            epoll.add(status.fd(), EpollEvent::new(EpollFlags::EPOLLIN, STATUS)).map_err(failed)?;
        }
        let book = Book::new(Arc::clone(&mounts), triage);
        let spaces = Spaces::new(proc);
        spaces.own().for_each(|namespace| book.know(namespace));
        let (sweeps, young) = (Turns::new(SHARE), Turns::new(SHARE_YOUNG));
        let mut watcher = Self {
            epoll,
            host,
            book,
            group,
            far: Marks::new(far_group),
            mounts,
            spaces,
            control,
            asked,
            connector,
            eager: true,
            counters,
            ledger,
            status,
            sweeps,
            young,
            fruitless: 0,
        };
        watcher.host.read(&mut watcher.book, &watcher.group).map_err(|e| Error::os("read", "the mount table", e))?;
        watcher.mounts.requests.answer_by(Arc::clone(&watcher.asked));
        watcher.sweep(false);
        while watcher.with(Spaces::read_next) {}
        watcher.hear_far();
        watcher.mark_host();
        watcher.pace_connector();
        Ok(watcher)
    }

    /// Watches until told to stop.
    pub fn run(mut self) {
        if let Err(e) = run_early() {
            log::debug!("the watch over mounts runs like any other thread: {e}");
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = self.epoll.wait(&mut events, self.timeout()).unwrap_or(0);
            let ready = events.get(..count).unwrap_or_default();
            if ready.iter().any(|e| e.data() == ORDERS) && self.control.is_stopped() {
                return;
            }
            // The host's first: it tells whose the others are.
            if ready.iter().any(|e| e.data() == HOST) || self.host.next_due().is_some_and(|due| due <= clock::now()) {
                self.read_host();
            }
            for event in ready {
                match event.data() {
                    ORDERS | HOST | STATUS | FAR => {}
                    REQUESTS => self.answer(),
                    token => {
                        if self.with(|spaces, tools| spaces.event(token, tools)) {
                            self.sweeps.ask(clock::now().plus(SWEEP_DELAY));
                        }
                    }
                }
            }
            let now = clock::now();
            if self.sweeps.are_due(now) {
                self.sweep(false);
            } else if self.young.are_due(now) {
                self.sweep(true);
            }
            self.read_spaces();
            self.hear_far();
            self.mark_host();
            self.book.forget(now);
            self.pace_connector();
            if ready.iter().any(|e| e.data() == STATUS) {
                self.tell();
            }
            if count > 0 {
                std::thread::sleep(COALESCE);
            }
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Spaces, &mut Tools<'_>) -> T) -> T {
        let Self { epoll, host, book, group, far, spaces, .. } = self;
        act(spaces, &mut Tools { epoll, book, group, host, far })
    }

    /// Wakes up by itself only where something is due.
    fn timeout(&self) -> EpollTimeout {
        let due = [self.sweeps.due, self.young.due, self.book.next_due(), self.spaces.next_due(), self.far.next_due()];
        let due = due.into_iter().chain([self.host.next_due()]).flatten().min();
        let Some(due) = due else { return EpollTimeout::NONE };
        let wait = due.since(clock::now()) + Duration::from_millis(1);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }

    fn read_host(&mut self) {
        match self.host.read(&mut self.book, &self.group) {
            Ok(fresh) => {
                let now = clock::now();
                fresh.into_iter().for_each(|device| self.spaces.expect(device, now));
                self.mounts.requests.set_awaited(self.spaces.are_awaited(now));
            }
            Err(e) => log::error!("read the mount table: {e}"),
        }
    }

    /// Reads the containers' tables, and the host's between any two: what that tells of concerns all.
    fn read_spaces(&mut self) {
        for _ in 0..READINGS {
            if !self.with(Spaces::read_next) {
                return;
            }
            if self.host.has_changed() {
                self.read_host();
            }
        }
    }

    /// Takes in what is heard of far mounts, which are marked by somebody else.
    fn hear_far(&mut self) {
        for _ in 0..READINGS {
            let Some((namespace, place, outcome)) = self.far.hear(&self.epoll, FAR) else { return };
            let wanted = self.spaces.hear(namespace, &place, outcome, &mut self.book);
            if let Outcome::Reached(_) = outcome {
                self.far.go_on(wanted);
            }
        }
    }

    fn answer(&mut self) {
        let _ = self.asked.read();
        self.mounts.requests.is_alive();
        if without(Part::Namespaces) {
            return;
        }
        let requests = &self.mounts.requests;
        let (poked, sweep_wanted) = (requests.take_poked(), requests.is_sweep_wanted());
        for (namespace, pid) in requests.take() {
            let Self { epoll, host, book, group, far, spaces, .. } = self;
            spaces.ask(namespace, pid, &mut Tools { epoll, book, group, host, far });
        }
        let now = clock::now();
        if self.mounts.requests.take_flooded() {
            self.spaces.let_rest(now);
        }
        let awaited = self.spaces.are_awaited(now);
        self.mounts.requests.set_awaited(awaited);
        if poked && awaited {
            self.young.ask(now);
        }
        if sweep_wanted {
            self.sweeps.ask(now.plus(SWEEP_DELAY));
        }
    }

    /// Marks the host's own mounts while a container sees the host's processes.
    fn mark_host(&mut self) {
        let wanted = self.spaces.share_host() && !without(Part::HostMarks);
        self.host.mark_own(wanted && self.group.way != Way::Open, &mut self.book, &self.group);
    }

    /// Has the connector look at once while a container executes from what nothing else covers.
    fn pace_connector(&mut self) {
        let Some(connector) = &self.connector else { return };
        let eager = self.spaces.have_uncovered(&self.mounts);
        let order = if eager { Control::Eager } else { Control::Lazy };
        // What finds no room is said again.
        if eager != self.eager && connector.send(order) {
            self.eager = eager;
        }
    }

    /// Tells whoever asks what is covered.
    fn tell(&self) {
        let Some(status) = &self.status else { return };
        status.answer(|| Coverage {
            fanotify: Some(self.group.way.describe().to_owned()),
            connector: self.connector.is_some(),
            containers: self.spaces.coverage(&self.mounts, self.book.triage()),
            ..Coverage::counted(&self.counters, &self.ledger)
        });
    }

    fn sweep(&mut self, young: bool) {
        self.young.due = None;
        if !young {
            self.sweeps.due = None;
            self.mounts.requests.sweep_begins();
        }
        if without(Part::Namespaces) {
            return;
        }
        let began = thread_cpu_ns().unwrap_or(0);
        let found = self.with(|spaces, tools| spaces.sweep(young, tools));
        let took = Duration::from_nanos(thread_cpu_ns().unwrap_or(0).saturating_sub(began));
        if young {
            self.young.done(clock::now(), took);
        } else {
            self.fruitless = if found { 0 } else { (self.fruitless + 1).min(FRUITLESS) };
            self.sweeps.done(clock::now(), took * 2u32.pow(self.fruitless));
        }
    }
}

/// When something is to be done that may take a share of the time.
#[derive(Debug)]
struct Turns {
    /// One part in so many.
    share: u32,
    /// Not before this.
    rest: Monotonic,
    due: Option<Monotonic>,
}

impl Turns {
    fn new(share: u32) -> Self {
        Self { share, rest: Monotonic::default(), due: None }
    }

    /// It is wanted at this moment.
    fn ask(&mut self, at: Monotonic) {
        let due = at.max(self.rest);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    fn are_due(&self, now: Monotonic) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// It was done, and took this long.
    fn done(&mut self, now: Monotonic, took: Duration) {
        self.rest = now.plus(took * self.share);
    }
}
