//! Signals to the plugin that are meant for the command at the other end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// What somebody wants of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Interrupt,
    Terminate,
    HangUp,
    Quit,
}

impl Wish {
    /// Name of the signal.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
            Self::Quit => "SIGQUIT",
        }
    }

    /// Number of the signal, on every system.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }
}

/// The signals that come.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
}

impl Signals {
    /// From now on these signals do not end the process any more.
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Tty);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// The next one. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Wish::Interrupt,
            Some(()) = self.terminate.recv() => Wish::Terminate,
            Some(()) = self.hang_up.recv() => Wish::HangUp,
            Some(()) = self.quit.recv() => Wish::Quit,
            else => std::future::pending().await,
        }
    }
}

/// Ends what is waited for when a signal comes, in order: what it holds is dropped.
pub(crate) async fn until_signal<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        outcome = work => outcome,
        wish = signals.next() => Err(Error::Interrupted(wish.number())),
    }
}
