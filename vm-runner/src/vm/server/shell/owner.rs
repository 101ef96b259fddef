//! The task of one shell: copies what its terminal shows into the log, and sees to its end.
//!
//! ```text
//!            terminal ──▶ log                      drain, log.end
//!  running ───────────────────── leader ended ────────────────────▶ ended
//!     └─ DELETE: SIGHUP to the session ─ grace ─ SIGKILL ─┘
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use vm_abi::Signal;
use vm_api::{ProcessExit, VmEvent};
use vm_kernel::{ExitStatus, HostTerminal, ProcessHandle};

use super::question::{Question, Scanner};
use super::started::Shell;
use crate::vm::boot::Vm;
use crate::vm::server::event::throttle::Throttle;
use crate::vm::server::exec::{BACKGROUND_GRACE, code_and_signal, milliseconds};
use crate::vm::server::process::log::StreamKind;

/// How long a shell gets to end after SIGHUP.
const HANG_UP_GRACE: Duration = Duration::from_secs(2);
/// How long a client that is attached gets to answer a question of a program. The published shell waits for 2 s.
const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// Most that is taken from the terminal once the shell has ended: more than it held then.
const MAX_REST_BYTES: usize = 256 << 10;

/// Runs until the shell has ended.
pub(crate) async fn run(vm: Weak<Vm>, process: ProcessHandle, shell: Arc<Shell>) {
    let started = Instant::now();
    let Some(terminal) = shell.terminal() else { return };
    let mut copy = Copy {
        vm: &vm,
        shell: &shell,
        terminal: &terminal,
        pending: Bytes::new(),
        notices: Throttle::default(),
        scanner: Scanner::default(),
        asked: Vec::new(),
        answer_by: None,
        answers_before: 0,
    };
    let status = {
        let mut copying = std::pin::pin!(copy.run());
        tokio::select! {
            status = process.wait() => status,
            never = copying.as_mut() => match never {},
            () = shell.closing() => tokio::select! {
                status = hang_up(&vm, &process) => status,
                never = copying.as_mut() => match never {},
            },
        }
    };
    let duration_ms = Some(milliseconds(started.elapsed()));
    copy.drain().await;
    let is_owed = copy.notices.take_owed();
    drop(terminal);
    let (exit_code, signal) = code_and_signal(status);
    let exit = ProcessExit { exit_code, signal, duration_ms, ..ProcessExit::default() };
    shell.end(exit.clone());
    let Some(vm) = vm.upgrade() else { return };
    let id = shell.id().to_owned();
    if is_owed {
        vm.events().append(&VmEvent::ShellData { id: id.clone(), seq: shell.log().state().end });
    }
    vm.events().append(&VmEvent::ShellExit { id, exit });
    vm.shells().trim_ended();
}

/// Ends all of the session, gently first.
async fn hang_up(vm: &Weak<Vm>, process: &ProcessHandle) -> ExitStatus {
    let kill = |signal| {
        if let Some(vm) = vm.upgrade() {
            // Nobody may be left in it.
            let _ = vm.kernel().kill_session(process.session(), signal);
        }
    };
    kill(Signal::SIGHUP);
    // Whoever is stopped could not act on it.
    kill(Signal::SIGCONT);
    let _ = tokio::time::timeout(HANG_UP_GRACE, process.wait()).await;
    kill(Signal::SIGKILL);
    process.wait().await
}

/// Copies from the terminal into the log.
struct Copy<'a> {
    vm: &'a Weak<Vm>,
    shell: &'a Shell,
    terminal: &'a HostTerminal,
    /// Read, and not in the log yet.
    pending: Bytes,
    notices: Throttle,
    scanner: Scanner,
    /// Questions that wait for their answers.
    asked: Vec<Question>,
    answer_by: Option<Instant>,
    /// How often clients had answered when the first of these questions was asked.
    answers_before: u64,
}

/// Most questions that wait for an answer; who asks more gets fewer.
const MAX_ASKED: usize = 16;

impl Copy<'_> {
    /// Copies for ever. Cancelling loses nothing.
    async fn run(&mut self) -> Infallible {
        let mut is_open = true;
        loop {
            self.flush().await;
            tokio::select! {
                shown = self.terminal.read(), if is_open => match shown {
                    Some(bytes) => {
                        self.note_questions(&bytes);
                        self.pending = bytes;
                    }
                    // The owner waits for the end of the shell.
                    None => is_open = false,
                },
                () = self.notices.wait_due() => self.tell(),
                () = wait_until(self.answer_by), if is_open => self.answer().await,
            }
        }
    }

    fn note_questions(&mut self, shown: &[u8]) {
        let asked = &mut self.asked;
        let was_asked = !asked.is_empty();
        self.scanner.scan(shown, |question| {
            if asked.len() < MAX_ASKED {
                asked.push(question);
            }
        });
        if !was_asked && !self.asked.is_empty() {
            let grace = if self.shell.attached() == 0 { Duration::ZERO } else { ANSWER_GRACE };
            self.answer_by = Some(Instant::now() + grace);
            self.answers_before = self.shell.answers();
        }
    }

    /// Answers in place of a client that has not.
    async fn answer(&mut self) {
        self.answer_by = None;
        let asked = std::mem::take(&mut self.asked);
        if self.shell.answers() != self.answers_before {
            return;
        }
        let window = self.terminal.window();
        let answers: Vec<u8> =
            asked.iter().filter_map(|question| question.answer(window)).flatten().collect();
        // A terminal that takes nothing has a program that does not wait for this.
        let _ = tokio::time::timeout(ANSWER_GRACE, self.terminal.write(&answers)).await;
    }

    /// Takes what the terminal still holds. Something in the background may go on writing.
    async fn drain(&mut self) {
        let mut left = MAX_REST_BYTES;
        loop {
            self.flush().await;
            let shown = tokio::time::timeout(BACKGROUND_GRACE, self.terminal.read()).await;
            let Ok(Some(bytes)) = shown else { return };
            left = left.saturating_sub(bytes.len());
            self.pending = bytes;
            if left == 0 {
                return self.flush().await;
            }
        }
    }

    async fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let vm = self.vm;
        let make_room = || vm.upgrade().is_some_and(|vm| vm.processes().forget_oldest());
        self.shell.log().push(StreamKind::Stdout, &mut self.pending, make_room).await;
        self.notices.note();
        self.tell();
    }

    fn tell(&mut self) {
        if self.notices.take_due()
            && let Some(vm) = self.vm.upgrade()
        {
            let seq = self.shell.log().state().end;
            vm.events().append(&VmEvent::ShellData { id: self.shell.id().to_owned(), seq });
        }
    }
}

async fn wait_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
