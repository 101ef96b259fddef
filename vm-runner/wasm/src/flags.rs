//! Numbers and flags of guests that need nothing but themselves to be understood.
//!
//! Like [`memory`](crate::memory) this uses nothing of the engine, so that `vm-fuzz` can include it by its path.

use vm_abi::{Errno, OpenFlags};
use vm_kernel::syscall::Fd;

/// An fd.
pub(crate) fn fd(raw: u32) -> Result<Fd, Errno> {
    Fd::try_from(raw).map_err(|_| Errno::EBADF)
}

/// Status flags of preview 1's `fdflags`.
pub(crate) fn status_flags(raw: u32) -> OpenFlags {
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::APPEND, raw & 1 != 0);
    flags.set(OpenFlags::DSYNC, raw & 2 != 0);
    flags.set(OpenFlags::NONBLOCK, raw & 4 != 0);
    flags.set(OpenFlags::SYNC, raw & (8 | 16) != 0);
    flags
}

/// Open flags in the encoding of wasi-libc's `O_*`, as file actions carry them.
pub(crate) fn libc_open_flags(raw: u32) -> OpenFlags {
    const READ: u32 = 0x0400_0000;
    const WRITE: u32 = 0x1000_0000;
    let mut flags = OpenFlags::empty();
    if raw & (READ | WRITE) == 0 && raw & 0x0a00_0000 == 0 {
        // Rust's standard library opens /dev/null with Linux's numbers.
        flags |= match raw & 3 {
            1 => OpenFlags::WRITE,
            2 => OpenFlags::READ | OpenFlags::WRITE,
            _ => OpenFlags::READ,
        };
    } else {
        flags.set(OpenFlags::WRITE, raw & WRITE != 0);
        flags.set(OpenFlags::READ, raw & WRITE == 0 || raw & READ != 0);
        flags |= status_flags(raw & 31);
    }
    flags.set(OpenFlags::CREATE, raw & 0x1000 != 0);
    flags.set(OpenFlags::DIRECTORY, raw & 0x2000 != 0);
    flags.set(OpenFlags::EXCL, raw & 0x4000 != 0);
    flags.set(OpenFlags::TRUNC, raw & 0x8000 != 0);
    flags.set(OpenFlags::NOFOLLOW, raw & 0x0100_0000 != 0);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_come_in_two_encodings() {
        assert_eq!(libc_open_flags(0), OpenFlags::READ);
        assert_eq!(libc_open_flags(1), OpenFlags::WRITE);
        assert_eq!(libc_open_flags(2), OpenFlags::READ | OpenFlags::WRITE);
        assert_eq!(
            libc_open_flags(0x1000_0000 | 0x1000 | 1),
            OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::APPEND
        );
        assert_eq!(libc_open_flags(0x1400_0000), OpenFlags::READ | OpenFlags::WRITE);
    }
}
