//! Files and mounts of a VM.
//!
//! A [`Namespace`] is a table of mounts. A [`WalkContext`] — who asks, and from where — turns a path into a
//! [`Location`] (an inode in a mount) and offers every operation on paths with POSIX's checks and errors. A
//! [`FileSystem`] implements [`Inode`] and checks no permissions.
//!
//! File systems here: [`tmpfs`] (memory), [`image`] (read-only trees, filled from software packages by [`packagefs`]
//! and from host folders by [`folderfs`]), [`hostfs`] (a folder of the host as it is), [`sqlitefs`] (a database, what
//! lasts) and [`overlayfs`] (layers). The kernel brings `devfs` and `procfs`. Every file system passes the suite in
//! `conformance` (feature of that name).
//!
//! Neighbours: `vm-abi` below; `vm-kernel` and the runner's files API above. This crate must never know a process, an
//! fd, a driver or the network, and nothing in it waits for a guest. The host's files are reached in `host_folder.rs`
//! (software, mapped), `hostfs` (data) and `sqlitefs` (its database) only.
//!
//! # Lock order
//!
//! 1. `Namespace::table` — held for the exchange of a pointer only, and by `mount`/`unmount` while they look at mount
//!    points; nothing else is locked under it but what [`Inode::ino`] needs, which is nothing.
//! 2. `Notifier::inner` is a leaf, taken when no other is held.
//! 3. An overlay's locks, in the order its module tells.
//! 4. The locks of the file system below an overlay: tmpfs's tree lock, then one of its inodes' content; `hostfs` tells
//!    its own.
//!
//! No lock is held while calling into another file system, except by an overlay into its layers. All locks are std's;
//! none is held across an await, because nothing here awaits. A poisoned lock is used as it is: every critical section
//! leaves its data whole before anything can panic.

pub mod aospkg;
mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod content;
mod error;
mod file_system;
pub mod folderfs;
mod host_folder;
pub mod hostfs;
pub mod image;
mod ino_map;
mod inode;
mod location;
mod namespace;
pub mod notify;
mod operation;
pub mod overlayfs;
pub mod packagefs;
mod path;
mod piece;
pub mod sqlitefs;
pub mod tmpfs;
mod walk;

pub use content::{ContentId, Mapping};
pub use error::{Error, VfsResult};
pub use file_system::{FileClock, FileSystem, StatFs};
pub use inode::{
    Allocation, Appended, Caller, DirEntry, Extent, Inode, MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES,
    NodeKind, NodeOpen, Owner, Parent, RenameFlags, SetAttr, SetTime, SyncScope, XattrSet,
};
pub use location::{FileId, Location, Mount, MountFlags};
pub use namespace::{MountEntry, Namespace};
pub use operation::Opened;
pub use path::{MAX_NAME_BYTES, MAX_PATH_BYTES, Name, NameBuf, VPath};
pub use walk::{Follow, LastComponent, MAX_LINKS, ParentLocation, WalkContext};
