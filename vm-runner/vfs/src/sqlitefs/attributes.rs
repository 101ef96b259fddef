//! What is known about a node besides its content: mode, owner, times, extended attributes.

use std::collections::BTreeMap;

use vm_abi::{Errno, Gid, Mode, Timespec, Uid};

use super::content::Env;
use super::memory::{Class, Memory};
use super::row::InodeRow;
use crate::error::{Error, VfsResult};
use crate::inode::{Owner, SetAttr, SetTime, XattrSet};

/// How much the extended attributes of one file may take (`ENOSPC`): two of the largest.
const MAX_XATTR_BYTES: u64 = 128 * 1024;
/// Up to how many bytes those of one file stay in memory though the database has them.
const KEPT_XATTR_BYTES: u64 = 512;
/// What an extended attribute costs besides name and value.
pub(super) const XATTR_OVERHEAD_BYTES: u64 = 64;

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

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
    /// `None` if they are in the database only.
    xattrs: Option<Xattrs>,
    xattr_bytes: u64,
    /// What memory was charged for those that the database does not have, or not yet.
    unwritten_bytes: u64,
    /// Whether the next batch has to write anything of it.
    pub(super) is_changed: bool,
    /// Whether the next batch has to write the extended attributes.
    pub(super) are_xattrs_changed: bool,
    /// Whether the database has the inode, or a batch on its way there.
    pub(super) is_stored: bool,
    /// Whether the database has it among the orphans, or a batch on its way there.
    pub(super) is_stored_orphan: bool,
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
            xattrs: Some(Xattrs::new()),
            xattr_bytes: 0,
            unwritten_bytes: 0,
            is_changed: true,
            are_xattrs_changed: false,
            is_stored: false,
            is_stored_orphan: false,
        }
    }

    pub(super) fn stored(row: &InodeRow) -> Self {
        Self {
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            nlink: row.nlink,
            is_linkable: false,
            atime: row.atime,
            mtime: row.mtime,
            ctime: row.ctime,
            xattrs: if row.xattr_bytes == 0 { Some(Xattrs::new()) } else { None },
            xattr_bytes: row.xattr_bytes,
            unwritten_bytes: 0,
            is_changed: false,
            are_xattrs_changed: false,
            is_stored: true,
            is_stored_orphan: false,
        }
    }

    /// The content changed.
    pub(super) const fn touch_content(&mut self, now: Timespec) {
        self.mtime = now;
        self.touch(now);
    }

    /// Something changed.
    pub(super) const fn touch(&mut self, now: Timespec) {
        self.ctime = now;
        self.is_changed = true;
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
        self.touch(ctime.unwrap_or(now));
    }

    pub(super) fn get_xattr(&mut self, env: &Env<'_>, name: &[u8]) -> VfsResult<Vec<u8>> {
        let value = self.xattrs(env)?.get(name).cloned();
        self.forget_xattrs();
        value.ok_or_else(|| Errno::ENODATA.into())
    }

    pub(super) fn list_xattr(&mut self, env: &Env<'_>) -> VfsResult<Vec<Vec<u8>>> {
        let names = self.xattrs(env)?.keys().cloned().collect();
        self.forget_xattrs();
        Ok(names)
    }

    pub(super) fn set_xattr(
        &mut self,
        env: &Env<'_>,
        name: &[u8],
        value: &[u8],
        how: XattrSet,
        now: Timespec,
    ) -> VfsResult<()> {
        let result = self.put_xattr(env, name, value, how, now);
        self.forget_xattrs();
        result
    }

    fn put_xattr(
        &mut self,
        env: &Env<'_>,
        name: &[u8],
        value: &[u8],
        how: XattrSet,
        now: Timespec,
    ) -> VfsResult<()> {
        let old = self.xattrs(env)?.get(name);
        match (how, old) {
            (XattrSet::Create, Some(_)) => return Err(Errno::EEXIST.into()),
            (XattrSet::Replace, None) => return Err(Errno::ENODATA.into()),
            (XattrSet::Any, Some(_) | None) | (XattrSet::Create, None) | (XattrSet::Replace, Some(_)) => {}
        }
        let new_cost = xattr_cost(name, value);
        let old_cost = old.map_or(0, |old| xattr_cost(name, old));
        let bytes = self.xattr_bytes - old_cost.min(self.xattr_bytes) + new_cost;
        if bytes > MAX_XATTR_BYTES {
            return Err(Error::limit(Errno::ENOSPC, "extended attribute bytes of one file"));
        }
        env.take(new_cost)?;
        env.give(old_cost);
        self.xattrs(env)?.insert(name.to_vec(), value.to_vec());
        self.xattrs_changed(env, bytes, now);
        Ok(())
    }

    pub(super) fn remove_xattr(&mut self, env: &Env<'_>, name: &[u8], now: Timespec) -> VfsResult<()> {
        let Some(value) = self.xattrs(env)?.remove(name) else {
            self.forget_xattrs();
            return Err(Errno::ENODATA.into());
        };
        let cost = xattr_cost(name, &value);
        env.give(cost);
        self.xattrs_changed(env, self.xattr_bytes - cost.min(self.xattr_bytes), now);
        Ok(())
    }

    /// What the extended attributes were charged.
    pub(super) const fn xattr_bytes(&self) -> u64 {
        self.xattr_bytes
    }

    /// How much the extended attributes take that are in memory.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> u64 {
        self.xattrs.iter().flatten().map(|(name, value)| xattr_cost(name, value)).sum()
    }

    /// All extended attributes, if the next batch has to write them.
    pub(super) fn collect_xattrs(&mut self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        if !std::mem::take(&mut self.are_xattrs_changed) {
            return None;
        }
        let xattrs = self.xattrs.as_ref()?.iter();
        Some(xattrs.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The database has the extended attributes that the next batch had to write when it was collected.
    pub(super) fn xattrs_committed(&mut self, env: &Env<'_>) {
        if !self.are_xattrs_changed {
            self.charge(env.memory, 0);
            self.forget_xattrs();
        }
    }

    /// Lets go of everything, because the node goes.
    pub(super) fn drop_all(&mut self, memory: &Memory) {
        self.charge(memory, 0);
    }

    fn xattrs_changed(&mut self, env: &Env<'_>, bytes: u64, now: Timespec) {
        self.charge(env.memory, bytes);
        self.xattr_bytes = bytes;
        self.are_xattrs_changed = true;
        self.touch(now);
    }

    /// Charges memory for extended attributes that are to be written.
    fn charge(&mut self, memory: &Memory, bytes: u64) {
        memory.add(Class::Dirty, bytes);
        memory.subtract(Class::Dirty, self.unwritten_bytes);
        self.unwritten_bytes = bytes;
    }

    /// Lets go of large extended attributes that the database has.
    fn forget_xattrs(&mut self) {
        if self.unwritten_bytes == 0 && self.xattr_bytes > KEPT_XATTR_BYTES {
            self.xattrs = None;
        }
    }

    /// The extended attributes, read from the database if need be.
    fn xattrs(&mut self, env: &Env<'_>) -> VfsResult<&mut Xattrs> {
        if self.xattrs.is_none() {
            let stored = env.database.read(|turn| turn.xattrs(env.ino))?;
            self.xattrs = Some(stored.into_iter().collect());
        }
        self.xattrs.as_mut().ok_or_else(|| Errno::EIO.into())
    }
}

pub(super) const fn xattr_cost(name: &[u8], value: &[u8]) -> u64 {
    name.len() as u64 + value.len() as u64 + XATTR_OVERHEAD_BYTES
}
