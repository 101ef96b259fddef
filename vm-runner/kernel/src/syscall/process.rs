//! Calls about processes: making, replacing, waiting for, signalling them, and who they are.

use std::sync::Arc;

use vm_abi::{Credentials, Errno, Gid, Mode, Signal, Uid};

use super::{
    ExecRequest, IdChange, Itimer, KillTarget, Pgid, Pid, Replaced, Resource, Rlimit, Sid, SpawnRequest,
    WaitOptions, WaitResult, WaitTarget,
};
use crate::context::ProcessContext;
use crate::poll::checkpoint;
use crate::process::credentials::{change_groups, change_users};
use crate::process::{exec as executing, spawn as spawning, wait as waiting};
use crate::trace::show::{Other, Strings, Variables};
use crate::trace::traced;

/// Makes a child: fork, file actions and exec in one step. It runs when this returns; on an error there is none.
///
/// # Errors
/// Those of the file actions; `ENOENT`, `EACCES`, `ENOEXEC`, `ELOOP` for the program; `EAGAIN` if there are too many
/// processes; `E2BIG`; `EPERM` for a group of another session.
pub async fn spawn(ctx: &ProcessContext, request: SpawnRequest) -> Result<Pid, Errno> {
    traced!(
        ctx,
        "posix_spawn",
        [request.program, Strings(&request.argv), Variables(&request.envp), Other(&request.actions)],
        async {
            let spawned = spawning::spawn(ctx, request).await;
            if spawned.is_err() {
                // Whoever is being killed is refused, but must not see it.
                checkpoint(ctx).await;
            }
            spawned
        }
    )
}

/// Executes another program in the calling process. On success the driver ends the old program and answers
/// `ProgramEnd::Replaced`.
///
/// # Errors
/// `ENOENT`, `EACCES`, `ENOEXEC`, `ELOOP` for the program; `E2BIG`. Nothing has changed then.
pub async fn exec(ctx: &ProcessContext, request: ExecRequest) -> Result<Replaced, Errno> {
    traced!(ctx, "execve", [request.program, Strings(&request.argv), Variables(&request.envp)], async {
        let replaced = executing::exec(ctx, request)?;
        checkpoint(ctx).await;
        Ok(replaced)
    })
}

/// Waits for news of a child. With `NOHANG`, answers `None` if there is none — after up to 2 ms, since shells ask in a
/// loop.
///
/// # Errors
/// `ECHILD` if there is no such child, `EINTR`.
pub async fn wait(
    ctx: &ProcessContext,
    target: WaitTarget,
    options: WaitOptions,
) -> Result<Option<WaitResult>, Errno> {
    traced!(ctx, "wait4", [target, options.bits()], async { waiting::wait(ctx, target, options).await })
}

/// Sends a signal; without one, asks whether it could be sent. Does not return if it kills the caller.
///
/// # Errors
/// `ESRCH`, `EPERM`.
pub async fn kill(ctx: &ProcessContext, target: KillTarget, signal: Option<Signal>) -> Result<(), Errno> {
    traced!(ctx, "kill", [target, Other(&signal)], async {
        ctx.kernel().kill(ctx, target, signal)?;
        checkpoint(ctx).await;
        Ok(())
    })
}

/// The parent's number: 0 for commands of the host, 1 for orphans.
#[must_use]
pub fn parent(ctx: &ProcessContext) -> i32 {
    ctx.kernel().table.relations(ctx.pid()).map_or(1, |relations| relations.parent.number())
}

/// The group of a process; the caller's if `None`.
///
/// # Errors
/// `ESRCH`.
pub fn group(ctx: &ProcessContext, pid: Option<Pid>) -> Result<Pgid, Errno> {
    Ok(ctx.kernel().table.relations(pid.unwrap_or(ctx.pid()))?.group)
}

/// The session of a process; the caller's if `None`.
///
/// # Errors
/// `ESRCH`.
pub fn session(ctx: &ProcessContext, pid: Option<Pid>) -> Result<Sid, Errno> {
    Ok(ctx.kernel().table.relations(pid.unwrap_or(ctx.pid()))?.session)
}

/// Puts the caller or a child of it into a group of its session; into one of its own if `group` is `None`.
///
/// # Errors
/// `ESRCH`, `EPERM`, `EACCES` if the child has executed another program.
pub fn set_group(ctx: &ProcessContext, pid: Option<Pid>, group: Option<Pgid>) -> Result<(), Errno> {
    traced!(ctx, "setpgid", [Other(&pid), Other(&group)], {
        let target = pid.unwrap_or(ctx.pid());
        ctx.kernel().table.set_group(ctx.pid(), target, group.unwrap_or(target.own_group()))
    })
}

/// Makes the caller the leader of a session and group of its own.
///
/// # Errors
/// `EPERM` if it leads a group.
pub fn set_session(ctx: &ProcessContext) -> Result<Sid, Errno> {
    traced!(ctx, "setsid", [], { ctx.kernel().table.set_session(ctx.pid()) })
}

/// Sets the umask, if given; tells the old one.
#[must_use]
pub fn umask(ctx: &ProcessContext, umask: Option<Mode>) -> Mode {
    match umask {
        Some(umask) => ctx.process().set_umask(umask),
        None => ctx.process().umask(),
    }
}

/// The ids of the caller.
#[must_use]
pub fn credentials(ctx: &ProcessContext) -> Arc<Credentials> {
    ctx.process().credentials()
}

/// Sets the user (`setuid`).
///
/// # Errors
/// `EPERM`.
pub fn set_uid(ctx: &ProcessContext, uid: Uid) -> Result<(), Errno> {
    traced!(ctx, "setuid", [Other(&uid)], {
        ctx.process().change_credentials(|ids| change_users(ids, |old, privilege| old.set(uid, privilege)))
    })
}

/// Sets the effective user (`seteuid`).
///
/// # Errors
/// `EPERM`.
pub fn set_euid(ctx: &ProcessContext, uid: Uid) -> Result<(), Errno> {
    traced!(ctx, "seteuid", [Other(&uid)], {
        ctx.process()
            .change_credentials(|ids| change_users(ids, |old, privilege| old.set_effective(uid, privilege)))
    })
}

/// Sets real and effective user (`setreuid`).
///
/// # Errors
/// `EPERM`.
pub fn set_reuid(ctx: &ProcessContext, real: Option<Uid>, effective: Option<Uid>) -> Result<(), Errno> {
    traced!(ctx, "setreuid", [Other(&real), Other(&effective)], {
        ctx.process().change_credentials(|ids| {
            change_users(ids, |old, privilege| old.set_real_effective(real, effective, privilege))
        })
    })
}

/// Sets real, effective and saved user (`setresuid`).
///
/// # Errors
/// `EPERM`.
pub fn set_resuid(ctx: &ProcessContext, change: IdChange<Uid>) -> Result<(), Errno> {
    traced!(ctx, "setresuid", [Other(&change)], {
        ctx.process()
            .change_credentials(|ids| change_users(ids, |old, privilege| old.set_all(change, privilege)))
    })
}

/// Sets the group (`setgid`).
///
/// # Errors
/// `EPERM`.
pub fn set_gid(ctx: &ProcessContext, gid: Gid) -> Result<(), Errno> {
    traced!(ctx, "setgid", [Other(&gid)], {
        ctx.process().change_credentials(|ids| change_groups(ids, |old, privilege| old.set(gid, privilege)))
    })
}

/// Sets the effective group (`setegid`).
///
/// # Errors
/// `EPERM`.
pub fn set_egid(ctx: &ProcessContext, gid: Gid) -> Result<(), Errno> {
    traced!(ctx, "setegid", [Other(&gid)], {
        ctx.process()
            .change_credentials(|ids| change_groups(ids, |old, privilege| old.set_effective(gid, privilege)))
    })
}

/// Sets real and effective group (`setregid`).
///
/// # Errors
/// `EPERM`.
pub fn set_regid(ctx: &ProcessContext, real: Option<Gid>, effective: Option<Gid>) -> Result<(), Errno> {
    traced!(ctx, "setregid", [Other(&real), Other(&effective)], {
        ctx.process().change_credentials(|ids| {
            change_groups(ids, |old, privilege| old.set_real_effective(real, effective, privilege))
        })
    })
}

/// Sets real, effective and saved group (`setresgid`).
///
/// # Errors
/// `EPERM`.
pub fn set_resgid(ctx: &ProcessContext, change: IdChange<Gid>) -> Result<(), Errno> {
    traced!(ctx, "setresgid", [Other(&change)], {
        ctx.process()
            .change_credentials(|ids| change_groups(ids, |old, privilege| old.set_all(change, privilege)))
    })
}

/// Sets the supplementary groups.
///
/// # Errors
/// `EPERM` unless root, `EINVAL` if there are more than 65 536.
pub fn set_groups(ctx: &ProcessContext, groups: Vec<Gid>) -> Result<(), Errno> {
    traced!(ctx, "setgroups", [Other(&groups)], {
        const MAX_GROUPS: usize = 65_536;
        ctx.process().change_credentials(|ids| {
            if !ids.is_privileged() {
                return Err(Errno::EPERM);
            }
            if groups.len() > MAX_GROUPS {
                return Err(Errno::EINVAL);
            }
            ids.groups = groups;
            Ok(())
        })
    })
}

/// What the process has limited itself to.
#[must_use]
pub fn rlimit(ctx: &ProcessContext, resource: Resource) -> Rlimit {
    ctx.process().rlimit(resource)
}

/// Limits the process, and children that it makes from now on.
///
/// # Errors
/// `EINVAL` if `soft` exceeds `hard`, `EPERM` for raising `hard`.
pub fn set_rlimit(ctx: &ProcessContext, resource: Resource, limit: Rlimit) -> Result<(), Errno> {
    traced!(ctx, "setrlimit", [Other(&resource), Other(&limit)], {
        ctx.process().set_rlimit(resource, limit)
    })
}

/// How many fds the process may have (`RLIMIT_NOFILE`).
#[must_use]
pub fn open_files_limit(ctx: &ProcessContext) -> Rlimit {
    rlimit(ctx, Resource::OpenFiles)
}

/// Sets how many fds the process may have.
///
/// # Errors
/// As [`set_rlimit`].
pub fn set_open_files_limit(ctx: &ProcessContext, limit: Rlimit) -> Result<(), Errno> {
    set_rlimit(ctx, Resource::OpenFiles, limit)
}

/// The real-time timer.
#[must_use]
pub fn itimer(ctx: &ProcessContext) -> Itimer {
    ctx.process().alarm.get(ctx.kernel().clock.monotonic())
}

/// Sets the real-time timer, which sends `SIGALRM`; tells what it was.
#[must_use]
pub fn set_itimer(ctx: &ProcessContext, timer: Itimer) -> Itimer {
    let old = itimer(ctx);
    ctx.process().alarm.set(ctx.kernel().clock.monotonic(), timer);
    ctx.process().control.wake();
    old
}
