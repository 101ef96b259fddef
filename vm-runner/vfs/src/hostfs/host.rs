//! Opening one name of a host directory, and nothing else: no link, no mount, no way up.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::path::Name;

/// Identifies a file of the host while somebody holds it open: device and inode number.
pub(super) type Key = (u64, u64);

/// Flags of every open: never a link, never waiting for a fifo's other end, never a controlling terminal.
pub(super) const SAFE: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// To identify without opening.
pub(super) const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens entries of directories.
#[derive(Clone, Debug, Default)]
pub(super) struct Opener {
    /// Whether the host is known to lack `openat2`.
    is_stepwise: Arc<AtomicBool>,
}

impl Opener {
    /// One that does without `openat2`.
    #[cfg(test)]
    pub(super) fn stepwise() -> Self {
        Self { is_stepwise: Arc::new(AtomicBool::new(true)) }
    }

    /// Opens an entry; `SAFE` or `PATH` is the caller's to give. `ELOOP` for a symbolic link (unless `PATH`), `EXDEV`
    /// for a mount.
    pub(super) fn entry(
        &self,
        directory: &OwnedFd,
        name: Name<'_>,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        if !self.is_stepwise.load(Ordering::Relaxed) {
            match rustix::fs::openat2(directory, name.as_bytes(), flags, mode, RESOLVE) {
                Err(Errno::NOSYS) => self.is_stepwise.store(true, Ordering::Relaxed),
                // Some sandboxes answer so for calls that they do not know.
                Err(Errno::PERM) => {}
                result => return result,
            }
        }
        // A name is a single component, so `NOFOLLOW` does all but notice mounts.
        let fd = rustix::fs::openat(directory, name.as_bytes(), flags, mode)?;
        if is_mount(directory, &fd)? { Err(Errno::XDEV) } else { Ok(fd) }
    }

    /// As [`entry`](Self::entry), without leaving a time of reading if the process may.
    pub(super) fn entry_quietly(
        &self,
        directory: &OwnedFd,
        name: Name<'_>,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        match self.entry(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => self.entry(directory, name, flags, Mode::empty()),
            result => result,
        }
    }
}

/// A directory that can be listed, from one that is identified.
pub(super) fn listable(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | SAFE;
    match rustix::fs::openat(directory, ".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, ".", flags, Mode::empty()),
        result => result,
    }
}

pub(super) fn key(stat: &Stat) -> Key {
    (stat.st_dev, stat.st_ino)
}

/// Whether an entry is the root of another mount. Hosts that do not tell show it by another device, for directories.
fn is_mount(directory: &OwnedFd, entry: &OwnedFd) -> Result<bool, Errno> {
    if let Ok(facts) = rustix::fs::statx(entry.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
        && facts.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    let (above, here) = (rustix::fs::fstat(directory)?, rustix::fs::fstat(entry)?);
    let is_directory = rustix::fs::FileType::from_raw_mode(here.st_mode) == rustix::fs::FileType::Directory;
    Ok(is_directory && above.st_dev != here.st_dev)
}
