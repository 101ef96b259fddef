//! What a program has that knows nothing but WASI preview 1: preopened directories among its fds, and rights.
//!
//! The published software asks for its preopened directories by numbers of their own and expects a Unix kernel behind
//! every path. A program that imports from `wasi_snapshot_preview1` alone was built with a standard library: it looks
//! for directories from fd 3 on, may close and move them, and relies on a directory that it opened itself to be a
//! sandbox. It gets a `Standard`; others have none.
//!
//! # Which directories
//! Standard libraries cut the `/` off an absolute path and the `./` off a relative one before they look for the
//! preopened directory with the longest name that begins it; they cannot tell `/a` from `a`. So the working directory
//! is `.`, first (some take the first for it) and last (others take the last among equals), and every directory of the
//! root is there under its own name, unless the working directory has one of that name.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use vm_abi::{Errno, FileType, Mode, OpenFlags};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{DirFd, DirRecord, Fd, Follow, file, path};

use crate::layout::rights;

/// Number of the first preopened directory.
const FIRST: u32 = 3;
/// Most directories of the root that are preopened.
const MAX_OF_ROOT: usize = 64;

/// The preopened directories and narrowed rights of a program.
#[derive(Debug, Default)]
pub(crate) struct Standard {
    /// Names by fd.
    preopens: BTreeMap<u32, Vec<u8>>,
    /// Rights of the fds that some were taken from.
    narrowed: BTreeMap<u32, Rights>,
}

/// Rights of an fd, and of what is opened with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) base: u64,
    pub(crate) inheriting: u64,
}

impl Standard {
    /// Opens the preopened directories of a program that starts. Those that it may not read are left out.
    pub(crate) async fn open(ctx: &ProcessContext) -> Self {
        let mut directories = vec![(DirFd::Cwd, b".".to_vec(), b".".to_vec())];
        if *ctx.cwd_path() == *b"/" {
            directories = vec![(DirFd::Root, b".".to_vec(), b"/".to_vec())];
        } else {
            directories.push((DirFd::Root, b".".to_vec(), b"/".to_vec()));
            for name in directories_of_root(ctx).await {
                if path::stat(ctx, DirFd::Cwd, &name, Follow::No).is_err() {
                    let shown = [b"/", &name[..]].concat();
                    directories.push((DirFd::Root, name, shown));
                }
            }
            directories.push((DirFd::Cwd, b".".to_vec(), b".".to_vec()));
        }
        let mut standard = Self::default();
        let mut next = FIRST;
        for (dir, name, shown) in directories {
            let flags = OpenFlags::READ | OpenFlags::DIRECTORY;
            let Ok(opened) = path::open(ctx, dir, &name, flags, Mode::new(0)).await else { continue };
            match put_at(ctx, opened, next) {
                Ok(()) => {
                    standard.preopens.insert(next, shown);
                    next += 1;
                }
                Err(errno) => {
                    tracing::debug!(
                        errno = errno.name(),
                        "a program starts without some preopened directory"
                    );
                    return standard;
                }
            }
        }
        standard
    }

    /// The name of a preopened directory.
    pub(crate) fn name(&self, fd: u32) -> Option<&[u8]> {
        self.preopens.get(&fd).map(Vec::as_slice)
    }

    /// Notes that an fd was closed.
    pub(crate) fn closed(&mut self, fd: u32) {
        self.preopens.remove(&fd);
        self.narrowed.remove(&fd);
    }

    /// Notes that an fd has another number now.
    pub(crate) fn moved(&mut self, from: u32, to: u32) {
        if from == to {
            return;
        }
        self.preopens.remove(&from);
        self.preopens.remove(&to);
        match self.narrowed.remove(&from) {
            Some(rights) => self.narrowed.insert(to, rights),
            None => self.narrowed.remove(&to),
        };
    }

    /// What is left of an fd's rights.
    pub(crate) fn rights(&self, fd: u32, initial: Rights) -> Rights {
        self.narrowed.get(&fd).copied().unwrap_or(initial)
    }

    /// Takes rights away.
    ///
    /// # Errors
    /// `ENOTCAPABLE` for more rights than there are.
    pub(crate) fn narrow(&mut self, fd: u32, initial: Rights, wanted: Rights) -> Result<(), Errno> {
        let has = self.rights(fd, initial);
        if wanted.base & !has.base != 0 || wanted.inheriting & !has.inheriting != 0 {
            return Err(Errno::ENOTCAPABLE);
        }
        self.narrowed.insert(fd, wanted);
        Ok(())
    }

    /// `ENOTCAPABLE` if one of these rights was taken away.
    pub(crate) fn check(&self, fd: u32, needed: u64) -> Result<(), Errno> {
        match self.narrowed.get(&fd) {
            Some(rights) if rights.base & needed != needed => Err(Errno::ENOTCAPABLE),
            _ => Ok(()),
        }
    }

    /// `EPERM` for a path that leaves a directory which the program opened itself. The preopened ones stand for names
    /// as a Unix has them, and may be left.
    pub(crate) fn check_path(&self, dir: u32, path: &[u8]) -> Result<(), Errno> {
        if self.preopens.contains_key(&dir) || !leaves(path) { Ok(()) } else { Err(Errno::EPERM) }
    }
}

/// Rights of a directory.
pub(crate) const DIRECTORY_RIGHTS: Rights = Rights { base: rights::OF_DIRECTORIES, inheriting: rights::ALL };

/// Whether a path is absolute, or climbs above where it starts.
fn leaves(path: &[u8]) -> bool {
    let mut depth = 0_usize;
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    path.first() == Some(&b'/')
}

/// Gives an fd another number. Whatever has that number is moved out of the way: a program that looks for preopened
/// directories stops at the first fd that is none.
fn put_at(ctx: &ProcessContext, opened: Fd, number: u32) -> Result<(), Errno> {
    let wanted = Fd::try_from(number).map_err(|_| Errno::EBADF)?;
    if opened == wanted {
        return Ok(());
    }
    if file::fd_flags(ctx, wanted).is_ok() {
        let aside = Fd::try_from(FIRST + MAX_OF_ROOT as u32 + 3).map_err(|_| Errno::EBADF)?;
        file::dup_min(ctx, wanted, aside)?;
    }
    file::dup2(ctx, opened, wanted)?;
    file::close(ctx, opened)
}

/// Names of the directories in the root, links to directories among them.
async fn directories_of_root(ctx: &ProcessContext) -> Vec<Vec<u8>> {
    let flags = OpenFlags::READ | OpenFlags::DIRECTORY | OpenFlags::CLOEXEC;
    let Ok(root) = path::open(ctx, DirFd::Root, b".", flags, Mode::new(0)).await else { return Vec::new() };
    let mut names = Vec::new();
    let listed = file::read_dir(ctx, root, 0, &mut |record: DirRecord<'_>| {
        let may_be_directory = matches!(record.file_type, FileType::Directory | FileType::Symlink);
        if may_be_directory && record.name != b"." && record.name != b".." {
            names.push(record.name.to_vec());
        }
        if names.len() == MAX_OF_ROOT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let closed = file::close(ctx, root);
    if let Err(errno) = listed.and(closed) {
        tracing::debug!(errno = errno.name(), "the root directory is not listed for a program");
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rights = Rights { base: rights::ALL, inheriting: rights::ALL };

    #[test]
    fn a_path_leaves_when_it_climbs_above_its_start() {
        for path in ["a/../..", "..", "/", "/a", "a/b/../../../a", "./.."] {
            assert!(leaves(path.as_bytes()), "{path}");
        }
        for path in ["", "a", "a/..", "a//b/../..", "./a/./../b", "...", "a/../b/.."] {
            assert!(!leaves(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn preopened_directories_may_be_left_and_others_not() {
        let standard =
            Standard { preopens: [(3, b"/".to_vec())].into_iter().collect(), narrowed: BTreeMap::new() };
        assert_eq!(standard.check_path(3, b"../a"), Ok(()));
        assert_eq!(standard.check_path(4, b"../a"), Err(Errno::EPERM));
        assert_eq!(standard.check_path(4, b"a/.."), Ok(()));
    }

    #[test]
    fn rights_only_become_fewer() {
        let mut standard = Standard::default();
        let fewer = Rights { base: rights::READ, inheriting: 0 };
        assert_eq!(standard.narrow(5, ALL, fewer), Ok(()));
        assert_eq!(standard.rights(5, ALL), fewer);
        assert_eq!(standard.narrow(5, ALL, ALL), Err(Errno::ENOTCAPABLE));
        assert_eq!(standard.check(5, rights::READ), Ok(()));
        assert_eq!(standard.check(5, rights::WRITE), Err(Errno::ENOTCAPABLE));
        assert_eq!(standard.check(6, rights::WRITE), Ok(()));
    }

    #[test]
    fn what_is_known_of_an_fd_moves_with_it_and_ends_with_it() {
        let mut standard = Standard::default();
        standard.preopens.insert(3, b"/".to_vec());
        let fewer = Rights { base: 0, inheriting: 0 };
        standard.narrow(5, ALL, fewer).unwrap();
        standard.moved(5, 3);
        assert_eq!((standard.name(3), standard.rights(3, ALL), standard.rights(5, ALL)), (None, fewer, ALL));
        standard.moved(3, 3);
        assert_eq!(standard.rights(3, ALL), fewer);
        standard.closed(3);
        assert_eq!(standard.rights(3, ALL), ALL);
    }
}
