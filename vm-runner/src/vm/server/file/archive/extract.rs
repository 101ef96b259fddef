//! Entries of an archive, put into a directory.
//!
//! Nothing leads out of that directory: absolute names and `..` are refused, and so is an entry behind a symbolic link,
//! whether the archive brought the link or it was there. What is in an entry's place is replaced, but a directory stays.
//! Owners are kept where the user may set them.

use vm_abi::{DeviceNumber, Errno, FileType, Gid, Mode, OpenFlags, Stat, Timespec, Uid};
use vm_api::file_archive::MAX_ARCHIVE_ENTRIES;
use vm_api::{ArchiveResponse, Problem, ProblemCode};
use vm_vfs::{Follow, Location, NodeKind, SetTime, VfsResult, WalkContext};

use super::super::copy::give;
use super::super::upload::write_all;
use super::super::{DIRECTORY_MODE, Target, problem_at};
use super::decode::{self, Entry, Item, Kind};
use crate::vm::server::errno::shown;

/// Most directories whose attributes are set at the end; those above it get theirs at once.
const MAX_DELAYED: usize = 100_000;
/// How many bytes their names may have.
const MAX_DELAYED_BYTES: usize = 16 << 20;
/// Longest name of an entry: each of its directories is one step more.
const MAX_NAME_BYTES: usize = 16 << 10;

/// An archive on its way in.
pub(super) struct Extraction<'a> {
    target: &'a Target<'a>,
    top: Location,
    done: ArchiveResponse,
    entries: u64,
    /// The entry that is extracted, below the top.
    at: Vec<u8>,
    file: Option<Writing>,
    /// Directories with the attributes that they get when nothing is put into them any more.
    delayed: Vec<(Location, Entry)>,
    /// The bytes of their names.
    delayed_bytes: usize,
}

/// A file whose content is coming.
struct Writing {
    location: Location,
    offset: u64,
    entry: Entry,
    directory: Location,
    name: Vec<u8>,
}

impl<'a> Extraction<'a> {
    pub(super) fn new(target: &'a Target<'a>, top: Location) -> Self {
        Self {
            target,
            top,
            done: ArchiveResponse::default(),
            entries: 0,
            at: Vec::new(),
            file: None,
            delayed: Vec::new(),
            delayed_bytes: 0,
        }
    }

    /// What a fault of the archive means.
    pub(super) fn invalid(&self, error: &decode::Error) -> Problem {
        let count = self.entries.saturating_sub(u64::from(self.file.is_some()));
        Problem::new(ProblemCode::InvalidArchive, format!("{error}; the {count} entries before are in place"))
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, item: Item) -> Result<(), Problem> {
        let vm = self.target.vm;
        match item {
            Item::Entry(entry) => {
                if self.entries >= MAX_ARCHIVE_ENTRIES {
                    let detail = format!("the archive has more than {MAX_ARCHIVE_ENTRIES} entries; split it");
                    return Err(Problem::new(ProblemCode::InvalidArchive, detail));
                }
                self.at.clone_from(&entry.name);
                self.check(&entry)?;
                let result = vm.walk(vm.credentials(), |walk| self.extract(walk, entry));
                result.map_err(|error| self.failed(error))?;
                self.entries += 1;
            }
            Item::Data(data) => {
                let Some(file) = &mut self.file else { return Ok(()) };
                let written = write_all(&file.location, file.offset, &data);
                file.offset += data.len() as u64;
                self.done.bytes += data.len() as u64;
                written.map_err(|error| self.failed(error))?;
            }
            Item::EntryEnd => {
                if let Some(Writing { location, entry, .. }) = self.file.take() {
                    let result = vm.walk(vm.credentials(), |walk| set(walk, &location, &entry));
                    result.map_err(|error| self.failed(error))?;
                }
            }
        }
        Ok(())
    }

    /// Sets what had to wait, and removes a file that did not come whole.
    pub(super) fn finish(mut self) -> Result<ArchiveResponse, Problem> {
        let vm = self.target.vm;
        if let Some(Writing { directory, name, .. }) = self.file.take() {
            // It is known already that the extraction failed.
            let _ = vm.walk(vm.credentials(), |walk| walk.starting_at(&directory).unlink(&name));
        }
        // The innermost first: setting the attributes of an entry changes nothing about its directory, but a directory
        // that may not be searched hides what is in it.
        for (location, entry) in std::mem::take(&mut self.delayed).iter().rev() {
            self.at.clone_from(&entry.name);
            let result = vm.walk(vm.credentials(), |walk| set(walk, location, entry));
            result.map_err(|error| self.failed(error))?;
        }
        Ok(self.done)
    }

    /// Refuses names that lead elsewhere.
    fn check(&self, entry: &Entry) -> Result<(), Problem> {
        let refuse = |reason: &str| {
            let name = shown(&entry.name);
            let detail =
                format!("the entry {name} {reason}; the {} entries before are in place", self.entries);
            Err(Problem::new(ProblemCode::InvalidArchive, detail).with_path(&entry.name))
        };
        if let Err(reason) = check_name(&entry.name) {
            return refuse(reason);
        }
        match &entry.kind {
            Kind::HardLink(target) => match check_name(target) {
                Err(reason) => refuse(&format!("is a link to {}, which {reason}", shown(target))),
                Ok(()) => Ok(()),
            },
            Kind::Symlink(target) if target.is_empty() || target.contains(&0) => {
                refuse("is a symbolic link without a proper target")
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, error: vm_vfs::Error) -> Problem {
        let path = [&self.target.path[..], b"/", &self.at[..]].concat();
        let mut problem = problem_at(self.target.vm, error, &path);
        if error == Errno::ELOOP {
            problem = Problem::new(
                ProblemCode::InvalidArchive,
                format!("{}: lies behind a symbolic link, which archives may not follow", shown(&path)),
            )
            .with_path(&path);
        }
        let count = self.entries.saturating_sub(u64::from(self.file.is_some()));
        problem.detail.push_str(&format!("; the {count} entries before are in place"));
        problem
    }

    fn extract(&mut self, walk: &WalkContext<'_>, entry: Entry) -> VfsResult<()> {
        let names = names(&entry.name);
        let Some((name, above)) = names.split_last() else {
            // The directory itself.
            self.done.directories += 1;
            self.delay(walk, self.top.clone(), entry)?;
            return Ok(());
        };
        let directory = self.descend(walk, above, true)?;
        let there = walk.starting_at(&directory);
        let existing = there.resolve_with(name, Follow::No).map(|found| found.file_type());
        let is_directory = matches!(existing, Ok(FileType::Directory));
        if entry.kind == Kind::Directory {
            if existing.is_ok() && !is_directory {
                there.unlink(name)?;
            }
            let location = if is_directory {
                there.resolve_with(name, Follow::No)?
            } else {
                there.mkdir(name, Mode::new(0o700))?
            };
            self.done.directories += 1;
            return self.delay(walk, location, entry);
        }
        if is_directory {
            return Err(Errno::EISDIR.into());
        }
        // What a link of this name leads to must be found before the name is given up.
        let linked = match &entry.kind {
            Kind::HardLink(target) => Some(self.linked(walk, target)?),
            _ => None,
        };
        if existing.is_ok() {
            if let Some(linked) = &linked
                && there.resolve_with(name, Follow::No)?.is_same(linked)
            {
                self.done.links += 1;
                return Ok(());
            }
            there.unlink(name)?;
        }
        let made = match &entry.kind {
            Kind::Directory => return Ok(()),
            Kind::File => {
                let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCL;
                let location = there.open(name, flags, Mode::new(0o600))?.location;
                self.done.files += 1;
                let name = name.clone();
                self.file = Some(Writing { location, offset: 0, entry, directory, name });
                return Ok(());
            }
            Kind::HardLink(_) => {
                self.done.links += 1;
                return linked.map_or(Ok(()), |linked| there.link_location(&linked, &there, name));
            }
            Kind::Symlink(target) => {
                self.done.links += 1;
                there.symlink(target, name)?
            }
            Kind::Fifo => {
                self.done.pipes += 1;
                there.mknod(name, NodeKind::Fifo, Mode::new(0o600))?
            }
            Kind::CharDevice(major, minor) => {
                let device = DeviceNumber::new(*major, *minor);
                there.mknod(name, NodeKind::CharDevice(device), Mode::new(0o600))?
            }
            Kind::BlockDevice(major, minor) => {
                let device = DeviceNumber::new(*major, *minor);
                there.mknod(name, NodeKind::BlockDevice(device), Mode::new(0o600))?
            }
        };
        set(walk, &made, &entry)
    }

    /// The directory below the top with these names; no link is followed.
    fn descend(&self, walk: &WalkContext<'_>, names: &[Vec<u8>], make: bool) -> VfsResult<Location> {
        let mut at = self.top.clone();
        for name in names {
            let there = walk.starting_at(&at);
            let next = match there.resolve_with(name, Follow::No) {
                Err(error) if make && error == Errno::ENOENT => {
                    there.mkdir(name, Mode::new(DIRECTORY_MODE))?
                }
                found => found?,
            };
            match next.file_type() {
                FileType::Directory => at = next,
                FileType::Symlink => return Err(Errno::ELOOP.into()),
                _ => return Err(Errno::ENOTDIR.into()),
            }
        }
        Ok(at)
    }

    /// The file that a hard link is another name of.
    fn linked(&self, walk: &WalkContext<'_>, target: &[u8]) -> VfsResult<Location> {
        let names = names(target);
        let Some((name, above)) = names.split_last() else { return Err(Errno::EISDIR.into()) };
        let directory = self.descend(walk, above, false)?;
        walk.starting_at(&directory).resolve_with(name, Follow::No)
    }

    fn delay(&mut self, walk: &WalkContext<'_>, directory: Location, entry: Entry) -> VfsResult<()> {
        if self.delayed.len() < MAX_DELAYED && self.delayed_bytes < MAX_DELAYED_BYTES {
            self.delayed_bytes += entry.name.len();
            self.delayed.push((directory, entry));
            return Ok(());
        }
        set(walk, &directory, &entry)
    }
}

/// Gives what was extracted the attributes of its entry.
fn set(walk: &WalkContext<'_>, location: &Location, entry: &Entry) -> VfsResult<()> {
    let stat = location.stat()?;
    let id = |id: u64, now: u32| u32::try_from(id).unwrap_or(now);
    let owner = Stat { uid: Uid(id(entry.uid, stat.uid.0)), gid: Gid(id(entry.gid, stat.gid.0)), ..stat };
    give(walk, &owner, location)?;
    if !location.file_type().is_symlink() && stat.mode & 0o7777 != entry.mode {
        location.change_mode(walk.credentials, Mode::new(entry.mode))?;
    }
    let Timespec { .. } = entry.mtime;
    let times = location.set_times(walk.credentials, None, Some(SetTime::At(entry.mtime)));
    match times {
        // A directory that was there and belongs to somebody else keeps its time.
        Err(error) if error == Errno::EPERM && location.file_type().is_directory() => Ok(()),
        result => result,
    }
}

fn check_name(name: &[u8]) -> Result<(), &'static str> {
    match name {
        [] => Err("has no name"),
        [b'/', ..] => Err("has an absolute name"),
        _ if name.len() > MAX_NAME_BYTES => Err("has too long a name"),
        _ if name.contains(&0) => Err("has a NUL in its name"),
        _ if name.split(|byte| *byte == b'/').any(|part| part == b"..") => Err("has .. in its name"),
        _ => Ok(()),
    }
}

/// The names of a path, without those that lead nowhere.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [&b""[..], b"/etc/passwd", b"../x", b"a/../../x", b"a/..", b"a\0b"] {
            assert!(check_name(name).is_err(), "{}", shown(name));
        }
        for name in [&b"./"[..], b"a/b", b"..a/b..", b"./a/./b//", b"\xff"] {
            assert!(check_name(name).is_ok(), "{}", shown(name));
        }
        assert!(check_name(&b"./".repeat(MAX_NAME_BYTES / 2)).is_ok());
        assert_eq!(check_name(&b"a/".repeat(MAX_NAME_BYTES / 2 + 1)), Err("has too long a name"));
        assert_eq!(names(b"./a//b/."), [b"a".to_vec(), b"b".to_vec()]);
    }
}
