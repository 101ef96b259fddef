//! The replica side of a pseudo terminal: what programs use as their terminal.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use vm_abi::{Errno, PollEvents};

use crate::context::ProcessContext;
use crate::file::{Direction, File, FileKind};
use crate::poll::Readiness;
use crate::tty::Terminal;

/// A program's terminal.
pub(crate) struct Replica {
    terminal: Arc<Terminal>,
}

impl Replica {
    /// Opens it. `EIO` if the master is gone.
    pub(crate) fn open(terminal: &Arc<Terminal>) -> Result<Self, Errno> {
        terminal.open_replica()?;
        Ok(Self { terminal: Arc::clone(terminal) })
    }

    /// The terminal.
    pub(crate) fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }
}

impl File for Replica {
    fn kind(&self) -> FileKind {
        FileKind::Terminal
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        match buffers.iter_mut().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.terminal.try_read_input(buffer),
            None => Ok(0),
        }
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        match buffers.iter().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.terminal.try_write_output(buffer),
            None => Ok(0),
        }
    }

    fn events(&self) -> PollEvents {
        self.terminal.replica_events()
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.terminal.replica)
    }

    fn check_use(&self, ctx: &ProcessContext, direction: Direction) -> Result<(), Errno> {
        ctx.kernel().check_terminal_use(ctx, &self.terminal, direction)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.terminal.close_replica();
    }
}
