//! What `/proc/PID` shows, in the formats of Linux's proc(5).

use std::fmt::Write as _;

use vm_abi::{Errno, FileType, Mode, SignalSet};

use super::{mount, system};
use crate::activity::ProcessState;
use crate::file::FileKind;
use crate::file::description::FileDescription;
use crate::kernel::KernelInner;
use crate::process::Process;
use crate::process::rlimit::{Resource, Rlimit};
use crate::process::table::Relations;
use crate::pty::Replica;

macro_rules! process_files {
    ($($name:ident = $file:literal, $mode:literal;)*) => {
        /// A file or link about a process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ProcessFile {
            $($name,)*
        }

        impl ProcessFile {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(super) fn name(self) -> &'static [u8] {
                match self {
                    $(Self::$name => $file,)*
                }
            }

            pub(super) fn mode(self) -> Mode {
                Mode::new(match self {
                    $(Self::$name => $mode,)*
                })
            }
        }
    };
}

process_files! {
    CommandLine = b"cmdline", 0o444;
    Comm = b"comm", 0o444;
    Cwd = b"cwd", 0o777;
    Environment = b"environ", 0o400;
    Executable = b"exe", 0o777;
    Io = b"io", 0o400;
    Limits = b"limits", 0o444;
    Maps = b"maps", 0o444;
    MountInfo = b"mountinfo", 0o444;
    Mounts = b"mounts", 0o444;
    OomScore = b"oom_score", 0o444;
    Root = b"root", 0o777;
    Stat = b"stat", 0o444;
    Statm = b"statm", 0o444;
    Status = b"status", 0o444;
}

impl ProcessFile {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|file| file.name() == name)
    }

    pub(super) fn file_type(self) -> FileType {
        match self {
            Self::Cwd | Self::Executable | Self::Root => FileType::Symlink,
            Self::CommandLine
            | Self::Comm
            | Self::Environment
            | Self::Io
            | Self::Limits
            | Self::Maps
            | Self::MountInfo
            | Self::Mounts
            | Self::OomScore
            | Self::Stat
            | Self::Statm
            | Self::Status => FileType::Regular,
        }
    }

    /// Where it points, if it is a link.
    pub(super) fn target(self, _kernel: &KernelInner, process: &Process) -> Result<Vec<u8>, Errno> {
        match self {
            Self::Cwd => Ok(process.cwd().path.to_vec()),
            Self::Executable => Ok(absolute(process, &process.image().path)),
            Self::Root => Ok(b"/".to_vec()),
            _ if self.file_type() != FileType::Symlink => Err(Errno::EINVAL),
            _ => Err(Errno::ENOENT),
        }
    }

    pub(super) fn content(self, kernel: &KernelInner, process: &Process) -> Result<Vec<u8>, Errno> {
        let relations = kernel.table.relations(process.pid)?;
        match self {
            Self::CommandLine => Ok(terminated(&process.image().argv)),
            Self::Comm => Ok([&process.image().comm()[..], b"\n"].concat()),
            Self::Environment => Ok(terminated(&process.image().envp)),
            Self::Io => Ok(io(process)),
            Self::Limits => Ok(limits(process)),
            Self::Maps => Ok(Vec::new()),
            Self::MountInfo => Ok(mount::mount_info(kernel)),
            Self::Mounts => Ok(mount::mounts(kernel)),
            Self::OomScore => Ok(b"0\n".to_vec()),
            Self::Stat => Ok(stat(kernel, process, &relations)),
            Self::Statm => Ok(statm(process)),
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

/// What `/proc/PID/fdinfo` shows of an open file.
pub(super) fn fd_info(description: &FileDescription) -> Vec<u8> {
    let flags = linux_flags(description.flags());
    let (offset, location) = (description.offset(), description.location());
    format!(
        "pos:\t{offset}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{}\n",
        location.mount().id(),
        location.inode().ino()
    )
    .into_bytes()
}

/// Status flags with Linux's bits.
fn linux_flags(flags: vm_abi::OpenFlags) -> u32 {
    use vm_abi::OpenFlags;
    let access = match (flags.is_readable(), flags.is_writable()) {
        (true, true) => 2,
        (false, true) => 1,
        (_, false) => 0,
    };
    let bits = [
        (OpenFlags::APPEND, 0o2000),
        (OpenFlags::NONBLOCK, 0o4000),
        (OpenFlags::DSYNC, 0o10000),
        (OpenFlags::SYNC, 0o4_010_000),
        (OpenFlags::PATH, 0o10_000_000),
    ];
    bits.iter().filter(|(flag, _)| flags.contains(*flag)).fold(access, |all, (_, bit)| all | bit)
}

fn absolute(process: &Process, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { path.to_vec() } else { [&process.cwd().path, &b"/"[..], path].concat() }
}

fn terminated(strings: &[Vec<u8>]) -> Vec<u8> {
    strings.iter().flat_map(|string| string.iter().copied().chain([0])).collect()
}

fn state(process: &Process, relations: &Relations) -> (char, &'static str) {
    match ProcessState::of(process, relations) {
        ProcessState::Running => ('R', "running"),
        ProcessState::Sleeping | ProcessState::AtTerminal => ('S', "sleeping"),
        ProcessState::Stopped => ('T', "stopped"),
        ProcessState::Zombie => ('Z', "zombie"),
    }
}

/// 52 fields; those that nobody counts are 0.
fn stat(kernel: &KernelInner, process: &Process, relations: &Relations) -> Vec<u8> {
    let terminal = kernel.controlling_terminal(process.pid).ok();
    let (tty, foreground) = terminal.map_or((0, -1), |terminal| {
        let foreground = terminal.control().foreground.map_or(-1, crate::process::Pgid::raw);
        // Major number 136, and the minor one in two parts.
        (136 << 8 | (terminal.index() & 0xff) | (terminal.index() & !0xff) << 12, foreground)
    });
    // As Linux: the first 31 signals.
    let set = |set: SignalSet| set.bits() & 0x7fff_ffff;
    let rest = format!(
        ") {state} {parent} {group} {session} {tty} {foreground} 4194304 0 0 0 0 {user} 0 {children} 0 20 0 1 0 \
         {started} {memory} {pages} {limit} 0 0 0 0 0 {pending} {blocked} {ignored} {caught} 0 0 0 17 0 0 0 0 0 0 0 0 \
         0 0 0 0 0 0\n",
        state = state(process, relations).0,
        parent = relations.parent.number(),
        group = relations.group,
        session = relations.session,
        user = system::ticks(process.cpu.used()),
        children = system::ticks(process.cpu.children()),
        started = system::ticks(process.started.saturating_sub(kernel.booted)),
        memory = process.memory_bytes(),
        pages = pages(process),
        limit = process.rlimit(Resource::Resident).soft,
        pending = set(process.signals(|signals| signals.pending())),
        blocked = set(process.signals(|signals| signals.mask())),
        ignored = set(process.signals(|signals| signals.ignored())),
        caught = set(process.signals(|signals| signals.caught())),
    );
    [process.pid.to_string().as_bytes(), b" (", &process.image().comm(), rest.as_bytes()].concat()
}

fn pages(process: &Process) -> u64 {
    process.memory_bytes() / 4096
}

fn statm(process: &Process) -> Vec<u8> {
    let pages = pages(process);
    format!("{pages} {pages} 0 0 0 {pages} 0\n").into_bytes()
}

fn io(process: &Process) -> Vec<u8> {
    let (read, written) = process.transferred();
    format!(
        "rchar: {read}\nwchar: {written}\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
    )
    .into_bytes()
}

fn limits(process: &Process) -> Vec<u8> {
    let number = |limit: u64| match limit {
        Rlimit::INFINITY => "unlimited".to_owned(),
        limit => limit.to_string(),
    };
    let rlimits = process.rlimits();
    let mut text = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for resource in Resource::ALL {
        let Rlimit { soft, hard } = rlimits.get(resource);
        let (title, unit) = resource.title();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{title:<25} {:<20} {:<20} {unit:<10}", number(soft), number(hard));
    }
    text.into_bytes()
}

fn status(process: &Process, relations: &Relations) -> Vec<u8> {
    let credentials = process.credentials();
    let (letter, word) = state(process, relations);
    let set = |set: SignalSet| format!("{:016x}", set.bits());
    let groups: String = credentials.groups.iter().map(|group| format!("{group} ")).collect();
    let kib = process.memory_bytes() / 1024;
    let (uid, euid, suid) = (credentials.uid, credentials.euid, credentials.suid);
    let (gid, egid, sgid) = (credentials.gid, credentials.egid, credentials.sgid);
    let capabilities = if credentials.is_privileged() { "000001ffffffffff" } else { "0000000000000000" };
    let lines = format!(
        "Umask:\t{umask:04o}\nState:\t{letter} ({word})\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t{parent}\n\
         TracerPid:\t0\nUid:\t{uid}\t{euid}\t{suid}\t{euid}\nGid:\t{gid}\t{egid}\t{sgid}\t{egid}\nFDSize:\t{fds}\n\
         Groups:\t{groups}\nNStgid:\t{pid}\nNSpid:\t{pid}\nNSpgid:\t{group}\nNSsid:\t{session}\n\
         VmPeak:\t{kib:>8} kB\nVmSize:\t{kib:>8} kB\nVmHWM:\t{kib:>8} kB\nVmRSS:\t{kib:>8} kB\nVmData:\t{kib:>8} kB\n\
         VmSwap:\t{zero:>8} kB\nThreads:\t1\nSigQ:\t0/{queue}\n\
         SigPnd:\t{pending}\nShdPnd:\t{none}\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n\
         CapInh:\t{none}\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\nCapBnd:\t{capabilities}\nCapAmb:\t{none}\n\
         NoNewPrivs:\t1\nSeccomp:\t0\n",
        umask = process.umask(),
        pid = process.pid,
        parent = relations.parent.number(),
        fds = process.count_fds(|_| true).next_power_of_two().max(64),
        group = relations.group,
        session = relations.session,
        zero = 0,
        queue = process.rlimit(Resource::PendingSignals).soft,
        pending = set(process.signals(|signals| signals.pending())),
        none = set(SignalSet::EMPTY),
        blocked = set(process.signals(|signals| signals.mask())),
        ignored = set(process.signals(|signals| signals.ignored())),
        caught = set(process.signals(|signals| signals.caught())),
    );
    [b"Name:\t", &process.image().comm()[..], b"\n", lines.as_bytes()].concat()
}
