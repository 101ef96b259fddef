//! System calls: the one waist through which drivers reach the kernel.
//!
//! Every call is a function of a [`ProcessContext`](crate::context::ProcessContext) and typed arguments; raw guest
//! integers become types in the driver. Calls that may wait are async; they end with `EINTR` when a signal with a
//! handler arrives, and never end for a process that a signal kills.
//!
//! A driver imports this module, `driver` and `context`, and nothing else of this crate; the types that calls take are
//! therefore re-exported here.

pub mod account;
pub mod file;
pub mod path;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod random;
pub mod signal;
pub mod socket;
pub mod time;
pub mod tty;

pub use vm_abi::{
    Access, Credentials, DeviceNumber, Errno, FileType, Gid, Mode, OpenFlags, PollEvents, Signal, SignalSet,
    Stat, Timespec, Uid, Whence,
};
pub use vm_vfs::{Allocation, Follow, NodeKind, RenameFlags, SetTime, StatFs, SyncScope, XattrSet};

pub use crate::account::{Account, Group};
pub use crate::file::directory::DirRecord;
pub use crate::file::lock::{Blocking, Flock, HeldLock, LockKind, LockRange};
pub use crate::file::{Fd, FdFlags, FileKind};
pub use crate::process::alarm::Itimer;
pub use crate::process::credentials::IdChange;
pub use crate::process::exec::{ExecRequest, Replaced};
pub use crate::process::group::KillTarget;
pub use crate::process::rlimit::{Resource, Rlimit};
pub use crate::process::signal::{ActionFlags, Delivery, Disposition, MaskChange};
pub use crate::process::spawn::{FileAction, SpawnAttributes, SpawnGroup, SpawnIds, SpawnRequest};
pub use crate::process::wait::{WaitOptions, WaitResult, WaitStatus, WaitTarget};
pub use crate::process::{Pgid, Pid, Sid};
pub use crate::program::ProgramName;
pub use crate::socket::address::{SocketAddress, UnixAddress};
pub use crate::socket::{Domain, MessageFlags, Shutdown, SocketTimeouts, SocketType};
pub use crate::tty::termios::{ControlCharacters, InputFlags, LocalFlags, OutputFlags, Termios};
pub use crate::tty::window_size::WindowSize;
pub use path::{AccessIds, DirFd};
pub use poll::PollFd;
pub use socket::{Received, RightsRequest};
pub use time::ClockId;
pub use tty::TtyMode;
