//! Numbers and structures that the guest ABI, the file systems and the kernel share.
//!
//! Pure data: [`Errno`], [`Stat`], [`FileType`], [`Mode`], [`OpenFlags`], [`Credentials`], [`Signal`] and their
//! neighbours. Numbers are Linux's, except error numbers, which are WASI preview 1's, because the guest's C library
//! uses them. Raw guest integers become these types in a driver, and nowhere else.
//!
//! Neighbours: `vm-vfs`, `vm-kernel` and the drivers use this crate; it uses none of them. It must never know a file,
//! a process, a byte layout of one driver's ABI, or do input and output.

mod credentials;
mod errno;
mod file_type;
mod flags;
mod mode;
mod signal;
mod stat;
mod time;

pub use credentials::{Credentials, Gid, Uid};
pub use errno::Errno;
pub use file_type::FileType;
pub use flags::{Access, OpenFlags, PollEvents, Whence};
pub use mode::Mode;
pub use signal::{DefaultAction, Signal, SignalSet};
pub use stat::{DeviceNumber, Stat};
pub use time::Timespec;
