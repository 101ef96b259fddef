//! Named pipes: which pipe belongs to which file.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use vm_abi::{Errno, OpenFlags, PollEvents};
use vm_vfs::FileId;

use super::{Pipe, PipeEnd, PipeSpace, Reach};
use crate::anonymous::AnonymousNode;
use crate::mutex::Mutex;
use crate::poll::{Interest, Waiter, wait_ready};
use crate::usage::Charge;

/// The named pipes that somebody has open.
#[derive(Default)]
pub(crate) struct FifoTable {
    pipes: Mutex<HashMap<FileId, Weak<Pipe>>>,
}

impl FifoTable {
    /// The pipe of a file, made if nobody has it open.
    pub(crate) fn pipe(
        &self,
        file: FileId,
        make: impl FnOnce() -> Result<(AnonymousNode, PipeSpace, Charge), Errno>,
    ) -> Result<Arc<Pipe>, Errno> {
        let mut pipes = self.pipes.lock();
        if let Some(pipe) = pipes.get(&file).and_then(Weak::upgrade) {
            return Ok(pipe);
        }
        let (node, space, charge) = make()?;
        let pipe = Pipe::with_reach(node, Reach::Named, space, charge);
        pipes.retain(|_, pipe| pipe.strong_count() > 0);
        pipes.insert(file, Arc::downgrade(&pipe));
        Ok(pipe)
    }
}

impl Pipe {
    /// Opens an end as `open(2)` does on a named pipe: each side waits for the other, unless it may not wait or opens
    /// both.
    pub(crate) async fn open_named(
        self: &Arc<Self>,
        waiter: Waiter<'_>,
        flags: OpenFlags,
    ) -> Result<PipeEnd, Errno> {
        let end = self.open_end(flags & (OpenFlags::READ | OpenFlags::WRITE));
        if flags.is_readable() && flags.is_writable() {
            return Ok(end);
        }
        if flags.contains(OpenFlags::NONBLOCK) {
            let has_reader = flags.is_readable() || self.inner.lock().readers.ends > 0;
            return if has_reader { Ok(end) } else { Err(Errno::ENXIO) };
        }
        let opened_before = self.other_side(flags).opened;
        let try_op = || {
            let other = self.other_side(flags);
            // Whoever came and went meanwhile counts, too.
            if other.ends > 0 || other.opened > opened_before { Ok(()) } else { Err(Errno::EAGAIN) }
        };
        let interest = Interest { readiness: &self.readiness, events: PollEvents::IN | PollEvents::OUT };
        wait_ready(waiter, &[interest], None, try_op).await?;
        Ok(end)
    }

    fn other_side(&self, flags: OpenFlags) -> super::Side {
        let inner = self.inner.lock();
        if flags.is_readable() { inner.writers } else { inner.readers }
    }
}
