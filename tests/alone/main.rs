//! The live tests that need the machine for themselves: every watcher sees every container, so the storm of one would be all
//! others' too; and where each fact of an exec that is over in a millisecond is asked for, nothing else may keep the watcher
//! from its look. A few bear others of their kind. As root, with a real Docker Engine; `tests/run.sh` starts one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

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

use common::turn::{alone, beside_others};
use common::watcher::{Setup, Watcher};

/// A watcher whose sessions end soon: nothing else keeps the machine from what a test compiles.
fn watch() -> Watcher {
    Setup::new().brief().start()
}
