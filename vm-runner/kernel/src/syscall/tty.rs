//! Calls on terminals. All answer `ENOTTY` for anything else.

use std::io::IoSliceMut;
use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Errno, OpenFlags, PollEvents};

use super::{Fd, FdFlags, Pgid, Sid, Termios, WindowSize};
use crate::context::ProcessContext;
use crate::file::description::FileDescription;
use crate::file::{Direction, File};
use crate::poll::{Deadline, Interest, Waiter, wait_ready};
use crate::pty::{Master, Replica};
use crate::trace::show::Other;
use crate::trace::{Call, traced};
use crate::tty::Terminal;

/// How a terminal treats input and output, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtyMode {
    /// Bytes as they come.
    Raw,
    /// Lines that can be edited, echo, signals.
    Cooked,
}

fn terminal_of(description: &FileDescription) -> Result<&Arc<Terminal>, Errno> {
    let file = description.file();
    let replica = file.downcast::<Replica>().map(Replica::terminal);
    replica.or_else(|| file.downcast::<Master>().map(Master::terminal)).ok_or(Errno::ENOTTY)
}

fn terminal(ctx: &ProcessContext, fd: Fd) -> Result<Arc<Terminal>, Errno> {
    terminal_of(&*ctx.description(fd)?).cloned()
}

/// How large the window is.
///
/// # Errors
/// `EBADF`, `ENOTTY`.
pub fn window_size(ctx: &ProcessContext, fd: Fd) -> Result<WindowSize, Errno> {
    Ok(terminal(ctx, fd)?.window())
}

/// Sets how large the window is; the foreground group gets `SIGWINCH` if that is new.
///
/// # Errors
/// `EBADF`, `ENOTTY`.
pub fn set_window_size(ctx: &ProcessContext, fd: Fd, window: WindowSize) -> Result<(), Errno> {
    traced!(ctx, "ioctl", [fd, Other(&"TIOCSWINSZ"), Other(&window)], {
        if let Some(group) = terminal(ctx, fd)?.set_window(window) {
            ctx.kernel().post_to_group(group, vm_abi::Signal::SIGWINCH);
        }
        Ok(())
    })
}

/// The settings.
///
/// # Errors
/// `EBADF`, `ENOTTY`.
pub fn attributes(ctx: &ProcessContext, fd: Fd) -> Result<Termios, Errno> {
    Ok(terminal(ctx, fd)?.termios())
}

/// Changes the settings.
///
/// # Errors
/// `EBADF`, `ENOTTY`.
pub fn set_attributes(ctx: &ProcessContext, fd: Fd, attributes: Termios) -> Result<(), Errno> {
    traced!(ctx, "ioctl", [fd, Other(&"TCSETS"), Other(&attributes)], {
        terminal(ctx, fd)?.set_termios(attributes);
        Ok(())
    })
}

/// Changes the settings to one of two usual ones.
///
/// # Errors
/// `EBADF`, `ENOTTY`.
pub fn set_mode(ctx: &ProcessContext, fd: Fd, mode: TtyMode) -> Result<(), Errno> {
    traced!(ctx, "ioctl", [fd, Other(&"TCSETS"), Other(&mode)], {
        let terminal = terminal(ctx, fd)?;
        terminal.set_termios(match mode {
            TtyMode::Raw => terminal.termios().raw(),
            TtyMode::Cooked => Termios::COOKED,
        });
        Ok(())
    })
}

/// Reads what was typed, waiting no longer than this; 0 if nothing was, or at the end of input.
///
/// # Errors
/// `EBADF`, `ENOTTY`, `EINTR`, `EIO`.
pub async fn read_timeout(
    ctx: &ProcessContext,
    fd: Fd,
    buffer: &mut [u8],
    timeout: Option<Duration>,
) -> Result<usize, Errno> {
    let call = Call::begin(ctx, "read", |call| call.argument(&fd));
    let result = wait_typed(ctx, fd, buffer, timeout).await;
    if let Some(call) = call {
        call.end_filled(&result, &[IoSliceMut::new(buffer)]);
    }
    result
}

async fn wait_typed(
    ctx: &ProcessContext,
    fd: Fd,
    buffer: &mut [u8],
    timeout: Option<Duration>,
) -> Result<usize, Errno> {
    let description = ctx.description(fd)?;
    let terminal = terminal_of(&description)?;
    description.check_open_for(Direction::Read)?;
    let replica = description.file().downcast::<Replica>().ok_or(Errno::ENOTTY)?;
    let clock = &*ctx.kernel().clock;
    let deadline =
        timeout.map(|timeout| Deadline { clock, instant: clock.monotonic().saturating_add(timeout) });
    let interest = Interest { readiness: &terminal.replica, events: PollEvents::IN };
    let _at_terminal = timeout.is_none().then(|| ctx.process().wait_at_terminal());
    let try_op = || {
        replica.check_use(ctx, Direction::Read)?;
        terminal.try_read_input(buffer)
    };
    match wait_ready(Waiter::Process(ctx), &[interest], deadline, try_op).await {
        Err(Errno::ETIMEDOUT) => Ok(0),
        other => other,
    }
}

/// The foreground group.
///
/// # Errors
/// `EBADF`, `ENOTTY` (also if it is not the caller's controlling terminal).
pub fn foreground(ctx: &ProcessContext, fd: Fd) -> Result<Pgid, Errno> {
    let control = terminal(ctx, fd)?.control();
    let session = super::process::session(ctx, None)?;
    if control.session != Some(session) {
        return Err(Errno::ENOTTY);
    }
    control.foreground.ok_or(Errno::ENOTTY)
}

/// Makes a group of the caller's session the foreground group.
///
/// # Errors
/// `EBADF`, `ENOTTY` (also if it is not the caller's controlling terminal), `EPERM` for a group of another session.
pub fn set_foreground(ctx: &ProcessContext, fd: Fd, group: Pgid) -> Result<(), Errno> {
    traced!(ctx, "ioctl", [fd, Other(&"TIOCSPGRP"), group], {
        ctx.kernel().set_foreground(ctx, &*terminal(ctx, fd)?, group)
    })
}

/// The session whose controlling terminal it is.
///
/// # Errors
/// `EBADF`, `ENOTTY` if it is nobody's.
pub fn session(ctx: &ProcessContext, fd: Fd) -> Result<Sid, Errno> {
    terminal(ctx, fd)?.control().session.ok_or(Errno::ENOTTY)
}

/// Makes a terminal the controlling one of the session that the caller leads.
///
/// # Errors
/// `EBADF`, `ENOTTY`, `EPERM` if the caller leads no session or one of the two has another.
pub fn set_controlling(ctx: &ProcessContext, fd: Fd) -> Result<(), Errno> {
    traced!(ctx, "ioctl", [fd, Other(&"TIOCSCTTY")], {
        let terminal = terminal(ctx, fd)?;
        ctx.kernel().acquire_terminal(ctx.pid(), &terminal);
        let session = super::process::session(ctx, None)?;
        if terminal.control().session == Some(session) { Ok(()) } else { Err(Errno::EPERM) }
    })
}

/// Makes a pseudo terminal; tells its master, then its replica. Of the flags only `CLOEXEC` and `NONBLOCK` count.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOSPC` if there are too many.
pub fn open_pty(ctx: &ProcessContext, window: WindowSize, flags: OpenFlags) -> Result<(Fd, Fd), Errno> {
    traced!(ctx, "openpty", [flags], {
        let kernel = ctx.kernel();
        let master = kernel.new_pty(&ctx.process().credentials(), window)?;
        let node = kernel.pty_node(master.terminal())?;
        let replica = kernel.describe_replica(&node)?;
        let both = OpenFlags::READ | OpenFlags::WRITE | (flags & OpenFlags::NONBLOCK);
        let location = kernel.anonymous.with_inode(crate::device::master_inode());
        let master = kernel.describe(location, Box::new(master), both)?;
        let fd_flags = if flags.contains(OpenFlags::CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
        ctx.insert_pair(master, replica, fd_flags)
    })
}
