//! The live tests that need the machine for themselves, one after another: every watcher sees every container, so the
//! storm of one would be all others' too; and where each fact of an exec that is over in a millisecond is asked for, nothing
//! else may keep the watcher from its look. As root, with a real Docker Engine; `tests/run.sh` starts one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[path = "../common/mod.rs"]
mod common;

mod attempts;
mod bounds;
mod content;
mod coverage;
mod far;
mod gcc;
mod queries;
mod queue;
mod renamed;
mod storms;

use common::watcher::{Setup, Watcher};

static TURN: RwLock<()> = RwLock::new(());

/// The turn of one test, until it is dropped.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// The turn of one that does next to nothing, beside others of this kind.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// A watcher whose sessions end soon: nothing else keeps the machine from what a test compiles.
fn watch() -> Watcher {
    Setup::new().brief().start()
}
