//! Terminals inside the VM: input through a line discipline, output to whoever holds the master, and job control.
//!
//! A [`Terminal`] is what both sides of a pseudo terminal share (`pty.rs` has the sides). It may be the controlling
//! terminal of one session; its foreground group gets the signals of keys, and other groups of the session are stopped
//! when they read.

pub(crate) mod job_control;
mod line_discipline;
pub(crate) mod termios;
pub(crate) mod window_size;

use std::collections::VecDeque;

use vm_abi::{Errno, PollEvents, Signal};

use crate::mutex::Mutex;
use crate::poll::Readiness;
use crate::process::{Pgid, Sid};
use crate::usage::Charge;
use line_discipline::LineDiscipline;
use termios::Termios;
use window_size::WindowSize;

/// How much is typed at once: a master may write as much as a guest has memory.
const MAX_TYPED_BYTES: usize = 4096;
/// How much output may wait to be shown.
const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// What both sides of a pseudo terminal share.
pub(crate) struct Terminal {
    index: u32,
    inner: Mutex<Inner>,
    /// Who waits at the replica.
    pub(crate) replica: Readiness,
    /// Who waits at the master.
    pub(crate) master: Readiness,
    _charge: Charge,
}

struct Inner {
    discipline: LineDiscipline,
    output: VecDeque<u8>,
    window: WindowSize,
    control: Control,
    has_master: bool,
    replicas: usize,
    /// Replicas ever opened: a master that waits for the first one is not hung up.
    replicas_opened: u64,
}

/// Whose controlling terminal it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The session.
    pub(crate) session: Option<Sid>,
    /// The group that keys signal and that may read.
    pub(crate) foreground: Option<Pgid>,
}

/// What typed bytes did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// How many were taken.
    pub(crate) count: usize,
    /// Signals for the foreground group, each once: they do not queue.
    pub(crate) signals: Vec<(Pgid, Signal)>,
}

impl Terminal {
    /// A fresh terminal with a master.
    pub(crate) fn new(index: u32, window: WindowSize, charge: Charge) -> Self {
        let inner = Inner {
            discipline: LineDiscipline::new(),
            output: VecDeque::new(),
            window,
            control: Control::default(),
            has_master: true,
            replicas: 0,
            replicas_opened: 0,
        };
        Self {
            index,
            inner: Mutex::new(inner),
            replica: Readiness::new(),
            master: Readiness::new(),
            _charge: charge,
        }
    }

    /// Its number, as in `/dev/pts`.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The settings.
    pub(crate) fn termios(&self) -> Termios {
        self.inner.lock().discipline.termios()
    }

    /// Changes the settings.
    pub(crate) fn set_termios(&self, termios: Termios) {
        self.inner.lock().discipline.set_termios(termios);
        self.replica.notify(PollEvents::IN);
    }

    /// How large the window is.
    pub(crate) fn window(&self) -> WindowSize {
        self.inner.lock().window
    }

    /// The window changes; tells who has to hear of it, if it did.
    pub(crate) fn set_window(&self, window: WindowSize) -> Option<Pgid> {
        let mut inner = self.inner.lock();
        let has_changed = inner.window != window;
        inner.window = window;
        inner.control.foreground.filter(|_| has_changed)
    }

    /// Whose controlling terminal it is.
    pub(crate) fn control(&self) -> Control {
        self.inner.lock().control
    }

    /// Changes whose controlling terminal it is.
    pub(crate) fn change_control<T>(&self, change: impl FnOnce(&mut Control) -> T) -> T {
        let result = change(&mut self.inner.lock().control);
        self.replica.notify(PollEvents::IN | PollEvents::OUT);
        result
    }

    /// The replica reads what was typed. 0 is the end of input, or of the terminal.
    pub(crate) fn try_read_input(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut inner = self.inner.lock();
        let count = match inner.discipline.read(buffer) {
            Some(count) => count,
            None if !inner.has_master => return Ok(0),
            None => return Err(Errno::EAGAIN),
        };
        drop(inner);
        self.master.notify(PollEvents::OUT);
        Ok(count)
    }

    /// The replica writes what is to be shown.
    pub(crate) fn try_write_output(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut inner = self.inner.lock();
        if !inner.has_master {
            return Err(Errno::EIO);
        }
        let room = MAX_OUTPUT_BYTES.saturating_sub(inner.output.len());
        // Each byte may become two.
        let count = bytes.len().min(room / 2);
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        let mut shown = Vec::with_capacity(count + count / 8);
        inner.discipline.output(&bytes[..count], &mut shown);
        inner.output.extend(shown);
        drop(inner);
        self.master.notify(PollEvents::IN);
        Ok(count)
    }

    /// The master reads what is to be shown. `EIO` when the last replica is closed, as on Linux.
    pub(crate) fn try_read_output(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut inner = self.inner.lock();
        if inner.output.is_empty() {
            let is_over = inner.replicas == 0 && inner.replicas_opened > 0;
            return Err(if is_over { Errno::EIO } else { Errno::EAGAIN });
        }
        let count = buffer.len().min(inner.output.len());
        for (target, byte) in buffer.iter_mut().zip(inner.output.drain(..count)) {
            *target = byte;
        }
        drop(inner);
        self.replica.notify(PollEvents::OUT);
        Ok(count)
    }

    /// The master types.
    pub(crate) fn try_type(&self, bytes: &[u8]) -> Result<Typed, Errno> {
        let mut inner = self.inner.lock();
        let mut typed = Typed { count: 0, signals: Vec::new() };
        let foreground = inner.control.foreground;
        for byte in bytes.iter().take(MAX_TYPED_BYTES) {
            if !inner.discipline.has_room() {
                break;
            }
            let reaction = inner.discipline.input(*byte);
            // Echo is not worth waiting for: nobody reads it.
            if inner.output.len() + reaction.echo.len() <= MAX_OUTPUT_BYTES {
                inner.output.extend(reaction.echo);
            }
            let signal = foreground.zip(reaction.signal).filter(|signal| !typed.signals.contains(signal));
            typed.signals.extend(signal);
            typed.count += 1;
        }
        drop(inner);
        if typed.count == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        self.replica.notify(PollEvents::IN);
        self.master.notify(PollEvents::IN);
        Ok(typed)
    }

    /// What is ready at the replica.
    pub(crate) fn replica_events(&self) -> PollEvents {
        let inner = self.inner.lock();
        let mut events = PollEvents::empty();
        let is_over = !inner.has_master;
        events.set(PollEvents::IN | PollEvents::RDNORM, inner.discipline.is_readable() || is_over);
        let has_room = inner.output.len() + 1 < MAX_OUTPUT_BYTES;
        events.set(PollEvents::OUT | PollEvents::WRNORM, has_room && !is_over);
        events.set(PollEvents::HUP, is_over);
        events
    }

    /// What is ready at the master.
    pub(crate) fn master_events(&self) -> PollEvents {
        let inner = self.inner.lock();
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, !inner.output.is_empty());
        events.set(PollEvents::OUT | PollEvents::WRNORM, inner.discipline.has_room());
        events.set(PollEvents::HUP, inner.replicas == 0 && inner.replicas_opened > 0);
        events
    }

    /// One more replica is open. `EIO` if the master is gone.
    pub(crate) fn open_replica(&self) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        if !inner.has_master {
            return Err(Errno::EIO);
        }
        inner.replicas += 1;
        inner.replicas_opened += 1;
        Ok(())
    }

    /// One replica fewer is open.
    pub(crate) fn close_replica(&self) {
        self.inner.lock().replicas -= 1;
        self.master.notify(PollEvents::HUP);
    }

    /// The master is closed: whoever uses the replica finds the end. Tells who is to be hung up.
    pub(crate) fn close_master(&self) -> Control {
        let mut inner = self.inner.lock();
        inner.has_master = false;
        let control = std::mem::take(&mut inner.control);
        drop(inner);
        self.replica.notify(PollEvents::HUP);
        control
    }
}
