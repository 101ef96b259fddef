//! What `/proc/PID` shows.

use vm_abi::{Errno, FileType, Mode, SignalSet};

use super::system;
use crate::file::FileKind;
use crate::file::description::FileDescription;
use crate::kernel::KernelInner;
use crate::process::Process;
use crate::process::table::Relations;
use crate::pty::Replica;

/// A file about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessFile {
    CommandLine,
    Comm,
    Cwd,
    Environment,
    Executable,
    Mounts,
    Root,
    Stat,
    Status,
}

impl ProcessFile {
    pub(super) const ALL: [Self; 9] = [
        Self::CommandLine,
        Self::Comm,
        Self::Cwd,
        Self::Environment,
        Self::Executable,
        Self::Mounts,
        Self::Root,
        Self::Stat,
        Self::Status,
    ];

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::CommandLine => b"cmdline",
            Self::Comm => b"comm",
            Self::Cwd => b"cwd",
            Self::Environment => b"environ",
            Self::Executable => b"exe",
            Self::Mounts => b"mounts",
            Self::Root => b"root",
            Self::Stat => b"stat",
            Self::Status => b"status",
        }
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }

    pub(super) fn file_type(self) -> FileType {
        match self {
            Self::Cwd | Self::Executable | Self::Root => FileType::Symlink,
            Self::CommandLine | Self::Comm | Self::Environment | Self::Mounts | Self::Stat | Self::Status => {
                FileType::Regular
            }
        }
    }

    pub(super) fn mode(self) -> Mode {
        Mode::new(match self {
            Self::Cwd | Self::Executable | Self::Root => 0o777,
            Self::Environment => 0o400,
            Self::CommandLine | Self::Comm | Self::Mounts | Self::Stat | Self::Status => 0o444,
        })
    }

    /// Where it points, if it is a link.
    pub(super) fn target(self, _kernel: &KernelInner, process: &Process) -> Result<Vec<u8>, Errno> {
        match self {
            Self::Cwd => Ok(process.cwd().path.to_vec()),
            Self::Executable => Ok(absolute(process, &process.image().path)),
            Self::Root => Ok(b"/".to_vec()),
            Self::CommandLine | Self::Comm | Self::Environment | Self::Mounts | Self::Stat | Self::Status => {
                Err(Errno::EINVAL)
            }
        }
    }

    pub(super) fn content(self, kernel: &KernelInner, process: &Process) -> Result<Vec<u8>, Errno> {
        let relations = kernel.table.relations(process.pid)?;
        match self {
            Self::CommandLine => Ok(terminated(&process.image().argv)),
            Self::Comm => Ok([&process.image().comm()[..], b"\n"].concat()),
            Self::Environment => Ok(terminated(&process.image().envp)),
            Self::Mounts => Ok(system::mounts(kernel)),
            Self::Stat => Ok(stat(process, &relations)),
            Self::Status => Ok(status(process, &relations)),
            Self::Cwd | Self::Executable | Self::Root => Err(Errno::EINVAL),
        }
    }
}

/// What an open file is called: its path, or what it is.
pub(crate) fn name_of(kernel: &KernelInner, description: &FileDescription) -> Vec<u8> {
    let location = description.location();
    let anonymous = |kind: &str| format!("{kind}:[{}]", location.inode().ino()).into_bytes();
    if location.file_id().dev != kernel.anonymous.file_id().dev {
        return description.opened_as().to_vec();
    }
    match description.file().kind() {
        FileKind::Pipe => anonymous("pipe"),
        FileKind::StreamSocket | FileKind::DatagramSocket => anonymous("socket"),
        FileKind::CharDevice => b"/dev/null".to_vec(),
        FileKind::Terminal => match description.file().downcast::<Replica>() {
            Some(replica) => format!("/dev/pts/{}", replica.terminal().index()).into_bytes(),
            None => b"/dev/ptmx".to_vec(),
        },
        FileKind::Regular | FileKind::Directory => anonymous("anon"),
    }
}

fn absolute(process: &Process, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { path.to_vec() } else { [&process.cwd().path, &b"/"[..], path].concat() }
}

fn terminated(strings: &[Vec<u8>]) -> Vec<u8> {
    strings.iter().flat_map(|string| string.iter().copied().chain([0])).collect()
}

fn state(process: &Process, relations: &Relations) -> (char, &'static str) {
    match relations.ended {
        Some(_) => ('Z', "zombie"),
        None if process.control.is_stopped() => ('T', "stopped"),
        None => ('S', "sleeping"),
    }
}

fn stat(process: &Process, relations: &Relations) -> Vec<u8> {
    let comm = process.image().comm();
    let rest = format!(
        ") {state} {parent} {group} {session} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} {memory} {pages} \
         18446744073709551615 0 0 0 0 0 {pending} {blocked} {ignored} {caught} 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        state = state(process, relations).0,
        parent = relations.parent.number(),
        group = relations.group,
        session = relations.session,
        started = system::ticks(process.started),
        memory = process.memory_bytes(),
        pages = process.memory_bytes() / 4096,
        pending = process.signals(|signals| signals.pending()).bits(),
        blocked = process.signals(|signals| signals.mask()).bits(),
        ignored = process.signals(|signals| signals.ignored()).bits(),
        caught = process.signals(|signals| signals.caught()).bits(),
    );
    [process.pid.to_string().as_bytes(), b" (", &comm, rest.as_bytes()].concat()
}

fn status(process: &Process, relations: &Relations) -> Vec<u8> {
    let credentials = process.credentials();
    let (letter, word) = state(process, relations);
    let set = |set: SignalSet| format!("{:016x}", set.bits());
    let groups: String = credentials.groups.iter().map(|group| format!("{group} ")).collect();
    let kib = process.memory_bytes() / 1024;
    let (uid, euid, suid) = (credentials.uid, credentials.euid, credentials.suid);
    let (gid, egid, sgid) = (credentials.gid, credentials.egid, credentials.sgid);
    let lines = format!(
        "Umask:\t{umask:04o}\nState:\t{letter} ({word})\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t{parent}\nTracerPid:\t0\n\
         Uid:\t{uid}\t{euid}\t{suid}\t{euid}\nGid:\t{gid}\t{egid}\t{sgid}\t{egid}\nFDSize:\t{fds}\nGroups:\t{groups}\n\
         NSpgid:\t{group}\nNSsid:\t{session}\nVmSize:\t{kib:>8} kB\nVmRSS:\t{kib:>8} kB\nThreads:\t1\n\
         SigPnd:\t{pending}\nShdPnd:\t{none}\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n",
        umask = process.umask(),
        pid = process.pid,
        parent = relations.parent.number(),
        fds = process.with_fds(|fds| fds.iter().count()),
        group = relations.group,
        session = relations.session,
        pending = set(process.signals(|signals| signals.pending())),
        none = set(SignalSet::EMPTY),
        blocked = set(process.signals(|signals| signals.mask())),
        ignored = set(process.signals(|signals| signals.ignored())),
        caught = set(process.signals(|signals| signals.caught())),
    );
    [b"Name:\t", &process.image().comm()[..], b"\n", lines.as_bytes()].concat()
}
