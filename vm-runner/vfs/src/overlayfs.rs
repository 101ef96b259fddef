//! Layers: read-only trees below, one writable tree above, shown as one.
//!
//! A name is looked for in the upper layer, then in the lower ones from the top. Directories of several layers are
//! merged; anything else hides what lies below it. Changes go to the upper layer: a lower file is *copied up* before
//! its first change, with its directories; a removed lower name leaves a *whiteout* (a character device 0/0) and a
//! directory that must not be merged is marked *opaque* (extended attribute `trusted.overlay.opaque`), as on Linux.
//! Both are stored through the upper layer's own inodes; the guest sees neither. What a file system needs to be the
//! upper layer: device nodes, extended attributes, unnamed files that can be linked, exchanging renames, and inode
//! numbers below 2^48 that are not reused while it is mounted.
//!
//! Invariants:
//! - A file keeps its inode number when it is copied up, for as long as the overlay is mounted. One inode number has
//!   at most one node at a time, so everybody who has the file open sees the copy at once.
//! - Lower layers never change while the overlay is mounted; what was found in them is cached, absence too.
//! - A lower directory that is renamed is copied up whole before.
//!
//! Several names of one *lower* file stay one file while the overlay is mounted; after that, names that were not used
//! for a change show the lower file again, as on Linux. Packages and folders have no such files.
//!
//! Lock order: a node's `copying`, then `Shared::tree`, then a node's `state`, then one of `Shared::{nodes, origins,
//! copied_links, lower_cache}`, then the layers' own locks. `tree` is held shared by lookups and exclusively by changes
//! of the tree; file data is copied up before it is taken.

mod change;
mod copy_up;
mod lookup;
mod lower_cache;
mod marker;
mod node;
mod rename;
mod table;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vm_abi::Errno;

use crate::error::VfsResult;
use crate::file_system::{FileSystem, StatFs};
use crate::inode::Inode;
use lower_cache::{LowerInode, LowerStack};
use node::{Node, Place};
use table::NodeTable;

/// The bits of an inode number that tell the file within its layer; those above tell the layer.
const LAYER_SHIFT: u32 = 48;
/// How many lower layers there may be: layer and inode number fit into the 53 bits that a JavaScript number keeps.
const MAX_LOWER_LAYERS: usize = 31;

/// How an [`OverlayFs`] is made.
pub struct OverlayOptions {
    /// The read-only layers, topmost first. They must not change while the overlay is mounted.
    pub lowers: Vec<Arc<dyn FileSystem>>,
    /// The layer that takes changes. Nothing else may change it meanwhile.
    pub upper: Arc<dyn FileSystem>,
    /// What `/proc/mounts` shows as source.
    pub source: String,
}

/// Several layers, shown as one file system.
pub struct OverlayFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
    source: String,
}

/// What all nodes of one overlay share.
struct Shared {
    upper: Arc<dyn FileSystem>,
    /// Held shared while looking around, exclusively while changing the tree or copying up.
    tree: RwLock<()>,
    table: NodeTable,
}

/// Proof that the tree is held exclusively.
struct Changing<'a> {
    _guard: RwLockWriteGuard<'a, ()>,
}

impl OverlayFs {
    /// An overlay of these layers.
    ///
    /// # Errors
    /// `EINVAL` above 31 lower layers; `EROFS` for a read-only upper layer; `ENOTDIR` if a layer's root is no
    /// directory.
    pub fn new(options: OverlayOptions) -> VfsResult<Arc<Self>> {
        let OverlayOptions { lowers, upper, source } = options;
        if lowers.len() > MAX_LOWER_LAYERS {
            return Err(Errno::EINVAL.into());
        }
        if upper.is_read_only() {
            return Err(Errno::EROFS.into());
        }
        let roots: LowerStack = lowers
            .iter()
            .enumerate()
            .map(|(layer, file_system)| LowerInode { layer, inode: file_system.root() })
            .collect();
        let upper_root = upper.root();
        let is_directory = |inode: &Arc<dyn Inode>| inode.file_type().is_directory();
        if !is_directory(&upper_root) || !roots.iter().all(|lower| is_directory(&lower.inode)) {
            return Err(Errno::ENOTDIR.into());
        }
        let shared = Arc::new(Shared { upper, tree: RwLock::new(()), table: NodeTable::default() });
        let root = shared.node(Some(upper_root), roots, Place::Root)?;
        Ok(Arc::new(Self { shared, root, source }))
    }
}

impl FileSystem for OverlayFs {
    fn kind(&self) -> &'static str {
        "overlay"
    }

    fn source(&self) -> String {
        self.source.clone()
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as Arc<dyn Inode>
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        self.shared.upper.statfs()
    }

    fn sync(&self) -> VfsResult<()> {
        self.shared.upper.sync()
    }
}

impl Shared {
    fn look(&self) -> RwLockReadGuard<'_, ()> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Changing<'_> {
        Changing { _guard: self.tree.write().unwrap_or_else(PoisonError::into_inner) }
    }
}

#[cfg(test)]
mod tests;
