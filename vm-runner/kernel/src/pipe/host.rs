//! The host's ends of pipes: how an exec's input and output cross into and out of the VM.

use std::sync::Arc;

use bytes::Bytes;
use vm_abi::{Errno, OpenFlags, PollEvents};

use super::{Pipe, PipeEnd};
use crate::file::File;
use crate::poll::{Interest, Waiter, wait_ready};

/// Reads what guests write. Dropping it closes the reader end: writers then get `SIGPIPE`.
pub struct HostReader {
    end: PipeEnd,
}

/// Writes what guests read. Dropping it closes the writer end: readers then see the end.
pub struct HostWriter {
    end: PipeEnd,
}

impl HostReader {
    pub(crate) fn new(pipe: &Arc<Pipe>) -> Self {
        let end = pipe.open_end(OpenFlags::READ);
        end.fd_added();
        Self { end }
    }

    /// Waits for bytes and gives them without a copy; `None` at the end, when no guest can write any more. Cancelling
    /// loses nothing.
    pub async fn read(&mut self) -> Option<Bytes> {
        let pipe = &self.end.pipe;
        let interest = Interest { readiness: &pipe.readiness, events: PollEvents::IN };
        wait_ready(Waiter::Host, &[interest], None, || pipe.try_read_chunk()).await.ok().flatten()
    }

    /// What is there now, without waiting; `None` if nothing is.
    pub fn try_read(&mut self) -> Option<Bytes> {
        self.end.pipe.try_read_chunk().ok().flatten()
    }
}

impl HostWriter {
    pub(crate) fn new(pipe: &Arc<Pipe>) -> Self {
        let end = pipe.open_end(OpenFlags::WRITE);
        end.fd_added();
        Self { end }
    }

    /// Writes all bytes, waiting for room.
    ///
    /// # Errors
    /// `EPIPE` if no guest can read them any more.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Errno> {
        let mut rest = bytes;
        if rest.is_empty() {
            return Ok(());
        }
        let pipe = &self.end.pipe;
        let interest = Interest { readiness: &pipe.readiness, events: PollEvents::OUT };
        wait_ready(Waiter::Host, &[interest], None, || pipe.try_write_chunk(&mut rest)).await
    }
}

impl Drop for HostReader {
    fn drop(&mut self) {
        self.end.fd_removed();
    }
}

impl Drop for HostWriter {
    fn drop(&mut self) {
        self.end.fd_removed();
    }
}
