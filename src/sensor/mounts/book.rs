//! Keeps the table: enters what is mounted before it is marked, so that whose it is is known before its first exec is
//! reported, and forgets what is gone after a grace time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::layers::Layers;
use super::{GRACE, Mounted, Mounts, Trust};
use crate::event::{Monotonic, MountNumber, MountedId, Namespace};
use crate::host::mountinfo::Device;
use crate::sensor::FileTriage;

/// Under which key something is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A filesystem of one container.
    Device(u64),
    /// A mount.
    Mount(MountNumber),
}

/// The table's only writer.
pub struct Book {
    mounts: Arc<Mounts>,
    triage: Arc<dyn FileTriage>,
    next: u64,
    /// What is gone, in that order.
    gone: VecDeque<(Monotonic, Key, Arc<Mounted>)>,
}

impl Book {
    /// For this table; `triage` is told whose each mount is.
    pub fn new(mounts: Arc<Mounts>, triage: Arc<dyn FileTriage>) -> Self {
        Self { mounts, triage, next: 1, gone: VecDeque::new() }
    }

    /// The table.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Who is told whose a mount is.
    pub fn triage(&self) -> &dyn FileTriage {
        &*self.triage
    }

    fn next_id(&mut self) -> MountedId {
        self.next += 1;
        MountedId(self.next - 1)
    }

    /// Something new, under a name that nothing had before.
    pub fn make(&mut self, device: Device, layers: Option<Arc<Layers>>, trust: Trust) -> Arc<Mounted> {
        let id = self.next_id();
        Arc::new(Mounted::new(id, device, layers, trust))
    }

    /// A mount of the host's own.
    pub fn make_of_host(&mut self, device: Device, trust: Trust) -> Arc<Mounted> {
        let id = self.next_id();
        Arc::new(Mounted { of_host: true, ..Mounted::new(id, device, None, trust) })
    }

    /// A far mount.
    pub fn make_far(&mut self, device: Device) -> Arc<Mounted> {
        let id = self.next_id();
        let far = Some(Arc::clone(&self.mounts.far));
        Arc::new(Mounted { far, ..Mounted::new(id, device, None, Trust::State) })
    }

    /// Enters it; what was known under the key is forgotten.
    pub fn enter(&self, key: Key, mounted: &Arc<Mounted>) {
        self.mounts.change(|table| {
            let mounted = Arc::clone(mounted);
            match key {
                Key::Device(dev) => table.devices.insert(dev, mounted),
                Key::Mount(number) => table.mounts.insert(number, mounted),
            }
        });
    }

    /// It is not mounted any more.
    pub fn leave(&mut self, key: Key, mounted: Arc<Mounted>, now: Monotonic) {
        mounted.set_gone();
        self.gone.push_back((now, key, mounted));
    }

    /// A mount namespace is known.
    pub fn know(&self, namespace: Namespace) {
        self.mounts.change(|table| table.namespaces.insert(namespace));
    }

    /// It is not any more: its number is used again.
    pub fn unknow(&self, namespace: Namespace) {
        self.mounts.change(|table| table.namespaces.remove(&namespace));
    }

    /// When there is something to forget.
    pub fn next_due(&self) -> Option<Monotonic> {
        self.gone.front().map(|(at, _, _)| at.plus(GRACE))
    }

    /// Forgets what has been gone for long.
    pub fn forget(&mut self, now: Monotonic) {
        while self.gone.front().is_some_and(|(at, _, _)| now.since(*at) >= GRACE) {
            let Some((_, key, old)) = self.gone.pop_front() else { return };
            self.mounts.change(|table| match key {
                Key::Device(dev) if table.devices.get(&dev).is_some_and(|m| Arc::ptr_eq(m, &old)) => {
                    table.devices.remove(&dev);
                }
                Key::Mount(number) if table.mounts.get(&number).is_some_and(|m| Arc::ptr_eq(m, &old)) => {
                    table.mounts.remove(&number);
                }
                _ => {}
            });
            self.triage.unmounted(old.id);
        }
    }
}
