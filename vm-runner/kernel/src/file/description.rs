//! An open file: what dup and spawn share.
//!
//! A description has an offset, status flags, and the [`File`] it reads and writes. It knows where the file lies, so
//! that `fstat`, `/proc/PID/fd` and paths relative to it work; things without a path lie in the kernel's own anonymous
//! file system.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicU32, Ordering};

use vm_abi::{Errno, OpenFlags, PollEvents, Whence};
use vm_vfs::{Extent, Location, SyncScope};

use super::lock::FlockHold;
use super::{Addressing, Direction, File, FileKind, total_len, total_room};
use crate::context::ProcessContext;
use crate::mutex::Mutex;
use crate::poll::{Interest, Waiter, wait_ready};
use crate::process::rlimit::{Resource, Rlimit};
use crate::usage::Charge;

/// An open file.
pub(crate) struct FileDescription {
    id: u64,
    location: Location,
    opened_as: Box<[u8]>,
    file: Box<dyn File>,
    access: OpenFlags,
    status: AtomicU32,
    offset: Mutex<u64>,
    flock: Mutex<Option<FlockHold>>,
    _charge: Charge,
}

/// The flags that `set_status` can change.
const CHANGEABLE: OpenFlags =
    OpenFlags::APPEND.union(OpenFlags::NONBLOCK).union(OpenFlags::SYNC).union(OpenFlags::DSYNC);
/// The flags that say what an opener may do, fixed when it opens.
const ACCESS: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE).union(OpenFlags::PATH);

impl FileDescription {
    /// An open file; `id` is unique in the VM.
    pub(crate) fn new(
        id: u64,
        location: Location,
        file: Box<dyn File>,
        flags: OpenFlags,
        charge: Charge,
    ) -> Self {
        Self {
            id,
            location,
            opened_as: Box::default(),
            file,
            access: flags & ACCESS,
            status: AtomicU32::new((flags & CHANGEABLE).bits()),
            offset: Mutex::new(0),
            flock: Mutex::new(None),
            _charge: charge,
        }
    }

    /// Tells it from all others.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Where the file lies.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// The absolute path it was opened by; empty if by none.
    pub(crate) fn opened_as(&self) -> &[u8] {
        &self.opened_as
    }

    /// The same, opened by this path.
    pub(crate) fn with_path(self, path: Vec<u8>) -> Self {
        Self { opened_as: path.into(), ..self }
    }

    /// What is read and written.
    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// Where the next read or write happens.
    pub(crate) fn offset(&self) -> u64 {
        *self.offset.lock()
    }

    /// How it was opened, and its status flags.
    pub(crate) fn flags(&self) -> OpenFlags {
        self.access | OpenFlags::from_bits_truncate(self.status.load(Ordering::Relaxed))
    }

    /// Sets the status flags; other flags are passed over, as `F_SETFL` does.
    pub(crate) fn set_status(&self, flags: OpenFlags) {
        self.status.store((flags & CHANGEABLE).bits(), Ordering::Relaxed);
    }

    /// Keeps a lock on the whole file as long as this is open; one that it keeps already stays.
    pub(crate) fn keep_flock(&self, make: impl FnOnce() -> FlockHold) {
        self.flock.lock().get_or_insert_with(make);
    }

    /// Gives up the lock on the whole file.
    pub(crate) fn drop_flock(&self) {
        let hold = self.flock.lock().take();
        drop(hold);
    }

    /// Fails unless it was opened for this direction.
    pub(crate) fn check_open_for(&self, direction: Direction) -> Result<(), Errno> {
        let needed = match direction {
            Direction::Read => OpenFlags::READ,
            Direction::Write => OpenFlags::WRITE,
        };
        if self.access.contains(needed) { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Reads the next bytes, waiting for the first.
    pub(crate) async fn read(
        &self,
        ctx: &ProcessContext,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Result<usize, Errno> {
        self.check_open_for(Direction::Read)?;
        let Some(readiness) = self.file.readiness() else {
            return self.try_read(buffers);
        };
        if total_room(buffers) == 0 {
            return Ok(0);
        }
        let _at_terminal = (self.file.kind() == FileKind::Terminal).then(|| ctx.process().wait_at_terminal());
        let try_op = || {
            self.file.check_use(ctx, Direction::Read)?;
            self.or_stuck(ctx, Direction::Read, self.try_read(buffers))
        };
        self.wait(ctx, Interest { readiness, events: PollEvents::IN }, try_op).await
    }

    /// Writes all bytes, waiting for room; tells how many, fewer only if something goes wrong after the first.
    pub(crate) async fn write(&self, ctx: &ProcessContext, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.check_open_for(Direction::Write)?;
        let Some(readiness) = self.file.readiness() else {
            return self.try_write(ctx, buffers);
        };
        let interest = Interest { readiness, events: PollEvents::OUT };
        let total = total_len(buffers);
        let mut written = self.write_some(ctx, interest, buffers).await?;
        if written == total || self.flags().contains(OpenFlags::NONBLOCK) {
            return Ok(written);
        }
        let mut all = buffers.to_vec();
        let mut rest = all.as_mut_slice();
        IoSlice::advance_slices(&mut rest, written);
        while written < total {
            let Ok(count) = self.write_some(ctx, interest, rest).await else {
                return Ok(written);
            };
            written += count;
            IoSlice::advance_slices(&mut rest, count);
        }
        Ok(written)
    }

    async fn write_some(
        &self,
        ctx: &ProcessContext,
        interest: Interest<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Result<usize, Errno> {
        let try_op = || {
            self.file.check_use(ctx, Direction::Write)?;
            self.or_stuck(ctx, Direction::Write, self.file.try_write(buffers))
        };
        self.wait(ctx, interest, try_op).await
    }

    async fn wait(
        &self,
        ctx: &ProcessContext,
        interest: Interest<'_>,
        mut try_op: impl FnMut() -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if self.flags().contains(OpenFlags::NONBLOCK) {
            return try_op();
        }
        wait_ready(Waiter::Process(ctx), &[interest], None, try_op).await
    }

    /// Turns "would block" into `EDEADLK` where nobody else could ever end the wait.
    fn or_stuck(
        &self,
        ctx: &ProcessContext,
        direction: Direction,
        result: Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        match result {
            Err(Errno::EAGAIN)
                if !self.flags().contains(OpenFlags::NONBLOCK) && self.file.is_stuck(ctx, direction) =>
            {
                Err(Errno::EDEADLK)
            }
            other => other,
        }
    }

    fn try_read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        match self.file.addressing() {
            Addressing::Offset => {
                let mut offset = self.offset.lock();
                let count = self.file.read_at(*offset, buffers)?;
                *offset += count as u64;
                Ok(count)
            }
            Addressing::Anywhere | Addressing::Stream => self.file.try_read(buffers),
        }
    }

    fn try_write(&self, ctx: &ProcessContext, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let count = match self.file.addressing() {
            Addressing::Offset => {
                let mut offset = self.offset.lock();
                let appends = self.flags().contains(OpenFlags::APPEND);
                let mut fitting = Vec::new();
                let at = || if appends { Ok(self.location.inode().stat()?.size) } else { Ok(*offset) };
                let buffers = within_limit(ctx, at, buffers, &mut fitting)?;
                if appends {
                    let (count, end) = self.file.append(buffers)?;
                    *offset = end;
                    count
                } else {
                    let count = self.file.write_at(*offset, buffers)?;
                    *offset += count as u64;
                    count
                }
            }
            Addressing::Anywhere | Addressing::Stream => self.file.try_write(buffers)?,
        };
        self.sync_if_asked(ctx)?;
        Ok(count)
    }

    /// Reads at an offset; the description's own stays.
    pub(crate) fn read_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        self.check_open_for(Direction::Read)?;
        match self.file.addressing() {
            Addressing::Offset => self.file.read_at(offset, buffers),
            Addressing::Anywhere => self.file.try_read(buffers),
            Addressing::Stream => Err(Errno::ESPIPE),
        }
    }

    /// Writes at an offset; the description's own stays.
    pub(crate) fn write_at(
        &self,
        ctx: &ProcessContext,
        offset: u64,
        buffers: &[IoSlice<'_>],
    ) -> Result<usize, Errno> {
        self.check_open_for(Direction::Write)?;
        let mut fitting = Vec::new();
        let buffers = match self.file.addressing() {
            Addressing::Offset => within_limit(ctx, || Ok(offset), buffers, &mut fitting)?,
            Addressing::Anywhere | Addressing::Stream => buffers,
        };
        let count = match self.file.addressing() {
            Addressing::Offset => self.file.write_at(offset, buffers)?,
            Addressing::Anywhere => self.file.try_write(buffers)?,
            Addressing::Stream => return Err(Errno::ESPIPE),
        };
        self.sync_if_asked(ctx)?;
        Ok(count)
    }

    /// Moves the offset and tells it.
    pub(crate) fn seek(&self, distance: i64, whence: Whence) -> Result<u64, Errno> {
        match self.file.addressing() {
            Addressing::Stream => return Err(Errno::ESPIPE),
            Addressing::Anywhere => return Ok(0),
            Addressing::Offset => {}
        }
        let mut offset = self.offset.lock();
        let target = match whence {
            Whence::Start => 0_u64.checked_add_signed(distance),
            Whence::Current => offset.checked_add_signed(distance),
            Whence::End => self.location.inode().stat()?.size.checked_add_signed(distance),
            Whence::Data => Some(self.seek_extent(distance, Extent::Data)?),
            Whence::Hole => Some(self.seek_extent(distance, Extent::Hole)?),
        };
        // POSIX: an offset must be representable in an off_t.
        *offset = target.filter(|target| i64::try_from(*target).is_ok()).ok_or(Errno::EINVAL)?;
        Ok(*offset)
    }

    fn seek_extent(&self, from: i64, extent: Extent) -> Result<u64, Errno> {
        let from = u64::try_from(from).map_err(|_| Errno::ENXIO)?;
        Ok(self.location.inode().seek_extent(from, extent)?)
    }

    fn sync_if_asked(&self, ctx: &ProcessContext) -> Result<(), Errno> {
        let flags = self.flags();
        let scope = if flags.contains(OpenFlags::SYNC) {
            SyncScope::Everything
        } else if flags.contains(OpenFlags::DSYNC) {
            SyncScope::DataOnly
        } else {
            return Ok(());
        };
        Ok(ctx.block(|| self.location.inode().sync(scope))?)
    }
}

/// What of a write the limit of file sizes lets through. At the limit: `EFBIG`, and `SIGXFSZ`.
fn within_limit<'a>(
    ctx: &ProcessContext,
    at: impl FnOnce() -> Result<u64, Errno>,
    buffers: &'a [IoSlice<'a>],
    fitting: &'a mut Vec<IoSlice<'a>>,
) -> Result<&'a [IoSlice<'a>], Errno> {
    let limit = ctx.process().rlimit(Resource::FileSize).soft;
    let total = total_len(buffers);
    if limit == Rlimit::INFINITY || total == 0 {
        return Ok(buffers);
    }
    let mut room = usize::try_from(limit.saturating_sub(at()?)).unwrap_or(usize::MAX);
    if room == 0 {
        return Err(ctx.file_too_large());
    }
    for buffer in buffers {
        let (part, _) = buffer.split_at(buffer.len().min(room));
        room -= part.len();
        fitting.push(IoSlice::new(part));
    }
    Ok(fitting)
}

impl fmt::Debug for FileDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDescription({} {:?})", self.id, self.file.kind())
    }
}
