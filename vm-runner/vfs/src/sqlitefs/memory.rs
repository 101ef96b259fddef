//! How much memory content takes, and which of it may go.
//!
//! Clean content is a copy of what the database has; it goes when there is too much of it, least recently used first
//! (roughly: every piece gets a second chance if it was read since it was last looked at). Content that is not in the
//! database yet stays; writers are slowed down when there is too much of that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a chunk takes besides its bytes.
pub(super) const SLOT_BYTES: u64 = 96;
/// What a node takes, about, with its entry and a first chunk.
const NODE_BYTES: u64 = 1024;
/// How many candidates of files that have gone there may be.
const SPARE_CANDIDATES: u64 = 4096;

#[derive(Default)]
pub(super) struct Memory {
    clean_bytes: AtomicU64,
    dirty_bytes: AtomicU64,
    /// How many entries of directories are in memory.
    entries: AtomicU64,
    /// How many nodes wait to be written, or are being written.
    dirty_nodes: AtomicU64,
    /// Chunks that were clean when they were put here, oldest first, by inode number and position.
    candidates: Mutex<VecDeque<(u64, u32)>>,
}

/// Whether the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Clean,
    Dirty,
}

impl Memory {
    pub(super) fn clean_bytes(&self) -> u64 {
        self.clean_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// How much memory waits for the database, all in all.
    pub(super) fn pressure(&self) -> u64 {
        self.dirty_bytes() + self.dirty_nodes.load(Ordering::Relaxed) * NODE_BYTES
    }

    pub(super) fn add_dirty_node(&self) {
        self.dirty_nodes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn subtract_dirty_nodes(&self, count: u64) {
        self.dirty_nodes.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn add(&self, class: Class, bytes: u64) {
        self.counter(class).fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, class: Class, bytes: u64) {
        self.counter(class).fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn add_entries(&self, count: u64) {
        self.entries.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn subtract_entries(&self, count: u64) {
        self.entries.fetch_sub(count, Ordering::Relaxed);
    }

    /// Notes a chunk that may go.
    pub(super) fn offer(&self, ino: u64, index: u32) {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner).push_back((ino, index));
    }

    /// Whether there are far more candidates than chunks: those of files that have gone.
    pub(super) fn has_stale_candidates(&self) -> bool {
        let chunks = (self.clean_bytes() + self.dirty_bytes()) / SLOT_BYTES;
        self.candidates() as u64 > chunks + SPARE_CANDIDATES
    }

    pub(super) fn candidates(&self) -> usize {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The chunk that may go first.
    pub(super) fn candidate(&self) -> Option<(u64, u32)> {
        let mut candidates = self.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        let candidate = candidates.pop_front();
        if candidates.is_empty() && candidates.capacity() > 64 {
            candidates.shrink_to_fit();
        }
        candidate
    }

    const fn counter(&self, class: Class) -> &AtomicU64 {
        match class {
            Class::Clean => &self.clean_bytes,
            Class::Dirty => &self.dirty_bytes,
        }
    }
}
