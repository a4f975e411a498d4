//! That the kernel still talks to the reader: a canary, an exec of our own, is to be heard after each silence. A stream that
//! is silent or broken is opened anew, and told where that does not help.

use std::time::Duration;

use super::Reader;
use crate::event::{Fact, Monotonic, SensorKind};
use crate::host::clock;
use crate::sensor::canary::Canary;
use crate::sensor::proc_socket::{Listener, Purpose};

/// After so long without any exec the stream has to prove itself.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// A canary that is not heard by then was not heard.
const CANARY: Duration = Duration::from_secs(2);

impl Reader {
    /// Waits until the kernel has reported an exec of our own, at most 2 s; what else arrives is looked at meanwhile.
    ///
    /// # Errors
    /// One sentence: the stream is silent.
    pub fn prove(&mut self) -> Result<(), String> {
        self.release_canary(clock::now());
        while self.canary.is_some() && !self.degraded && !self.turn() {}
        if self.degraded { Err("the connector answered, but reports no exec".into()) } else { Ok(()) }
    }

    pub(super) fn release_canary(&mut self, now: Monotonic) {
        match Canary::start() {
            Ok(canary) => self.canary = Some((canary, now.plus(CANARY))),
            Err(e) => {
                log::warn!("start the canary: {e}");
                self.last_event = now;
            }
        }
    }

    pub(super) fn watch_silence(&mut self, now: Monotonic) {
        match &self.canary {
            Some((_, deadline)) if now >= *deadline => {
                self.canary = None;
                self.reopen("it reported no exec of our own");
            }
            None if now.since(self.last_event) >= SILENCE => self.release_canary(now),
            _ => {}
        }
    }

    /// The canary was heard: the stream lives. Whoever asked for that is told at once, before the ledger forgets it.
    pub(super) fn heard(&mut self) {
        self.canary = None;
        self.work_again();
        self.health.push_back(Fact::Counted);
    }

    /// An exec was reported, ours or another's.
    pub(super) fn work_again(&mut self) {
        if std::mem::take(&mut self.degraded) {
            self.ledger.set_connected(true);
            self.health.push_back(stream_lacks(None));
        }
    }

    /// A stream that is silent or broken is opened anew; if that does not help, it is told. What happened meanwhile
    /// is found by the sweep that a loss brings about.
    pub(super) fn reopen(&mut self, why: &str) {
        log::warn!("the process connector is opened anew: {why}");
        let opened = Listener::open(Purpose::Execs);
        let now = clock::now();
        let since = std::mem::replace(&mut self.last_event, now);
        if !self.degraded {
            self.degraded = true;
            self.ledger.set_connected(false);
            self.losses.add(0, "the stream fell silent", since);
            let reason = opened.as_ref().err().cloned().unwrap_or_else(|| why.to_owned());
            self.health.push_back(stream_lacks(Some(reason)));
        }
        self.tell();
        match opened {
            Ok(listener) => {
                self.listener.fall_silent();
                self.listener = listener;
                self.lineage.reopen();
                self.release_canary(now);
            }
            // A broken socket would be readable for ever.
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}

fn stream_lacks(lacks: Option<String>) -> Fact {
    Fact::Health { sensor: SensorKind::Connector, part: "stream", lacks }
}
