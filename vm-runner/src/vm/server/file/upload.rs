//! A file that is not in its place yet: written first, then put where it belongs at once.
//!
//! Where the file system can, the file has no name until then, so that an interrupted upload leaves nothing whatever
//! ends it. Otherwise it has a name beside its place and is removed when it is dropped.

use std::sync::Arc;

use vm_abi::{Errno, Mode, OpenFlags, Stat};
use vm_api::Problem;
use vm_vfs::{Follow, Location, RenameFlags, VfsResult, WalkContext};

use super::condition::Condition;
use super::{Target, UPLOAD_PREFIX};
use crate::vm::boot::Vm;

/// A new file on its way to `path`.
pub(super) struct Upload<'a> {
    vm: &'a Arc<Vm>,
    /// Where the file is now, if it has a name.
    name: Option<Vec<u8>>,
    pub(super) location: Location,
}

impl<'a> Upload<'a> {
    /// Begins a file with this mode, for the place of `target`.
    pub(super) fn begin(target: &Target<'a>, mode: Mode) -> Result<Self, Problem> {
        let flags = OpenFlags::WRITE | OpenFlags::TMPFILE;
        let directory = &target.path[..directory_len(&target.path)];
        let opened = target.vm.walk(target.credentials(), |walk| {
            let opened = walk.open(directory, flags, Mode::new(0o600))?;
            // The requested mode, whatever the opening would make of it.
            opened.location.change_mode(walk.credentials, mode)?;
            Ok(opened.location)
        });
        match opened {
            Ok(location) => Ok(Self { vm: target.vm, name: None, location }),
            Err(error) if error == Errno::ENOTSUP => Self::begin_named(target, mode),
            Err(error) => Err(target.problem(error)),
        }
    }

    fn begin_named(target: &Target<'a>, mode: Mode) -> Result<Self, Problem> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCL;
        loop {
            let name = free_name(target);
            let opened = target.vm.walk(target.credentials(), |walk| {
                let opened = walk.open(&name, flags, Mode::new(0o600))?;
                opened.location.change_mode(walk.credentials, mode)?;
                Ok(opened.location)
            });
            match opened {
                // Left by an earlier VM: its number is taken.
                Err(error) if error == Errno::EEXIST => {}
                Err(error) => return Err(target.problem(error)),
                Ok(location) => return Ok(Self { vm: target.vm, name: Some(name), location }),
            }
        }
    }

    /// Writes all of these bytes at an offset.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> VfsResult<()> {
        write_all(&self.location, offset, bytes)
    }

    /// Puts the file into its place if the condition holds for what is there now; tells what it replaced.
    pub(super) fn finish(
        mut self,
        target: &Target<'_>,
        condition: &Condition,
    ) -> Result<Option<Stat>, Problem> {
        let files = self.vm.files();
        let _commit = files.commit();
        let replaced = target.act(|walk, path| match walk.stat(path, Follow::No) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error == Errno::ENOENT => Ok(None),
            Err(error) => Err(error),
        })?;
        condition.check(&target.path, replaced.as_ref())?;
        let flags = if condition.wants_new() { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        target.act(|walk, path| self.place(walk, target, path, flags))?;
        Ok(replaced)
    }

    fn place(
        &mut self,
        walk: &WalkContext<'_>,
        target: &Target<'_>,
        path: &[u8],
        flags: RenameFlags,
    ) -> VfsResult<()> {
        if self.name.is_none() {
            match walk.link_location(&self.location, walk, path) {
                Err(error) if error == Errno::EEXIST && flags.is_empty() => {}
                result => return result,
            }
        }
        while self.name.is_none() {
            let name = free_name(target);
            match walk.link_location(&self.location, walk, &name) {
                Ok(()) => self.name = Some(name),
                Err(error) if error == Errno::EEXIST => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(name) = &self.name {
            walk.rename(name, walk, path, flags)?;
            self.name = None;
        }
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing can be done about a failure here, and nobody asked.
            let _ = self.vm.walk(self.vm.credentials(), |walk| walk.unlink(name));
        }
    }
}

/// Writes all of these bytes at an offset of an open file.
pub(super) fn write_all(location: &Location, mut offset: u64, bytes: &[u8]) -> VfsResult<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = location.write_at(offset, rest)?;
        if count == 0 {
            return Err(Errno::ENOSPC.into());
        }
        offset += count as u64;
        rest = &rest[count..];
    }
    Ok(())
}

/// A name beside the place of `target` that is probably free.
pub(super) fn free_name(target: &Target<'_>) -> Vec<u8> {
    let number = target.vm.files().next_upload().to_string();
    [&target.path[..directory_len(&target.path)], UPLOAD_PREFIX, number.as_bytes()].concat()
}

/// How much of a path is the directory, with its slash.
fn directory_len(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
}
