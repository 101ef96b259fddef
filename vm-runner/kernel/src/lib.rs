//! The kernel of a VM: processes, terminals, sockets and limits.
//!
//! A [`Kernel`] belongs to one VM. The host starts [`Command`]s in it; a [`driver`] executes their programs, which reach
//! the kernel only through [`syscall`], with a [`context`]. Files come from `vm-vfs`; the kernel adds open files, pipes,
//! devices and what shows processes as files.
//!
//! Neighbours: `vm-vfs` and `vm-abi` below; the drivers and the runner above. This crate must never know WebAssembly,
//! V8, HTTP, Kubernetes, or the host's files and sockets, and asks nobody but its injected [`Clock`] and [`Random`] for
//! time and randomness.
//!
//! Everything waits in `poll.rs`, and nothing waits with a lock held. Everything has a limit in [`Limits`].
//!
//! # Lock order
//!
//! A lock may be taken while those above it are held, never the other way round. None is held across an await, a call
//! into a driver, or the drop of an open file.
//!
//! 1. `FifoTable::pipes`, `PtyTable::nodes`, `ControllingTerminals::by_session` (one at a time)
//! 2. `ProcessTable::inner`: relations of processes
//! 3. locks of one `Process`: `signals`, `fds`, `image`, `credentials`, `cwd`, `memory`, ... (one at a time)
//! 4. `FileDescription::offset`, `FileDescription::flock`
//! 5. `SocketNode::state`, then `Network::ports` or `Network::unix`, then one `Endpoint::inbox`
//! 6. `LockTable::inner`, and the locks of pipes (`Pipe::inner`), terminals (`Terminal::inner`) and
//!    anonymous nodes (one at a time)
//! 7. the locks inside `vm-vfs`
//! 8. `Readiness::waiters`, `CpuGovernor::inner`, `Tracing::logs`, `Log::inner` (one at a time)

mod account;
mod activity;
mod anonymous;
mod clock;
mod command;
pub mod context;
mod cpu;
mod devfs;
mod device;
pub mod driver;
mod file;
mod kernel;
mod limit;
mod limits;
mod mutex;
mod pipe;
mod poll;
mod process;
mod procfs;
mod program;
mod pty;
mod random;
mod socket;
pub mod syscall;
mod task;
mod trace;
mod tty;
mod usage;

pub use account::{Account, Accounts, Group};
pub use activity::{Activity, ProcessInfo, ProcessState};
pub use clock::{Clock, SystemClock};
pub use command::{Command, ProcessHandle, Stdio};
pub use kernel::{Kernel, KernelBuilder};
pub use limit::Limit;
pub use limits::Limits;
pub use pipe::host::{HostReader, HostWriter};
pub use process::{ExitStatus, Pgid, Pid, Sid};
pub use program::ProgramName;
pub use pty::host::HostTerminal;
pub use random::{OsRandom, Random};
pub use trace::{StraceLine, StraceReader};
pub use tty::window_size::WindowSize;
pub use usage::Usage;
