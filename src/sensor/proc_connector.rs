//! The proc connector's reader: sleeps until an exec arrives, drains the socket, looks at what still lives, and rests
//! as [`Pace`] says. It proves by a canary that the kernel still talks to it, and reopens the socket when it does not.

mod proof;

use std::collections::{HashSet, VecDeque};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll, ppoll};
use proof::SILENCE;

use crate::event::{Fact, Look, Monotonic, Pid, SensorKind, Sighting};
use crate::host::clock;
use crate::host::process::Proc;
use crate::sensor::canary::Canary;
use crate::sensor::counters::Counters;
use crate::sensor::exec_look::{ExecLook, Seen};
use crate::sensor::haste::Haste;
use crate::sensor::last_names::LastNames;
use crate::sensor::ledger::{Counted, Image, LastName, Ledger};
use crate::sensor::lineage::Lineage;
use crate::sensor::losses::Losses;
use crate::sensor::mounts::Mounts;
use crate::sensor::pace::{Mode, Pace};
use crate::sensor::proc_event::ProcEvent;
use crate::sensor::proc_socket::{Listener, Purpose};
use crate::sensor::urgency::Urgency;
use crate::sensor::{Control, ControlInlet, Outlet, Triage};
use crate::sys::netlink::BATCH;
use crate::sys::process::{run_at_once, run_early, thread_cpu_ns};

/// That it is in arrears is said so often at most.
const IN_ARREARS: Duration = Duration::from_secs(60);
/// Looks at the living of one drain; what is left is swept.
const LOOKS: usize = 256;
/// Execs after which lineage is taken in even if nobody asks for it: its buffer holds the forks and exits of 10,000.
const UNDRAINED: usize = 1024;

/// Whether the connector can be had here and now.
///
/// # Errors
/// One sentence that says why not.
pub fn probe() -> Result<(), String> {
    Listener::open(Purpose::Execs).map(drop)
}

/// The reader's state; [`Reader::run`] is its thread.
pub struct Reader {
    listener: Listener,
    lineage: Lineage,
    last_names: LastNames,
    looker: ExecLook,
    outlet: Outlet,
    control: ControlInlet,
    counters: Arc<Counters>,
    ledger: Arc<Ledger>,
    pace: Pace,
    urgency: Urgency,
    haste: Haste,
    mode: Mode,
    /// Execs since lineage was last taken in.
    undrained: usize,
    /// What one drain found, and what its looks settled: kept between turns for their room alone.
    execs: Vec<(Pid, Monotonic)>,
    counted: Vec<Counted>,
    last_event: Monotonic,
    /// Since when it waits for the next.
    waits_since: Monotonic,
    /// How long it waits for orders alone, before it reads on.
    rest: Duration,
    canary: Option<(Canary, Monotonic)>,
    losses: Losses,
    /// What else is not yet told, in order.
    health: VecDeque<Fact>,
    degraded: bool,
    /// When it was last said that the reader rests though nothing else covers the containers.
    in_arrears: Option<Monotonic>,
}

impl Reader {
    /// Opens the socket; [`Mode::Eager`] also opens the one for lineage.
    ///
    /// # Errors
    /// One sentence that says why the connector cannot be had.
    pub fn open(
        proc: Arc<Proc>,
        triage: Arc<dyn Triage>,
        outlet: Outlet,
        control: ControlInlet,
        (counters, ledger, mounts): (Arc<Counters>, Arc<Ledger>, Arc<Mounts>),
        mode: Mode,
    ) -> Result<Self, String> {
        let listener = Listener::open(Purpose::Execs)?;
        let now = clock::now();
        let mut reader = Self {
            listener,
            lineage: Lineage::default(),
            last_names: LastNames::default(),
            looker: ExecLook::new(proc, triage, mounts),
            outlet,
            control,
            counters,
            ledger,
            pace: Pace::new(mode, now),
            urgency: Urgency::new(now),
            haste: Haste::new(mode),
            mode,
            undrained: 0,
            execs: Vec::new(),
            counted: Vec::new(),
            last_event: now,
            waits_since: now,
            rest: Duration::ZERO,
            canary: None,
            losses: Losses::new(SensorKind::Connector),
            health: VecDeque::new(),
            degraded: false,
            in_arrears: None,
        };
        reader.set_mode(mode);
        Ok(reader)
    }

    fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.pace.set_mode(mode);
        self.counters.set_eager(mode == Mode::Eager);
        match mode {
            Mode::Eager => self.lineage.open(),
            Mode::Lazy => self.lineage.close(),
        }
    }

    /// Reads until told to stop.
    pub fn run(mut self) {
        if let Err(e) = run_early() {
            log::warn!("the connector's reader runs like any other thread: {e}");
        }
        loop {
            self.hasten();
            if self.turn() {
                return;
            }
        }
    }

    /// Carries out orders; true when it is to end.
    fn obey(&mut self) -> bool {
        for order in self.control.drain() {
            match order {
                Control::Eager => self.haste.set_base(Mode::Eager),
                Control::Lazy => self.haste.set_base(Mode::Lazy),
                Control::Prove if self.canary.is_none() => self.release_canary(clock::now()),
                Control::Stop => return true,
                Control::Names => self.last_names.open(),
                Control::Prove | Control::Ignore(_) | Control::Forget | Control::Sweep(_) | Control::Pulse => {}
            }
        }
        false
    }

    /// One wait, drain, look and rest; true when it is to end. On an idle machine each call that is saved counts, as
    /// it is made with cold caches.
    fn turn(&mut self) -> bool {
        if self.wait() && self.obey() {
            return true;
        }
        if let Err(e) = self.drain() {
            self.reopen(&e);
            return false;
        }
        let count = self.execs.len();
        if count > 0 {
            self.last_event = clock::now();
            let waiting = self.execs.first().map_or(self.last_event, |(_, at)| (*at).max(self.waits_since));
            self.urgency.woke_after(self.last_event.since(waiting), self.last_event);
            self.work_again();
            self.look_at_execs();
            self.haste.uncovered(self.looker.take_uncovered(), self.last_event);
        }
        let now = clock::now();
        let mode = self.haste.mode(now);
        if mode != self.mode {
            self.set_mode(mode);
        }
        self.watch_silence(now);
        self.tell();
        self.rest = self.pace.rest(now, count, || thread_cpu_ns().ok());
        if self.pace.is_busy() {
            self.urgency.press(now);
        }
        // When nothing has come for so long, the next is waited for.
        if count == 0 {
            self.rest = Duration::ZERO;
        }
        if !self.rest.is_zero() {
            self.say_if_in_arrears();
        }
        false
    }

    fn hasten(&mut self) {
        let changed = match self.urgency.change(self.last_event) {
            Some(true) => run_at_once(),
            Some(false) => run_early(),
            None => return,
        };
        if let Err(e) = changed {
            log::debug!("the connector's reader stays in its class: {e}");
        }
    }

    fn say_if_in_arrears(&mut self) {
        let now = clock::now();
        if self.pace.throttled() && self.in_arrears.is_none_or(|said| now.since(said) >= IN_ARREARS) {
            self.in_arrears = Some(now);
            let rate = self.pace.execs_per_second();
            log::warn!(
                "{rate:.0} execs a second take more than the connector's share of a core: it looks once a millisecond, \
                 and what lives shorter is counted as unexamined"
            );
        }
    }

    /// Rests, or waits for events, orders or what is due; true where there are orders.
    fn wait(&mut self) -> bool {
        if !self.rest.is_zero() {
            let mut orders = [PollFd::new(self.control.wake.as_fd(), PollFlags::POLLIN)];
            let _ = ppoll(&mut orders, Some(self.rest.into()), None);
            self.waits_since = clock::now();
            return orders.iter().any(|orders| orders.any().unwrap_or(false));
        }
        let now = clock::now();
        self.waits_since = now;
        let due = match &self.canary {
            Some((_, deadline)) => *deadline,
            None => self.last_event.plus(SILENCE),
        };
        let mut timeout = due.since(now);
        if !self.losses.is_empty() || !self.health.is_empty() {
            timeout = timeout.min(Duration::from_millis(10));
        }
        let mut fds = [
            PollFd::new(self.listener.fd(), PollFlags::POLLIN),
            PollFd::new(self.control.wake.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, clock::poll_timeout(timeout));
        let [_, orders] = fds;
        orders.any().unwrap_or(false)
    }

    fn drain(&mut self) -> Result<(), String> {
        let Self { listener, execs, .. } = self;
        execs.clear();
        execs.append(&mut listener.take_early());
        let drained = listener.drain(|event| {
            if let ProcEvent::Exec { pid, at } = event {
                execs.push((pid, at));
            }
        })?;
        // A socket that dropped something was full, and so is the batch that follows.
        if drained >= BATCH {
            let dropped = self.listener.new_drops();
            if dropped > 0 {
                self.lose(dropped, "the socket's buffer");
            }
        }
        self.counters.add_execs(self.execs.len());
        Ok(())
    }

    /// Looks at each process of a drain once, newest first: those have most of their life before them.
    fn look_at_execs(&mut self) {
        let mut counted = std::mem::take(&mut self.counted);
        counted.clear();
        if let Some((canary, _)) = &self.canary {
            let canary = canary.pid();
            let seen = self.execs.extract_if(.., |(pid, _)| *pid == canary);
            counted.extend(seen.map(|(pid, at)| Counted { pid, at, image: Image::Canary }));
            if !counted.is_empty() {
                self.heard();
            }
        }
        self.last_names.drain();
        keep_newest_of_each(&mut self.execs, &mut counted);
        let order = std::mem::take(&mut self.execs);
        let mut incomplete = Vec::new();
        self.undrained += order.len();
        let (mut looks, mut beyond) = (0, 0);
        for &(pid, at) in &order {
            self.lineage.executed(pid);
            if self.looker.is_gone(pid) {
                counted.push(Counted { pid, at, image: self.image_of_gone(pid) });
                continue;
            }
            if looks == LOOKS {
                beyond += 1;
                counted.extend(self.ledger.is_kept().then_some(Counted { pid, at, image: Image::Unknown }));
                continue;
            }
            looks += 1;
            let seen = self.looker.look(pid, at);
            if matches!(seen, Seen::Wanted(_)) {
                self.urgency.press(self.last_event);
            }
            match seen {
                Seen::Settled(image) => counted.push(Counted { pid, at, image }),
                Seen::Earlier(at) => counted.push(Counted { pid, at, image: Image::Unknown }),
                Seen::Dead => counted.push(Counted { pid, at, image: self.image_of_gone(pid) }),
                Seen::Refused => self.lose(1, "the system refused a look"),
                Seen::Wanted(sighting) if needs_parent(&sighting.look) => incomplete.push(*sighting),
                Seen::Wanted(sighting) => counted.extend(self.send(*sighting)),
            }
        }
        if beyond > 0 {
            // Those that fanotify's events do not explain are told as unexamined, and not twice.
            self.lose(if self.ledger.is_kept() { 0 } else { beyond }, "the look");
        }
        if !incomplete.is_empty() || self.undrained >= UNDRAINED {
            self.undrained = 0;
            self.lineage.drain();
        }
        for mut sighting in incomplete {
            sighting.parent = self.lineage.parent(&sighting.look, sighting.pid, self.looker.proc(), sighting.look.at);
            counted.extend(self.send(sighting));
        }
        if self.ledger.add(&counted, self.last_event, &self.counters) {
            // Where there is no room, detection has enough to do, and asks again.
            let _ = self.outlet.try_tell(Fact::Counted);
        }
        (self.execs, self.counted) = (order, counted);
    }

    /// What the record of its end tells of one that is gone.
    fn image_of_gone(&mut self, pid: Pid) -> Image {
        let name = self.last_names.of(pid);
        name.map_or(Image::Unknown, |comm| Image::Ended(LastName { comm, known_by: SensorKind::Taskstats }))
    }

    /// Hands it to detection. Where that has no room, an exec that fanotify reports as well is not lost: what is left to
    /// be said is that it took place.
    fn send(&mut self, sighting: Sighting) -> Option<Counted> {
        let (pid, at) = (sighting.pid, sighting.at);
        let file = self.looker.covered_file(&sighting.look).filter(|_| self.ledger.is_kept());
        let (comm, begun) = (sighting.look.comm(), sighting.begun);
        if self.outlet.exec(sighting) {
            return None;
        }
        self.looker.leave(begun);
        if file.is_none() {
            self.lose(1, "the channel to detection");
        }
        file.map(|file| Counted { pid, at, image: Image::File(file, comm) })
    }

    fn lose(&mut self, count: u64, at: &'static str) {
        self.losses.add(count, at, self.last_event);
    }

    /// Tells losses and health; what finds no room is told in a later turn.
    fn tell(&mut self) {
        if !self.losses.tell(&self.outlet) {
            return;
        }
        while let Some(fact) = self.health.pop_front() {
            if let Err(fact) = self.outlet.try_tell(fact) {
                self.health.push_front(*fact);
                return;
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.degraded {
            self.listener.fall_silent();
        }
    }
}

/// Leaves the last exec of each process, newest first; counts those before it: only the last image can be looked at.
fn keep_newest_of_each(execs: &mut Vec<(Pid, Monotonic)>, counted: &mut Vec<Counted>) {
    // Mostly there is one.
    if execs.len() < 2 {
        return;
    }
    let mut pids = HashSet::with_capacity(execs.len());
    execs.reverse();
    execs.retain(|&(pid, at)| {
        let newest = pids.insert(pid);
        if !newest {
            counted.push(Counted { pid, at, image: Image::Unknown });
        }
        newest
    });
}

/// Whether the look leaves open where the process belongs: a zombie shows a false cgroup on v1.
fn needs_parent(look: &Look) -> bool {
    look.cgroup.is_err() || look.stat.as_ref().map_or(true, crate::event::Stat::is_dead)
}
