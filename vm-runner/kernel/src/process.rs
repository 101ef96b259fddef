//! Processes: running programs and what belongs to them.
//!
//! A [`Process`] holds what is its own: fds, signals, ids, working directory. How processes relate (parents, groups,
//! sessions, who ended and how) is in the [`table`], under one lock. Spawn, exec, exit and wait are in the modules of
//! those names; the program itself is run by `poll.rs`.

pub(crate) mod alarm;
pub(crate) mod credentials;
pub(crate) mod environment;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod group;
pub(crate) mod image;
pub(crate) mod rlimit;
pub(crate) mod signal;
pub(crate) mod spawn;
pub(crate) mod table;
pub(crate) mod wait;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use vm_abi::{Credentials, Errno, Mode, PollEvents, Signal};
use vm_vfs::{Caller, Location};

use crate::cpu::CpuTime;
use crate::driver::Threads;
use crate::file::File;
use crate::file::fd_table::FdTable;
use crate::mutex::Mutex;
use crate::poll::Readiness;
use crate::task::OwnedTask;
use crate::trace::log::Tracing;
use crate::usage::Charge;
use alarm::Alarm;
use image::Image;
use rlimit::{Resource, Rlimit, Rlimits};
use signal::{Control, Effect, SignalState, TerminalStop};

macro_rules! ids {
    ($($name:ident, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name(i32);

            impl $name {
                /// The id of this number; `None` unless positive.
                #[must_use]
                pub const fn new(raw: i32) -> Option<Self> {
                    if raw > 0 { Some(Self(raw)) } else { None }
                }

                /// The number.
                #[must_use]
                pub const fn raw(self) -> i32 {
                    self.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }
        )*
    };
}

ids! {
    Pid, "A process's number.";
    Pgid, "A process group's number: the pid of the process that made it.";
    Sid, "A controlling session's number: the pid of the process that made it.";
}

impl Pid {
    /// The group that this process makes.
    #[must_use]
    pub const fn own_group(self) -> Pgid {
        Pgid(self.0)
    }

    /// The session that this process makes.
    #[must_use]
    pub const fn own_session(self) -> Sid {
        Sid(self.0)
    }

    /// How file systems that show each process something else know it.
    pub(crate) fn as_caller(self) -> Caller {
        Caller(u64::from(self.0.unsigned_abs()))
    }

    /// The process behind a caller; `None` for the host.
    pub(crate) fn of_caller(caller: Caller) -> Option<Self> {
        i32::try_from(caller.0).ok().and_then(Self::new)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signaled(Signal),
}

/// A directory and the path the process knows it by.
#[derive(Clone, Debug)]
pub(crate) struct WorkingDirectory {
    /// The directory.
    pub(crate) location: Location,
    /// Its absolute path, links kept: what `PWD` says.
    pub(crate) path: Arc<[u8]>,
}

/// A running program, or the zombie of one.
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: Pid,
    /// Killed, stopped?
    pub(crate) control: Control,
    /// Waits of this process: told when a signal with a handler arrives.
    pub(crate) interrupt: Readiness,
    /// Waits of this process for its children.
    pub(crate) child_change: Readiness,
    /// Its timer.
    pub(crate) alarm: Alarm,
    /// When it was spawned, on the monotonic clock.
    pub(crate) started: Duration,
    /// Its CPU time.
    pub(crate) cpu: CpuTime,
    /// Who traces it.
    pub(crate) tracing: Tracing,
    /// How many of its waits are for somebody to type, without a time limit.
    at_terminal: AtomicU32,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    fds: Mutex<FdTable>,
    image: Mutex<Arc<Image>>,
    signals: Mutex<SignalState>,
    is_deliverable: AtomicBool,
    credentials: Mutex<Arc<Credentials>>,
    umask: AtomicU32,
    rlimits: Mutex<Rlimits>,
    cpu_deadline_millis: AtomicU64,
    cwd: Mutex<Arc<WorkingDirectory>>,
    memory: Mutex<Charge>,
    ended: Mutex<Option<ExitStatus>>,
    end: Readiness,
    task: Mutex<Option<OwnedTask>>,
}

/// What a new process is made of.
pub(crate) struct ProcessParts {
    pub(crate) fds: FdTable,
    pub(crate) image: Arc<Image>,
    pub(crate) signals: SignalState,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) umask: Mode,
    pub(crate) rlimits: Rlimits,
    pub(crate) cwd: Arc<WorkingDirectory>,
    pub(crate) memory: Charge,
    pub(crate) started: Duration,
    pub(crate) cpu: CpuTime,
    pub(crate) tracing: Tracing,
}

impl Process {
    /// A process that does not run yet.
    pub(crate) fn new(pid: Pid, parts: ProcessParts) -> Self {
        let ProcessParts {
            fds,
            image,
            signals,
            credentials,
            umask,
            rlimits,
            cwd,
            memory,
            started,
            cpu,
            tracing,
        } = parts;
        let cpu_deadline_millis = rlimits.get(Resource::Cpu).soft.saturating_mul(1000);
        Self {
            pid,
            control: Control::default(),
            interrupt: Readiness::new(),
            child_change: Readiness::new(),
            alarm: Alarm::default(),
            started,
            cpu,
            tracing,
            at_terminal: AtomicU32::new(0),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            fds: Mutex::new(fds),
            image: Mutex::new(image),
            signals: Mutex::new(signals),
            is_deliverable: AtomicBool::new(false),
            credentials: Mutex::new(credentials),
            umask: AtomicU32::new(umask.bits()),
            cpu_deadline_millis: AtomicU64::new(cpu_deadline_millis),
            rlimits: Mutex::new(rlimits),
            cwd: Mutex::new(cwd),
            memory: Mutex::new(memory),
            ended: Mutex::new(None),
            end: Readiness::new(),
            task: Mutex::new(None),
        }
    }

    /// Gives the process the task that runs it.
    pub(crate) fn set_task(&self, task: OwnedTask) {
        *self.task.lock() = Some(task);
    }

    /// Ends the task, wherever it is. Only for a kernel that goes away: nobody is told.
    pub(crate) fn abort(&self) {
        drop(self.task.lock().take());
    }

    /// Works on the fds. The closure must drop no entry: files may need locks to close.
    pub(crate) fn with_fds<T>(&self, work: impl FnOnce(&mut FdTable) -> T) -> T {
        work(&mut self.fds.lock())
    }

    /// How many fds lead to files like this.
    pub(crate) fn count_fds(&self, is_wanted: impl Fn(&dyn File) -> bool) -> usize {
        let fds = self.fds.lock();
        fds.iter().filter(|(_, entry)| is_wanted(entry.slot.description().file())).count()
    }

    /// What it runs.
    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.lock())
    }

    /// Runs something else from now on.
    pub(crate) fn set_image(&self, image: Arc<Image>) {
        *self.image.lock() = image;
    }

    /// Looks at the signals.
    pub(crate) fn signals<T>(&self, look: impl FnOnce(&SignalState) -> T) -> T {
        look(&self.signals.lock())
    }

    /// Changes the signals. What the change causes is the caller's to carry out.
    pub(crate) fn change_signals<T>(&self, change: impl FnOnce(&mut SignalState) -> T) -> T {
        let mut signals = self.signals.lock();
        let result = change(&mut signals);
        self.is_deliverable.store(signals.is_deliverable(), Ordering::SeqCst);
        result
    }

    /// Whether a signal handler has to run, or the process has ended: then no wait of it goes on.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_deliverable.load(Ordering::SeqCst)
    }

    /// Whether nothing but the object it waits for can wake this process: it has one thread, no signal handler and no
    /// timer.
    pub(crate) fn waits_alone(&self) -> bool {
        let has_one_thread = self.image.lock().program.threads() == Threads::One;
        has_one_thread
            && self.alarm.deadline().is_none()
            && self.signals(|signals| signals.caught().is_empty())
    }

    /// Begins to wait for somebody to type.
    pub(crate) fn wait_at_terminal(&self) -> AtTerminal<'_> {
        self.at_terminal.fetch_add(1, Ordering::Relaxed);
        AtTerminal(self)
    }

    /// Whether it waits for somebody to type.
    pub(crate) fn is_at_terminal(&self) -> bool {
        self.at_terminal.load(Ordering::Relaxed) > 0
    }

    /// It has read and written so many bytes more.
    pub(crate) fn count_transfer(&self, read: usize, written: usize) {
        self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        self.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
    }

    /// How many bytes it has read and written.
    pub(crate) fn transferred(&self) -> (u64, u64) {
        (self.read_bytes.load(Ordering::Relaxed), self.written_bytes.load(Ordering::Relaxed))
    }

    /// Its ids.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.lock())
    }

    /// Changes its ids.
    pub(crate) fn change_credentials(
        &self,
        change: impl FnOnce(&mut Credentials) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut credentials = self.credentials.lock();
        let mut changed = Credentials::clone(&credentials);
        change(&mut changed)?;
        *credentials = Arc::new(changed);
        Ok(())
    }

    /// The permission bits that new files do not get.
    pub(crate) fn umask(&self) -> Mode {
        Mode::new(self.umask.load(Ordering::Relaxed))
    }

    /// Sets the umask and tells the old one.
    pub(crate) fn set_umask(&self, umask: Mode) -> Mode {
        Mode::new(self.umask.swap(umask.bits() & 0o777, Ordering::Relaxed))
    }

    /// What it has limited itself to.
    pub(crate) fn rlimits(&self) -> Rlimits {
        self.rlimits.lock().clone()
    }

    /// One of its limits.
    pub(crate) fn rlimit(&self, resource: Resource) -> Rlimit {
        self.rlimits.lock().get(resource)
    }

    /// Changes one of its limits.
    pub(crate) fn set_rlimit(&self, resource: Resource, limit: Rlimit) -> Result<(), Errno> {
        self.rlimits.lock().set(resource, limit)?;
        if resource == Resource::Cpu {
            self.set_cpu_deadline(Duration::from_secs(limit.soft));
        }
        Ok(())
    }

    /// The CPU time at which its limit has to be looked at.
    pub(crate) fn cpu_deadline(&self) -> Duration {
        Duration::from_millis(self.cpu_deadline_millis.load(Ordering::Relaxed))
    }

    /// Looks at the limit of CPU time again when so much is used.
    pub(crate) fn set_cpu_deadline(&self, used: Duration) {
        let millis = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
        self.cpu_deadline_millis.store(millis, Ordering::Relaxed);
    }

    /// No fd of it reaches this number.
    pub(crate) fn fd_limit(&self) -> u32 {
        self.rlimits.lock().fds()
    }

    /// Where it works.
    pub(crate) fn cwd(&self) -> Arc<WorkingDirectory> {
        Arc::clone(&self.cwd.lock())
    }

    /// Works elsewhere from now on.
    pub(crate) fn set_cwd(&self, cwd: WorkingDirectory) {
        *self.cwd.lock() = Arc::new(cwd);
    }

    /// Its program's memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.lock().amount()
    }

    /// Charges its program's memory. `ENOMEM` at the VM's limit.
    pub(crate) fn set_memory(&self, bytes: u64) -> Result<(), Errno> {
        if bytes > self.rlimit(Resource::AddressSpace).soft {
            return Err(Errno::ENOMEM);
        }
        self.memory.lock().set(bytes)
    }

    /// It runs no more: its memory is gone, or about to be.
    pub(crate) fn release_memory(&self) {
        self.memory.lock().shrink_to(0);
        self.image().charge.lock().shrink_to(0);
    }

    /// How it ended.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        *self.ended.lock()
    }

    /// Told when it ends.
    pub(crate) fn end_readiness(&self) -> &Readiness {
        &self.end
    }

    /// It has ended; only its zombie stays.
    pub(crate) fn set_ended(&self, status: ExitStatus) {
        *self.ended.lock() = Some(status);
        self.end.notify(PollEvents::HUP);
    }

    /// Its alarm rings.
    pub(crate) fn fire_alarm(&self, now: Duration) {
        self.alarm.advance(now);
        match self.change_signals(|signals| signals.post(Signal::SIGALRM, TerminalStop::Pointless)) {
            Effect::Kill(signal) => self.control.kill(signal),
            Effect::Interrupt => self.interrupt.notify(PollEvents::IN),
            Effect::Nothing | Effect::Stop(_) => {}
        }
    }
}

/// A wait for somebody to type, as long as this lives.
pub(crate) struct AtTerminal<'a>(&'a Process);

impl Drop for AtTerminal<'_> {
    fn drop(&mut self) {
        self.0.at_terminal.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The absolute path that a path means, links kept; `None` if `..` makes that depend on links.
pub(crate) fn logical_path(from: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut logical = if path.first() == Some(&b'/') { Vec::new() } else { from.to_vec() };
    while logical.last() == Some(&b'/') {
        logical.pop();
    }
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return None,
            name => {
                logical.push(b'/');
                logical.extend_from_slice(name);
            }
        }
    }
    if logical.is_empty() {
        logical.push(b'/');
    }
    Some(logical)
}

#[cfg(test)]
mod tests {
    use super::logical_path;

    #[test]
    fn paths_are_joined_as_the_shell_would() {
        let logical = |from: &str, path: &str| {
            logical_path(from.as_bytes(), path.as_bytes()).map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(logical("/a", "./b//c/").as_deref(), Some("/a/b/c"));
        assert_eq!(logical("/", "b").as_deref(), Some("/b"));
        assert_eq!(logical("/a", "/b").as_deref(), Some("/b"));
        assert_eq!(logical("/a", "/").as_deref(), Some("/"));
        assert_eq!(logical("/a", "../b"), None);
    }
}
