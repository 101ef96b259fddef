//! The file system under test, asked as the kernel asks it: through a namespace and a path walk.

use std::sync::Arc;

use vm_abi::{Credentials, Errno, FileType, Gid, Mode, OpenFlags, Uid};
use vm_vfs::{
    Caller, Extent, FileSystem, Follow, Location, MountFlags, Namespace, NodeKind, SyncScope, WalkContext,
};

use super::operation::{Open, Operation, SLOTS};
use super::reference::{Facts, Outcome};

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Count(usize),
    Appended(usize, u64),
    Bytes(Vec<u8>),
    Facts(Facts),
    Entries(Vec<(String, FileType)>),
    Path(Option<String>),
    /// Where data starts and where a hole starts.
    Extents(Outcome<u64>, Outcome<u64>),
}

/// A mounted file system and the files held open in it.
pub(crate) struct System {
    namespace: Namespace,
    pub(crate) root: Location,
    credentials: Credentials,
    held: [Option<Location>; SLOTS],
}

impl System {
    pub(crate) fn new(file_system: Arc<dyn FileSystem>) -> Self {
        let namespace = Namespace::new(file_system, MountFlags::empty());
        let root = namespace.root();
        Self { namespace, root, credentials: Credentials::root(), held: [const { None }; SLOTS] }
    }

    fn walk(&self) -> WalkContext<'_> {
        WalkContext {
            namespace: &self.namespace,
            root: &self.root,
            start: &self.root,
            credentials: &self.credentials,
            caller: Caller::default(),
        }
    }

    pub(crate) fn run(&mut self, operation: &Operation) -> Outcome<Answer> {
        let answer = match operation {
            Operation::Hold { .. }
            | Operation::Drop(_)
            | Operation::WriteHeld(..)
            | Operation::TruncateHeld(..)
            | Operation::ReadHeld(_)
            | Operation::SyncHeld(_)
            | Operation::LinkHeld(..) => self.use_held(operation),
            Operation::Write { .. }
            | Operation::Append(..)
            | Operation::Truncate(..)
            | Operation::Allocate { .. }
            | Operation::Read { .. }
            | Operation::Seek { .. } => self.use_content(operation),
            Operation::Mkdir(..)
            | Operation::Fifo(_)
            | Operation::Symlink { .. }
            | Operation::Link(..)
            | Operation::Unlink(_)
            | Operation::Rmdir(_)
            | Operation::Rename(..) => self.change_entries(operation),
            Operation::Chmod(..)
            | Operation::Chown(..)
            | Operation::SetXattr { .. }
            | Operation::RemoveXattr(..)
            | Operation::Stat(_)
            | Operation::Lstat(_)
            | Operation::ReadLink(_)
            | Operation::ReadDir(_)
            | Operation::Canonicalize(_) => self.attributes(operation),
            Operation::Sync => self.namespace.sync().map(|()| Answer::Nothing),
            Operation::Reopen | Operation::Crash => panic!("the subject does it"),
        };
        answer.map_err(Errno::from)
    }

    fn change_entries(&self, operation: &Operation) -> vm_vfs::VfsResult<Answer> {
        let walk = self.walk();
        match operation {
            Operation::Mkdir(path, mode) => drop(walk.mkdir(path.as_bytes(), Mode::new(*mode))?),
            Operation::Fifo(path) => drop(walk.mknod(path.as_bytes(), NodeKind::Fifo, Mode::new(0o644))?),
            Operation::Symlink { target, path } => drop(walk.symlink(target.as_bytes(), path.as_bytes())?),
            Operation::Link(old, new) => walk.link(old.as_bytes(), Follow::No, new.as_bytes())?,
            Operation::Unlink(path) => walk.unlink(path.as_bytes())?,
            Operation::Rmdir(path) => walk.rmdir(path.as_bytes())?,
            Operation::Rename(old, new, flags) => {
                walk.rename(old.as_bytes(), &walk, new.as_bytes(), *flags)?
            }
            other => panic!("{other:?} changes no entry"),
        }
        Ok(Answer::Nothing)
    }

    fn open(&self, path: &str, how: Open) -> vm_vfs::VfsResult<Location> {
        let mut flags = OpenFlags::WRITE;
        flags.set(OpenFlags::CREATE, how.creates);
        flags.set(OpenFlags::EXCL, how.is_exclusive);
        flags.set(OpenFlags::TRUNC, how.truncates);
        Ok(self.walk().open(path.as_bytes(), flags, Mode::new(0o644))?.location)
    }

    fn open_existing(&self, path: &str, is_writable: bool) -> vm_vfs::VfsResult<Location> {
        let flags = if is_writable { OpenFlags::READ | OpenFlags::WRITE } else { OpenFlags::READ };
        Ok(self.walk().open(path.as_bytes(), flags, Mode::new(0))?.location)
    }

    fn use_content(&self, operation: &Operation) -> vm_vfs::VfsResult<Answer> {
        Ok(match operation {
            Operation::Write { path, how, offset, bytes } => {
                let file = self.open(path, *how)?;
                Answer::Count(file.inode().write_at(*offset, &bytes.expand())?)
            }
            Operation::Append(path, bytes) => {
                let how = Open { creates: true, is_exclusive: false, truncates: false };
                let appended = self.open(path, how)?.inode().append(&bytes.expand())?;
                Answer::Appended(appended.written, appended.end)
            }
            Operation::Truncate(path, size) => {
                self.walk().truncate(path.as_bytes(), *size)?;
                Answer::Nothing
            }
            Operation::Allocate { path, offset, len, how } => {
                self.open_existing(path, true)?.inode().allocate(*offset, *len, *how)?;
                Answer::Nothing
            }
            Operation::Read { path, offset, len } => {
                Answer::Bytes(read(&self.open_existing(path, false)?, *offset, *len)?)
            }
            Operation::Seek { path, offset } => {
                let file = self.open_existing(path, false)?;
                let seek = |extent| file.inode().seek_extent(*offset, extent).map_err(Errno::from);
                Answer::Extents(seek(Extent::Data), seek(Extent::Hole))
            }
            other => panic!("{other:?} uses no content"),
        })
    }

    fn attributes(&self, operation: &Operation) -> vm_vfs::VfsResult<Answer> {
        let walk = self.walk();
        let find = |path: &str| walk.resolve_with(path.as_bytes(), Follow::No);
        match operation {
            Operation::Chmod(path, mode) => walk.chmod(path.as_bytes(), Mode::new(*mode), Follow::Yes)?,
            Operation::Chown(path, uid, gid) => {
                walk.chown(path.as_bytes(), Some(Uid(*uid)), Some(Gid(*gid)), Follow::Yes)?;
            }
            Operation::SetXattr { path, name, value, how } => {
                find(path)?.set_xattr(&self.credentials, name.as_bytes(), &value.expand(), *how)?;
            }
            Operation::RemoveXattr(path, name) => {
                find(path)?.remove_xattr(&self.credentials, name.as_bytes())?;
            }
            Operation::Stat(path) => return facts(&walk.resolve(path.as_bytes())?).map(Answer::Facts),
            Operation::Lstat(path) => return facts(&find(path)?).map(Answer::Facts),
            Operation::ReadLink(path) => return Ok(Answer::Bytes(walk.read_link(path.as_bytes())?)),
            Operation::ReadDir(path) => {
                let entries = walk.read_dir(path.as_bytes())?;
                let mut entries: Vec<_> =
                    entries.into_iter().map(|entry| (entry.name.to_string(), entry.file_type)).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                return Ok(Answer::Entries(entries));
            }
            Operation::Canonicalize(path) => {
                let is_directory = walk.resolve(path.as_bytes())?.file_type().is_directory();
                let canonical = walk.canonicalize(path.as_bytes())?.to_string();
                return Ok(Answer::Path(is_directory.then_some(canonical)));
            }
            other => panic!("{other:?} is about no attribute"),
        }
        Ok(Answer::Nothing)
    }

    fn use_held(&mut self, operation: &Operation) -> vm_vfs::VfsResult<Answer> {
        let held = |slot: usize| self.held[slot].as_ref().expect("the history knows what is held");
        match operation {
            Operation::Hold { slot, path, is_writable } => {
                let opened = self.open_existing(path, *is_writable)?;
                self.held[*slot] = Some(opened);
            }
            Operation::Drop(slot) => self.held[*slot] = None,
            Operation::WriteHeld(slot, offset, bytes) => {
                return Ok(Answer::Count(held(*slot).inode().write_at(*offset, &bytes.expand())?));
            }
            Operation::TruncateHeld(slot, size) => held(*slot).set_size(*size)?,
            Operation::ReadHeld(slot) => {
                let file = held(*slot);
                if file.file_type().is_regular() {
                    let size = file.stat()?.size as usize;
                    return Ok(Answer::Bytes(read(file, 0, size + 10)?));
                }
                return Ok(Answer::Bytes(read(file, 0, 10)?));
            }
            Operation::SyncHeld(slot) => held(*slot).inode().sync(SyncScope::Everything)?,
            Operation::LinkHeld(slot, path) => {
                self.walk().link_location(held(*slot), &self.walk(), path.as_bytes())?;
            }
            other => panic!("{other:?} uses nothing held"),
        }
        Ok(Answer::Nothing)
    }
}

pub(crate) fn read(file: &Location, offset: u64, len: usize) -> vm_vfs::VfsResult<Vec<u8>> {
    let mut bytes = vec![0xaa; len];
    let len = file.inode().read_at(offset, &mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}

pub(crate) fn facts(location: &Location) -> vm_vfs::VfsResult<Facts> {
    let stat = location.stat()?;
    Ok(Facts {
        file_type: stat.file_type(),
        mode: stat.permissions().bits(),
        uid: stat.uid.0,
        gid: stat.gid.0,
        nlink: stat.nlink,
        size: (!stat.file_type().is_directory()).then_some(stat.size),
    })
}
