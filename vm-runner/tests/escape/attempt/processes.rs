//! Other processes, and new ones.

use std::io;

use super::{Attempt, HERE, call, ended_for_memory, granted, killed, refused, text, tried};

pub(super) fn attempts() -> impl Iterator<Item = Attempt> {
    new_ones().into_iter().chain(others()).chain(signals()).chain(itself())
}

fn new_ones() -> Vec<Attempt> {
    vec![
        killed("run a shell", |_| execute("/bin/sh")),
        killed("run this program again", |_| execute("/proc/self/exe")),
        killed("run a program out of memory", |_| {
            let name = text("program");
            let fd = call(libc::SYS_memfd_create, &[name.as_ptr() as usize, 0])?;
            let (path, none) = (text(""), [0_usize]);
            let (path, none) = (path.as_ptr() as usize, none.as_ptr() as usize);
            tried(libc::SYS_execveat, &[fd, path, none, none, libc::AT_EMPTY_PATH as usize])
        }),
        killed("fork", |_| tried(libc::SYS_clone, &[libc::SIGCHLD as usize, 0, 0, 0, 0])),
        #[cfg(target_arch = "x86_64")]
        killed("fork by its old name", |_| tried(libc::SYS_fork, &[])),
        killed("fork into namespaces of its own", |_| {
            let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::SIGCHLD;
            tried(libc::SYS_clone, &[flags as usize, 0, 0, 0, 0])
        }),
        refused("make a process whose flags no filter sees", |_| {
            let arguments = [0_u64; 8];
            tried(libc::SYS_clone3, &[arguments.as_ptr() as usize, size_of_val(&arguments)])
        }),
        ended_for_memory("take memory that no limit of guests counts", |_| {
            // Twice what a VM may have by default; whoever looks at memory does so every second.
            let taken: Vec<Vec<u8>> = (0..1664).map(|_| vec![1; 1 << 20]).collect();
            std::thread::sleep(std::time::Duration::from_secs(8));
            drop(std::hint::black_box(taken));
            Ok(())
        }),
        granted("start a thread", |_| {
            std::thread::spawn(|| {}).join().map_err(|_| io::Error::other("it panicked"))
        }),
    ]
}

fn others() -> Vec<Attempt> {
    vec![
        killed("trace the supervisor", |scene| {
            tried(libc::SYS_ptrace, &[libc::PTRACE_ATTACH as usize, scene.supervisor, 0, 0])
        }),
        killed("read the supervisor's memory", |scene| {
            let buffer = [0_u8; 8];
            let vector = [buffer.as_ptr() as usize, buffer.len()];
            let pointer = vector.as_ptr() as usize;
            tried(libc::SYS_process_vm_readv, &[scene.supervisor, pointer, 1, pointer, 1, 0])
        }),
        killed("write a neighbour's memory", |scene| {
            let buffer = [0_u8; 8];
            let vector = [buffer.as_ptr() as usize, buffer.len()];
            let pointer = vector.as_ptr() as usize;
            tried(libc::SYS_process_vm_writev, &[scene.neighbour, pointer, 1, pointer, 1, 0])
        }),
        killed("hold the supervisor by a descriptor", |scene| {
            tried(libc::SYS_pidfd_open, &[scene.supervisor, 0])
        }),
        killed("copy a descriptor of the supervisor", |_| tried(libc::SYS_pidfd_getfd, &[0, 3, 0])),
        killed("compare itself with the supervisor", |scene| {
            tried(libc::SYS_kcmp, &[std::process::id() as usize, scene.supervisor, 0, 0, 0])
        }),
        killed("move a neighbour's memory", |scene| {
            tried(libc::SYS_move_pages, &[scene.neighbour, 0, 0, 0, 0, 0])
        }),
        refused("change a neighbour's priority", |scene| {
            tried(libc::SYS_setpriority, &[0, scene.neighbour, 19])
        }),
        refused("take back its own priority", |_| tried(libc::SYS_setpriority, &[0, 0, -20_isize as usize])),
        refused("bind a neighbour to a processor", |scene| {
            let mask = [1_u64; 16];
            tried(libc::SYS_sched_setaffinity, &[scene.neighbour, size_of_val(&mask), mask.as_ptr() as usize])
        }),
        refused("set a limit of a neighbour", |scene| limit(scene.neighbour)),
        refused("set its own limits", |_| limit(0)),
        refused("read a neighbour's limits", |scene| {
            let limits = [0_u64; 2];
            let arguments = [scene.neighbour, libc::RLIMIT_NOFILE as usize, 0, limits.as_ptr() as usize];
            tried(libc::SYS_prlimit64, &arguments)
        }),
    ]
}

fn signals() -> Vec<Attempt> {
    const KILL: usize = libc::SIGKILL as usize;
    // linux/fcntl.h.
    const F_SETSIG: usize = 10;
    vec![
        refused("kill the supervisor", |scene| tried(libc::SYS_kill, &[scene.supervisor, KILL])),
        refused("kill a neighbour", |scene| tried(libc::SYS_kill, &[scene.neighbour, KILL])),
        refused("kill everybody", |_| tried(libc::SYS_kill, &[-1_isize as usize, KILL])),
        refused("kill a thread of the supervisor", |scene| {
            tried(libc::SYS_tgkill, &[scene.supervisor, scene.supervisor, KILL])
        }),
        refused("kill by thread alone", |scene| tried(libc::SYS_tkill, &[scene.supervisor, KILL])),
        refused("queue a signal for a neighbour", |scene| {
            let info = [0_u8; 128];
            tried(libc::SYS_rt_sigqueueinfo, &[scene.neighbour, KILL, info.as_ptr() as usize])
        }),
        refused("have signals sent to the supervisor by its control line", |scene| {
            tried(libc::SYS_fcntl, &[0, libc::F_SETOWN as usize, scene.supervisor])
        }),
        refused("choose a signal that a descriptor sends", |_| tried(libc::SYS_fcntl, &[0, F_SETSIG, KILL])),
    ]
}

/// What it could take back of the lockdown.
fn itself() -> Vec<Attempt> {
    vec![
        refused("outlive the supervisor", |_| tried(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG as usize, 0])),
        refused("let others look into it", |_| tried(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 1])),
        refused("put another filter in place", |_| tried(libc::SYS_seccomp, &[1, 0, 0])),
        refused("put another filter in place by the old call", |_| {
            tried(libc::SYS_prctl, &[libc::PR_SET_SECCOMP as usize, 1])
        }),
        refused("become another user", |_| tried(libc::SYS_setresuid, &[1, 1, 1])),
        refused("become another group", |_| tried(libc::SYS_setresgid, &[1, 1, 1])),
        refused("take capabilities", |_| {
            let (header, data) = ([0x2008_0522_u32, 0], [u32::MAX; 6]);
            tried(libc::SYS_capset, &[header.as_ptr() as usize, data.as_ptr() as usize])
        }),
        refused("leave its session", |_| tried(libc::SYS_setsid, &[])),
    ]
}

fn execute(path: &str) -> io::Result<()> {
    let (path, none) = (text(path), [0_usize]);
    let (path, none) = (path.as_ptr() as usize, none.as_ptr() as usize);
    // By both calls, so that neither is forgotten; the first ends the process already.
    tried(libc::SYS_execve, &[path, none, none])?;
    tried(libc::SYS_execveat, &[HERE, path, none, none, 0])
}

fn limit(process: usize) -> io::Result<()> {
    let limits = [u64::MAX, u64::MAX];
    tried(libc::SYS_prlimit64, &[process, libc::RLIMIT_NOFILE as usize, limits.as_ptr() as usize, 0])
}
