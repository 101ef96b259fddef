//! The memory allocator of a vm process: the C library's, told how such a process lives.
//!
//! A spare rehearses a boot, and sleeps until its workspace comes. What the rehearsal got of the host has to stay with the
//! process, and has to be found again by whichever thread boots: so there is one heap, which keeps what is freed. An idle
//! VM gives it back (`idle`).

#[cfg(target_env = "gnu")]
mod gnu {
    use libc::c_int;

    /// One heap for all threads: those of its own for each would be warm for one thread only, and grow a page at a time.
    const HEAPS: (c_int, c_int) = (libc::M_ARENA_MAX, 1);
    /// By how much more than needed the heap grows. Costs nothing before it is used.
    const GROWTH: (c_int, c_int) = (libc::M_TOP_PAD, 1 << 20);
    /// How much the heap keeps at its end when it is freed.
    const KEPT: (c_int, c_int) = (libc::M_TRIM_THRESHOLD, 16 << 20);
    /// From which size on a piece has a mapping of its own, which is new memory each time.
    const OWN_MAPPING: (c_int, c_int) = (libc::M_MMAP_THRESHOLD, 4 << 20);

    /// Sets the allocator up. Comes before there is a second thread.
    #[expect(unsafe_code, reason = "a function of the C library that nobody wraps")]
    pub(crate) fn prepare() {
        for (parameter, value) in [HEAPS, GROWTH, KEPT, OWN_MAPPING] {
            // SAFETY: it takes two numbers, and changes nothing that is allocated.
            if unsafe { libc::mallopt(parameter, value) } == 0 {
                tracing::debug!(parameter, value, "the allocator stays as it is");
            }
        }
    }

    /// Gives the host what the allocator keeps for later.
    #[expect(unsafe_code, reason = "a function of the C library that nobody wraps")]
    pub(crate) fn release_free_memory() {
        // SAFETY: it takes a number, may be called at any time on any thread, and changes nothing that is allocated.
        let _released = unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(not(target_env = "gnu"))]
mod other {
    pub(crate) fn prepare() {}

    pub(crate) fn release_free_memory() {}
}

#[cfg(target_env = "gnu")]
pub(super) use self::gnu::{prepare, release_free_memory};
#[cfg(not(target_env = "gnu"))]
pub(super) use self::other::{prepare, release_free_memory};
