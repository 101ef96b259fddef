//! `host_user`: users, groups, and whether an fd is a terminal.

use vm_abi::{Errno, Gid, Uid};
use vm_kernel::syscall::{IdChange, account, file, process};

use crate::convert::fd;
use crate::guest::Guest;
use crate::host_call::{HostLinker, sync_calls};
use crate::memory::GuestMemory;

/// Name that programs import from.
const MODULE: &str = "host_user";
/// Leaves an id as it is.
const UNCHANGED: u32 = 0xffff_ffff;
/// Most supplementary groups, as on Linux.
const MAX_GROUPS: u32 = 65_536;

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        getuid(out: u32) = getuid;
        getgid(out: u32) = getgid;
        geteuid(out: u32) = geteuid;
        getegid(out: u32) = getegid;
        getresuid(real_out: u32, effective_out: u32, saved_out: u32) = getresuid;
        getresgid(real_out: u32, effective_out: u32, saved_out: u32) = getresgid;
        setuid(id: u32) = setuid;
        seteuid(id: u32) = seteuid;
        setgid(id: u32) = setgid;
        setegid(id: u32) = setegid;
        setreuid(real: u32, effective: u32) = setreuid;
        setregid(real: u32, effective: u32) = setregid;
        setresuid(real: u32, effective: u32, saved: u32) = setresuid;
        setresgid(real: u32, effective: u32, saved: u32) = setresgid;
        getgroups(size: u32, groups_out: u32, count_out: u32) = getgroups;
        setgroups(count: u32, groups: u32) = setgroups;
        isatty(fd: u32, out: u32) = isatty;
        getpwuid(uid: u32, buffer: u32, size: u32, len_out: u32) = getpwuid;
        getgrgid(gid: u32, buffer: u32, size: u32, len_out: u32) = getgrgid;
        getpwnam(name: u32, name_len: u32, buffer: u32, size: u32, len_out: u32) = getpwnam;
        getgrnam(name: u32, name_len: u32, buffer: u32, size: u32, len_out: u32) = getgrnam;
        getpwent(index: u32, buffer: u32, size: u32, len_out: u32) = getpwent;
        getgrent(index: u32, buffer: u32, size: u32, len_out: u32) = getgrent;
    }
    Ok(())
}

type Memory<'a, 'b> = &'a mut GuestMemory<'b>;

fn getuid(guest: &mut Guest, memory: Memory<'_, '_>, out: u32) -> Result<(), Errno> {
    memory.put_u32(out, process::credentials(&guest.ctx).uid.0)
}

fn getgid(guest: &mut Guest, memory: Memory<'_, '_>, out: u32) -> Result<(), Errno> {
    memory.put_u32(out, process::credentials(&guest.ctx).gid.0)
}

fn geteuid(guest: &mut Guest, memory: Memory<'_, '_>, out: u32) -> Result<(), Errno> {
    memory.put_u32(out, process::credentials(&guest.ctx).euid.0)
}

fn getegid(guest: &mut Guest, memory: Memory<'_, '_>, out: u32) -> Result<(), Errno> {
    memory.put_u32(out, process::credentials(&guest.ctx).egid.0)
}

fn getresuid(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    real: u32,
    effective: u32,
    saved: u32,
) -> Result<(), Errno> {
    let credentials = process::credentials(&guest.ctx);
    put_ids(memory, [(real, credentials.uid.0), (effective, credentials.euid.0), (saved, credentials.suid.0)])
}

fn getresgid(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    real: u32,
    effective: u32,
    saved: u32,
) -> Result<(), Errno> {
    let credentials = process::credentials(&guest.ctx);
    put_ids(memory, [(real, credentials.gid.0), (effective, credentials.egid.0), (saved, credentials.sgid.0)])
}

fn put_ids(memory: Memory<'_, '_>, ids: [(u32, u32); 3]) -> Result<(), Errno> {
    for (out, _) in ids {
        memory.check(out, 4)?;
    }
    ids.into_iter().try_for_each(|(out, id)| memory.put_u32(out, id))
}

fn setuid(guest: &mut Guest, _memory: Memory<'_, '_>, id: u32) -> Result<(), Errno> {
    process::set_uid(&guest.ctx, Uid(id))
}

fn seteuid(guest: &mut Guest, _memory: Memory<'_, '_>, id: u32) -> Result<(), Errno> {
    process::set_euid(&guest.ctx, Uid(id))
}

fn setgid(guest: &mut Guest, _memory: Memory<'_, '_>, id: u32) -> Result<(), Errno> {
    process::set_gid(&guest.ctx, Gid(id))
}

fn setegid(guest: &mut Guest, _memory: Memory<'_, '_>, id: u32) -> Result<(), Errno> {
    process::set_egid(&guest.ctx, Gid(id))
}

fn setreuid(guest: &mut Guest, _memory: Memory<'_, '_>, real: u32, effective: u32) -> Result<(), Errno> {
    process::set_reuid(&guest.ctx, uid(real), uid(effective))
}

fn setregid(guest: &mut Guest, _memory: Memory<'_, '_>, real: u32, effective: u32) -> Result<(), Errno> {
    process::set_regid(&guest.ctx, gid(real), gid(effective))
}

fn setresuid(
    guest: &mut Guest,
    _memory: Memory<'_, '_>,
    real: u32,
    effective: u32,
    saved: u32,
) -> Result<(), Errno> {
    process::set_resuid(
        &guest.ctx,
        IdChange { real: uid(real), effective: uid(effective), saved: uid(saved) },
    )
}

fn setresgid(
    guest: &mut Guest,
    _memory: Memory<'_, '_>,
    real: u32,
    effective: u32,
    saved: u32,
) -> Result<(), Errno> {
    process::set_resgid(
        &guest.ctx,
        IdChange { real: gid(real), effective: gid(effective), saved: gid(saved) },
    )
}

fn uid(raw: u32) -> Option<Uid> {
    (raw != UNCHANGED).then_some(Uid(raw))
}

fn gid(raw: u32) -> Option<Gid> {
    (raw != UNCHANGED).then_some(Gid(raw))
}

/// A size of 0 asks for the count.
fn getgroups(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    size: u32,
    groups_out: u32,
    count_out: u32,
) -> Result<(), Errno> {
    let credentials = process::credentials(&guest.ctx);
    let count = u32::try_from(credentials.groups.len()).map_err(|_| Errno::EOVERFLOW)?;
    if size != 0 {
        if size < count {
            return Err(Errno::EINVAL);
        }
        memory.check(count_out, 4)?;
        let block: Vec<u8> = credentials.groups.iter().flat_map(|group| group.0.to_le_bytes()).collect();
        memory.put(groups_out, &block)?;
    }
    memory.put_u32(count_out, count)
}

fn setgroups(guest: &mut Guest, memory: Memory<'_, '_>, count: u32, groups: u32) -> Result<(), Errno> {
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL);
    }
    let groups = memory.u32_array(groups, count)?.into_iter().map(Gid).collect();
    process::set_groups(&guest.ctx, groups)
}

fn isatty(guest: &mut Guest, memory: Memory<'_, '_>, raw: u32, out: u32) -> Result<(), Errno> {
    let is_terminal = file::is_terminal(&guest.ctx, fd(raw)?)?;
    memory.put_u32(out, u32::from(is_terminal))
}

fn getpwuid(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    id: u32,
    buffer: u32,
    size: u32,
    len: u32,
) -> Result<(), Errno> {
    let user = account::user(&guest.ctx, Uid(id))?;
    put_record(memory, &user.to_line(), (buffer, size), len)
}

fn getgrgid(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    id: u32,
    buffer: u32,
    size: u32,
    len: u32,
) -> Result<(), Errno> {
    let group = account::group(&guest.ctx, Gid(id))?;
    put_record(memory, &group.to_line(), (buffer, size), len)
}

fn getpwnam(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    name: u32,
    name_len: u32,
    buffer: u32,
    size: u32,
    len: u32,
) -> Result<(), Errno> {
    let user = account::user_named(&guest.ctx, memory.bytes(name, name_len)?)?;
    put_record(memory, &user.to_line(), (buffer, size), len)
}

fn getgrnam(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    name: u32,
    name_len: u32,
    buffer: u32,
    size: u32,
    len: u32,
) -> Result<(), Errno> {
    let group = account::group_named(&guest.ctx, memory.bytes(name, name_len)?)?;
    put_record(memory, &group.to_line(), (buffer, size), len)
}

fn getpwent(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    at: u32,
    buffer: u32,
    size: u32,
    len: u32,
) -> Result<(), Errno> {
    let user = account::user_at(&guest.ctx, at as usize)?;
    put_record(memory, &user.to_line(), (buffer, size), len)
}

fn getgrent(
    guest: &mut Guest,
    memory: Memory<'_, '_>,
    at: u32,
    buffer: u32,
    size: u32,
    len: u32,
) -> Result<(), Errno> {
    let group = account::group_at(&guest.ctx, at as usize)?;
    put_record(memory, &group.to_line(), (buffer, size), len)
}

fn put_record(
    memory: Memory<'_, '_>,
    line: &str,
    (out, size): (u32, u32),
    len_out: u32,
) -> Result<(), Errno> {
    memory.check(len_out, 4)?;
    let len = u32::try_from(line.len()).map_err(|_| Errno::ERANGE)?;
    if len > size {
        return Err(Errno::ERANGE);
    }
    memory.put(out, line.as_bytes())?;
    memory.put_u32(len_out, len)
}
