//! The master side of a pseudo terminal.

use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

use vm_abi::{Errno, PollEvents, Signal};

use crate::file::{File, FileKind};
use crate::kernel::KernelInner;
use crate::poll::Readiness;
use crate::tty::Terminal;
use crate::tty::window_size::WindowSize;

/// Types into a terminal and sees what it shows. Dropping it hangs the terminal up.
pub(crate) struct Master {
    terminal: Arc<Terminal>,
    /// Signals go through it; weak, for the kernel holds the open files that hold this.
    kernel: Weak<KernelInner>,
}

impl Master {
    pub(super) fn new(terminal: Arc<Terminal>, kernel: Weak<KernelInner>) -> Self {
        Self { terminal, kernel }
    }

    /// The terminal.
    pub(crate) fn terminal(&self) -> &Arc<Terminal> {
        &self.terminal
    }

    /// Types; tells how many bytes were taken.
    pub(crate) fn try_type(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let typed = self.terminal.try_type(bytes)?;
        if let Some(kernel) = self.kernel.upgrade() {
            for (group, signal) in typed.signals {
                kernel.post_to_group(group, signal);
            }
        }
        Ok(typed.count)
    }

    /// The window changes its size.
    pub(crate) fn resize(&self, window: WindowSize) {
        let foreground = self.terminal.set_window(window);
        if let (Some(group), Some(kernel)) = (foreground, self.kernel.upgrade()) {
            kernel.post_to_group(group, Signal::SIGWINCH);
        }
    }
}

impl File for Master {
    fn kind(&self) -> FileKind {
        FileKind::Terminal
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        match buffers.iter_mut().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.terminal.try_read_output(buffer),
            None => Ok(0),
        }
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        match buffers.iter().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.try_type(buffer),
            None => Ok(0),
        }
    }

    fn events(&self) -> PollEvents {
        self.terminal.master_events()
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.terminal.master)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let control = self.terminal.close_master();
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.remove_pty(&self.terminal);
            kernel.hang_up(control);
        }
    }
}
