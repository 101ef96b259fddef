//! What a vm process gives up before it holds anything of a workspace.
//!
//! Now: new privileges, core dumps, being traced, outliving the supervisor, more file descriptors than it needs, priority, and
//! its standing with the kernel's out-of-memory killer. Everything here is inherited by threads that start later, so it
//! runs first in the process. Must never know a workspace.
#![expect(clippy::disallowed_methods, reason = "host-facing: writes /proc/self/oom_score_adj")]

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;

/// File descriptors of a vm process: connections of requests and mapped packages. Guests' files are no descriptors.
const MAX_OPEN_FILES: u64 = 4096;

/// How much a vm process stands back behind the supervisor when both want a processor.
const NICENESS: i32 = 5;

/// A step of the lockdown that failed.
#[derive(Debug, thiserror::Error)]
#[error("giving up {what}: {source}")]
pub(crate) struct Error {
    what: &'static str,
    source: io::Error,
}

/// Locks this process down.
///
/// # Errors
/// When the host does not allow it; then the process must not run guests.
pub(crate) fn apply() -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("outliving the supervisor"))?;
    set_no_new_privs(true).map_err(at("new privileges"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("being traced"))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(at("core dumps"))?;
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })
        .map_err(at("file descriptors"))?;
    nice(NICENESS).map_err(at("its priority"))?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        // Only decides who is killed first when the pod runs out of memory.
        tracing::debug!(%error, "the out-of-memory score stays as it is");
    }
    Ok(())
}

fn at(what: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error { what, source: errno.into() }
}
