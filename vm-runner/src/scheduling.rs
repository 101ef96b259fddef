//! How the host's scheduler divides a processor between the processes of a runner.
//!
//! Guests that compute share the processors with commands that take a tenth of a millisecond. With short turns (Linux
//! 6.12 takes a wish per thread) such a command, which wakes when somebody else computes, waits a short turn and not one
//! of several milliseconds. Set once by the supervisor, before it has a second thread; threads and processes inherit it.

use std::io;
use std::time::Duration;

/// The turn that is wished for. Shorter ones cost more changes than they save waiting.
const TURN: Duration = Duration::from_micros(300);

/// Wishes for short turns. Older kernels take no notice.
pub(crate) fn take_short_turns() {
    if let Err(error) = set_turn(TURN) {
        tracing::debug!(%error, "the scheduler gives turns of its own length");
    }
}

#[expect(unsafe_code, reason = "no safe wrapper sets this")]
fn set_turn(turn: Duration) -> io::Result<()> {
    let runtime = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
    let attributes = libc::sched_attr {
        // The policy is that of any process.
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        sched_nice: rustix::process::getpriority_process(None)?,
        sched_priority: 0,
        sched_runtime: runtime,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many bytes of the structure as its first field says, which is its size, and changes
    // nothing but how the calling thread is scheduled.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "asks the kernel what it was told")]
    fn the_kernel_takes_the_wish_and_threads_inherit_it() {
        let told = std::thread::spawn(|| {
            let before = rustix::process::getpriority_process(None).unwrap();
            set_turn(TURN).unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
            let of_child = std::thread::spawn(|| {
                // SAFETY: all fields are numbers.
                let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
                let size = size_of::<libc::sched_attr>();
                // SAFETY: the kernel writes at most `size` bytes, which is what there is.
                let answer =
                    unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
                assert_eq!(answer, 0);
                attributes.sched_runtime
            });
            of_child.join().unwrap()
        });
        // Kernels before 6.12 tell nothing.
        let told = told.join().unwrap();
        assert!(told == 0 || told == 300_000, "{told}");
    }
}
