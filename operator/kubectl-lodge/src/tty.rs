//! The terminal here: its size, and its raw mode while a terminal of a workspace is shown in it.
//!
//! Whoever leaves, in whatever way, leaves the terminal as it was: [`RawMode`] restores it when it is dropped, which a
//! panic does too; signals end commands in order (`signals`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) cols: u16,
    pub(crate) rows: u16,
}

impl Window {
    /// The size of a terminal, if it knows one that a workspace takes.
    pub(crate) fn of(tty: impl AsFd) -> Option<Self> {
        let size = tcgetwinsize(tty).ok()?;
        let most = vm_api::shell::MAX_WINDOW;
        let (cols, rows) = (size.ws_col.min(most), size.ws_row.min(most));
        (cols > 0 && rows > 0).then_some(Self { cols, rows })
    }
}

/// A terminal whose keys come as they are typed, until this is dropped.
#[derive(Debug)]
pub(crate) struct RawMode {
    tty: OwnedFd,
    before: Termios,
}

impl RawMode {
    pub(crate) fn enter(tty: OwnedFd) -> Result<Self, Error> {
        let before = tcgetattr(&tty).map_err(|error| Error::Tty(error.into()))?;
        let raw = Self { tty, before };
        raw.set()?;
        Ok(raw)
    }

    fn set(&self) -> Result<(), Error> {
        let mut wanted = self.before.clone();
        wanted.make_raw();
        tcsetattr(&self.tty, OptionalActions::Now, &wanted).map_err(|error| Error::Tty(error.into()))
    }

    fn restore(&self) {
        // A terminal that is gone has no mode.
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }

    /// Stops the process as SIGTSTP does, with the terminal as it was; returns when it goes on.
    fn stop(&self) -> Result<(), Error> {
        self.restore();
        kill_process(getpid(), Signal::STOP).map_err(|error| Error::Tty(error.into()))?;
        self.set()
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.restore();
    }
}

/// What happens to the terminal here while it is used.
pub(crate) struct Screen {
    raw: Option<RawMode>,
    tty: OwnedFd,
    resized: tokio::signal::unix::Signal,
    stopped: tokio::signal::unix::Signal,
}

impl Screen {
    /// Begins to use a terminal; in raw mode if keys are wanted.
    pub(crate) fn begin(tty: OwnedFd, wants_keys: bool) -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Tty);
        let resized = listen(SignalKind::window_change())?;
        let stopped = listen(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
        let duplicate = tty.try_clone().map_err(Error::Tty)?;
        let raw = wants_keys.then(|| RawMode::enter(duplicate)).transpose()?;
        Ok(Self { raw, tty, resized, stopped })
    }

    pub(crate) fn window(&self) -> Option<Window> {
        Window::of(&self.tty)
    }

    /// Whether lines have to be ended here.
    pub(crate) fn is_raw(&self) -> bool {
        self.raw.is_some()
    }

    /// Waits until the size may be another one. Cancelling loses nothing.
    pub(crate) async fn changed(&mut self) -> Result<(), Error> {
        tokio::select! {
            Some(()) = self.resized.recv() => Ok(()),
            Some(()) = self.stopped.recv() => match &self.raw {
                Some(raw) => raw.stop(),
                None => kill_process(getpid(), Signal::STOP).map_err(|error| Error::Tty(error.into())),
            },
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let tty = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let is_raw = || !tcgetattr(&tty).unwrap().local_modes.contains(LocalModes::ICANON);
        let duplicate = OwnedFd::from(tty.try_clone().unwrap());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _raw = RawMode::enter(duplicate).unwrap();
            assert!(!is_raw(), "on purpose: it is raw now");
        }));
        assert!(outcome.is_err() && !is_raw());
    }
}
