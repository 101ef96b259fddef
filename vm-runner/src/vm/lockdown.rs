//! What a vm process gives up before it holds anything of a workspace.
//!
//! Everything here works without privileges, in a pod of Pod Security level `restricted`, and is inherited by threads that
//! start later, so it runs first in the process:
//!
//! | given up | by |
//! |---|---|
//! | descriptors other than the control line and standard error | `close_range` |
//! | new privileges, outliving the supervisor, core dumps, priority | `prctl`, resource limits |
//! | files other than the software (read), the slot and the volumes; TCP; signals to others | `files` (landlock) |
//! | new programs, new processes, sockets, all system calls that are not needed | `system_calls` (seccomp) |
//! | being looked at by other processes | [`seal`], when the engine is up |
//!
//! The environment was cleared by whoever started the process (`supervisor::child`). Must never know a workspace.
#![expect(clippy::disallowed_methods, reason = "host-facing: writes /proc/self/oom_score_adj")]

mod files;
mod system_calls;

use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, umask,
};
use rustix::thread::set_no_new_privs;

pub(crate) use self::files::{Landlock, probe as probe_landlock};
use crate::config::{Isolation, Volume};

/// File descriptors of a vm process: connections of requests, mapped packages, files of volumes. Guests' files are none.
const MAX_OPEN_FILES: u64 = 4096;

/// Threads of all processes of the runner's user, which is what Linux counts: far above what 1 000 VMs need, and far
/// below what a host has process ids for.
const MAX_THREADS: u64 = 32_768;

/// How much a vm process stands back behind the supervisor when both want a processor.
const NICENESS: i32 = 5;

/// What a vm process keeps of the host's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grants<'a> {
    /// The software folder: read, and mapped.
    pub(crate) software: &'a Path,
    /// The slot: regular files beneath it may be made, changed and removed.
    pub(crate) slot: Option<&'a Path>,
    /// The folders of volumes.
    pub(crate) volumes: &'a [Volume],
}

/// A step of the lockdown that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("giving up {what}: {source}")]
    Step { what: &'static str, source: io::Error },
    #[error(transparent)]
    Files(#[from] files::Error),
    #[error(transparent)]
    SystemCalls(#[from] system_calls::Error),
    #[error(
        "{0}, so nothing but the system call filter would hold an escaped guest; `--isolation best-effort` accepts that"
    )]
    Weak(Landlock),
}

/// Locks this process down. Must run before there is a second thread, and before a descriptor is opened.
///
/// # Errors
/// When the host does not allow it; then the process must not run guests.
pub(crate) fn apply(grants: Grants<'_>, isolation: Isolation) -> Result<Landlock, Error> {
    close_inherited().map_err(at("inherited descriptors"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("outliving the supervisor"))?;
    umask(Mode::RWXG | Mode::RWXO);
    limit_resources()?;
    nice(NICENESS).map_err(at("its priority"))?;
    // While the process may still be looked at, its files in /proc belong to it, and not to root.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        // Only decides who is killed first when the pod runs out of memory.
        tracing::debug!(%error, "the out-of-memory score stays as it is");
    }
    confine(grants, isolation)
}

/// The part of it that a program for one user needs as well: files, system calls, new privileges.
///
/// # Errors
/// When the host does not allow it.
pub(crate) fn confine(grants: Grants<'_>, isolation: Isolation) -> Result<Landlock, Error> {
    set_no_new_privs(true).map_err(at("new privileges"))?;
    let landlock = files::restrict(grants)?;
    if isolation == Isolation::Strict && !landlock.is_whole() {
        return Err(Error::Weak(landlock));
    }
    system_calls::restrict(!grants.volumes.is_empty())?;
    Ok(landlock)
}

/// Gives up the last: other processes of the same user can no longer look into this one. Comes after the engine has
/// opened `/proc/self/pagemap`, which belongs to root from here on.
///
/// # Errors
/// When the host does not allow it.
pub(crate) fn seal() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("being looked at"))
}

fn limit_resources() -> Result<(), Error> {
    let most = |resource, limit: u64| getrlimit(resource).maximum.map_or(limit, |maximum| maximum.min(limit));
    let limits = [
        ("core dumps", Resource::Core, 0),
        ("file descriptors", Resource::Nofile, most(Resource::Nofile, MAX_OPEN_FILES)),
        ("threads", Resource::Nproc, most(Resource::Nproc, MAX_THREADS)),
        ("locked memory", Resource::Memlock, 0),
        ("message queues", Resource::Msgqueue, 0),
        ("real-time priority", Resource::Rtprio, 0),
    ];
    for (what, resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).map_err(at(what))?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "no safe wrapper closes descriptors that nobody owns")]
fn close_inherited() -> rustix::io::Result<()> {
    // SAFETY: this runs first in the process, on its only thread: nothing has opened a descriptor yet, and what is beyond
    // the three standard ones was left open by whoever started the process.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if answer == 0 {
        return Ok(());
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(errno) if errno != libc::ENOSYS => Err(rustix::io::Errno::from_raw_os_error(errno)),
        // Kernels before 5.9; there, the supervisor's own descriptors are closed on exec all the same.
        _ => Ok(()),
    }
}

fn at(what: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::Step { what, source: errno.into() }
}
