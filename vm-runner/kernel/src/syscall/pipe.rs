//! Making pipes.

use vm_abi::{Errno, OpenFlags};

use super::{Fd, FdFlags};
use crate::context::ProcessContext;
use crate::trace::traced;

/// Makes a pipe; tells its reader end, then its writer end: the two lowest free fds. Of the flags only `CLOEXEC` and
/// `NONBLOCK` count.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pipe(ctx: &ProcessContext, flags: OpenFlags) -> Result<(Fd, Fd), Errno> {
    traced!(ctx, "pipe2", [flags], {
        let kernel = ctx.kernel();
        let pipe = kernel.new_pipe(&ctx.process().credentials())?;
        let status = flags & OpenFlags::NONBLOCK;
        let reader = kernel.describe_pipe(&pipe, OpenFlags::READ | status)?;
        let writer = kernel.describe_pipe(&pipe, OpenFlags::WRITE | status)?;
        let fd_flags = if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
        ctx.insert_pair(reader, writer, fd_flags)
    })
}
