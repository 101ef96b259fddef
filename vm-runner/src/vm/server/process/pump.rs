//! The task of one started process: copies its output into the log, and sees to its end.
//!
//! ```text
//!            streams ──▶ log                   drain, log.end
//!  running ──────────────────── process ended ─────────────────▶ ended
//!     └─ time is up, or nobody follows a leashed command: SIGKILL to the session
//! ```

use std::convert::Infallible;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use vm_abi::Signal;
use vm_api::{ProcessExit, VmEvent};
use vm_kernel::{ExitStatus, HostReader, ProcessHandle};

use super::log::StreamKind;
use super::started::StartedProcess;
use crate::vm::boot::Vm;
use crate::vm::server::event::throttle::Throttle;
use crate::vm::server::exec::{BACKGROUND_GRACE, code_and_signal, limit_hit, milliseconds};

/// Who copies and waits.
pub(crate) struct Pump {
    vm: Weak<Vm>,
    process: ProcessHandle,
    target: std::sync::Arc<StartedProcess>,
    stdout: Option<HostReader>,
    stderr: Option<HostReader>,
    /// Read, and not in the log yet.
    pending: Option<(StreamKind, Bytes)>,
    started: Instant,
    timeout: Duration,
    /// How long the command may run without a reader.
    leash: Option<Duration>,
    notices: Throttle,
    turn: Turn,
}

/// Why the pump stops copying.
enum Stop {
    Ended(ExitStatus),
    TimedOut,
    Abandoned,
}

impl Pump {
    pub(crate) fn new(
        vm: Weak<Vm>,
        mut process: ProcessHandle,
        target: std::sync::Arc<StartedProcess>,
        timeout: Duration,
        leash: Option<Duration>,
    ) -> Self {
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let started = Instant::now();
        let (pending, notices, turn) = (None, Throttle::default(), Turn::default());
        Self { vm, process, target, stdout, stderr, pending, started, timeout, leash, notices, turn }
    }

    /// Runs until the process has ended and its output is kept.
    pub(crate) async fn run(mut self) {
        let deadline = self.started + self.timeout;
        let stop = {
            let target = std::sync::Arc::clone(&self.target);
            let Self { process, stdout, stderr, pending, notices, vm, leash, turn, .. } = &mut self;
            let mut copy = Copy { target: &target, stdout, stderr, pending, notices, vm, turn };
            tokio::select! {
                status = process.wait() => Stop::Ended(status),
                () = tokio::time::sleep_until(deadline) => Stop::TimedOut,
                () = abandoned(&target, *leash) => Stop::Abandoned,
                never = copy.run() => match never {},
            }
        };
        let timed_out = matches!(stop, Stop::TimedOut);
        let status = match stop {
            Stop::Ended(status) => status,
            Stop::TimedOut | Stop::Abandoned => {
                if let Some(vm) = self.vm.upgrade() {
                    // Nobody may be left in it.
                    let _ = vm.kernel().kill_session(self.process.session(), Signal::SIGKILL);
                }
                self.process.wait().await
            }
        };
        let duration = self.started.elapsed();
        self.drain().await;
        let (exit_code, signal) = code_and_signal(status);
        let duration_ms = Some(milliseconds(duration));
        let limit = if timed_out { None } else { limit_hit(&self.process, status) };
        let limit = limit.map(str::to_owned);
        self.finish(ProcessExit { exit_code, signal, timed_out, limit, duration_ms });
    }

    /// Takes what is on its way. Something in the background may hold the streams for long, and write without end.
    async fn drain(&mut self) {
        let Some(most) = self.vm.upgrade().map(|vm| vm.kernel().limits().pipe_capacity_bytes) else { return };
        let target = std::sync::Arc::clone(&self.target);
        let Self { stdout, stderr, pending, notices, vm, turn, .. } = self;
        let mut copy = Copy { target: &target, stdout, stderr, pending, notices, vm, turn };
        // More than this was not in the pipes when the process ended.
        let mut left = most.saturating_mul(2);
        loop {
            copy.flush().await;
            let chunk = tokio::time::timeout(BACKGROUND_GRACE, copy.read()).await;
            let Ok(Some((stream, bytes))) = chunk else { return };
            left = left.saturating_sub(bytes.len());
            *copy.pending = Some((stream, bytes));
            if left == 0 {
                return copy.flush().await;
            }
        }
    }

    fn finish(mut self, exit: ProcessExit) {
        let pid = self.target.pid;
        let Some(vm) = self.vm.upgrade() else { return self.target.end(exit, Duration::ZERO) };
        let cpu_time = self.process.cpu_time(vm.kernel());
        for reader in [self.stdout.take(), self.stderr.take()].into_iter().flatten() {
            vm.discard(reader);
        }
        if self.notices.take_owed() {
            let seq = self.target.log.state().end;
            vm.events().append(&VmEvent::ProcessOutput { pid: pid.raw(), seq });
        }
        vm.events().append(&VmEvent::ProcessExit { pid: pid.raw(), exit: exit.clone() });
        // Who waits for the end finds the event there.
        self.target.end(exit, cpu_time);
        vm.processes().note_ended(pid);
    }
}

/// Waits until nobody has followed the output for as long as the leash; for ever without one.
async fn abandoned(target: &StartedProcess, leash: Option<Duration>) {
    let Some(leash) = leash else { return std::future::pending().await };
    let mut readers = target.log.watch_readers();
    loop {
        // The log keeps the sender.
        if readers.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(leash, readers.wait_for(|count| *count > 0)).await.is_err() {
            return;
        }
    }
}

/// Copies both streams.
struct Copy<'a> {
    target: &'a StartedProcess,
    stdout: &'a mut Option<HostReader>,
    stderr: &'a mut Option<HostReader>,
    pending: &'a mut Option<(StreamKind, Bytes)>,
    notices: &'a mut Throttle,
    vm: &'a Weak<Vm>,
    turn: &'a mut Turn,
}

/// Whose turn it is when both streams have something. Usually a program has written to the one it wrote to before, and
/// then to the other; but neither may keep the other waiting.
#[derive(Clone, Copy, Debug)]
struct Turn {
    stream: StreamKind,
    /// How often it may go on.
    left: u8,
}

/// How often one stream goes before the other.
const MAX_TURNS: u8 = 16;

impl Default for Turn {
    fn default() -> Self {
        Self { stream: StreamKind::Stdout, left: MAX_TURNS }
    }
}

impl Turn {
    fn note(&mut self, stream: StreamKind) {
        self.left = if stream == self.stream { self.left.saturating_sub(1) } else { MAX_TURNS };
        self.stream = stream;
        if self.left == 0 {
            self.stream = match stream {
                StreamKind::Stdout => StreamKind::Stderr,
                StreamKind::Stderr => StreamKind::Stdout,
            };
            self.left = MAX_TURNS;
        }
    }
}

impl Copy<'_> {
    /// Copies for ever. Cancelling loses nothing.
    async fn run(&mut self) -> Infallible {
        loop {
            self.flush().await;
            tokio::select! {
                chunk = read(self.stdout, self.stderr, self.turn) => match chunk {
                    Some(chunk) => *self.pending = Some(chunk),
                    // The owner waits for the end of the process.
                    None => break,
                },
                () = self.notices.wait_due() => self.tell(),
            }
        }
        loop {
            self.notices.wait_due().await;
            self.tell();
        }
    }

    async fn read(&mut self) -> Option<(StreamKind, Bytes)> {
        read(self.stdout, self.stderr, self.turn).await
    }

    /// Puts into the log what is read already.
    async fn flush(&mut self) {
        let Some((stream, bytes)) = self.pending.as_mut() else { return };
        let vm = self.vm;
        let make_room = || vm.upgrade().is_some_and(|vm| vm.processes().forget_oldest());
        self.target.log.push(*stream, bytes, make_room).await;
        *self.pending = None;
        self.notices.note();
        self.tell();
    }

    fn tell(&mut self) {
        if self.notices.take_due()
            && let Some(vm) = self.vm.upgrade()
        {
            let seq = self.target.log.state().end;
            vm.events().append(&VmEvent::ProcessOutput { pid: self.target.pid.raw(), seq });
        }
    }
}

/// The next bytes of either stream; `None` when both have ended. Cancelling loses nothing.
async fn read(
    stdout: &mut Option<HostReader>,
    stderr: &mut Option<HostReader>,
    turn: &mut Turn,
) -> Option<(StreamKind, Bytes)> {
    loop {
        let is_errors_turn = turn.stream == StreamKind::Stderr;
        let (stream, chunk) = if is_errors_turn {
            tokio::select! {
                biased;
                chunk = next(stderr), if stderr.is_some() => (StreamKind::Stderr, chunk),
                chunk = next(stdout), if stdout.is_some() => (StreamKind::Stdout, chunk),
                else => return None,
            }
        } else {
            tokio::select! {
                biased;
                chunk = next(stdout), if stdout.is_some() => (StreamKind::Stdout, chunk),
                chunk = next(stderr), if stderr.is_some() => (StreamKind::Stderr, chunk),
                else => return None,
            }
        };
        match (chunk, stream) {
            (Some(bytes), stream) => {
                turn.note(stream);
                return Some((stream, bytes));
            }
            (None, StreamKind::Stdout) => *stdout = None,
            (None, StreamKind::Stderr) => *stderr = None,
        }
    }
}

async fn next(reader: &mut Option<HostReader>) -> Option<Bytes> {
    match reader {
        Some(reader) => reader.read().await,
        None => None,
    }
}
