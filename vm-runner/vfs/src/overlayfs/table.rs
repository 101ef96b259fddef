//! Which nodes there are, and what is remembered of files beyond their nodes' lives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vm_abi::Errno;

use super::lower_cache::{LowerCache, LowerInode, LowerStack};
use super::node::{Node, Place};
use super::{LAYER_SHIFT, Shared};
use crate::error::VfsResult;
use crate::ino_map::InoMap;
use crate::inode::Inode;

/// The memory of an overlay.
#[derive(Default)]
pub(super) struct NodeTable {
    /// Live nodes by inode number.
    nodes: Mutex<InoMap<Weak<Node>>>,
    /// The inode number, by the upper layer's, of files that were copied up. As many as were copied up since the
    /// mount and still exist; the upper layer's limit on inodes bounds it.
    origins: Mutex<InoMap<u64>>,
    /// The upper inode, by inode number, of copied up lower files with several names: the other names lead here too.
    copied_links: Mutex<InoMap<Arc<dyn Inode>>>,
    lower_cache: Mutex<LowerCache>,
}

impl NodeTable {
    /// Notes that this upper inode continues the file with another inode number.
    pub(super) fn add_origin(&self, upper_ino: u64, ino: u64) {
        lock(&self.origins).insert(upper_ino, ino);
    }

    /// The inode number under which an upper inode is shown.
    pub(super) fn ino_of_upper(&self, upper_ino: u64) -> u64 {
        lock(&self.origins).get(&upper_ino).copied().unwrap_or(upper_ino)
    }

    pub(super) fn add_copied_link(&self, ino: u64, upper: Arc<dyn Inode>) {
        lock(&self.copied_links).insert(ino, upper);
    }

    fn copied_link(&self, ino: u64) -> Option<Arc<dyn Inode>> {
        lock(&self.copied_links).get(&ino).map(Arc::clone)
    }

    pub(super) fn lower_cache(&self) -> MutexGuard<'_, LowerCache> {
        lock(&self.lower_cache)
    }

    /// Forgets a node that is going, and where it came from if no name leads to it any more.
    pub(super) fn forget(&self, ino: u64, gone_upper_ino: Option<u64>) {
        {
            let mut nodes = lock(&self.nodes);
            // Somebody may have made the number's next node already.
            if nodes.get(&ino).is_some_and(|node| node.strong_count() == 0) {
                nodes.remove(&ino);
            }
        }
        if let Some(upper_ino) = gone_upper_ino {
            lock(&self.origins).remove(&upper_ino);
        }
    }
}

impl Shared {
    /// The node of a file with these parts; the existing one if there is one. The tree is held.
    pub(super) fn node(
        self: &Arc<Self>,
        upper: Option<Arc<dyn Inode>>,
        lowers: LowerStack,
        place: Place,
    ) -> VfsResult<Arc<Node>> {
        let (ino, file_type) = match (lowers.first(), &upper) {
            (Some(lower), _) => (lower_ino(lower)?, lower.inode.file_type()),
            (None, Some(upper)) => (self.table.ino_of_upper(upper.ino()), upper.file_type()),
            (None, None) => return Err(Errno::ENOENT.into()),
        };
        let mut nodes = lock(&self.table.nodes);
        if let Some(node) = nodes.get(&ino).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let (upper, lowers) = match upper {
            None if !file_type.is_directory() => match self.table.copied_link(ino) {
                Some(upper) => (Some(upper), LowerStack::default()),
                None => (None, lowers),
            },
            upper => (upper, lowers),
        };
        let node = Node::new(self, ino, file_type, upper, lowers, place);
        nodes.insert(ino, Arc::downgrade(&node));
        Ok(node)
    }
}

/// The inode number of a lower file.
pub(super) fn lower_ino(lower: &LowerInode) -> VfsResult<u64> {
    layered_ino(lower.layer, lower.inode.ino())
}

/// Tells files of different layers apart. Upper files keep the upper layer's numbers, which are smaller.
pub(super) fn layered_ino(layer: usize, ino: u64) -> VfsResult<u64> {
    if ino >> LAYER_SHIFT != 0 {
        return Err(Errno::EOVERFLOW.into());
    }
    Ok((layer as u64 + 1) << LAYER_SHIFT | ino)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
