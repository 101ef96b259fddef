//! What the API holds in memory for one VM, beside what guests use: request bodies, output on its way to a client, output
//! that is kept for readers.
//!
//! [`Buffers`] counts bytes against a limit; [`Held`] is a share of it that is given back when dropped. The limits follow
//! `spec.limits.memory`, so that they have a name that raises them. Nothing here waits: who gets no share drops bytes and
//! says so, or refuses the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_api::{Problem, ProblemCode};

/// Shares grow in steps of this, so that small ones cost one operation.
const STEP_BYTES: u64 = 64 << 10;
/// Requests in flight may hold a quarter of the memory limit, and never less than this.
const MIN_REQUEST_BYTES: u64 = 32 << 20;
/// Kept output may hold an eighth of the memory limit, and never less than this.
const MIN_KEPT_BYTES: u64 = 8 << 20;
/// The limit that raises both.
pub(crate) const LIMIT: &str = "spec.limits.memory";

/// How many bytes are held, and how many may be.
#[derive(Debug)]
pub(crate) struct Buffers {
    used: AtomicU64,
    most: u64,
}

/// A share of [`Buffers`].
#[derive(Debug)]
pub(crate) struct Held {
    buffers: Arc<Buffers>,
    bytes: u64,
}

impl Buffers {
    /// What requests in flight may hold in a VM with this memory limit.
    pub(crate) fn of_requests(memory_bytes: u64) -> Arc<Self> {
        Self::new((memory_bytes / 4).max(MIN_REQUEST_BYTES))
    }

    /// What output that is kept for readers may hold in a VM with this memory limit.
    pub(crate) fn of_kept_output(memory_bytes: u64) -> Arc<Self> {
        Self::new((memory_bytes / 8).max(MIN_KEPT_BYTES))
    }

    /// So many bytes.
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), most })
    }

    /// A share of nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { buffers: Arc::clone(self), bytes: 0 }
    }

    /// Why a request gets no share.
    pub(crate) fn problem(&self) -> Problem {
        let detail = format!(
            "the requests of this workspace that are in flight hold {} bytes of input and output, their most; send less at once or raise {LIMIT}",
            self.most
        );
        Problem::new(ProblemCode::LimitBuffers, detail).with_limit(LIMIT)
    }

    fn try_add(&self, bytes: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

impl Held {
    /// Makes the share large enough for so many bytes; false, and nothing changes, if there is no room.
    pub(crate) fn try_grow_to(&mut self, bytes: usize) -> bool {
        let wanted = (bytes as u64).next_multiple_of(STEP_BYTES);
        if wanted > self.bytes {
            if !self.buffers.try_add(wanted - self.bytes) {
                return false;
            }
            self.bytes = wanted;
        }
        true
    }

    /// How many bytes the share is good for.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// Makes the share large enough for a request's bytes.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        if self.try_grow_to(bytes) { Ok(()) } else { Err(self.buffers.problem()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.buffers.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_when_it_is_dropped() {
        let buffers = Buffers::new(3 * STEP_BYTES);
        let (mut first, mut second) = (buffers.hold(), buffers.hold());
        assert!(first.try_grow_to(1) && second.try_grow_to(STEP_BYTES as usize + 1));
        assert!(!first.try_grow_to(STEP_BYTES as usize + 1), "three steps are taken");
        assert!(first.try_grow_to(STEP_BYTES as usize), "what it has it keeps");
        drop(second);
        assert!(first.try_grow_to(3 * STEP_BYTES as usize));
        assert_eq!(first.bytes(), 3 * STEP_BYTES as usize);
    }

    #[test]
    fn the_limit_is_named_with_what_raises_it() {
        let problem = Buffers::of_requests(512 << 20).hold().grow_to(129 << 20).unwrap_err();
        assert_eq!((problem.status, problem.limit.as_deref()), (429, Some(LIMIT)));
        assert!(problem.detail.contains("134217728"), "{}", problem.detail);
    }
}
