//! What the processes are doing, for a host that decides whether a VM is idle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Gid, Uid};

use crate::kernel::Kernel;
use crate::process::table::Relations;
use crate::process::{ExitStatus, Pgid, Pid, Process, Sid};

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessState {
    /// It runs, or wants to.
    Running,
    /// It waits for something.
    Sleeping,
    /// It waits for somebody to type, with no time limit: a shell at its prompt.
    AtTerminal,
    /// A signal has stopped it.
    Stopped,
    /// It has ended, and its parent has not asked how.
    Zombie,
}

/// What happens in a VM at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Processes that have not ended.
    pub processes: usize,
    /// Those of them that wait for somebody to type.
    pub at_terminal: usize,
    /// Sessions that have such processes.
    pub sessions: usize,
    /// How long ago one of them ran.
    pub idle_for: Duration,
}

/// A process, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: Pid,
    /// Its parent's; 0 is the host, 1 adopts orphans.
    pub parent: i32,
    /// Its group.
    pub group: Pgid,
    /// Its session.
    pub session: Sid,
    /// The name of its program, as `ps` shows it.
    pub name: String,
    /// Its arguments.
    pub argv: Arc<[Vec<u8>]>,
    /// Whose permissions it has.
    pub uid: Uid,
    /// Which group's it has.
    pub gid: Gid,
    /// What it is doing.
    pub state: ProcessState,
    /// How it ended, if it is a zombie.
    pub ended: Option<ExitStatus>,
    /// Memory of its program.
    pub memory_bytes: u64,
    /// How many files it has open.
    pub open_fds: usize,
    /// How long it has existed.
    pub age: Duration,
    /// CPU time it has used.
    pub cpu_time: Duration,
}

impl ProcessState {
    /// What a process is doing.
    pub(crate) fn of(process: &Process, relations: &Relations) -> Self {
        match relations.ended {
            Some(_) => Self::Zombie,
            None if process.control.is_stopped() => Self::Stopped,
            None if process.cpu.is_runnable() => Self::Running,
            None if process.is_at_terminal() => Self::AtTerminal,
            None => Self::Sleeping,
        }
    }
}

impl Kernel {
    /// All processes, zombies included.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        let now = self.inner().clock.monotonic();
        let info = |(process, relations): (Arc<Process>, Relations)| {
            let credentials = process.credentials();
            ProcessInfo {
                pid: process.pid,
                parent: relations.parent.number(),
                group: relations.group,
                session: relations.session,
                name: String::from_utf8_lossy(&process.image().comm()).into_owned(),
                argv: Arc::clone(&process.image().argv),
                uid: credentials.euid,
                gid: credentials.egid,
                state: ProcessState::of(&process, &relations),
                ended: relations.ended,
                memory_bytes: process.memory_bytes(),
                open_fds: process.count_fds(|_| true),
                age: now.saturating_sub(process.started),
                cpu_time: process.cpu.used_at(now),
            }
        };
        self.inner().table.all().into_iter().map(info).collect()
    }

    /// What is going on.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let mut activity =
            Activity { processes: 0, at_terminal: 0, sessions: 0, idle_for: self.inner().cpu.idle_for() };
        let mut sessions = BTreeSet::new();
        for (process, relations) in self.inner().table.all() {
            match ProcessState::of(&process, &relations) {
                ProcessState::Zombie => continue,
                ProcessState::AtTerminal => activity.at_terminal += 1,
                ProcessState::Running | ProcessState::Sleeping | ProcessState::Stopped => {}
            }
            activity.processes += 1;
            sessions.insert(relations.session);
        }
        activity.sessions = sessions.len();
        activity
    }
}
