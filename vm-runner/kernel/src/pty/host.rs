//! The host's side of a terminal: what a remote user types and sees.

use bytes::Bytes;
use vm_abi::{Errno, PollEvents};

use super::Master;
use crate::poll::{Interest, Waiter, wait_ready};
use crate::tty::window_size::WindowSize;

/// The terminal of a command, seen from outside. Dropping it hangs up: the command's session gets `SIGHUP`.
pub struct HostTerminal {
    master: Master,
}

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;

impl HostTerminal {
    pub(crate) fn new(master: Master) -> Self {
        Self { master }
    }

    pub(crate) fn master(&self) -> &Master {
        &self.master
    }

    /// Waits for something to be shown; `None` when no guest has the terminal open any more. Cancelling loses nothing.
    pub async fn read(&self) -> Option<Bytes> {
        let terminal = self.master.terminal();
        let interest = Interest { readiness: &terminal.master, events: PollEvents::IN };
        let mut buffer = vec![0; READ_BYTES];
        let try_op = || terminal.try_read_output(&mut buffer);
        let count = wait_ready(Waiter::Host, &[interest], None, try_op).await.ok()?;
        buffer.truncate(count);
        Some(buffer.into())
    }

    /// Types, waiting for room.
    ///
    /// # Errors
    /// None at present.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), Errno> {
        let interest = Interest { readiness: &self.master.terminal().master, events: PollEvents::OUT };
        let mut rest = bytes;
        while !rest.is_empty() {
            let try_op = || self.master.try_type(rest);
            let count = wait_ready(Waiter::Host, &[interest], None, try_op).await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// The window changes its size: the foreground group gets `SIGWINCH`.
    pub fn resize(&self, window: WindowSize) {
        self.master.resize(window);
    }

    /// How large the window is.
    #[must_use]
    pub fn window(&self) -> WindowSize {
        self.master.terminal().window()
    }
}
