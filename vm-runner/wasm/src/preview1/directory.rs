//! Listing directories.

use std::ops::ControlFlow;

use vm_abi::{Errno, Mode, OpenFlags};
use vm_kernel::syscall::{DirRecord, Fd, file, path};

use crate::convert::{Target, target, wasi_file_type};
use crate::guest::Guest;
use crate::layout::dirent;
use crate::memory::GuestMemory;

/// Fills the buffer with entries; the last may be cut. A buffer that is not full says there are no more.
pub(super) async fn fd_readdir(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    out: u32,
    len: u32,
    cookie: u64,
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    let buffer = memory.bytes_mut(out, len)?;
    let used = match target(guest, raw)? {
        Target::Fd(fd) => fill(guest, fd, buffer, cookie)?,
        // A preopened directory has no fd that could keep a snapshot: it is listed anew each time.
        Target::Preopen(dir) => {
            let flags = OpenFlags::READ | OpenFlags::DIRECTORY | OpenFlags::CLOEXEC;
            let fd = path::open(&guest.ctx, dir, b".", flags, Mode::new(0)).await?;
            let used = fill(guest, fd, buffer, cookie);
            file::close(&guest.ctx, fd)?;
            used?
        }
    };
    memory.put_u32(len_out, used as u32)
}

fn fill(guest: &Guest, fd: Fd, buffer: &mut [u8], cookie: u64) -> Result<usize, Errno> {
    let mut used = 0;
    file::read_dir(&guest.ctx, fd, cookie, &mut |record: DirRecord<'_>| {
        let head = dirent(
            record.next_cookie,
            record.ino,
            record.name.len() as u32,
            wasi_file_type(record.file_type),
        );
        for bytes in [&head[..], record.name] {
            let len = bytes.len().min(buffer.len() - used);
            buffer[used..used + len].copy_from_slice(&bytes[..len]);
            used += len;
        }
        if used == buffer.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(used)
}
