//! What reading a namespace and marking its mounts works with.

use nix::sys::epoll::Epoll;

use super::book::Book;
use super::host::HostTable;
use crate::event::{Namespace, RootId};
use crate::sensor::fanotify_group::Group;
use crate::sensor::far::marks::Marks;

/// What tells the host's own processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostSide {
    /// The host's root directory.
    pub root: Option<RootId>,
    /// The host's user namespace.
    pub users: Option<Namespace>,
}

/// What marking needs.
pub struct Tools<'a> {
    /// Where descriptors are polled.
    pub epoll: &'a Epoll,
    /// The table.
    pub book: &'a mut Book,
    /// The marks.
    pub group: &'a Group,
    /// What is mounted on the host too.
    pub host: &'a HostTable,
    /// What marks far mounts.
    pub far: &'a mut Marks,
}
