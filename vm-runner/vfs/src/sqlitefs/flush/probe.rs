//! What tests ask about flushing.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::sqlitefs::Shared;
use crate::sqlitefs::node::Node;

impl Shared {
    /// How many batches there were.
    pub(in crate::sqlitefs) fn batches(&self) -> u64 {
        self.flush.lock().begun
    }

    /// Whether all that was done to a node is on the disk.
    pub(in crate::sqlitefs) fn is_durable(&self, node: &Node) -> bool {
        // A batch that is being collected may be about to take it.
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        node.settled_in().is_some_and(|batch| batch <= self.flush.durable.load(Ordering::Acquire))
    }
}
