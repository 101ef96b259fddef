//! The one place where this crate touches the host's files: read-only folders, and files mapped from them.
//!
//! Files are opened by descriptor relative to the folder, beneath it and without following any link, so nothing that a
//! folder contains leads out of it. Precondition of mapping: the host does not shorten or rewrite a mapped file.
//! Software folders are parts of a read-only image; a VM's own data never comes through here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::content::Mapping;

const READ_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// An open host folder.
#[derive(Clone)]
pub(crate) struct HostFolder {
    fd: Arc<OwnedFd>,
}

/// A file below a host folder, by its relative path.
pub(crate) struct HostFile {
    folder: HostFolder,
    path: CString,
}

/// What a host folder contains at some place.
pub(crate) struct HostEntry {
    /// Name in its folder.
    pub(crate) name: Vec<u8>,
    /// Relative to the root folder.
    pub(crate) path: CString,
    pub(crate) body: HostBody,
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, u32),
}

/// Kinds of files that are served; others are left out.
pub(crate) enum HostBody {
    Folder,
    File { size: u64 },
    Symlink(Vec<u8>),
}

impl HostFolder {
    /// Opens a folder, following links to it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        Ok(Self { fd: Arc::new(rustix::fs::openat(CWD, path, flags, Mode::empty())?) })
    }

    /// What a folder below this one (`""`: itself) contains.
    pub(crate) fn entries(&self, path: &CString) -> io::Result<Vec<HostEntry>> {
        let path = if path.is_empty() { c".".to_owned() } else { path.clone() };
        let fd = self.open_beneath(&path, READ_FLAGS | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let name = entry?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if let Some(body) = body_of(&fd, &name, &stat)? {
                let relative = if path.as_bytes() == b"." {
                    name.clone()
                } else {
                    let joined = [path.to_bytes(), b"/", name.to_bytes()].concat();
                    CString::new(joined).map_err(io::Error::other)?
                };
                let mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
                let name = name.into_bytes();
                entries.push(HostEntry { name, path: relative, body, mode: stat.st_mode, mtime });
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// A file below this folder, not opened yet.
    pub(crate) fn file(&self, path: CString) -> HostFile {
        HostFile { folder: self.clone(), path }
    }

    fn open_beneath(&self, path: &CString, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&*self.fd, path, flags, Mode::empty(), resolve) {
            // Old kernels and some sandboxes lack the call; descending step by step gives the same guarantee.
            Err(Errno::NOSYS | Errno::PERM) => self.open_stepwise(path, flags),
            result => Ok(result?),
        }
    }

    fn open_stepwise(&self, path: &CString, flags: OFlags) -> io::Result<OwnedFd> {
        let (folders, name) = match path.to_bytes().iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path.to_bytes()[..slash], &path.to_bytes()[slash + 1..]),
            None => (&[][..], path.to_bytes()),
        };
        let mut at: Option<OwnedFd> = None;
        for folder in folders.split(|&byte| byte == b'/').filter(|folder| !folder.is_empty()) {
            if folder == b".." {
                return Err(Errno::XDEV.into());
            }
            let parent = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            at = Some(rustix::fs::openat(parent, folder, READ_FLAGS | OFlags::DIRECTORY, Mode::empty())?);
        }
        let parent = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
        Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
    }
}

impl HostFile {
    /// The whole content.
    pub(crate) fn map(&self) -> io::Result<Mapping> {
        map(&self.folder.open_beneath(&self.path, READ_FLAGS)?)
    }
}

/// The whole content of a host file, by its path.
pub(crate) fn map_file(path: &Path) -> io::Result<Mapping> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    map(&rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn map(fd: &OwnedFd) -> io::Result<Mapping> {
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    if stat.st_size == 0 {
        return Ok(Mapping::new(Arc::new([0_u8; 0])));
    }
    #[expect(unsafe_code, reason = "mapping a file is unsafe in general; see the module's precondition")]
    // SAFETY: software files are read-only content that nobody shortens or rewrites while a VM runs (precondition in
    // the module's documentation), so the mapped bytes stay valid and unchanged.
    let mapping = unsafe { Mmap::map(fd)? };
    Ok(Mapping::new(Arc::new(mapping)))
}

fn body_of(folder: &OwnedFd, name: &CString, stat: &Stat) -> io::Result<Option<HostBody>> {
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(HostBody::File { size: u64::try_from(stat.st_size).unwrap_or(0) }),
        FileType::Directory => Some(HostBody::Folder),
        FileType::Symlink => {
            Some(HostBody::Symlink(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes()))
        }
        _ => None,
    })
}
