//! One shell, as everybody sees it: its owner task, requests, and the clients that are attached.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vm_api::{ProcessExit, ShellInfo};
use vm_kernel::{HostTerminal, Pid, WindowSize};

use super::question;
use crate::vm::server::process::log::Log;

/// A command in a terminal.
pub(crate) struct Shell {
    id: String,
    pid: Pid,
    argv: Vec<String>,
    started_at: jiff::Timestamp,
    log: Arc<Log>,
    /// Until the shell has ended. Guarded by itself; a leaf in the lock order.
    terminal: Mutex<Option<Arc<HostTerminal>>>,
    window: watch::Sender<WindowSize>,
    attached: AtomicU32,
    /// Who attached last or typed last, as a number: only its terminal answers questions.
    speaker: AtomicU64,
    last_client: AtomicU64,
    /// How often a client's terminal has answered.
    answers: AtomicU64,
    /// When somebody last typed or attached. Guarded by itself; a leaf in the lock order.
    last_use: Mutex<Instant>,
    closing: CancellationToken,
}

/// A client that is attached. Dropping it detaches.
pub(crate) struct Attachment {
    pub(crate) shell: Arc<Shell>,
    number: u64,
}

impl Shell {
    pub(crate) fn new(
        id: String,
        pid: Pid,
        argv: Vec<String>,
        log: Arc<Log>,
        terminal: HostTerminal,
        window: WindowSize,
    ) -> Self {
        Self {
            id,
            pid,
            argv,
            started_at: jiff::Timestamp::now(),
            log,
            terminal: Mutex::new(Some(Arc::new(terminal))),
            window: watch::Sender::new(window),
            attached: AtomicU32::new(0),
            speaker: AtomicU64::new(0),
            last_client: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            last_use: Mutex::new(Instant::now()),
            closing: CancellationToken::new(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// What was shown, as far as it is kept.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The shell as the API tells it.
    pub(crate) fn info(&self) -> ShellInfo {
        let (window, kept) = (*self.window.borrow(), self.log.state());
        ShellInfo {
            id: self.id.clone(),
            pid: self.pid.raw(),
            argv: self.argv.clone(),
            started_at: self.started_at.to_string(),
            cols: window.columns,
            rows: window.rows,
            attached: self.attached(),
            first: kept.first,
            end: kept.end,
            exit: self.log.exit(),
        }
    }

    fn terminal_slot(&self) -> MutexGuard<'_, Option<Arc<HostTerminal>>> {
        self.terminal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The terminal, until the shell has ended.
    pub(crate) fn terminal(&self) -> Option<Arc<HostTerminal>> {
        self.terminal_slot().clone()
    }

    /// Gives the terminal another size; false if the shell has ended.
    pub(crate) fn resize(&self, window: WindowSize) -> bool {
        let Some(terminal) = self.terminal() else { return false };
        terminal.resize(window);
        self.window.send_if_modified(|current| std::mem::replace(current, window) != window);
        true
    }

    /// The terminal's size, and when it changes.
    pub(crate) fn watch_window(&self) -> watch::Receiver<WindowSize> {
        self.window.subscribe()
    }

    /// Notes that somebody uses the shell.
    pub(crate) fn note_use(&self) {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When somebody last used it.
    pub(crate) fn last_use(&self) -> Instant {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients are attached.
    pub(crate) fn attached(&self) -> u32 {
        self.attached.load(Ordering::Relaxed)
    }

    /// Attaches a client.
    pub(crate) fn attach(self: &Arc<Self>) -> Attachment {
        self.attached.fetch_add(1, Ordering::Relaxed);
        self.note_use();
        let number = self.last_client.fetch_add(1, Ordering::Relaxed) + 1;
        self.speaker.store(number, Ordering::Relaxed);
        Attachment { shell: Arc::clone(self), number }
    }

    /// How often a client's terminal has answered a question.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Asks for the end of the shell.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Tells when somebody asks for the end.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Notes the end.
    pub(crate) fn end(&self, exit: ProcessExit) {
        let terminal = self.terminal_slot().take();
        drop(terminal);
        self.log.end(exit);
    }
}

impl Attachment {
    /// Notes what the client types; tells whether it is to be passed on. Of several terminals that answer the same
    /// question one is enough.
    pub(crate) fn note_typed(&self, typed: &[u8]) -> bool {
        if question::is_answer(typed) {
            let is_speaker = self.shell.speaker.load(Ordering::Relaxed) == self.number;
            self.shell.answers.fetch_add(u64::from(is_speaker), Ordering::Relaxed);
            return is_speaker;
        }
        self.shell.speaker.store(self.number, Ordering::Relaxed);
        self.shell.note_use();
        true
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.shell.attached.fetch_sub(1, Ordering::Relaxed);
    }
}
