//! File actions of a spawn, as they lie in a guest's memory: heads of six words, each followed by its path.
//!
//! Pure: `vm-fuzz` includes this file by its path.

use vm_abi::{Errno, Mode};
use vm_kernel::syscall::{Fd, FileAction};

use crate::flags::{fd, libc_open_flags};

/// Bytes of a file action before its path.
const HEAD_BYTES: usize = 24;

/// The actions of a block: `E2BIG` for more than `most`, `EINVAL` for what is none.
pub(crate) fn decode(mut block: &[u8], most: usize) -> Result<Vec<FileAction>, Errno> {
    let mut actions = Vec::new();
    while !block.is_empty() {
        if actions.len() == most {
            return Err(Errno::E2BIG);
        }
        let (action, rest) = decode_action(block)?;
        actions.push(action);
        block = rest;
    }
    Ok(actions)
}

fn decode_action(block: &[u8]) -> Result<(FileAction, &[u8]), Errno> {
    let (head, rest) = block.split_at_checked(HEAD_BYTES).ok_or(Errno::EINVAL)?;
    let (words, _) = head.as_chunks::<4>();
    let word = |index: usize| words.get(index).copied().map_or(0, u32::from_le_bytes);
    let (path, rest) = rest.split_at_checked(word(5) as usize).ok_or(Errno::EINVAL)?;
    let number = || -> Result<Fd, Errno> { fd(word(1)) };
    let action = match word(0) {
        1 => FileAction::Close(number()?),
        2 => FileAction::Dup2 { source: fd(word(2))?, target: number()? },
        3 => FileAction::Open {
            fd: number()?,
            path: path.to_vec(),
            flags: libc_open_flags(word(3)),
            mode: Mode::new(word(4)),
        },
        4 => FileAction::ChangeDir(path.to_vec()),
        5 => FileAction::ChangeDirTo(number()?),
        6 => FileAction::CloseFrom(number()?),
        _ => return Err(Errno::EINVAL),
    };
    Ok((action, rest))
}
