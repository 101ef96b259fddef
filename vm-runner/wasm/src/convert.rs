//! From raw guest integers to the kernel's types, and back: the numbers that more than one import module uses.

use vm_abi::{Errno, FileType, OpenFlags, Signal, SignalSet, Stat, Timespec};
use vm_kernel::syscall::{DirFd, Fd};

pub(crate) use crate::flags::{fd, libc_open_flags, status_flags};
use crate::guest::Guest;

/// `AT_FDCWD`, and the value some programs use for it.
const CURRENT_DIRECTORY: [u32; 2] = [0xffff_ffff, 0xffff_fffe];
/// Marks the number of a preopened directory, which is in no fd table.
pub(crate) const PREOPEN_TAG: u32 = 0x4000_0000;
/// Number of the first preopened directory.
const FIRST_PREOPEN: u32 = 3;

/// What an fd number of a guest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An entry of the fd table.
    Fd(Fd),
    /// A preopened directory.
    Preopen(DirFd),
}

/// An fd or a preopened directory. 3 and 4 name preopened directories while the guest has nothing open there; a program
/// that knows preview 1 only has them open.
pub(crate) fn target(guest: &Guest, raw: u32) -> Result<Target, Errno> {
    if raw & PREOPEN_TAG != 0 {
        return preopen(guest, raw & !PREOPEN_TAG).map(Target::Preopen);
    }
    let fd = fd(raw)?;
    if guest.standard.is_none()
        && (FIRST_PREOPEN..FIRST_PREOPEN + 2).contains(&raw)
        && vm_kernel::syscall::file::fd_flags(&guest.ctx, fd).is_err()
    {
        return preopen(guest, raw).map(Target::Preopen);
    }
    Ok(Target::Fd(fd))
}

/// The directory that a path is relative to.
///
/// Programs with the number 3 built in mean the preopened directory, also where they inherited a file there: a shell
/// that reads a script from a file hands that file on to its children. Only a directory can be meant otherwise.
pub(crate) fn dir(guest: &Guest, raw: u32) -> Result<DirFd, Errno> {
    if CURRENT_DIRECTORY.contains(&raw) {
        return Ok(DirFd::Cwd);
    }
    match target(guest, raw)? {
        Target::Fd(fd) if guest.standard.is_none() && !is_directory(guest, fd) => {
            Ok(preopen(guest, raw).unwrap_or(DirFd::Fd(fd)))
        }
        Target::Fd(fd) => Ok(DirFd::Fd(fd)),
        Target::Preopen(dir) => Ok(dir),
    }
}

/// The directory that a path of preview 1 is relative to, if it may be used with that path.
pub(crate) fn dir_of(guest: &Guest, raw: u32, path: &[u8]) -> Result<DirFd, Errno> {
    let dir = dir(guest, raw)?;
    match &guest.standard {
        Some(standard) if raw & PREOPEN_TAG == 0 => standard.check_path(raw, path)?,
        _ => {}
    }
    Ok(dir)
}

fn is_directory(guest: &Guest, fd: Fd) -> bool {
    vm_kernel::syscall::file::stat(&guest.ctx, fd).is_ok_and(|stat| stat.file_type().is_directory())
}

/// Preopened directory `number`: the working directory of the start first, then `/` if that is another one.
fn preopen(guest: &Guest, number: u32) -> Result<DirFd, Errno> {
    match number.checked_sub(FIRST_PREOPEN) {
        Some(0) => Ok(DirFd::Cwd),
        Some(1) if *guest.ctx.cwd_path() != *b"/" => Ok(DirFd::Root),
        _ => Err(Errno::EBADF),
    }
}

/// A position or length of a file: `EINVAL` for what is negative to the kernel, as on Linux.
pub(crate) fn position(raw: u64) -> Result<u64, Errno> {
    if i64::try_from(raw).is_ok() { Ok(raw) } else { Err(Errno::EINVAL) }
}

/// A signal, which must not be 0.
pub(crate) fn signal(raw: u32) -> Result<Signal, Errno> {
    i32::try_from(raw).ok().and_then(Signal::from_raw).ok_or(Errno::EINVAL)
}

/// A set of signals in two halves.
pub(crate) fn signal_set(low: u32, high: u32) -> SignalSet {
    SignalSet::from_bits(u64::from(high) << 32 | u64::from(low))
}

/// The two halves of a set of signals.
pub(crate) fn halves(set: SignalSet) -> (u32, u32) {
    let bits = set.bits();
    ((bits & 0xffff_ffff) as u32, (bits >> 32) as u32)
}

/// A time as preview 1 counts it. Negative times are 0.
pub(crate) fn nanoseconds(time: Timespec) -> u64 {
    time.as_nanos()
}

/// Preview 1's number of a file type. Pipes have none; they are told apart by their mode.
pub(crate) fn wasi_file_type(file_type: FileType) -> u8 {
    match file_type {
        FileType::Fifo => 0,
        FileType::BlockDevice => 1,
        FileType::CharDevice => 2,
        FileType::Directory => 3,
        FileType::Regular => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

/// Whether a pipe shows itself to programs as a regular file: when it is reached by the name of an open fd, as in a
/// process substitution. The packaged coreutils refuse to read files whose type their standard library has no word
/// for, and pipes are among them.
pub(crate) fn shows_as_regular(stat: &Stat, dir: DirFd, path: &[u8]) -> bool {
    const FD_FOLDERS: [&[u8]; 2] = [b"dev/fd/", b"proc/self/fd/"];
    if stat.file_type() != FileType::Fifo {
        return false;
    }
    let from_root = match (path.strip_prefix(b"/"), dir) {
        (Some(path), _) => path,
        (None, DirFd::Root) => path,
        (None, DirFd::Cwd | DirFd::Fd(_)) => return false,
    };
    FD_FOLDERS.iter().any(|folder| from_root.starts_with(folder)) || from_root == b"dev/stdin"
}

/// The facts about a file, with the type of a regular one.
pub(crate) fn as_regular(stat: Stat) -> Stat {
    Stat { mode: FileType::Regular.mode_bits() | stat.permissions().bits(), ..stat }
}

/// Preview 1's `fdflags` of status flags.
pub(crate) fn wasi_fd_flags(flags: OpenFlags) -> u16 {
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    bit(OpenFlags::APPEND, 1)
        | bit(OpenFlags::DSYNC, 2)
        | bit(OpenFlags::NONBLOCK, 4)
        | bit(OpenFlags::SYNC, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_sets_survive_the_way_to_the_guest_and_back() {
        let set = SignalSet::EMPTY.with(Signal::SIGTERM).with(Signal::from_raw(64).unwrap());
        let (low, high) = halves(set);
        assert_eq!((low, high), (1 << 14, 1 << 31));
        assert_eq!(signal_set(low, high), set);
    }

    #[test]
    fn status_flags_survive_the_way_to_the_guest_and_back() {
        for raw in [0, 1, 2, 4, 16, 23] {
            assert_eq!(u32::from(wasi_fd_flags(status_flags(raw))), raw);
        }
    }
}
