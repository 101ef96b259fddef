//! A node as an inode.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use vm_abi::{Errno, FileType, Mode, Stat};

use super::content::{Content, Env};
use super::flush::Intent;
use super::node::{Body, Node};
use crate::error::VfsResult;
use crate::inode::{
    Allocation, Appended, DirEntry, Extent, Inode, NodeKind, Owner, Parent, RenameFlags, SetAttr, SyncScope,
    XattrSet,
};
use crate::path::Name;

/// What `stat` tells as a directory's size, per entry.
const ENTRY_BYTES: u64 = 32;
/// How often a reader tries to get a chunk without keeping writers of the file away.
const PATIENCE: usize = 8;
/// After how many chunks a reader lets others go.
const TRIM_EVERY: usize = 16;
/// How much is reserved before what was noted of it is written.
const ALLOCATED_BYTES: u64 = 1 << 30;
/// How much of a write is taken before there has to be room for the rest.
const WRITTEN_BYTES: usize = 4 << 20;
/// How many chunks are got before a write, likewise.
const PRELOADED_CHUNKS: usize = 16;

impl Inode for Node {
    fn ino(&self) -> u64 {
        self.ino()
    }

    fn file_type(&self) -> FileType {
        self.kind()
    }

    fn stat(&self) -> VfsResult<Stat> {
        let stored_size = self.size.load(Ordering::Relaxed);
        let (size, charged) = match &self.body {
            Body::Directory(_) => (stored_size.saturating_add(2).saturating_mul(ENTRY_BYTES), 0),
            Body::Symlink(target) => (stored_size, target.len() as u64),
            Body::Regular(_) => (stored_size, self.content_bytes.load(Ordering::Relaxed)),
            Body::Fifo | Body::Socket | Body::CharDevice(_) | Body::BlockDevice(_) => (0, 0),
        };
        let attributes = self.attributes();
        Ok(Stat {
            dev: 0,
            ino: self.ino(),
            mode: self.kind().mode_bits() | attributes.mode.bits(),
            nlink: attributes.nlink,
            uid: attributes.uid,
            gid: attributes.gid,
            rdev: self.rdev(),
            size,
            blocks: charged / 512,
            atime: attributes.atime,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
        })
    }

    fn set_attr(&self, change: &SetAttr) -> VfsResult<()> {
        let Some(size) = change.size else {
            let _changing = self.shared.begin(Intent::Add)?;
            self.attributes().apply(change, self.shared.now());
            self.queue();
            return Ok(());
        };
        self.content()?;
        let intent = if size < self.size.load(Ordering::Relaxed) { Intent::Remove } else { Intent::Add };
        self.change_content(intent, |content, env| {
            content.set_size(env, size)?;
            self.attributes().apply(change, self.shared.now());
            Ok(())
        })
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.find(name)?)
    }

    fn parent(&self) -> Parent {
        self.parent_entry()
    }

    fn create(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.make_entry(name, kind, mode, owner)?)
    }

    fn create_unnamed(&self, mode: Mode, owner: Owner) -> VfsResult<Arc<dyn Inode>> {
        Ok(self.make_unnamed(mode, owner)?)
    }

    fn link(&self, name: Name<'_>, target: &Arc<dyn Inode>) -> VfsResult<()> {
        self.link_entry(name, &self.sibling(target)?)
    }

    fn unlink(&self, name: Name<'_>) -> VfsResult<()> {
        self.unlink_entry(name)
    }

    fn rmdir(&self, name: Name<'_>) -> VfsResult<()> {
        self.rmdir_entry(name)
    }

    fn rename(
        &self,
        name: Name<'_>,
        new_parent: &Arc<dyn Inode>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        self.rename_entry(name, &self.sibling(new_parent)?, new_name, flags)
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        self.list()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        let mut done = 0;
        let mut attempts = 0;
        let mut loaded = 0;
        let lock = self.content()?;
        let read = loop {
            let at = offset.saturating_add(done as u64);
            let (unknown, version) = {
                let content = lock.read().unwrap_or_else(PoisonError::into_inner);
                match content.read(at, &mut buffer[done..]) {
                    Ok(read) => break done + read,
                    Err(unknown) => (unknown, content.version()),
                }
            };
            attempts = if unknown.done > 0 { 0 } else { attempts + 1 };
            done += unknown.done;
            if attempts > PATIENCE {
                let mut content = lock.write().unwrap_or_else(PoisonError::into_inner);
                let at = offset.saturating_add(done as u64);
                break done + content.read_loading(&self.env(), at, &mut buffer[done..])?;
            }
            self.load_chunk(unknown.index, version)?;
            loaded += 1;
            if loaded % TRIM_EVERY == 0 {
                self.shared.trim();
            }
        };
        if loaded > 0 {
            self.shared.trim();
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        if bytes.is_empty() {
            return self.content().map(|_| 0);
        }
        let mut written = 0;
        for step in bytes.chunks(WRITTEN_BYTES) {
            match self.write_step(offset.saturating_add(written as u64), step) {
                Ok(count) => written += count,
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
            // The rest finds no room either.
            if !written.is_multiple_of(WRITTEN_BYTES) {
                break;
            }
        }
        Ok(written)
    }

    fn append(&self, bytes: &[u8]) -> VfsResult<Appended> {
        self.content()?;
        if bytes.is_empty() {
            return Ok(Appended { written: 0, end: self.size.load(Ordering::Relaxed) });
        }
        let mut appended = Appended { written: 0, end: 0 };
        for step in bytes.chunks(WRITTEN_BYTES) {
            match self.append_step(step) {
                Ok(Appended { written, end }) => {
                    appended = Appended { written: appended.written + written, end };
                }
                Err(error) if appended.written == 0 => return Err(error),
                Err(_) => break,
            }
            if !appended.written.is_multiple_of(WRITTEN_BYTES) {
                break;
            }
        }
        Ok(appended)
    }

    fn allocate(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        let stepwise = if len > ALLOCATED_BYTES { self.reserved_stepwise(offset, len, how)? } else { None };
        let Some(len) = stepwise else { return self.allocate_at_once(offset, len, how) };
        let mut done = 0;
        while done < len {
            let step = ALLOCATED_BYTES.min(len - done);
            self.allocate_at_once(offset + done, step, how)?;
            done += step;
        }
        Ok(())
    }

    fn seek_extent(&self, offset: u64, extent: Extent) -> VfsResult<u64> {
        let content = self.content()?.read().unwrap_or_else(PoisonError::into_inner);
        content.seek(&self.env(), offset, extent)?.ok_or_else(|| Errno::ENXIO.into())
    }

    fn sync(&self, _scope: SyncScope) -> VfsResult<()> {
        self.shared.sync_node(self)
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        if let Body::Symlink(target) = &self.body { Ok(target.to_vec()) } else { Err(Errno::EINVAL.into()) }
    }

    fn get_xattr(&self, name: &[u8]) -> VfsResult<Vec<u8>> {
        self.attributes().get_xattr(&self.env(), name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> VfsResult<()> {
        let _changing = self.shared.begin(Intent::Add)?;
        self.attributes().set_xattr(&self.env(), name, value, how, self.shared.now())?;
        self.queue();
        Ok(())
    }

    fn list_xattr(&self) -> VfsResult<Vec<Vec<u8>>> {
        self.attributes().list_xattr(&self.env())
    }

    fn remove_xattr(&self, name: &[u8]) -> VfsResult<()> {
        let _changing = self.shared.begin(Intent::Remove)?;
        self.attributes().remove_xattr(&self.env(), name, self.shared.now())?;
        self.queue();
        Ok(())
    }
}

impl Node {
    fn write_step(&self, offset: u64, bytes: &[u8]) -> VfsResult<usize> {
        self.preload(offset, bytes.len())?;
        self.change_content(Intent::Add, |content, env| {
            let written = content.write(env, offset, bytes)?;
            self.attributes().touch_content(self.shared.now());
            Ok(written)
        })
    }

    fn append_step(&self, bytes: &[u8]) -> VfsResult<Appended> {
        self.preload(self.size.load(Ordering::Relaxed), 1)?;
        self.change_content(Intent::Add, |content, env| {
            let written = content.write(env, content.size(), bytes)?;
            self.attributes().touch_content(self.shared.now());
            Ok(Appended { written, end: content.size() })
        })
    }

    fn allocate_at_once(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<()> {
        self.change_content(Intent::Add, |content, env| {
            let old_size = content.size();
            if let Allocation::Extend | Allocation::Zero = how {
                let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
                content.set_size(env, end.max(old_size))?;
            }
            if let Allocation::Zero | Allocation::PunchHole = how {
                content.punch(env, offset, len)?;
            }
            if let Allocation::Extend | Allocation::Zero | Allocation::KeepSize = how
                && let Err(error) = content.reserve_range(env, offset, len)
            {
                content.set_size(env, old_size)?;
                return Err(error);
            }
            self.attributes().touch_content(self.shared.now());
            Ok(())
        })
    }

    /// How much of a long range is to be reserved in steps: what is noted of one is written before the next, so that
    /// memory does not depend on the length. What cannot be reserved at all fails at once, and changes nothing.
    fn reserved_stepwise(&self, offset: u64, len: u64, how: Allocation) -> VfsResult<Option<u64>> {
        let content = self.content()?.read().unwrap_or_else(PoisonError::into_inner);
        let Some(end) = offset.checked_add(len) else { return Ok(None) };
        let end = match how {
            Allocation::Extend => end,
            Allocation::KeepSize => end.min(content.size()),
            Allocation::Zero | Allocation::PunchHole => return Ok(None),
        };
        let room = self.shared.bytes.free().saturating_add(content.charged());
        Ok(Some(end.saturating_sub(offset)).filter(|len| (ALLOCATED_BYTES..=room).contains(len)))
    }

    /// Changes the content under its lock. The caller of a successful change notes its times.
    fn change_content<T>(
        &self,
        intent: Intent,
        change: impl FnOnce(&mut Content, &Env<'_>) -> VfsResult<T>,
    ) -> VfsResult<T> {
        let lock = self.content()?;
        let _changing = self.shared.begin(intent)?;
        let mut content = lock.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut content, &self.env());
        self.size.store(content.size(), Ordering::Relaxed);
        self.content_bytes.store(content.charged(), Ordering::Relaxed);
        // A change that failed may have been done in part.
        self.attributes().is_changed = true;
        self.queue();
        result
    }

    /// Gets the chunks that a write will change, before anybody has to wait for it.
    fn preload(&self, offset: u64, len: usize) -> VfsResult<()> {
        let lock = self.content()?;
        for _ in 0..PRELOADED_CHUNKS {
            let (unknown, version) = {
                let content = lock.read().unwrap_or_else(PoisonError::into_inner);
                (content.first_unknown(offset, len), content.version())
            };
            let Some(index) = unknown else { break };
            self.load_chunk(index, version)?;
        }
        Ok(())
    }

    fn load_chunk(&self, index: u32, version: u64) -> VfsResult<()> {
        let chunk = self.shared.database.read(|turn| turn.chunk(self.ino(), index))?;
        let mut content = self.content()?.write().unwrap_or_else(PoisonError::into_inner);
        content.offer(&self.env(), version, index, chunk);
        Ok(())
    }
}
