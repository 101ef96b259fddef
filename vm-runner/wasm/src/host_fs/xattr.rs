//! Extended attributes.

use vm_abi::Errno;
use vm_kernel::syscall::{XattrSet, file, path};

use super::attribute::follow_last;
use crate::convert::{dir, fd};
use crate::guest::Guest;
use crate::memory::GuestMemory;

/// Flags of the set calls.
const CREATE: u32 = 1;
const REPLACE: u32 = 2;

pub(super) fn path_getxattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    name: u32,
    name_len: u32,
    value: u32,
    size: u32,
    follow: u32,
    size_out: u32,
) -> Result<(), Errno> {
    let (path, name) = (memory.bytes(path, len)?, memory.bytes(name, name_len)?);
    let found = path::get_xattr(&guest.ctx, dir(guest, dir_fd)?, path, follow_last(follow), name)?;
    put_value(memory, &found, (value, size), size_out)
}

pub(super) fn fd_getxattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    name: u32,
    name_len: u32,
    value: u32,
    size: u32,
    size_out: u32,
) -> Result<(), Errno> {
    let found = file::get_xattr(&guest.ctx, fd(raw)?, memory.bytes(name, name_len)?)?;
    put_value(memory, &found, (value, size), size_out)
}

pub(super) fn path_listxattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    list: u32,
    size: u32,
    follow: u32,
    size_out: u32,
) -> Result<(), Errno> {
    let names =
        path::list_xattr(&guest.ctx, dir(guest, dir_fd)?, memory.bytes(path, len)?, follow_last(follow))?;
    put_value(memory, &block(&names), (list, size), size_out)
}

pub(super) fn fd_listxattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    list: u32,
    size: u32,
    size_out: u32,
) -> Result<(), Errno> {
    let names = file::list_xattr(&guest.ctx, fd(raw)?)?;
    put_value(memory, &block(&names), (list, size), size_out)
}

pub(super) fn path_setxattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    name: u32,
    name_len: u32,
    value: u32,
    size: u32,
    flags: u32,
    follow: u32,
) -> Result<(), Errno> {
    let (path, name) = (memory.bytes(path, len)?, memory.bytes(name, name_len)?);
    let value = memory.bytes(value, size)?;
    let how = how(flags)?;
    path::set_xattr(&guest.ctx, dir(guest, dir_fd)?, path, follow_last(follow), name, value, how)
}

pub(super) fn fd_setxattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    name: u32,
    name_len: u32,
    value: u32,
    size: u32,
    flags: u32,
) -> Result<(), Errno> {
    let (name, value) = (memory.bytes(name, name_len)?, memory.bytes(value, size)?);
    file::set_xattr(&guest.ctx, fd(raw)?, name, value, how(flags)?)
}

pub(super) fn path_removexattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    dir_fd: u32,
    path: u32,
    len: u32,
    name: u32,
    name_len: u32,
    follow: u32,
) -> Result<(), Errno> {
    let (path, name) = (memory.bytes(path, len)?, memory.bytes(name, name_len)?);
    path::remove_xattr(&guest.ctx, dir(guest, dir_fd)?, path, follow_last(follow), name)
}

pub(super) fn fd_removexattr(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    raw: u32,
    name: u32,
    name_len: u32,
) -> Result<(), Errno> {
    file::remove_xattr(&guest.ctx, fd(raw)?, memory.bytes(name, name_len)?)
}

/// Writes a value and its size. A buffer of size 0 asks for the size; one that is too small is told it.
fn put_value(
    memory: &mut GuestMemory<'_>,
    value: &[u8],
    (out, size): (u32, u32),
    size_out: u32,
) -> Result<(), Errno> {
    let len = u32::try_from(value.len()).map_err(|_| Errno::EOVERFLOW)?;
    memory.check(out, size)?;
    memory.put_u32(size_out, len)?;
    match size {
        0 => Ok(()),
        _ if size < len => Err(Errno::ERANGE),
        _ => memory.put(out, value),
    }
}

fn block(names: &[Vec<u8>]) -> Vec<u8> {
    names.iter().flat_map(|name| name.iter().copied().chain([0])).collect()
}

fn how(flags: u32) -> Result<XattrSet, Errno> {
    match flags {
        0 => Ok(XattrSet::Any),
        CREATE => Ok(XattrSet::Create),
        REPLACE => Ok(XattrSet::Replace),
        _ => Err(Errno::EINVAL),
    }
}
