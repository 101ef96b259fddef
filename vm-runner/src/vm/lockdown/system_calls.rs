//! The system calls of Linux that a vm process may make: two seccomp filters, one above the other.
//!
//! The first ends the process at calls that nothing here ever makes, and that only somebody who has escaped would try:
//! new programs and processes, sockets, other processes' memory, mounts, the kernel's large interfaces. The second lets
//! pass what is listed, and answers everything else with `ENOSYS`, so that libraries take the way they know for old
//! kernels. (`clone3` is among the latter: its flags are in memory, out of a filter's sight, and the C library then
//! uses `clone`.)
//!
//! Not bounded here: memory may be made executable ([`MEMORY`]), for compiled programs are mapped from files and the
//! compiler's output is made executable in place. Whoever controls a vm process runs code of his own anyway. Looking at
//! a path's metadata (`statx`, `readlinkat`) tells of files that are there, if one guesses their names.
//! Calls whose arguments are not looked at cost nothing: the kernel keeps a bitmap of them.

mod band;

use libc::c_long;
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompRule,
};

use self::band::{Rules, program};

/// Why the filters are not in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("giving up system calls: the filter: {0}")]
    Compile(#[from] BackendError),
    #[error("giving up system calls: {0}")]
    Install(#[from] seccompiler::Error),
}

/// `PAGEMAP_SCAN`: which pages of this process were written (linux/fs.h). The engine resets only those.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// What `clone` says to make a thread, and no process.
const THREAD: u64 = libc::CLONE_THREAD as u64;
/// What `clone` must not say: namespaces, and being traced.
const FOREIGN_FLAGS: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE) as u64;
/// The nice value that any thread may give itself.
const LOWEST_PRIORITY: u64 = 19;
/// The part of a socket's type that is no flag.
const SOCKET_TYPE_MASK: u64 = 0xf;

/// Reading and writing what is open.
const OPEN_FILES: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_copy_file_range,
    libc::SYS_flock,
];

/// Files by path. Landlock bounds which may be opened, made and removed; these calls change no metadata.
const PATHS: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_getcwd,
];

/// The same under their old names, which the C library prefers where there are any.
#[cfg(target_arch = "x86_64")]
const OLD_NAMES: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_NAMES: &[c_long] = &[];

/// Folders, links and metadata: in volumes only. Metadata is changed through an open file, for opening is what landlock
/// bounds; `utimensat` is in [`rules_of_arguments`].
const VOLUMES: &[c_long] = &[
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_syncfs,
];

/// Memory. See the head of this file for `mprotect`.
const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
];

/// Threads, their signals, time and randomness.
const THREADS: &[c_long] = &[
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Waiting, and the connections that the supervisor hands over. Descriptors may be received, but not sent: those under
/// way count for the whole user, so an escaped guest could use up what the supervisor needs.
const CONNECTIONS: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// What ends the process: see the head of this file.
const DEADLY: &[c_long] = &[
    // New programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_personality,
    // The outside, by sockets of one's own.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Namespaces, mounts and other roots.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // The kernel's large interfaces, and the host as a whole.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const DEADLY_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const DEADLY_HERE: &[c_long] = &[];

/// Restricts this thread, and those that it starts. Nothing can widen it again.
pub(super) fn restrict(has_volumes: bool) -> Result<(), Error> {
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    // Both are made before one is in place, and the one that lets `seccomp` itself pass comes first.
    let deadly = program(deadly_rules()?, &SeccompAction::Allow, &SeccompAction::KillProcess)?;
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let allowed =
        program(allowed_rules(own_pid.unsigned_abs(), has_volumes)?, &refused, &SeccompAction::Allow)?;
    seccompiler::apply_filter(&deadly)?;
    seccompiler::apply_filter(&allowed)?;
    Ok(())
}

fn deadly_rules() -> Result<Rules, BackendError> {
    let mut rules: Rules = unconditional([DEADLY, DEADLY_HERE]);
    let mut clone = vec![SeccompRule::new(vec![bits(0, THREAD, 0)?])?];
    // One of the flags is enough.
    for flag in (0..u64::BITS).map(|bit| 1 << bit).filter(|flag| flag & FOREIGN_FLAGS != 0) {
        clone.push(SeccompRule::new(vec![bits(0, flag, flag)?])?);
    }
    rules.insert(libc::SYS_clone, clone);
    Ok(rules)
}

fn allowed_rules(own_pid: u32, has_volumes: bool) -> Result<Rules, BackendError> {
    let volumes: &[c_long] = if has_volumes { VOLUMES } else { &[] };
    let mut rules = unconditional([OPEN_FILES, PATHS, OLD_NAMES, volumes, MEMORY, THREADS, CONNECTIONS]);
    for (call, conditions) in rules_of_arguments(u64::from(own_pid), has_volumes)? {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    }
    Ok(rules)
}

/// Calls that may pass with certain arguments only.
fn rules_of_arguments(
    own_pid: u64,
    has_volumes: bool,
) -> Result<Vec<(c_long, Vec<SeccompCondition>)>, BackendError> {
    let mut rules = vec![
        // Threads of this process.
        (libc::SYS_clone, vec![bits(0, THREAD | FOREIGN_FLAGS, THREAD)?]),
        (libc::SYS_tgkill, vec![is(0, own_pid)?]),
        (libc::SYS_kill, vec![is(0, own_pid)?]),
        // Its limits: reading them.
        (libc::SYS_prlimit64, vec![is(0, 0)?, wide(2, 0)?]),
        (libc::SYS_prctl, vec![is(0, libc::PR_SET_DUMPABLE.unsigned_abs().into())?, wide(1, 0)?]),
        // Pairs of connected streams: a datagram socket could be pointed at somebody.
        (
            libc::SYS_socketpair,
            vec![is(0, libc::AF_UNIX.unsigned_abs().into())?, bits(1, SOCKET_TYPE_MASK, 1)?],
        ),
        // Without an address, to whom the socket is connected.
        (libc::SYS_sendto, vec![wide(4, 0)?]),
    ];
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, libc::PR_GET_DUMPABLE];
    for option in names {
        rules.push((libc::SYS_prctl, vec![is(0, option.unsigned_abs().into())?]));
    }
    for request in [PAGEMAP_SCAN, libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX] {
        rules.push((libc::SYS_ioctl, vec![is(1, request)?]));
    }
    // Not among them: F_SETOWN and F_SETSIG, which have signals sent to others.
    let commands = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETLK,
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_OFD_GETLK,
        libc::F_OFD_SETLK,
        libc::F_ADD_SEALS,
        libc::F_GET_SEALS,
    ];
    for command in commands {
        rules.push((libc::SYS_fcntl, vec![is(1, command.unsigned_abs().into())?]));
    }
    // Of the calling thread only, and down only: guest programs are compiled at the lowest priority.
    rules.push((
        libc::SYS_setpriority,
        vec![is(0, libc::PRIO_PROCESS.into())?, is(1, 0)?, is(2, LOWEST_PRIORITY)?],
    ));
    if has_volumes {
        // Without a path: of an open file.
        rules.push((libc::SYS_utimensat, vec![wide(1, 0)?]));
        // FIFOs alone.
        rules.push((libc::SYS_mknodat, vec![bits(2, libc::S_IFMT.into(), libc::S_IFIFO.into())?]));
    }
    Ok(rules)
}

fn unconditional<const N: usize>(groups: [&[c_long]; N]) -> Rules {
    groups.into_iter().flatten().map(|call| (*call, Vec::new())).collect()
}

/// The argument, an `int`, has this value.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Len::Dword, Op::Eq, value)
}

/// The argument, a pointer, has this value.
fn wide(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Len::Qword, Op::Eq, value)
}

/// The bits of `mask` in the argument have this value.
fn bits(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Len::Qword, Op::MaskedEq(mask), value)
}
