//! Files in memory.
//!
//! Sparse content, hard links, every kind of node, extended attributes. What it takes is bounded by two budgets: bytes
//! (content, link targets, attributes) and inodes (each name counts as one, as on Linux, since names take memory
//! too); an exhausted one is `ENOSPC` and named in the error. Unlinked files live on while somebody holds them.
//!
//! Lock order: `Shared::changes` (taken by everything that changes a directory), then directories' entries (only the
//! holder of `changes` locks more than one), then a file's content, then a node's attributes.
//!
//! Times of reads are not kept (as with `noatime`).

mod attributes;
mod budget;
mod content;
mod directory;
mod node;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vm_abi::{Mode, Timespec};

use crate::error::VfsResult;
use crate::file_system::{FileClock, FileSystem, StatFs};
use crate::inode::{Inode, NodeKind, Owner};
use budget::Budget;
use node::Node;

/// How a [`Tmpfs`] is made.
#[derive(Clone)]
pub struct TmpfsOptions {
    /// How much memory content, link targets and attributes may take (`ENOSPC`).
    pub max_bytes: u64,
    /// How many names and inodes there may be (`ENOSPC`).
    pub max_inodes: u64,
    /// Permissions of the root directory.
    pub root_mode: Mode,
    /// Owner of the root directory.
    pub root_owner: Owner,
    /// The time for time stamps.
    pub clock: Arc<dyn FileClock>,
}

/// A file system in memory.
pub struct Tmpfs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

/// What all nodes of one tmpfs share.
struct Shared {
    clock: Arc<dyn FileClock>,
    bytes: Budget,
    inodes: Budget,
    next_ino: AtomicU64,
    /// Held by whatever changes the tree.
    changes: Mutex<()>,
}

impl Tmpfs {
    /// An empty file system.
    #[must_use]
    pub fn new(options: TmpfsOptions) -> Arc<Self> {
        let TmpfsOptions { max_bytes, max_inodes, root_mode, root_owner, clock } = options;
        let shared = Arc::new(Shared {
            clock,
            bytes: Budget::new(max_bytes, "tmpfs bytes"),
            inodes: Budget::new(max_inodes.max(1), "tmpfs inodes"),
            next_ino: AtomicU64::new(1),
            changes: Mutex::new(()),
        });
        let root = Node::new_root(&shared, root_mode, root_owner);
        Arc::new(Self { shared, root })
    }
}

impl FileSystem for Tmpfs {
    fn kind(&self) -> &'static str {
        "tmpfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as Arc<dyn Inode>
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        Ok(StatFs {
            total_bytes: self.shared.bytes.max(),
            free_bytes: self.shared.bytes.free(),
            total_inodes: self.shared.inodes.max(),
            free_inodes: self.shared.inodes.free(),
            block_bytes: content::PAGE_BYTES,
        })
    }
}

impl Shared {
    fn now(&self) -> Timespec {
        self.clock.now()
    }

    fn allocate_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }
}

/// How many bytes of the budget a new node takes besides its inode.
const fn initial_bytes(kind: NodeKind<'_>) -> u64 {
    match kind {
        NodeKind::Symlink(target) => target.len() as u64,
        NodeKind::Regular
        | NodeKind::Directory
        | NodeKind::Fifo
        | NodeKind::Socket
        | NodeKind::CharDevice(_)
        | NodeKind::BlockDevice(_) => 0,
    }
}
