//! `host_process`: processes, signals and the descriptor calls that preview 1 lacks.

mod descriptor;
mod file_action;
mod identity;
mod message;
mod signal;
mod spawn;
mod wait;

use wasmtime::{FuncType, Val, ValType};

use crate::host_call::{HostLinker, Restart, async_calls, sync_calls};

/// Name that programs import from.
const MODULE: &str = "host_process";
/// `proc_spawn_v4` has more parameters than wasmtime's typed functions take.
const SPAWN_V4_PARAMETERS: usize = 21;

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    link_processes(host)?;
    link_signals(host)?;
    link_descriptors(host)
}

fn link_processes(host: &mut HostLinker) -> wasmtime::Result<()> {
    async_calls! { host, MODULE, Restart::Never;
        proc_spawn(
            argv: u32, argv_len: u32, envp: u32, envp_len: u32, stdin: u32, stdout: u32, stderr: u32,
            cwd: u32, cwd_len: u32, pid_out: u32
        ) = spawn::proc_spawn;
        proc_spawn_v2(
            exec: u32, exec_len: u32, argv: u32, argv_len: u32, envp: u32, envp_len: u32, stdin: u32, stdout: u32,
            stderr: u32, cwd: u32, cwd_len: u32, pid_out: u32
        ) = spawn::proc_spawn_v2;
        proc_spawn_v3(
            exec: u32, exec_len: u32, argv: u32, argv_len: u32, envp: u32, envp_len: u32, actions: u32,
            actions_len: u32, cwd: u32, cwd_len: u32, attributes: u32, default_low: u32, default_high: u32,
            mask_low: u32, mask_high: u32, group: u32, pid_out: u32
        ) = spawn::proc_spawn_v3;
        sleep_ms(milliseconds: u32) = identity::sleep_ms;
    }
    let parameters = std::iter::repeat_n(ValType::I32, SPAWN_V4_PARAMETERS);
    let ty = FuncType::new(host.linker.engine(), parameters, [ValType::I32]);
    host.note(MODULE, "proc_spawn_v4", &["u32"; SPAWN_V4_PARAMETERS]);
    host.linker.func_new_async(MODULE, "proc_spawn_v4", ty, |mut caller, parameters, results| {
        Box::new(async move {
            let answer = spawn::proc_spawn_v4(&mut caller, parameters).await;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(crate::host_call::Answer::value(answer));
            }
            crate::host_call::deliver(&mut caller, false, Restart::Never).await.map(drop)
        })
    })?;
    host.note(MODULE, "proc_exec", &["u32"; 8]);
    host.linker.func_wrap_async(MODULE, "proc_exec", |mut caller, parameters| {
        Box::new(async move { spawn::proc_exec(&mut caller, parameters).await })
    })?;
    host.note(MODULE, "proc_fexec", &["u32"; 7]);
    host.linker.func_wrap_async(MODULE, "proc_fexec", |mut caller, parameters| {
        Box::new(async move { spawn::proc_fexec(&mut caller, parameters).await })
    })?;
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        proc_waitpid(pid: i32, options: u32, status_out: u32, pid_out: u32) = wait::proc_waitpid;
        proc_waitpid_v2(pid: i32, options: u32, code_out: u32, signal_out: u32, pid_out: u32, core_out: u32) =
            wait::proc_waitpid_v2;
        proc_waitpid_v3(pid: i32, options: u32, status_out: u32, pid_out: u32) = wait::proc_waitpid_v3;
    }
    sync_calls! { host, MODULE;
        proc_getpid(pid_out: u32) = identity::proc_getpid;
        proc_getppid(pid_out: u32) = identity::proc_getppid;
        proc_getpgid(pid: i32, group_out: u32) = identity::proc_getpgid;
        proc_setpgid(pid: i32, group: i32) = identity::proc_setpgid;
        proc_getrlimit(resource: u32, soft_out: u32, hard_out: u32) = identity::proc_getrlimit;
        proc_setrlimit(resource: u32, soft: u64, hard: u64) = identity::proc_setrlimit;
        proc_umask(mask: u32, previous_out: u32) = identity::proc_umask;
        umask(mask: u32, set: u32, previous_out: u32) = identity::umask;
    }
    Ok(())
}

fn link_signals(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        proc_itimer_real(op: u32, value: u64, interval: u64, remaining_out: u32, interval_out: u32) =
            signal::proc_itimer_real;
        proc_sigaction(signal: u32, action: u32, mask_low: u32, mask_high: u32, flags: u32) = signal::proc_sigaction;
    }
    async_calls! { host, MODULE, Restart::Never;
        proc_kill(pid: i32, signal: u32) = signal::proc_kill;
        proc_signal_mask_v2(how: u32, low: u32, high: u32, low_out: u32, high_out: u32) = signal::proc_signal_mask_v2;
        proc_ppoll_v1(
            fds: u32, count: u32, seconds: i64, nanoseconds: i64, mask_low: u32, mask_high: u32, has_mask: u32,
            ready_out: u32
        ) = signal::proc_ppoll_v1;
    }
    Ok(())
}

fn link_descriptors(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        fd_pipe(read_out: u32, write_out: u32) = descriptor::fd_pipe;
        fd_dup(fd: u32, fd_out: u32) = descriptor::fd_dup;
        fd_dup2(old: u32, new: u32) = descriptor::fd_dup2;
        fd_dup_min(fd: u32, minimum: u32, fd_out: u32) = descriptor::fd_dup_min;
        fd_getfd(fd: u32, flags_out: u32) = descriptor::fd_getfd;
        fd_setfd(fd: u32, flags: u32) = descriptor::fd_setfd;
        proc_closefrom(low: u32) = descriptor::proc_closefrom;
        fd_socketpair(kind: u32, non_blocking: u32, close_on_exec: u32, first_out: u32, second_out: u32) =
            message::fd_socketpair;
        pty_open(master_out: u32, replica_out: u32) = descriptor::pty_open;
    }
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        fd_flock(fd: u32, op: u32) = descriptor::fd_flock;
        fd_record_lock(
            fd: u32, command: u32, kind: u32, start: i64, len: i64, kind_out: u32, pid_out: u32, start_out: u32,
            len_out: u32
        ) = descriptor::fd_record_lock;
        fd_sendmsg_rights(fd: u32, data: u32, len: u32, rights: u32, count: u32, flags: u32, sent_out: u32) =
            message::fd_sendmsg_rights;
        fd_recvmsg_rights(
            fd: u32, data: u32, len: u32, rights: u32, capacity: u32, flags: u32, received_out: u32, count_out: u32,
            flags_out: u32
        ) = message::fd_recvmsg_rights;
    }
    Ok(())
}
