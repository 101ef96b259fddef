//! The kernel of one VM: everything its processes share, and the host's door to it.
//!
//! A fresh kernel has no drivers, no environment, no accounts but root, no devices and no network; each is granted by a
//! call of the [`KernelBuilder`]. The namespace is the host's to fill.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use vm_abi::{Errno, Signal, Timespec};
use vm_vfs::{FileSystem, Location, Namespace};

use crate::account::Accounts;
use crate::anonymous::anonymous_location;
use crate::clock::{Clock, SystemClock};
use crate::cpu::CpuGovernor;
use crate::devfs::DevFs;
use crate::driver::Driver;
use crate::file::lock::LockTable;
use crate::limit::{Limit, Refusals};
use crate::limits::Limits;
use crate::pipe::PipeSpace;
use crate::pipe::fifo::FifoTable;
use crate::poll::{Deadline, Interest, Waiter, wait_ready};
use crate::process::table::{Parent, ProcessTable};
use crate::process::{ExitStatus, Pid, Sid};
use crate::procfs::ProcFs;
use crate::pty::{DevPts, PtyTable};
use crate::random::{OsRandom, Random};
use crate::socket::Network;
use crate::task::Blocked;
use crate::tty::job_control::ControllingTerminals;
use crate::usage::{Meter, Usage};

/// The kernel of one VM. Cheap to clone; when the last clone is dropped, all processes are gone at once.
#[derive(Clone)]
pub struct Kernel {
    inner: Arc<KernelInner>,
    _owner: Arc<Owner>,
}

/// Ends what runs when the host lets the kernel go.
struct Owner(Arc<KernelInner>);

/// What the processes of a kernel share.
pub(crate) struct KernelInner {
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) hostname: String,
    pub(crate) namespace: Namespace,
    pub(crate) accounts: Accounts,
    pub(crate) environment: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) drivers: Vec<Arc<dyn Driver>>,
    pub(crate) runtime: Handle,
    pub(crate) blocked: Blocked,
    pub(crate) table: ProcessTable,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) fifos: FifoTable,
    pub(crate) ptys: PtyTable,
    pub(crate) controlling: ControllingTerminals,
    pub(crate) network: Arc<Network>,
    pub(crate) meters: Meters,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) cpu: CpuGovernor,
    /// All anonymous files lie here.
    pub(crate) anonymous: Location,
    pub(crate) booted_at: Timespec,
    /// The same on the monotonic clock.
    pub(crate) booted: Duration,
    next_file_id: AtomicU64,
    next_ino: AtomicU64,
}

/// Counts of what is limited VM-wide.
pub(crate) struct Meters {
    pub(crate) processes: Arc<Meter>,
    pub(crate) open_files: Arc<Meter>,
    pub(crate) pipes: Arc<Meter>,
    pub(crate) pipe_bytes: Arc<Meter>,
    pub(crate) sockets: Arc<Meter>,
    pub(crate) socket_bytes: Arc<Meter>,
    pub(crate) terminals: Arc<Meter>,
    pub(crate) locks: Arc<Meter>,
    pub(crate) memory: Arc<Meter>,
}

/// Makes a [`Kernel`].
pub struct KernelBuilder {
    namespace: Namespace,
    limits: Limits,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    hostname: String,
    accounts: Accounts,
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    drivers: Vec<Arc<dyn Driver>>,
}

impl KernelBuilder {
    /// A kernel over these mounts, with the host's clock and randomness, default limits, and nothing else.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            limits: Limits::default(),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(OsRandom),
            hostname: "localhost".to_owned(),
            accounts: Accounts::with_root(),
            environment: Vec::new(),
            drivers: Vec::new(),
        }
    }

    /// Limits it so.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes random bytes from this source.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Gives the machine a name.
    #[must_use]
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = hostname.into();
        self
    }

    /// Knows these users and groups, instead of root only.
    #[must_use]
    pub fn accounts(mut self, accounts: Accounts) -> Self {
        self.accounts = accounts;
        self
    }

    /// Gives every command of the host this variable, unless the command sets it.
    #[must_use]
    pub fn environment_variable(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs programs that this driver recognises; the first driver that does counts.
    #[must_use]
    pub fn driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.drivers.push(driver);
        self
    }

    /// The kernel. Its processes run on the Tokio runtime that this is called in.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, as everything of Tokio's.
    #[must_use]
    pub fn build(self) -> Kernel {
        let Self { namespace, limits, clock, random, hostname, accounts, environment, drivers } = self;
        let refusals = Arc::<Refusals>::default();
        let meters = Meters::new(&limits, &refusals);
        let runtime = Handle::current();
        let workers = runtime.metrics().num_workers();
        let inner = Arc::new(KernelInner {
            booted_at: clock.realtime(),
            booted: clock.monotonic(),
            cpu: CpuGovernor::new(Arc::clone(&clock), limits.cpu_millis, workers),
            clock,
            random,
            hostname,
            namespace,
            accounts,
            environment,
            drivers,
            runtime,
            blocked: Blocked::default(),
            table: ProcessTable::default(),
            locks: LockTable::new(Arc::clone(&meters.locks)),
            fifos: FifoTable::default(),
            ptys: PtyTable::default(),
            controlling: ControllingTerminals::default(),
            network: Network::new(
                Arc::clone(&meters.sockets),
                Arc::clone(&meters.socket_bytes),
                Arc::clone(&refusals),
                &limits,
            ),
            meters,
            refusals,
            limits,
            anonymous: anonymous_location(),
            next_file_id: AtomicU64::new(1),
            next_ino: AtomicU64::new(2),
        });
        Kernel { _owner: Arc::new(Owner(Arc::clone(&inner))), inner }
    }
}

impl Kernel {
    /// What is mounted.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// A file system of devices, to be mounted at `/dev`.
    #[must_use]
    pub fn devfs(&self) -> Arc<dyn FileSystem> {
        DevFs::new(self.inner.clock.realtime())
    }

    /// A file system that names the pseudo terminals, to be mounted at `/dev/pts`.
    #[must_use]
    pub fn devpts(&self) -> Arc<dyn FileSystem> {
        DevPts::new(&self.inner)
    }

    /// A file system that shows the processes, to be mounted at `/proc`.
    #[must_use]
    pub fn procfs(&self) -> Arc<dyn FileSystem> {
        ProcFs::new(&self.inner)
    }

    /// The users and groups.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.inner.accounts
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// `ESRCH` if there is none.
    pub fn kill(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        let process = self.inner.table.get(pid)?;
        self.inner.post_signal(&process, signal);
        Ok(())
    }

    /// Sends a signal to the whole group of a process.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process.
    pub fn kill_group_of(&self, pid: Pid, signal: Signal) -> Result<(), Errno> {
        let group = self.inner.table.relations(pid)?.group;
        self.inner.post_to_group(group, signal);
        Ok(())
    }

    /// Sends a signal to all processes of a session: all that a command has started.
    ///
    /// # Errors
    /// `ESRCH` if nobody is left in it.
    pub fn kill_session(&self, session: Sid, signal: Signal) -> Result<(), Errno> {
        if self.inner.post_to_session(session, signal) { Ok(()) } else { Err(Errno::ESRCH) }
    }

    /// Addresses on which somebody in the VM waits for connections, ascending by port.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.inner.network.listening()
    }

    /// What is used now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.inner.meters.usage()
    }

    /// Which limit was the last to answer this error: what stands behind a failed [`Kernel::spawn`]. `None` if none has.
    #[must_use]
    pub fn limit_behind(&self, errno: Errno) -> Option<Limit> {
        self.inner.refusals.behind(errno)
    }

    /// How often each limit was hit.
    #[must_use]
    pub fn limit_hits(&self) -> Vec<(Limit, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit, self.inner.refusals.count(limit))).collect()
    }

    /// CPU time that all processes have used, ended ones included.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.inner.cpu.used()
    }

    /// Lets the programs use so many thousandths of a CPU from now on; as much as they like if 0.
    pub fn set_cpu_millis(&self, millis: u32) {
        self.inner.cpu.set_millis(millis);
    }

    /// How many processes ran or wanted to, on average over the last one, five and fifteen minutes.
    #[must_use]
    pub fn load_averages(&self) -> [f64; 3] {
        self.inner.cpu.load_averages()
    }

    /// Takes no more commands, asks all processes to end, and ends those that have not after the grace period. Returns
    /// when none is left.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.table.close();
        let everybody = || self.inner.table.living(|_, _| true);
        for process in everybody() {
            self.inner.post_signal(&process, Signal::SIGTERM);
            // A stopped process could not act on it.
            self.inner.post_signal(&process, Signal::SIGCONT);
        }
        let clock = &*self.inner.clock;
        let instant = clock.monotonic().saturating_add(grace);
        for process in everybody() {
            let interest = Interest { readiness: process.end_readiness(), events: vm_abi::PollEvents::HUP };
            let deadline = Some(Deadline { clock, instant });
            let try_op = || process.exit_status().ok_or(Errno::EAGAIN);
            // At the deadline the next loop ends it.
            let _ = wait_ready(Waiter::Host, &[interest], deadline, try_op).await;
        }
        for process in everybody() {
            self.inner.post_signal(&process, Signal::SIGKILL);
        }
        for process in everybody() {
            process.wait_ended().await;
        }
    }

    pub(crate) fn inner(&self) -> &Arc<KernelInner> {
        &self.inner
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.table.close();
        for (process, _) in self.0.table.all() {
            process.abort();
            // Whoever outside still waits for output or the end is told.
            drop(process.with_fds(std::mem::take));
            if process.exit_status().is_none() {
                process.set_ended(ExitStatus::Signaled(Signal::SIGKILL));
            }
        }
    }
}

impl Parent {
    /// The number that a child sees.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Host => 0,
            Self::Init => 1,
            Self::Process(pid) => pid.raw(),
        }
    }
}

impl KernelInner {
    /// How long the kernel has existed.
    pub(crate) fn uptime(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.booted)
    }

    /// A number that no other file description has.
    pub(crate) fn next_file_id(&self) -> u64 {
        self.next_file_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no other anonymous file has.
    pub(crate) fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// What a new pipe may hold.
    pub(crate) fn pipe_space(&self) -> PipeSpace {
        PipeSpace {
            capacity_bytes: self.limits.pipe_capacity_bytes,
            meter: Arc::clone(&self.meters.pipe_bytes),
        }
    }
}

impl Meters {
    fn new(limits: &Limits, refusals: &Arc<Refusals>) -> Self {
        let meter = |limit: Limit, maximum: usize| Meter::new(limit, maximum as u64, refusals);
        let memory = Meter::new(Limit::Memory, limits.max_memory_bytes, refusals);
        let bytes = |limit: Limit, maximum: usize| Meter::part_of(&memory, limit, maximum as u64, refusals);
        Self {
            processes: meter(Limit::Processes, limits.max_processes),
            open_files: meter(Limit::OpenFiles, limits.max_open_files),
            pipes: meter(Limit::Pipes, limits.max_pipes),
            pipe_bytes: bytes(Limit::PipeBytes, limits.max_pipe_total_bytes),
            sockets: meter(Limit::Sockets, limits.max_sockets),
            socket_bytes: bytes(Limit::SocketBytes, limits.max_socket_total_bytes),
            terminals: meter(Limit::Terminals, limits.max_terminals),
            locks: meter(Limit::Locks, limits.max_locks),
            memory,
        }
    }

    /// What is used now.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            processes: self.processes.used(),
            open_files: self.open_files.used(),
            pipes: self.pipes.used(),
            pipe_bytes: self.pipe_bytes.used(),
            sockets: self.sockets.used(),
            socket_bytes: self.socket_bytes.used(),
            terminals: self.terminals.used(),
            locks: self.locks.used(),
            memory_bytes: self.memory.used(),
        }
    }
}
