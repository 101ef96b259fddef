//! What a host file has besides content: mode, owner, times, extended attributes.

use rustix::fs::{
    AtFlags, Mode as HostMode, Timespec as HostTime, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags,
};
use rustix::io::Errno as HostErrno;
use vm_abi::{DeviceNumber, Errno, FileType, Gid, Mode, Stat, Timespec, Uid};

use super::HostOwner;
use super::errno::errno;
use super::node::{Node, harmless, shown_owner};
use crate::error::VfsResult;
use crate::inode::{Inode, MAX_XATTR_VALUE_BYTES, SetAttr, SetTime, XattrSet};

/// The attributes that pass.
const USER: &[u8] = b"user.";
/// What is tried before a buffer for the largest value.
const USUAL_XATTR_BYTES: usize = 512;
/// The most that Linux lists.
const MAX_XATTR_LIST_BYTES: usize = 64 * 1024;

impl Node {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the host's integers differ between architectures"
    )]
    pub(super) fn facts(&self) -> VfsResult<Stat> {
        let stat = rustix::fs::fstat(&self.handle().fd).map_err(errno)?;
        let owner = shown_owner(self.shared.owner, &stat);
        let file_type = self.file_type();
        let rdev = match file_type {
            FileType::CharDevice | FileType::BlockDevice => {
                DeviceNumber::new(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            FileType::Regular
            | FileType::Directory
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket => DeviceNumber::NONE,
        };
        Ok(Stat {
            dev: 0,
            ino: self.ino(),
            mode: file_type.mode_bits() | harmless(Mode::new(stat.st_mode), file_type).bits(),
            nlink: u64::from(stat.st_nlink),
            uid: owner.uid,
            gid: owner.gid,
            rdev,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            atime: time(stat.st_atime.into(), stat.st_atime_nsec.into()),
            mtime: time(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            ctime: time(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        })
    }

    pub(super) fn change_attributes(&self, change: &SetAttr) -> VfsResult<()> {
        // The host keeps the time of the change.
        let SetAttr { mode, uid, gid, size, atime, mtime, ctime: _ } = *change;
        self.shared.begin_change()?;
        let gives_away = self.gives_away(uid, gid)?;
        if let Some(size) = size {
            self.resize(size)?;
        }
        if gives_away {
            self.store_owner(uid, gid)?;
        }
        if let Some(mode) = mode {
            self.store_mode(harmless(mode, self.file_type()))?;
        }
        if atime.is_some() || mtime.is_some() {
            self.store_times(atime, mtime)?;
        }
        Ok(())
    }

    pub(super) fn store_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> VfsResult<()> {
        let uid = uid.map(|uid| rustix::fs::Uid::from_raw(uid.0));
        let gid = gid.map(|gid| rustix::fs::Gid::from_raw(gid.0));
        let result = if self.can_open() {
            rustix::fs::fchown(&self.any()?.fd, uid, gid)
        } else {
            rustix::fs::chownat(&self.handle().fd, "", uid, gid, AtFlags::EMPTY_PATH)
        };
        Ok(result.map_err(errno)?)
    }

    fn store_mode(&self, mode: Mode) -> VfsResult<()> {
        let handle = self.any()?;
        Ok(rustix::fs::fchmod(&handle.fd, HostMode::from_raw_mode(mode.bits())).map_err(errno)?)
    }

    /// Of an open file where there can be one: a locked-down process may touch nothing else's metadata.
    fn store_times(&self, atime: Option<SetTime>, mtime: Option<SetTime>) -> VfsResult<()> {
        let times = Timestamps { last_access: host_time(atime), last_modification: host_time(mtime) };
        let result = if self.can_open() {
            rustix::fs::futimens(&self.any()?.fd, &times)
        } else {
            rustix::fs::utimensat(&self.handle().fd, "", &times, AtFlags::EMPTY_PATH)
        };
        Ok(result.map_err(errno)?)
    }

    /// Whether it is of a type that is opened.
    fn can_open(&self) -> bool {
        self.file_type().is_regular() || self.file_type().is_directory()
    }

    /// Whether there is an owner to store; giving away what belongs to one user for ever is refused.
    fn gives_away(&self, uid: Option<Uid>, gid: Option<Gid>) -> VfsResult<bool> {
        match self.shared.owner {
            HostOwner::Real => Ok(uid.is_some() || gid.is_some()),
            HostOwner::Shown(owner) => {
                let keeps = uid.is_none_or(|uid| uid == owner.uid) && gid.is_none_or(|gid| gid == owner.gid);
                if keeps { Ok(false) } else { Err(Errno::EPERM.into()) }
            }
        }
    }

    pub(super) fn xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        if !name.starts_with(USER) {
            let is_class = name.starts_with(b"trusted.") || name.starts_with(b"security.");
            return Err(if is_class { Errno::ENODATA } else { Errno::ENOTSUP }.into());
        }
        let handle = self.any()?;
        for room in [USUAL_XATTR_BYTES, MAX_XATTR_VALUE_BYTES] {
            let mut value = vec![0; room];
            match rustix::fs::fgetxattr(&handle.fd, name, &mut value[..]) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(value);
                }
                Err(HostErrno::RANGE) => {}
                Err(error) => return Err(errno(error).into()),
            }
        }
        Err(Errno::E2BIG.into())
    }

    pub(super) fn change_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> VfsResult<()> {
        self.shared.begin_change()?;
        if !name.starts_with(USER) {
            return Err(Errno::ENOTSUP.into());
        }
        let flags = match how {
            XattrSet::Any => XattrFlags::empty(),
            XattrSet::Create => XattrFlags::CREATE,
            XattrSet::Replace => XattrFlags::REPLACE,
        };
        Ok(rustix::fs::fsetxattr(&self.any()?.fd, name, value, flags).map_err(errno)?)
    }

    pub(super) fn xattr_names(&self) -> VfsResult<Vec<Vec<u8>>> {
        if !self.can_open() {
            return Ok(Vec::new());
        }
        let handle = self.any()?;
        for room in [USUAL_XATTR_BYTES, MAX_XATTR_LIST_BYTES] {
            let mut list = vec![0; room];
            match rustix::fs::flistxattr(&handle.fd, &mut list[..]) {
                Ok(len) => {
                    let names = list[..len].split(|byte| *byte == 0).filter(|name| name.starts_with(USER));
                    let mut names: Vec<_> = names.map(<[u8]>::to_vec).collect();
                    names.sort_unstable();
                    return Ok(names);
                }
                Err(HostErrno::RANGE) => {}
                Err(HostErrno::NOTSUP) => return Ok(Vec::new()),
                Err(error) => return Err(errno(error).into()),
            }
        }
        Err(Errno::E2BIG.into())
    }

    pub(super) fn forget_xattr(&self, name: &[u8]) -> VfsResult<()> {
        self.shared.begin_change()?;
        if !name.starts_with(USER) {
            return Err(Errno::ENODATA.into());
        }
        Ok(rustix::fs::fremovexattr(&self.any()?.fd, name).map_err(errno)?)
    }
}

fn time(seconds: i64, nanoseconds: u64) -> Timespec {
    Timespec::new(seconds, u32::try_from(nanoseconds).unwrap_or(0)).unwrap_or_default()
}

fn host_time(time: Option<SetTime>) -> HostTime {
    match time {
        None => HostTime { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => HostTime { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(time)) => HostTime { tv_sec: time.sec, tv_nsec: time.nsec.into() },
    }
}
