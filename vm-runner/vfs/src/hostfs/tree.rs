//! Entries of host directories: finding, making, naming, removing.
//!
//! Invariants: `Shared::live` has at most one living node per host inode; the places of directories never form a circle.

use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use rustix::fs::{AtFlags, Dir, FileType as HostType, Mode as HostMode, OFlags, Stat};
use rustix::io::Errno as HostErrno;
use vm_abi::{Errno, FileType, Mode};

use super::errno::errno;
use super::host::{self, Key, PATH, SAFE};
use super::node::{Handle, Node, Place, Reach, harmless, host_type, shown_owner};
use super::{HostOwner, Shared};
use crate::error::{Error, VfsResult};
use crate::inode::{DirEntry, Inode, NodeKind, Owner, RenameFlags};
use crate::path::Name;

/// How many entries of one host directory are listed; more are refused (`ENOMEM`).
const MAX_ENTRIES: usize = 1 << 20;

impl Node {
    pub(super) fn find(&self, name: Name<'_>) -> VfsResult<Arc<Self>> {
        let directory = self.directory()?;
        let _finding = self.shared.lock_finding();
        self.identify(&directory, name)
    }

    pub(super) fn list_entries(&self) -> VfsResult<Vec<DirEntry>> {
        self.directory()?;
        let directory = self.listable()?;
        let mut entries = Vec::new();
        for entry in Dir::new(directory).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            // What is no name cannot be asked for either: `.`, `..`.
            let Ok(name) = Name::new(entry.file_name().to_bytes()) else { continue };
            let file_type = match guest_type(entry.file_type()) {
                Some(file_type) => file_type,
                // Gone since, or of no type that there is.
                None => match self.stat_entry(name).ok().and_then(|stat| guest_type(host_type(&stat))) {
                    Some(file_type) => file_type,
                    None => continue,
                },
            };
            if entries.len() == MAX_ENTRIES {
                return Err(Error::limit(Errno::ENOMEM, "entries of one host directory"));
            }
            entries.push(DirEntry { name: name.to_owned(), ino: entry.ino(), file_type });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) fn make_entry(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<Self>> {
        let directory = self.directory()?;
        self.shared.begin_change()?;
        let mode = harmless(mode, kind.file_type());
        let finding = self.shared.lock_finding();
        let handle = match kind {
            NodeKind::Regular => self.make_file(&directory.fd, name, mode)?,
            NodeKind::Directory => self.make_directory(&directory.fd, name, mode)?,
            NodeKind::Symlink(target) => {
                rustix::fs::symlinkat(target, &directory.fd, name.as_bytes()).map_err(errno)?;
                self.made(&directory.fd, name)?
            }
            NodeKind::Fifo => self.make_special(&directory.fd, name, HostType::Fifo, mode)?,
            NodeKind::Socket => self.make_special(&directory.fd, name, HostType::Socket, mode)?,
            NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) => return Err(Errno::EPERM.into()),
        };
        let node = self.adopt(handle, name)?;
        drop(finding);
        if self.shared.owner == HostOwner::Real {
            node.take_owner(owner)?;
        }
        Ok(node)
    }

    pub(super) fn link_entry(&self, name: Name<'_>, target: &Arc<Self>) -> VfsResult<()> {
        let directory = self.directory()?;
        self.shared.begin_change()?;
        if target.file_type().is_directory() {
            return Err(Errno::EPERM.into());
        }
        let _changing = self.shared.lock_changing();
        let (from, old_name) = match target.place() {
            Place::In { directory, name } => (directory, name),
            Place::Gone => return Err(Errno::ENOENT.into()),
            Place::Root => return Err(Errno::EXDEV.into()),
        };
        let from = from.handle();
        let (old_name, new_name) = (old_name.as_bytes(), name.as_bytes());
        rustix::fs::linkat(&from.fd, old_name, &directory.fd, new_name, AtFlags::empty()).map_err(errno)?;
        if self.stat_entry(name).is_ok_and(|stat| host::key(&stat) == target.key) {
            return Ok(());
        }
        // Somebody on the host replaced the file: what has been named is another one of this folder.
        let _ = rustix::fs::unlinkat(&directory.fd, new_name, AtFlags::empty());
        Err(Errno::ESTALE.into())
    }

    pub(super) fn unlink_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let directory = self.directory()?;
        self.shared.begin_change()?;
        let _changing = self.shared.lock_changing();
        let victim = self.stat_entry(name)?;
        if host_type(&victim) == HostType::Directory {
            return Err(Errno::EISDIR.into());
        }
        let node = self.shared.living(host::key(&victim));
        if let Some(node) = &node {
            node.keep_content(self, name);
        }
        rustix::fs::unlinkat(&directory.fd, name.as_bytes(), AtFlags::empty()).map_err(errno)?;
        if let Some(node) = &node {
            node.leave(self, name);
        }
        Ok(())
    }

    pub(super) fn rmdir_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let directory = self.directory()?;
        self.shared.begin_change()?;
        let _changing = self.shared.lock_changing();
        let victim = self.stat_entry(name)?;
        match rustix::fs::unlinkat(&directory.fd, name.as_bytes(), AtFlags::REMOVEDIR) {
            // Both say that it is not empty.
            Err(HostErrno::EXIST) => return Err(Errno::ENOTEMPTY.into()),
            result => result.map_err(errno)?,
        }
        if let Some(node) = self.shared.living(host::key(&victim)) {
            node.leave(self, name);
        }
        Ok(())
    }

    pub(super) fn rename_entry(
        &self,
        name: Name<'_>,
        new_parent: &Arc<Self>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        let (old_fd, new_fd) = (self.directory()?, new_parent.directory()?);
        self.shared.begin_change()?;
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        let _changing = self.shared.lock_changing();
        let moved = self.stat_entry(name)?;
        let replaced = match new_parent.stat_entry(new_name) {
            Ok(stat) => Some(stat),
            Err(error) if error == Errno::ENOENT => None,
            Err(error) => return Err(error),
        };
        let moved_node = self.shared.living(host::key(&moved));
        let replaced_node = replaced.as_ref().and_then(|stat| self.shared.living(host::key(stat)));
        if let Some(node) = replaced_node.as_ref().filter(|_| !is_exchange) {
            node.keep_content(new_parent, new_name);
        }
        let (from, to) = (name.as_bytes(), new_name.as_bytes());
        let result = match host_flags(flags) {
            flags if flags.is_empty() => rustix::fs::renameat(&old_fd.fd, from, &new_fd.fd, to),
            flags => rustix::fs::renameat_with(&old_fd.fd, from, &new_fd.fd, to, flags),
        };
        match result {
            Err(HostErrno::EXIST) if flags.is_empty() => return Err(Errno::ENOTEMPTY.into()),
            result => result.map_err(errno)?,
        }
        // Two names of one file: the host left both.
        if replaced.as_ref().is_some_and(|replaced| host::key(replaced) == host::key(&moved)) {
            return Ok(());
        }
        if let Some(node) = replaced_node {
            if is_exchange {
                node.move_to(new_parent, new_name, self, name)
            } else {
                node.leave(new_parent, new_name)
            }
        }
        if let Some(node) = moved_node {
            node.move_to(self, name, new_parent, new_name);
        }
        Ok(())
    }

    /// The descriptor, if this is a directory.
    pub(super) fn directory(&self) -> VfsResult<Arc<Handle>> {
        if self.file_type().is_directory() { Ok(self.handle()) } else { Err(Errno::ENOTDIR.into()) }
    }

    fn stat_entry(&self, name: Name<'_>) -> VfsResult<Stat> {
        Ok(rustix::fs::statat(&self.handle().fd, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(errno)?)
    }

    fn identify(&self, directory: &Handle, name: Name<'_>) -> VfsResult<Arc<Self>> {
        let fd = self.shared.opener.entry(&directory.fd, name, PATH, HostMode::empty()).map_err(errno)?;
        self.adopt(Handle { fd, reach: Reach::Path }, name)
    }

    fn make_file(&self, directory: &OwnedFd, name: Name<'_>, mode: Mode) -> VfsResult<Handle> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | SAFE;
        let fd = self.shared.opener.entry(directory, name, flags, HostMode::from_raw_mode(0o600));
        let fd = fd.map_err(errno)?;
        self.finish(directory, name, AtFlags::empty(), fd, mode, Reach::ReadWrite)
    }

    fn make_directory(&self, directory: &OwnedFd, name: Name<'_>, mode: Mode) -> VfsResult<Handle> {
        rustix::fs::mkdirat(directory, name.as_bytes(), HostMode::from_raw_mode(0o700)).map_err(errno)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | SAFE;
        let fd = self.shared.opener.entry(directory, name, flags, HostMode::empty()).map_err(errno)?;
        self.finish(directory, name, AtFlags::REMOVEDIR, fd, mode, Reach::Read)
    }

    /// Gives a new file its mode, whatever the umask; without it there is no file.
    fn finish(
        &self,
        directory: &OwnedFd,
        name: Name<'_>,
        removal: AtFlags,
        fd: OwnedFd,
        mode: Mode,
        reach: Reach,
    ) -> VfsResult<Handle> {
        if let Err(error) = rustix::fs::fchmod(&fd, HostMode::from_raw_mode(mode.bits())) {
            let _ = rustix::fs::unlinkat(directory, name.as_bytes(), removal);
            return Err(errno(error).into());
        }
        Ok(Handle { fd, reach })
    }

    fn make_special(
        &self,
        directory: &OwnedFd,
        name: Name<'_>,
        file_type: HostType,
        mode: Mode,
    ) -> VfsResult<Handle> {
        let mode = HostMode::from_raw_mode(mode.bits());
        rustix::fs::mknodat(directory, name.as_bytes(), file_type, mode, 0).map_err(errno)?;
        self.made(directory, name)
    }

    fn made(&self, directory: &OwnedFd, name: Name<'_>) -> VfsResult<Handle> {
        let fd = self.shared.opener.entry(directory, name, PATH, HostMode::empty()).map_err(errno)?;
        Ok(Handle { fd, reach: Reach::Path })
    }

    /// Gives a new file to the one who made it.
    fn take_owner(&self, owner: Owner) -> VfsResult<()> {
        let handle = self.handle();
        let stat = rustix::fs::fstat(&handle.fd).map_err(errno)?;
        if shown_owner(HostOwner::Real, &stat) == owner {
            Ok(())
        } else {
            self.store_owner(Some(owner.uid), Some(owner.gid))
        }
    }

    /// The node of what was found here under this name: the living one, or a new one.
    fn adopt(&self, handle: Handle, name: Name<'_>) -> VfsResult<Arc<Self>> {
        let stat = rustix::fs::fstat(&handle.fd).map_err(errno)?;
        let directory = self.itself()?;
        let mut live = self.shared.lock_live();
        if let Some(node) = live.get(&host::key(&stat)).and_then(std::sync::Weak::upgrade) {
            let old = node.settle(&directory, name);
            // Dropping a place may drop the last reference to a directory, which locks `live`.
            drop(live);
            drop(old);
            return Ok(node);
        }
        let place = Place::In { directory, name: name.to_owned() };
        let node = Self::build(&self.shared, handle, &stat, place);
        if let Ok(node) = &node {
            live.insert(node.key, Arc::downgrade(node));
        }
        drop(live);
        node
    }

    /// Notes where this was found, under `Shared::live`. What it held before is the caller's to drop, without that lock.
    fn settle(&self, directory: &Arc<Self>, name: Name<'_>) -> Vec<Place> {
        let mut replaced = Vec::new();
        let mut place = self.lock_place();
        if matches!(*place, Place::Root) || place.is(directory, name) {
            return replaced;
        }
        if self.file_type().is_directory() {
            // Somebody on the host may have moved directories into what was below them: no circle may come of it.
            let mut at = Arc::clone(directory);
            loop {
                if std::ptr::eq(Arc::as_ptr(&at), self) {
                    replaced.push(std::mem::replace(&mut *place, Place::Gone));
                    return replaced;
                }
                let mut above = at.lock_place();
                let next = match &*above {
                    Place::In { directory, name: _ } if std::ptr::eq(Arc::as_ptr(directory), self) => {
                        replaced.push(std::mem::replace(&mut *above, Place::Gone));
                        break;
                    }
                    Place::In { directory, name: _ } => Arc::clone(directory),
                    Place::Root | Place::Gone => break,
                };
                drop(above);
                at = next;
            }
        }
        let new = Place::In { directory: Arc::clone(directory), name: name.to_owned() };
        replaced.push(std::mem::replace(&mut *place, new));
        replaced
    }

    /// The entry is removed.
    fn leave(&self, parent: &Self, name: Name<'_>) {
        let live = self.shared.lock_live();
        let old = {
            let mut place = self.lock_place();
            place.is(parent, name).then(|| std::mem::replace(&mut *place, Place::Gone))
        };
        drop(live);
        drop(old);
    }

    /// The entry has moved.
    fn move_to(&self, parent: &Self, name: Name<'_>, new_parent: &Self, new_name: Name<'_>) {
        let Ok(new_parent) = new_parent.itself() else { return };
        let live = self.shared.lock_live();
        let is_here = self.lock_place().is(parent, name);
        let old = if is_here || self.file_type().is_directory() {
            self.settle(&new_parent, new_name)
        } else {
            Vec::new()
        };
        drop(live);
        drop((old, new_parent));
    }

    fn lock_place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) fn lock_finding(&self) -> RwLockReadGuard<'_, ()> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_changing(&self) -> RwLockWriteGuard<'_, ()> {
        self.changes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_live(&self) -> MutexGuard<'_, std::collections::HashMap<Key, std::sync::Weak<Node>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn living(&self, key: Key) -> Option<Arc<Node>> {
        self.lock_live().get(&key).and_then(std::sync::Weak::upgrade)
    }
}

fn guest_type(file_type: HostType) -> Option<FileType> {
    match file_type {
        HostType::RegularFile => Some(FileType::Regular),
        HostType::Directory => Some(FileType::Directory),
        HostType::Symlink => Some(FileType::Symlink),
        HostType::Fifo => Some(FileType::Fifo),
        HostType::Socket => Some(FileType::Socket),
        HostType::CharacterDevice => Some(FileType::CharDevice),
        HostType::BlockDevice => Some(FileType::BlockDevice),
        HostType::Unknown => None,
    }
}

fn host_flags(flags: RenameFlags) -> rustix::fs::RenameFlags {
    let mut host = rustix::fs::RenameFlags::empty();
    if flags.contains(RenameFlags::NOREPLACE) {
        host |= rustix::fs::RenameFlags::NOREPLACE;
    }
    if flags.contains(RenameFlags::EXCHANGE) {
        host |= rustix::fs::RenameFlags::EXCHANGE;
    }
    host
}
