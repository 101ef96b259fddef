//! Pipes, named and unnamed: bytes from writers to readers.
//!
//! A [`Pipe`] holds the bytes; [`PipeEnd`]s are open files on it. A pipe always may hold [`GUARANTEED_BYTES`]; beyond
//! that it grows up to its capacity, charged to the VM: the packaged shell runs a whole stage of a pipeline before
//! anybody reads its output (wasm-abi.md 6.1). Writes of up to [`ATOMIC_BYTES`] are atomic.
//!
//! A process that would wait for itself — it alone holds the other side of an unnamed pipe — sees `EDEADLK`.

mod buffer;
pub(crate) mod fifo;
pub(crate) mod host;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use bytes::Bytes;
use vm_abi::{Errno, FileType, OpenFlags, PollEvents, Stat};
use vm_vfs::{Caller, Inode, NodeOpen, SetAttr, VfsResult};

use crate::anonymous::AnonymousNode;
use crate::context::ProcessContext;
use crate::file::{Direction, File, FileKind, total_len};
use crate::mutex::Mutex;
use crate::poll::Readiness;
use crate::usage::{Charge, Meter};
use buffer::Buffer;

/// What a pipe may hold whatever other pipes hold.
pub(crate) const GUARANTEED_BYTES: usize = 64 << 10;
/// The longest write that is not interleaved with others (`PIPE_BUF`).
pub(crate) const ATOMIC_BYTES: usize = 4096;

/// Whether others can come to hold an end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Only processes that inherit an end.
    Unnamed,
    /// Everybody who may open its path.
    Named,
}

/// Bytes on their way from writers to readers.
pub(crate) struct Pipe {
    node: AnonymousNode,
    reach: Reach,
    inner: Mutex<Inner>,
    readiness: Readiness,
    _charge: Charge,
}

struct Inner {
    buffer: Buffer,
    readers: Side,
    writers: Side,
}

/// One side of a pipe.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Open ends.
    ends: usize,
    /// Fds, of all processes, that lead to those ends. The host's ends count as one each.
    fds: usize,
    /// How many ends ever were opened.
    opened: u64,
}

/// What limits a pipe's content.
pub(crate) struct PipeSpace {
    /// What it may hold.
    pub(crate) capacity_bytes: usize,
    /// Counts what all pipes hold beyond what each may hold anyway.
    pub(crate) meter: Arc<Meter>,
}

/// An open end of a pipe: for reading, for writing, or (named pipes) for both.
pub(crate) struct PipeEnd {
    pipe: Arc<Pipe>,
    access: OpenFlags,
}

impl Pipe {
    /// An unnamed pipe without ends.
    pub(crate) fn new(node: AnonymousNode, space: PipeSpace, charge: Charge) -> Arc<Self> {
        Self::with_reach(node, Reach::Unnamed, space, charge)
    }

    fn with_reach(node: AnonymousNode, reach: Reach, space: PipeSpace, charge: Charge) -> Arc<Self> {
        let inner = Inner { buffer: Buffer::new(space), readers: Side::default(), writers: Side::default() };
        Arc::new(Self { node, reach, inner: Mutex::new(inner), readiness: Readiness::new(), _charge: charge })
    }

    /// Opens an end for what `access` says.
    pub(crate) fn open_end(self: &Arc<Self>, access: OpenFlags) -> PipeEnd {
        let mut inner = self.inner.lock();
        for side in inner.sides(access) {
            side.ends += 1;
            side.opened += 1;
        }
        drop(inner);
        self.readiness.notify(PollEvents::IN | PollEvents::OUT);
        PipeEnd { pipe: Arc::clone(self), access }
    }

    /// Bytes inside.
    fn len(&self) -> usize {
        self.inner.lock().buffer.len()
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let mut inner = self.inner.lock();
        if inner.buffer.len() == 0 {
            return if inner.writers.ends == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let count = inner.buffer.read(buffers);
        drop(inner);
        self.readiness.notify(PollEvents::OUT);
        Ok(count)
    }

    /// The next bytes without a copy; `None` at the end.
    fn try_read_chunk(&self) -> Result<Option<Bytes>, Errno> {
        let mut inner = self.inner.lock();
        let chunk = inner.buffer.take_chunk();
        if chunk.is_none() && inner.writers.ends > 0 {
            return Err(Errno::EAGAIN);
        }
        drop(inner);
        self.readiness.notify(PollEvents::OUT);
        Ok(chunk)
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let total = total_len(buffers);
        if total == 0 {
            return Ok(0);
        }
        let mut inner = self.inner.lock();
        if inner.readers.ends == 0 {
            return Err(Errno::EPIPE);
        }
        let room = inner.buffer.make_room(total);
        if room == 0 || (total <= ATOMIC_BYTES && room < total) {
            return Err(Errno::EAGAIN);
        }
        let count = inner.buffer.write(buffers, room);
        drop(inner);
        self.readiness.notify(PollEvents::IN);
        Ok(count)
    }

    /// As `try_write`, all or nothing and without a copy; for the host.
    fn try_write_chunk(&self, bytes: &mut Bytes) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        if inner.readers.ends == 0 {
            return Err(Errno::EPIPE);
        }
        let room = inner.buffer.make_room(bytes.len());
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let head = bytes.split_to(room.min(bytes.len()));
        inner.buffer.push_chunk(head);
        drop(inner);
        self.readiness.notify(PollEvents::IN);
        if bytes.is_empty() { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    /// Fills a pipe that nobody reads yet, whatever its capacity: the host has the bytes in memory anyway.
    pub(crate) fn fill(&self, bytes: Bytes) {
        self.inner.lock().buffer.push_chunk(bytes);
    }

    fn count_fds(&self, access: OpenFlags, change: isize) {
        let mut inner = self.inner.lock();
        for side in inner.sides(access) {
            side.fds = side.fds.saturating_add_signed(change);
        }
        drop(inner);
        if change < 0 {
            // Somebody may now be waiting for himself.
            self.readiness.notify(PollEvents::HUP);
        }
    }

    fn close_end(&self, access: OpenFlags) {
        let mut inner = self.inner.lock();
        for side in inner.sides(access) {
            side.ends = side.ends.saturating_sub(1);
        }
        if inner.readers.ends == 0 {
            inner.buffer.clear();
        }
        drop(inner);
        self.readiness.notify(PollEvents::HUP);
    }
}

impl Inner {
    /// The sides that an end with this access is on.
    fn sides(&mut self, access: OpenFlags) -> impl Iterator<Item = &mut Side> {
        let readers = access.is_readable().then_some(&mut self.readers);
        let writers = access.is_writable().then_some(&mut self.writers);
        readers.into_iter().chain(writers)
    }
}

impl File for PipeEnd {
    fn kind(&self) -> FileKind {
        FileKind::Pipe
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        self.pipe.try_read(buffers)
    }

    fn try_write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.pipe.try_write(buffers)
    }

    fn events(&self) -> PollEvents {
        let mut inner = self.pipe.inner.lock();
        let mut events = PollEvents::empty();
        if self.access.is_readable() {
            events.set(PollEvents::IN | PollEvents::RDNORM, inner.buffer.len() > 0);
            // A named pipe hangs up only after somebody was there.
            events.set(PollEvents::HUP, inner.writers.ends == 0 && inner.writers.opened > 0);
        }
        if self.access.is_writable() {
            events.set(PollEvents::OUT | PollEvents::WRNORM, inner.buffer.has_room(ATOMIC_BYTES));
            events.set(PollEvents::ERR, inner.readers.ends == 0);
        }
        events
    }

    fn readiness(&self) -> Option<&Readiness> {
        Some(&self.pipe.readiness)
    }

    fn is_stuck(&self, ctx: &ProcessContext, direction: Direction) -> bool {
        if self.pipe.reach == Reach::Named || !ctx.process().waits_alone() {
            return false;
        }
        let other_side = match direction {
            Direction::Read => OpenFlags::WRITE,
            Direction::Write => OpenFlags::READ,
        };
        let is_other_side = |file: &dyn File| {
            file.downcast::<Self>()
                .is_some_and(|end| Arc::ptr_eq(&end.pipe, &self.pipe) && end.access.contains(other_side))
        };
        let own = ctx.process().count_fds(is_other_side);
        let inner = self.pipe.inner.lock();
        let all = match direction {
            Direction::Read => inner.writers.fds,
            Direction::Write => inner.readers.fds,
        };
        // With no fd at all, the last end of the other side is just being closed.
        own > 0 && own >= all
    }

    fn fd_added(&self) {
        self.pipe.count_fds(self.access, 1);
    }

    fn fd_removed(&self) {
        self.pipe.count_fds(self.access, -1);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.pipe.close_end(self.access);
    }
}

impl Inode for Pipe {
    fn ino(&self) -> u64 {
        self.node.ino()
    }

    fn file_type(&self) -> FileType {
        self.node.file_type()
    }

    fn stat(&self) -> VfsResult<Stat> {
        Ok(Stat { size: self.len() as u64, ..self.node.stat() })
    }

    fn set_attr(&self, attributes: &SetAttr) -> VfsResult<()> {
        self.node.set_attr(attributes);
        Ok(())
    }

    fn open(&self, _caller: Caller, _flags: OpenFlags) -> VfsResult<NodeOpen> {
        Ok(NodeOpen::Fifo)
    }
}

/// The pipe that an inode is, if it is one of the kernel's own.
pub(crate) fn pipe_of(inode: &Arc<dyn Inode>) -> Option<Arc<Pipe>> {
    let any: Arc<dyn Any + Send + Sync> = Arc::clone(inode) as _;
    any.downcast().ok()
}
