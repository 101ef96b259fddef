//! Arguments and environment.

use vm_abi::Errno;

use crate::guest::Guest;
use crate::memory::GuestMemory;

pub(super) fn args_sizes_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    count_out: u32,
    bytes_out: u32,
) -> Result<(), Errno> {
    put_sizes(memory, &guest.ctx.argv(), count_out, bytes_out)
}

pub(super) fn args_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pointers: u32,
    block: u32,
) -> Result<(), Errno> {
    put_strings(memory, &guest.ctx.argv(), pointers, block)
}

pub(super) fn environ_sizes_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    count_out: u32,
    bytes_out: u32,
) -> Result<(), Errno> {
    put_sizes(memory, environment(guest, &guest.ctx.envp()), count_out, bytes_out)
}

pub(super) fn environ_get(
    guest: &mut Guest,
    memory: &mut GuestMemory<'_>,
    pointers: u32,
    block: u32,
) -> Result<(), Errno> {
    put_strings(memory, environment(guest, &guest.ctx.envp()), pointers, block)
}

/// The published software counts on variables that the kernel fills in; a program of preview 1 gets what was given.
fn environment<'a>(guest: &'a Guest, completed: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
    if guest.standard.is_some() { guest.ctx.given_envp() } else { completed }
}

fn put_sizes(
    memory: &mut GuestMemory<'_>,
    strings: &[Vec<u8>],
    count_out: u32,
    bytes_out: u32,
) -> Result<(), Errno> {
    let bytes: usize = strings.iter().map(|string| string.len() + 1).sum();
    memory.check(bytes_out, 4)?;
    memory.put_u32(count_out, u32::try_from(strings.len()).map_err(|_| Errno::EOVERFLOW)?)?;
    memory.put_u32(bytes_out, u32::try_from(bytes).map_err(|_| Errno::EOVERFLOW)?)
}

fn put_strings(
    memory: &mut GuestMemory<'_>,
    strings: &[Vec<u8>],
    pointers: u32,
    block: u32,
) -> Result<(), Errno> {
    let (mut pointer_out, mut string_out) = (pointers, block);
    for string in strings {
        let len = u32::try_from(string.len()).map_err(|_| Errno::EOVERFLOW)?;
        memory.put_u32(pointer_out, string_out)?;
        memory.put(string_out, string)?;
        let end = string_out.checked_add(len).ok_or(Errno::EFAULT)?;
        memory.put_u8(end, 0)?;
        string_out = end.checked_add(1).ok_or(Errno::EFAULT)?;
        pointer_out = pointer_out.checked_add(4).ok_or(Errno::EFAULT)?;
    }
    Ok(())
}
