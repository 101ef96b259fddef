//! The file system that shows processes as files, to be mounted at `/proc`.
//!
//! Nodes hold what they name, not what they show: content is written when it is read, and `/proc/self` is the caller's
//! own. What processes show is in [`process`], what the system shows in [`system`]. Nothing in it can be changed.

mod process;
mod system;

use std::sync::{Arc, Weak};

use vm_abi::{Errno, FileType, Gid, Mode, Stat, Uid};
use vm_vfs::{Caller, DirEntry, FileSystem, Inode, Location, Name, NameBuf, Parent, VfsResult};

use crate::anonymous::bare_stat;
use crate::file::Fd;
use crate::kernel::KernelInner;
use crate::process::{Pid, Process};
use process::ProcessFile;
pub(crate) use process::name_of;
use system::SystemFile;

/// A tree of what runs.
pub(crate) struct ProcFs {
    kernel: Weak<KernelInner>,
}

struct Node {
    kernel: Weak<KernelInner>,
    entry: Entry,
}

/// What a node names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Root,
    /// The link to the caller's own directory.
    Myself,
    System(SystemFile),
    Process(Pid),
    ProcessFile(Pid, ProcessFile),
    /// The directory of open files.
    Fds(Pid),
    /// The link to an open file.
    Fd(Pid, Fd),
}

/// What the number of a node below a process starts from.
const PROCESS_SHIFT: u32 = 22;
const FDS: u64 = 1 << 21;
const FIRST_FD: u64 = 1 << 20;

impl ProcFs {
    /// The tree of a kernel.
    pub(crate) fn new(kernel: &Arc<KernelInner>) -> Arc<Self> {
        Arc::new(Self { kernel: Arc::downgrade(kernel) })
    }
}

impl FileSystem for ProcFs {
    fn kind(&self) -> &'static str {
        "proc"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Node { kernel: Weak::clone(&self.kernel), entry: Entry::Root })
    }

    fn is_read_only(&self) -> bool {
        true
    }
}

impl Node {
    fn kernel(&self) -> VfsResult<Arc<KernelInner>> {
        self.kernel.upgrade().ok_or_else(|| Errno::ESRCH.into())
    }

    /// The node of another entry; `ENOENT` if there is no such thing.
    fn node(&self, entry: Entry) -> VfsResult<Arc<dyn Inode>> {
        let kernel = self.kernel()?;
        let exists = match entry {
            Entry::Root | Entry::Myself | Entry::System(_) => true,
            Entry::Process(pid) | Entry::ProcessFile(pid, _) | Entry::Fds(pid) => {
                kernel.table.get(pid).is_ok()
            }
            Entry::Fd(pid, fd) => {
                kernel.table.get(pid).is_ok_and(|process| process.with_fds(|fds| fds.get(fd).is_ok()))
            }
        };
        if !exists {
            return Err(Errno::ENOENT.into());
        }
        Ok(Arc::new(Self { kernel: Weak::clone(&self.kernel), entry }))
    }

    /// The process that the node belongs to.
    fn process(&self) -> VfsResult<Option<Arc<Process>>> {
        match self.entry {
            Entry::Root | Entry::Myself | Entry::System(_) => Ok(None),
            Entry::Process(pid) | Entry::ProcessFile(pid, _) | Entry::Fds(pid) | Entry::Fd(pid, _) => {
                let gone = |_| Errno::ESRCH;
                Ok(Some(self.kernel()?.table.get(pid).map_err(gone)?))
            }
        }
    }

    fn content(&self) -> VfsResult<Vec<u8>> {
        match self.entry {
            Entry::System(file) => Ok(file.content(&*self.kernel()?)),
            Entry::ProcessFile(pid, file) => {
                let kernel = self.kernel()?;
                let process = kernel.table.get(pid)?;
                Ok(file.content(&kernel, &process)?)
            }
            Entry::Root | Entry::Process(_) | Entry::Fds(_) => Err(Errno::EISDIR.into()),
            Entry::Myself | Entry::Fd(..) => Err(Errno::EINVAL.into()),
        }
    }

    fn entries(&self) -> VfsResult<Vec<DirEntry>> {
        let kernel = self.kernel()?;
        let listed = |name: &[u8], entry: Entry| {
            let name = Name::new(name).ok()?.to_owned();
            Some(DirEntry { name, ino: entry.ino(), file_type: entry.file_type() })
        };
        let number = |number: u64| number.to_string().into_bytes();
        Ok(match self.entry {
            Entry::Root => {
                let system =
                    SystemFile::ALL.iter().filter_map(|file| listed(file.name(), Entry::System(*file)));
                let processes = kernel.table.all().into_iter().filter_map(|(process, _)| {
                    let pid = process.pid;
                    listed(&number(u64::from(pid.raw().unsigned_abs())), Entry::Process(pid))
                });
                listed(b"self", Entry::Myself).into_iter().chain(system).chain(processes).collect()
            }
            Entry::Process(pid) => {
                let file = |file: &ProcessFile| listed(file.name(), Entry::ProcessFile(pid, *file));
                ProcessFile::ALL.iter().filter_map(file).chain(listed(b"fd", Entry::Fds(pid))).collect()
            }
            Entry::Fds(pid) => {
                let process = kernel.table.get(pid).map_err(|_| Errno::ENOENT)?;
                let fds: Vec<Fd> = process.with_fds(|fds| fds.iter().map(|(fd, _)| fd).collect());
                fds.iter()
                    .filter_map(|fd| listed(&number(u64::from(fd.raw())), Entry::Fd(pid, *fd)))
                    .collect()
            }
            Entry::Myself | Entry::System(_) | Entry::ProcessFile(..) | Entry::Fd(..) => {
                return Err(Errno::ENOTDIR.into());
            }
        })
    }
}

impl Entry {
    fn ino(self) -> u64 {
        let of_process = |pid: Pid| u64::from(pid.raw().unsigned_abs()) << PROCESS_SHIFT;
        match self {
            Self::Root => 1,
            Self::Myself => 2,
            Self::System(file) => 3 + file as u64,
            Self::Process(pid) => of_process(pid),
            Self::ProcessFile(pid, file) => of_process(pid) + 1 + file as u64,
            Self::Fds(pid) => of_process(pid) + FDS,
            Self::Fd(pid, fd) => of_process(pid) + FIRST_FD + u64::from(fd.raw()),
        }
    }

    fn file_type(self) -> FileType {
        match self {
            Self::Root | Self::Process(_) | Self::Fds(_) => FileType::Directory,
            Self::Myself | Self::Fd(..) => FileType::Symlink,
            Self::System(file) => file.file_type(),
            Self::ProcessFile(_, file) => file.file_type(),
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Root | Self::Process(_) => Mode::new(0o555),
            Self::Fds(_) => Mode::new(0o500),
            Self::Fd(..) => Mode::new(0o700),
            Self::Myself => Mode::new(0o777),
            Self::System(file) => Mode::new(if file.target().is_some() { 0o777 } else { 0o444 }),
            Self::ProcessFile(_, file) => file.mode(),
        }
    }
}

impl Inode for Node {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }

    fn file_type(&self) -> FileType {
        self.entry.file_type()
    }

    fn stat(&self) -> VfsResult<Stat> {
        let (uid, gid) = match self.process()? {
            Some(process) => (process.credentials().euid, process.credentials().egid),
            None => (Uid::ROOT, Gid::ROOT),
        };
        let stat = bare_stat(self.ino(), self.file_type(), self.entry.mode());
        let booted = self.kernel()?.booted_at;
        Ok(Stat { uid, gid, atime: booted, mtime: booted, ctime: booted, ..stat })
    }

    fn lookup(&self, name: Name<'_>) -> VfsResult<Arc<dyn Inode>> {
        let bytes = name.as_bytes();
        let entry = match self.entry {
            Entry::Root if bytes == b"self" => Some(Entry::Myself),
            Entry::Root => match SystemFile::named(bytes) {
                Some(file) => Some(Entry::System(file)),
                None => parse_number(bytes).and_then(Pid::new).map(Entry::Process),
            },
            Entry::Process(pid) if bytes == b"fd" => Some(Entry::Fds(pid)),
            Entry::Process(pid) => ProcessFile::named(bytes).map(|file| Entry::ProcessFile(pid, file)),
            Entry::Fds(pid) => {
                let fd = parse_number(bytes).and_then(|number| Fd::try_from(number).ok());
                fd.map(|fd| Entry::Fd(pid, fd))
            }
            Entry::Myself | Entry::System(_) | Entry::ProcessFile(..) | Entry::Fd(..) => {
                return Err(Errno::ENOTDIR.into());
            }
        };
        self.node(entry.ok_or(Errno::ENOENT)?)
    }

    fn parent(&self) -> Parent {
        let above = |entry: Entry, name: &[u8]| {
            let name: Option<NameBuf> = Name::new(name).ok().map(Name::to_owned);
            match name {
                Some(name) => Parent::In {
                    directory: Arc::new(Self { kernel: Weak::clone(&self.kernel), entry }),
                    name,
                },
                None => Parent::Detached,
            }
        };
        match self.entry {
            Entry::Root => Parent::Root,
            Entry::Process(pid) => above(Entry::Root, pid.to_string().as_bytes()),
            Entry::Fds(pid) => above(Entry::Process(pid), b"fd"),
            Entry::Myself | Entry::System(_) | Entry::ProcessFile(..) | Entry::Fd(..) => Parent::Detached,
        }
    }

    fn read_dir(&self) -> VfsResult<Vec<DirEntry>> {
        self.entries()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        let content = self.content()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn read_link(&self) -> VfsResult<Vec<u8>> {
        match self.entry {
            Entry::System(file) => file.target().ok_or_else(|| Errno::EINVAL.into()),
            Entry::ProcessFile(pid, file) => {
                let kernel = self.kernel()?;
                Ok(file.target(&kernel, &*kernel.table.get(pid).map_err(|_| Errno::ENOENT)?)?)
            }
            Entry::Fd(pid, fd) => {
                let kernel = self.kernel()?;
                let process = kernel.table.get(pid).map_err(|_| Errno::ENOENT)?;
                let description = process.with_fds(|fds| fds.get(fd).cloned()).map_err(|_| Errno::ENOENT)?;
                Ok(process::name_of(&kernel, &description))
            }
            Entry::Myself | Entry::Root | Entry::Process(_) | Entry::Fds(_) => Err(Errno::EINVAL.into()),
        }
    }

    fn read_link_for(&self, caller: Caller) -> VfsResult<Vec<u8>> {
        match self.entry {
            // The host has no process of its own.
            Entry::Myself => match Pid::of_caller(caller) {
                Some(pid) => Ok(pid.to_string().into_bytes()),
                None => Err(Errno::ENOENT.into()),
            },
            Entry::Root
            | Entry::System(_)
            | Entry::Process(_)
            | Entry::ProcessFile(..)
            | Entry::Fds(_)
            | Entry::Fd(..) => self.read_link(),
        }
    }

    fn jump(&self, _caller: Caller) -> Option<VfsResult<Location>> {
        let jump = |pid: Pid, find: &dyn Fn(&Process) -> Result<Location, Errno>| {
            let kernel = self.kernel()?;
            let process = kernel.table.get(pid).map_err(|_| Errno::ENOENT)?;
            Ok(find(&process)?)
        };
        match self.entry {
            Entry::Fd(pid, fd) => Some(jump(pid, &|process| {
                process.with_fds(|fds| fds.get(fd).map(|description| description.location().clone()))
            })),
            Entry::ProcessFile(pid, ProcessFile::Cwd) => {
                Some(jump(pid, &|process| Ok(process.cwd().location.clone())))
            }
            Entry::Root
            | Entry::Myself
            | Entry::System(_)
            | Entry::Process(_)
            | Entry::ProcessFile(..)
            | Entry::Fds(_) => None,
        }
    }
}

/// A number as the kernel writes it: no sign, no leading zero.
fn parse_number(bytes: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_canonical = text == "0" || !text.starts_with(['0', '+', '-']);
    if is_canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::parse_number;

    #[test]
    fn only_canonical_numbers_name_processes() {
        assert_eq!(parse_number(b"12"), Some(12));
        assert_eq!(parse_number(b"0"), Some(0));
        for name in [&b""[..], b"+1", b"-1", b"01", b"1x", b"99999999999"] {
            assert_eq!(parse_number(name), None);
        }
    }
}
