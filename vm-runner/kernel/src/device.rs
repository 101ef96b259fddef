//! Character devices, by number: null, zero, full, random, and the terminals.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use vm_abi::{DeviceNumber, Errno, FileType, Mode, OpenFlags, Stat};
use vm_vfs::{Caller, Inode, NodeOpen, VfsResult};

use crate::anonymous::bare_stat;
use crate::context::ProcessContext;
use crate::file::{Addressing, File, FileKind, total_len};
use crate::pty::{PTMX, Replica};
use crate::random::Random;
use crate::tty::window_size::WindowSize;

/// `/dev/null`.
pub(crate) const NULL: DeviceNumber = DeviceNumber::new(1, 3);
/// `/dev/zero`.
pub(crate) const ZERO: DeviceNumber = DeviceNumber::new(1, 5);
/// `/dev/full`.
pub(crate) const FULL: DeviceNumber = DeviceNumber::new(1, 7);
/// `/dev/random`.
pub(crate) const RANDOM: DeviceNumber = DeviceNumber::new(1, 8);
/// `/dev/urandom`.
pub(crate) const URANDOM: DeviceNumber = DeviceNumber::new(1, 9);
/// `/dev/tty`.
pub(crate) const TTY: DeviceNumber = DeviceNumber::new(5, 0);

/// Opens the device of a number. `ENXIO` if there is none.
pub(crate) fn open(
    ctx: &ProcessContext,
    number: DeviceNumber,
    flags: OpenFlags,
) -> Result<Box<dyn File>, Errno> {
    let kernel = ctx.kernel();
    Ok(match number {
        NULL => Box::new(null()),
        ZERO => Box::new(Memory::Zero),
        FULL => Box::new(Memory::Full),
        RANDOM | URANDOM => Box::new(Memory::Random(Arc::clone(&kernel.random))),
        TTY => Box::new(Replica::open(&kernel.controlling_terminal(ctx.pid())?)?),
        PTMX => Box::new(kernel.new_pty(&ctx.process().credentials(), WindowSize::default())?),
        _ => {
            let node = kernel.pty(number)?;
            let replica = Replica::open(node.terminal())?;
            if !flags.contains(OpenFlags::NOCTTY) {
                kernel.acquire_terminal(ctx.pid(), node.terminal());
            }
            Box::new(replica)
        }
    })
}

/// A null device.
pub(crate) fn null() -> impl File {
    Memory::Null
}

/// The inode of a null device that lies at no path.
pub(crate) fn null_inode() -> Arc<dyn Inode> {
    Arc::new(DeviceInode(NULL))
}

/// The inode of a pseudo terminal's master that was opened by no path.
pub(crate) fn master_inode() -> Arc<dyn Inode> {
    Arc::new(DeviceInode(PTMX))
}

/// A device without state of its own.
enum Memory {
    Null,
    Zero,
    Full,
    Random(Arc<dyn Random>),
}

impl File for Memory {
    fn kind(&self) -> FileKind {
        FileKind::CharDevice
    }

    fn addressing(&self) -> Addressing {
        Addressing::Anywhere
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let mut count = 0;
        for buffer in buffers {
            match self {
                Self::Null => return Ok(0),
                Self::Zero | Self::Full => buffer.fill(0),
                Self::Random(random) => random.fill(buffer)?,
            }
            count += buffer.len();
        }
        Ok(count)
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        match self {
            Self::Null | Self::Zero | Self::Random(_) => Ok(total_len(buffers)),
            Self::Full => Err(Errno::ENOSPC),
        }
    }
}

/// A device that lies at no path.
struct DeviceInode(DeviceNumber);

impl Inode for DeviceInode {
    fn ino(&self) -> u64 {
        self.0.0
    }

    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }

    fn stat(&self) -> VfsResult<Stat> {
        Ok(Stat { rdev: self.0, ..bare_stat(self.ino(), self.file_type(), Mode::new(0o666)) })
    }

    fn open(&self, _caller: Caller, _flags: OpenFlags) -> VfsResult<NodeOpen> {
        Ok(NodeOpen::Device(self.0))
    }
}
