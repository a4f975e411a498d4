//! What the sensors may settle by themselves: processes of the host, and programs that are no compilers. Consulted on
//! the sensors' threads, so it does no I/O and holds its one lock for a few instructions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::container::registry::{HostIdentity, is_host};
use crate::container::{ContainerKey, cgroup};
use crate::event::{Look, Monotonic};
use crate::fingerprint::{Candidate, Database, Invocation};
use crate::sensor::Triage;

/// A loss names the busiest container of about this long.
const WINDOW: Duration = Duration::from_secs(10);
const TALLIED: usize = 1024;

/// The screen before detection.
pub struct Screen {
    host: HostIdentity,
    database: Arc<Database>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    began: Monotonic,
    now: HashMap<ContainerKey, u64>,
    before: HashMap<ContainerKey, u64>,
}

/// What a look tells of an exec before its arguments are known.
pub fn invocation(look: &Look) -> Invocation<'_> {
    Invocation {
        path: look.exe.as_ref().map_or(&[][..], |exe| &exe.path),
        comm: look.stat.as_ref().map_or(&[][..], |stat| &stat.comm),
        args: None,
    }
}

impl Screen {
    /// For this host, with this database.
    pub fn new(host: HostIdentity, database: Arc<Database>) -> Self {
        Self { host, database, tally: Mutex::default() }
    }

    /// The container with most execs lately.
    pub fn busiest(&self) -> Option<ContainerKey> {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |key: &ContainerKey| tally.now.get(key).unwrap_or(&0) + tally.before.get(key).unwrap_or(&0);
        tally.now.keys().chain(tally.before.keys()).max_by_key(|key| of(key)).cloned()
    }

    fn count(&self, look: &Look) {
        let Ok(bytes) = &look.cgroup else { return };
        let membership = cgroup::identify(bytes);
        let Some(key) = membership.inner() else { return };
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if look.at.since(tally.began) > WINDOW {
            tally.before = std::mem::take(&mut tally.now);
            tally.began = look.at;
        }
        if tally.now.len() < TALLIED || tally.now.contains_key(key) {
            *tally.now.entry(key.clone()).or_default() += 1;
        }
    }
}

impl Triage for Screen {
    fn is_host(&self, look: &Look) -> bool {
        is_host(look, &self.host)
    }

    fn wants(&self, look: &Look) -> bool {
        if is_host(look, &self.host) {
            return false;
        }
        self.count(look);
        self.database.candidate(&invocation(look)) != Candidate::No
    }
}
