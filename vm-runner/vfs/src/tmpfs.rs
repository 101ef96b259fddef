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
mod content;
mod directory;
mod node;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vm_abi::{Mode, Timespec};

use crate::budget::Budget;
use crate::error::VfsResult;
use crate::file_system::{FileClock, FileSystem, StatFs};
use crate::inode::{Inode, NodeKind, Owner};
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
            bytes: Budget::new(max_bytes, 0, "tmpfs bytes"),
            inodes: Budget::new(max_inodes.max(1), 0, "tmpfs inodes"),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_abi::{Errno, Mode, Timespec};

    use super::{Tmpfs, TmpfsOptions};
    use crate::file_system::FileSystem;
    use crate::inode::{Inode, NodeKind, Owner, XattrSet};
    use crate::path::Name;

    fn tmpfs(max_bytes: u64, max_inodes: u64) -> Arc<Tmpfs> {
        let (root_mode, root_owner) = (Mode::new(0o755), Owner::ROOT);
        let clock = Arc::new(|| Timespec::EPOCH);
        Tmpfs::new(TmpfsOptions { max_bytes, max_inodes, root_mode, root_owner, clock })
    }

    fn create(directory: &dyn Inode, name: &str, kind: NodeKind<'_>) -> crate::VfsResult<Arc<dyn Inode>> {
        directory.create(Name::new(name.as_bytes()).unwrap(), kind, Mode::new(0o755), Owner::ROOT)
    }

    #[test]
    fn every_name_counts_as_an_inode_and_comes_back() {
        let tmpfs = tmpfs(1 << 20, 4);
        let root = tmpfs.root();
        let file = create(&*root, "a", NodeKind::Regular).unwrap();
        root.link(Name::new(b"b").unwrap(), &file).unwrap();
        create(&*root, "c", NodeKind::Fifo).unwrap();
        let error = create(&*root, "d", NodeKind::Directory).err().unwrap();
        assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, Some("tmpfs inodes")));
        assert_eq!(root.link(Name::new(b"d").unwrap(), &file).unwrap_err(), Errno::ENOSPC);
        root.unlink(Name::new(b"b").unwrap()).unwrap();
        root.unlink(Name::new(b"c").unwrap()).unwrap();
        assert_eq!(tmpfs.statfs().unwrap().free_inodes, 2);
        root.unlink(Name::new(b"a").unwrap()).unwrap();
        assert_eq!(tmpfs.statfs().unwrap().free_inodes, 2, "the open file still counts");
        drop(file);
        assert_eq!(tmpfs.statfs().unwrap().free_inodes, 3);
    }

    #[test]
    fn content_link_targets_and_attributes_are_charged_and_given_back() {
        let tmpfs = tmpfs(10_000, 100);
        let root = tmpfs.root();
        let file = create(&*root, "f", NodeKind::Regular).unwrap();
        assert_eq!(file.write_at(0, &[1; 20_000]).unwrap(), 8192);
        let error = file.append(b"x").unwrap_err();
        assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, Some("tmpfs bytes")));
        assert_eq!(create(&*root, "l", NodeKind::Symlink(&[b'x'; 2000])).err().unwrap(), Errno::ENOSPC);
        create(&*root, "l", NodeKind::Symlink(&[b'x'; 1000])).unwrap();
        assert_eq!(file.set_xattr(b"user.a", &[0; 1000], XattrSet::Any).unwrap_err(), Errno::ENOSPC);
        file.set_xattr(b"user.a", &[0; 100], XattrSet::Any).unwrap();
        for name in ["f", "l"] {
            root.unlink(Name::new(name.as_bytes()).unwrap()).unwrap();
        }
        drop(file);
        let free = tmpfs.statfs().unwrap();
        assert_eq!((free.free_bytes, free.free_inodes), (10_000, 99));
    }

    #[test]
    fn a_whole_tree_is_given_back_with_its_root() {
        let tmpfs = tmpfs(1 << 20, 1 << 20);
        let shared = Arc::clone(&tmpfs.shared);
        let mut at = tmpfs.root();
        for _ in 0..50_000 {
            at = create(&*at, "deeper than the host's stack", NodeKind::Directory).unwrap();
        }
        create(&*at, "f", NodeKind::Regular).unwrap().write_at(0, b"x").unwrap();
        drop((at, tmpfs));
        assert_eq!((shared.inodes.free(), shared.bytes.free()), (1 << 20, 1 << 20));
    }

    #[test]
    fn inodes_of_another_tmpfs_are_foreign() {
        let (here, there) = (tmpfs(1 << 20, 10), tmpfs(1 << 20, 10));
        let foreign = create(&*there.root(), "f", NodeKind::Regular).unwrap();
        let name = Name::new(b"f").unwrap();
        assert_eq!(here.root().link(name, &foreign).unwrap_err(), Errno::EXDEV);
        let moved = there.root().rename(name, &here.root(), name, Default::default());
        assert_eq!(moved.unwrap_err(), Errno::EXDEV);
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let tmpfs = tmpfs(1 << 24, 10_000);
        let root = tmpfs.root();
        let log = create(&*root, "log", NodeKind::Regular).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (root, log) = (&root, &log);
                scope.spawn(move || {
                    for round in 0..500 {
                        log.append(&[thread; 7]).unwrap();
                        create(&**root, &format!("{thread}-{round}"), NodeKind::Regular).unwrap();
                    }
                });
            }
        });
        assert_eq!(log.stat().unwrap().size, 4 * 500 * 7);
        assert_eq!(root.read_dir().unwrap().len(), 2001);
        let mut bytes = vec![0; 14_000];
        log.read_at(0, &mut bytes).unwrap();
        assert!(bytes.chunks(7).all(|record| record.iter().all(|&byte| byte == record[0])));
    }
}
