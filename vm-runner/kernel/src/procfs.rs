//! The file system that shows processes as files, to be mounted at `/proc`.
//!
//! Nodes hold what they name, not what they show: content is written when it is read, and `/proc/self` is the caller's
//! own. What processes show is in [`process`], what the system shows in [`system`], [`mount`] and [`network`]. Nothing in
//! it can be changed.

mod mount;
mod network;
mod process;
mod system;

use std::sync::{Arc, Weak};

use vm_abi::{Errno, FileType, Gid, Mode, Stat, Uid};
use vm_vfs::{Caller, DirEntry, FileSystem, Inode, Location, Name, NameBuf, Parent, StatFs, VfsResult};

use crate::anonymous::bare_stat;
use crate::file::Fd;
use crate::file::description::FileDescription;
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
    /// A directory of such files.
    Directory(SystemDirectory),
    Process(Pid),
    ProcessFile(Pid, ProcessFile),
    /// The directory of open files.
    Fds(Pid),
    /// The link to an open file.
    Fd(Pid, Fd),
    /// The directory of what is known of open files.
    FdInfos(Pid),
    /// What is known of an open file.
    FdInfo(Pid, Fd),
    /// The directory of the network.
    Network(Pid),
}

/// A directory below `/proc/sys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SystemDirectory {
    Sys,
    Kernel,
    Fs,
    Vm,
    Net,
    NetCore,
}

impl SystemDirectory {
    const ALL: [Self; 6] = [Self::Sys, Self::Kernel, Self::Fs, Self::Vm, Self::Net, Self::NetCore];

    /// Where it lies below `/proc`.
    fn path(self) -> &'static str {
        match self {
            Self::Sys => "sys",
            Self::Kernel => "sys/kernel",
            Self::Fs => "sys/fs",
            Self::Vm => "sys/vm",
            Self::Net => "sys/net",
            Self::NetCore => "sys/net/core",
        }
    }
}

/// Where the files of [`Entry::Network`] lie.
const NETWORK: &str = "net-of-self";

/// What lies directly in a directory of the system; the root's is "".
fn children(directory: &'static str) -> impl Iterator<Item = (&'static str, Entry)> {
    let files = SystemFile::ALL.iter().map(|file| (file.path(), Entry::System(*file)));
    let directories = SystemDirectory::ALL.iter().map(|other| (other.path(), Entry::Directory(*other)));
    files.chain(directories).filter_map(move |(path, entry)| {
        let name = match directory {
            "" => path,
            _ => path.strip_prefix(directory)?.strip_prefix('/')?,
        };
        (!name.contains('/')).then_some((name, entry))
    })
}

/// What the number of a node below a process starts from.
const PROCESS_SHIFT: u32 = 22;
const FIRST_FD: u64 = 1 << 20;
const FDS: u64 = 2 << 20;
const FD_INFOS: u64 = FDS + 1;
const NETWORK_INO: u64 = FDS + 2;
const FIRST_FD_INFO: u64 = 3 << 20;

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

    fn statfs(&self) -> VfsResult<StatFs> {
        Ok(crate::anonymous::no_space())
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
            Entry::Root | Entry::Myself | Entry::System(_) | Entry::Directory(_) => true,
            Entry::Process(pid)
            | Entry::ProcessFile(pid, _)
            | Entry::Fds(pid)
            | Entry::FdInfos(pid)
            | Entry::Network(pid) => kernel.table.get(pid).is_ok(),
            Entry::Fd(pid, fd) | Entry::FdInfo(pid, fd) => {
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
            Entry::Root | Entry::Myself | Entry::System(_) | Entry::Directory(_) => Ok(None),
            Entry::Process(pid)
            | Entry::ProcessFile(pid, _)
            | Entry::Fds(pid)
            | Entry::Fd(pid, _)
            | Entry::FdInfos(pid)
            | Entry::FdInfo(pid, _)
            | Entry::Network(pid) => {
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
            Entry::FdInfo(pid, fd) => {
                let description = self.description(pid, fd)?;
                Ok(process::fd_info(&description))
            }
            Entry::Root
            | Entry::Directory(_)
            | Entry::Process(_)
            | Entry::Fds(_)
            | Entry::FdInfos(_)
            | Entry::Network(_) => Err(Errno::EISDIR.into()),
            Entry::Myself | Entry::Fd(..) => Err(Errno::EINVAL.into()),
        }
    }

    fn description(&self, pid: Pid, fd: Fd) -> VfsResult<Arc<FileDescription>> {
        let process = self.kernel()?.table.get(pid).map_err(|_| Errno::ENOENT)?;
        Ok(process.with_fds(|fds| fds.get(fd).cloned()).map_err(|_| Errno::ENOENT)?)
    }

    fn entries(&self) -> VfsResult<Vec<DirEntry>> {
        let kernel = self.kernel()?;
        let listed = |name: &[u8], entry: Entry| {
            let name = Name::new(name).ok()?.to_owned();
            Some(DirEntry { name, ino: entry.ino(), file_type: entry.file_type() })
        };
        let number = |number: u64| number.to_string().into_bytes();
        let system = |directory: &'static str| {
            children(directory).filter_map(|(name, entry)| listed(name.as_bytes(), entry))
        };
        Ok(match self.entry {
            Entry::Root => {
                let processes = kernel.table.all().into_iter().filter_map(|(process, _)| {
                    let pid = process.pid;
                    listed(&number(u64::from(pid.raw().unsigned_abs())), Entry::Process(pid))
                });
                listed(b"self", Entry::Myself).into_iter().chain(system("")).chain(processes).collect()
            }
            Entry::Directory(directory) => system(directory.path()).collect(),
            Entry::Network(_) => system(NETWORK).collect(),
            Entry::Process(pid) => {
                let file = |file: &ProcessFile| listed(file.name(), Entry::ProcessFile(pid, *file));
                let directories = [
                    (&b"fd"[..], Entry::Fds(pid)),
                    (b"fdinfo", Entry::FdInfos(pid)),
                    (b"net", Entry::Network(pid)),
                ];
                let directories = directories.into_iter().filter_map(|(name, entry)| listed(name, entry));
                ProcessFile::ALL.iter().filter_map(file).chain(directories).collect()
            }
            Entry::Fds(pid) | Entry::FdInfos(pid) => {
                let process = kernel.table.get(pid).map_err(|_| Errno::ENOENT)?;
                let fds: Vec<Fd> = process.with_fds(|fds| fds.iter().map(|(fd, _)| fd).collect());
                let entry = |fd| match self.entry {
                    Entry::FdInfos(_) => Entry::FdInfo(pid, fd),
                    _ => Entry::Fd(pid, fd),
                };
                fds.iter().filter_map(|fd| listed(&number(u64::from(fd.raw())), entry(*fd))).collect()
            }
            Entry::FdInfo(..) => return Err(Errno::ENOTDIR.into()),
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
            Self::Directory(directory) => 200 + directory as u64,
            Self::Process(pid) => of_process(pid),
            Self::ProcessFile(pid, file) => of_process(pid) + 1 + file as u64,
            Self::Fds(pid) => of_process(pid) + FDS,
            Self::FdInfos(pid) => of_process(pid) + FD_INFOS,
            Self::Network(pid) => of_process(pid) + NETWORK_INO,
            Self::Fd(pid, fd) => of_process(pid) + FIRST_FD + u64::from(fd.raw()),
            Self::FdInfo(pid, fd) => of_process(pid) + FIRST_FD_INFO + u64::from(fd.raw()),
        }
    }

    fn file_type(self) -> FileType {
        match self {
            Self::Root
            | Self::Directory(_)
            | Self::Process(_)
            | Self::Fds(_)
            | Self::FdInfos(_)
            | Self::Network(_) => FileType::Directory,
            Self::Myself | Self::Fd(..) => FileType::Symlink,
            Self::System(file) if file.target().is_some() => FileType::Symlink,
            Self::System(_) | Self::FdInfo(..) => FileType::Regular,
            Self::ProcessFile(_, file) => file.file_type(),
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Root | Self::Directory(_) | Self::Process(_) | Self::Network(_) => Mode::new(0o555),
            Self::Fds(_) | Self::FdInfos(_) => Mode::new(0o500),
            Self::FdInfo(..) => Mode::new(0o400),
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
        let child = |directory: &'static str| {
            children(directory).find(|(name, _)| name.as_bytes() == bytes).map(|(_, entry)| entry)
        };
        let fd = || parse_number(bytes).and_then(|number| Fd::try_from(number).ok());
        let entry = match self.entry {
            Entry::Root if bytes == b"self" => Some(Entry::Myself),
            Entry::Root => child("").or_else(|| parse_number(bytes).and_then(Pid::new).map(Entry::Process)),
            Entry::Directory(directory) => child(directory.path()),
            Entry::Network(_) => child(NETWORK),
            Entry::Process(pid) if bytes == b"fd" => Some(Entry::Fds(pid)),
            Entry::Process(pid) if bytes == b"fdinfo" => Some(Entry::FdInfos(pid)),
            Entry::Process(pid) if bytes == b"net" => Some(Entry::Network(pid)),
            Entry::Process(pid) => ProcessFile::named(bytes).map(|file| Entry::ProcessFile(pid, file)),
            Entry::Fds(pid) => fd().map(|fd| Entry::Fd(pid, fd)),
            Entry::FdInfos(pid) => fd().map(|fd| Entry::FdInfo(pid, fd)),
            Entry::Myself | Entry::System(_) | Entry::ProcessFile(..) | Entry::Fd(..) | Entry::FdInfo(..) => {
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
            Entry::FdInfos(pid) => above(Entry::Process(pid), b"fdinfo"),
            Entry::Network(pid) => above(Entry::Process(pid), b"net"),
            Entry::Directory(directory) => {
                let (parent, name) = directory.path().rsplit_once('/').unwrap_or(("", directory.path()));
                let parent = SystemDirectory::ALL.into_iter().find(|other| other.path() == parent);
                above(parent.map_or(Entry::Root, Entry::Directory), name.as_bytes())
            }
            Entry::Myself | Entry::System(_) | Entry::ProcessFile(..) | Entry::Fd(..) | Entry::FdInfo(..) => {
                Parent::Detached
            }
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
            Entry::System(file) => file.target().map(<[u8]>::to_vec).ok_or_else(|| Errno::EINVAL.into()),
            Entry::ProcessFile(pid, file) => {
                let kernel = self.kernel()?;
                Ok(file.target(&kernel, &*kernel.table.get(pid).map_err(|_| Errno::ENOENT)?)?)
            }
            Entry::Fd(pid, fd) => Ok(process::name_of(&*self.kernel()?, &*self.description(pid, fd)?)),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn read_link_for(&self, caller: Caller) -> VfsResult<Vec<u8>> {
        match self.entry {
            // The host has no process of its own.
            Entry::Myself => match Pid::of_caller(caller) {
                Some(pid) => Ok(pid.to_string().into_bytes()),
                None => Err(Errno::ENOENT.into()),
            },
            _ => self.read_link(),
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
            _ => None,
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
