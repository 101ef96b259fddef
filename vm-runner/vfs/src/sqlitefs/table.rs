//! Which nodes are in memory. One inode number has at most one node at a time.
//!
//! Nodes with a name are kept until there are too many; then those go that nobody holds or has used lately. Nodes
//! without a name live as long as somebody holds them. Of those that are gone but still in the database the number is
//! kept, so that nobody finds them there.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::node::Node;
use crate::ino_map::InoMap;

/// How many nodes are looked at when there are too many.
const EVICTION_STEPS: usize = 32;
/// How many candidates that are none there may be besides as many as there are nodes.
const SPARE_CANDIDATES: usize = 1024;

#[derive(Default)]
pub(super) struct Table(Mutex<State>);

#[derive(Default)]
struct State {
    slots: InoMap<Slot>,
    /// Inode numbers of nodes with a name, the one to go first in front. Others in between are skipped.
    candidates: VecDeque<u64>,
}

enum Slot {
    Named(Arc<Node>),
    Unnamed(Weak<Node>),
    Gone,
}

#[cfg(test)]
impl Slot {
    fn node(&self) -> Option<Arc<Node>> {
        match self {
            Self::Named(node) => Some(Arc::clone(node)),
            Self::Unnamed(node) => node.upgrade(),
            Self::Gone => None,
        }
    }
}

/// What the table knows of an inode number.
pub(super) enum Found {
    Node(Arc<Node>),
    /// The file was removed.
    Gone,
    /// Ask the database.
    Unknown,
}

impl Table {
    pub(super) fn find(&self, ino: u64) -> Found {
        match self.lock().slots.get(&ino) {
            Some(Slot::Named(node)) => Found::Node(Arc::clone(node)),
            Some(Slot::Unnamed(node)) => node.upgrade().map_or(Found::Gone, Found::Node),
            Some(Slot::Gone) => Found::Gone,
            None => Found::Unknown,
        }
    }

    /// Adds a node with a name, which may have been here without one.
    pub(super) fn add(&self, node: &Arc<Node>) {
        let mut state = self.lock();
        let old = state.slots.insert(node.ino(), Slot::Named(Arc::clone(node)));
        if !matches!(old, Some(Slot::Named(_))) {
            state.candidates.push_back(node.ino());
            if state.candidates.len() > 2 * state.slots.len() + SPARE_CANDIDATES {
                let State { slots, candidates } = &mut *state;
                candidates.retain(|ino| matches!(slots.get(ino), Some(Slot::Named(_))));
            }
        }
    }

    /// Keeps no longer what lost its last name, or never had one.
    pub(super) fn add_unnamed(&self, node: &Arc<Node>) {
        let old = self.lock().slots.insert(node.ino(), Slot::Unnamed(Arc::downgrade(node)));
        drop(old);
    }

    /// Notes that a file is gone which is still in the database.
    pub(super) fn add_gone(&self, ino: u64) {
        self.lock().slots.insert(ino, Slot::Gone);
    }

    /// Forgets a file that is not in the database.
    pub(super) fn remove(&self, ino: u64) {
        let old = self.lock().slots.remove(&ino);
        drop(old);
    }

    /// Forgets all nodes.
    pub(super) fn clear(&self) {
        let slots = std::mem::take(&mut self.lock().slots);
        drop(slots);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// How much the extended attributes take that are in memory.
    #[cfg(test)]
    pub(super) fn attribute_bytes(&self) -> u64 {
        let nodes: Vec<_> = self.lock().slots.values().filter_map(Slot::node).collect();
        nodes.iter().map(|node| node.attributes().kept_bytes()).sum()
    }

    /// Lets some nodes go, and some directories forget their entries. The caller holds no lock.
    pub(super) fn shrink(&self) {
        let mut going = Vec::new();
        let mut held = Vec::new();
        {
            let mut state = self.lock();
            for _ in 0..EVICTION_STEPS {
                let Some(ino) = state.candidates.pop_front() else { break };
                let Some(Slot::Named(node)) = state.slots.get(&ino) else { continue };
                let is_used = node.was_used();
                if is_used || node.is_pinned() {
                    state.candidates.push_back(ino);
                } else if Arc::strong_count(node) > 1 {
                    held.push(Arc::clone(node));
                    state.candidates.push_back(ino);
                } else {
                    // What its last holder did to it is seen after that holder is seen to be gone.
                    fence(Ordering::Acquire);
                    if node.is_pinned() {
                        state.candidates.push_back(ino);
                    } else {
                        going.extend(state.slots.remove(&ino));
                    }
                }
            }
        }
        drop(going);
        for node in held {
            node.forget_entries();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
