//! What is known about a node besides its content: mode, owner, times, extended attributes.

use std::collections::BTreeMap;

use vm_abi::{Errno, Gid, Mode, Timespec, Uid};

use crate::budget::Budget;
use crate::error::{Error, VfsResult};
use crate::inode::{Owner, SetAttr, SetTime, XattrSet};

/// How much the extended attributes of one file may take (`ENOSPC`): two of the largest.
const MAX_XATTR_BYTES: u64 = 128 * 1024;
/// What an extended attribute costs besides name and value.
const XATTR_OVERHEAD_BYTES: u64 = 64;

pub(super) struct Attributes {
    pub(super) mode: Mode,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// Number of names; of a directory also its own `.` and its subdirectories' `..`.
    pub(super) nlink: u64,
    /// Whether a node without a name may get one: it was made so, not unlinked.
    pub(super) is_linkable: bool,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    xattr_bytes: u64,
}

impl Attributes {
    pub(super) const fn new(mode: Mode, owner: Owner, nlink: u64, now: Timespec) -> Self {
        Self {
            mode,
            uid: owner.uid,
            gid: owner.gid,
            nlink,
            is_linkable: true,
            atime: now,
            mtime: now,
            ctime: now,
            xattrs: BTreeMap::new(),
            xattr_bytes: 0,
        }
    }

    /// The content changed.
    pub(super) const fn touch_content(&mut self, now: Timespec) {
        self.mtime = now;
        self.ctime = now;
    }

    /// Applies everything but the size, which the content has taken by now.
    pub(super) fn apply(&mut self, change: &SetAttr, now: Timespec) {
        let SetAttr { mode, uid, gid, size, atime, mtime, ctime } = *change;
        if size.is_some() {
            self.mtime = now;
        }
        let time = |set: SetTime| set.at(now);
        self.mode = mode.unwrap_or(self.mode);
        self.uid = uid.unwrap_or(self.uid);
        self.gid = gid.unwrap_or(self.gid);
        self.atime = atime.map_or(self.atime, time);
        self.mtime = mtime.map_or(self.mtime, time);
        self.ctime = ctime.unwrap_or(now);
    }

    pub(super) fn get_xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        self.xattrs.get(name).cloned().ok_or_else(|| Errno::ENODATA.into())
    }

    pub(super) fn list_xattr(&self) -> Vec<Vec<u8>> {
        self.xattrs.keys().cloned().collect()
    }

    pub(super) fn set_xattr(
        &mut self,
        name: &[u8],
        value: &[u8],
        how: XattrSet,
        bytes: &Budget,
        now: Timespec,
    ) -> VfsResult<()> {
        let old = self.xattrs.get(name);
        match (how, old) {
            (XattrSet::Create, Some(_)) => return Err(Errno::EEXIST.into()),
            (XattrSet::Replace, None) => return Err(Errno::ENODATA.into()),
            (XattrSet::Any, Some(_) | None) | (XattrSet::Create, None) | (XattrSet::Replace, Some(_)) => {}
        }
        let new_cost = xattr_cost(name, value);
        let old_cost = old.map_or(0, |old| xattr_cost(name, old));
        if self.xattr_bytes - old_cost + new_cost > MAX_XATTR_BYTES {
            return Err(Error::limit(Errno::ENOSPC, "extended attribute bytes of one file"));
        }
        bytes.take(new_cost)?;
        bytes.give(old_cost);
        self.xattr_bytes = self.xattr_bytes - old_cost + new_cost;
        self.xattrs.insert(name.to_vec(), value.to_vec());
        self.ctime = now;
        Ok(())
    }

    pub(super) fn remove_xattr(&mut self, name: &[u8], bytes: &Budget, now: Timespec) -> VfsResult<()> {
        let value = self.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        let cost = xattr_cost(name, &value);
        bytes.give(cost);
        self.xattr_bytes -= cost;
        self.ctime = now;
        Ok(())
    }

    /// What the extended attributes were charged.
    pub(super) const fn charged(&self) -> u64 {
        self.xattr_bytes
    }
}

const fn xattr_cost(name: &[u8], value: &[u8]) -> u64 {
    name.len() as u64 + value.len() as u64 + XATTR_OVERHEAD_BYTES
}
