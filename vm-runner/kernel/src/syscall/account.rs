//! Looking up users, groups and the machine's name.

use vm_abi::{Errno, Gid, Uid};

use super::{Account, Group};
use crate::context::ProcessContext;

/// The user of this number.
///
/// # Errors
/// `ENOENT`.
pub fn user(ctx: &ProcessContext, uid: Uid) -> Result<&Account, Errno> {
    ctx.kernel().accounts.user(uid).ok_or(Errno::ENOENT)
}

/// The user of this name.
///
/// # Errors
/// `ENOENT`.
pub fn user_named<'a>(ctx: &'a ProcessContext, name: &[u8]) -> Result<&'a Account, Errno> {
    ctx.kernel().accounts.user_named(name).ok_or(Errno::ENOENT)
}

/// The user at this place of the list, from 0.
///
/// # Errors
/// `ENOENT` past the end.
pub fn user_at(ctx: &ProcessContext, index: usize) -> Result<&Account, Errno> {
    ctx.kernel().accounts.users.get(index).ok_or(Errno::ENOENT)
}

/// The group of this number.
///
/// # Errors
/// `ENOENT`.
pub fn group(ctx: &ProcessContext, gid: Gid) -> Result<&Group, Errno> {
    ctx.kernel().accounts.group(gid).ok_or(Errno::ENOENT)
}

/// The group of this name.
///
/// # Errors
/// `ENOENT`.
pub fn group_named<'a>(ctx: &'a ProcessContext, name: &[u8]) -> Result<&'a Group, Errno> {
    ctx.kernel().accounts.group_named(name).ok_or(Errno::ENOENT)
}

/// The group at this place of the list, from 0.
///
/// # Errors
/// `ENOENT` past the end.
pub fn group_at(ctx: &ProcessContext, index: usize) -> Result<&Group, Errno> {
    ctx.kernel().accounts.groups.get(index).ok_or(Errno::ENOENT)
}

/// The machine's name.
#[must_use]
pub fn hostname(ctx: &ProcessContext) -> &str {
    &ctx.kernel().hostname
}
