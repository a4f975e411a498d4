//! What the sensor threads ask of the thread that watches the mounts: a few instructions each, and never a wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::EventFd;

use crate::event::{Monotonic, Namespace, Pid};

/// Questions that wait; what is beyond is found by a sweep.
const WAITING: usize = 256;

/// What was asked and not yet taken.
#[derive(Debug, Default)]
pub struct Requests {
    namespaces: Mutex<Vec<(Namespace, Pid)>>,
    /// Something died unseen: there may be namespaces that nobody knows.
    sweep_wanted: AtomicBool,
    /// A container is being made whose namespace is not known yet.
    awaited: AtomicBool,
    poked: AtomicBool,
    /// A mount is to be left unmarked for a while.
    flooded: AtomicBool,
    /// Since when a sign of life is asked for; 0 where none is.
    pulse: AtomicU64,
    wake: OnceLock<Arc<EventFd>>,
}

impl Requests {
    /// From now on somebody answers, who is woken by this.
    pub fn answer_by(&self, wake: Arc<EventFd>) {
        let _ = self.wake.set(wake);
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            let _ = wake.write(1);
        }
    }

    /// Whether execs on far mounts are heard of has changed.
    pub fn heed_far(&self) {
        self.wake();
    }

    /// A process executed something in this mount namespace, which is not known, or on a mount that is not marked.
    pub fn ask(&self, namespace: Namespace, pid: Pid) {
        let mut waiting = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.iter().any(|(known, _)| *known == namespace) {
            return;
        }
        if waiting.len() < WAITING {
            waiting.push((namespace, pid));
        }
        drop(waiting);
        self.wake();
    }

    /// A process died before its look.
    pub fn note_unseen_death(&self) {
        // Set as long as the answer is due.
        if !self.sweep_wanted.load(Ordering::Relaxed) && !self.sweep_wanted.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Something was executed: perhaps by the runtime that makes a container.
    pub fn executed(&self) {
        if self.awaited.load(Ordering::Relaxed) && !self.poked.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// A mount whose opens are too many is to rest.
    pub fn flooded(&self) {
        self.flooded.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks whoever answers for a sign of life; how long an earlier call has not had one.
    pub fn pulse(&self, now: Monotonic) -> Duration {
        if self.wake.get().is_none() {
            return Duration::ZERO;
        }
        let asked = self.pulse.compare_exchange(0, now.0, Ordering::AcqRel, Ordering::Acquire);
        self.wake();
        asked.map_or_else(|since| now.since(Monotonic(since)), |_| Duration::ZERO)
    }

    /// The sign.
    pub(super) fn is_alive(&self) {
        self.pulse.store(0, Ordering::Release);
    }

    /// Whether a container's namespace is awaited.
    pub(super) fn set_awaited(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Whether something was executed since the last call.
    pub(super) fn take_poked(&self) -> bool {
        self.poked.swap(false, Ordering::AcqRel)
    }

    /// Whether there is a mount that is to rest since the last call.
    pub(super) fn take_flooded(&self) -> bool {
        self.flooded.swap(false, Ordering::AcqRel)
    }

    /// Whether something died unseen and was not looked into yet.
    pub(in crate::sensor) fn is_sweep_wanted(&self) -> bool {
        self.sweep_wanted.load(Ordering::Acquire)
    }

    /// It is looked into from now on.
    pub(super) fn sweep_begins(&self) {
        self.sweep_wanted.store(false, Ordering::Release);
    }

    /// Takes the namespaces that were asked for.
    pub(super) fn take(&self) -> Vec<(Namespace, Pid)> {
        std::mem::take(&mut *self.namespaces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn silence_is_measured_from_the_first_question() {
        let requests = Requests::default();
        let at = |seconds: u64| Monotonic(seconds * 1_000_000_000);
        assert_eq!(requests.pulse(at(1)), Duration::ZERO);
        assert_eq!(requests.pulse(at(100)), Duration::ZERO, "nobody is to answer");
        requests.answer_by(Arc::new(EventFd::new().unwrap()));
        assert_eq!(requests.pulse(at(101)), Duration::ZERO);
        assert_eq!(requests.pulse(at(104)), Duration::from_secs(3));
        assert_eq!(requests.pulse(at(111)), Duration::from_secs(10));
        requests.is_alive();
        assert_eq!(requests.pulse(at(112)), Duration::ZERO);
    }
}
