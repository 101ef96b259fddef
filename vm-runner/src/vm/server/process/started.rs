//! A process that the API has started on its own: what is kept of it, and its standard input.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use vm_abi::Errno;
use vm_api::{Problem, ProblemCode, ProcessExit};
use vm_kernel::{HostWriter, Pid};

use super::log::Log;
use crate::vm::buffers::Held;

/// A process that the API has started.
#[derive(Debug)]
pub(crate) struct StartedProcess {
    pub(crate) pid: Pid,
    pub(crate) argv: Vec<String>,
    pub(crate) started_at: jiff::Timestamp,
    pub(crate) log: Arc<Log>,
    /// CPU time that it had used when it ended, in nanoseconds.
    cpu_nanos: AtomicU64,
    /// Guarded by itself; a leaf in the lock order.
    stdin: Mutex<Stdin>,
    /// The share of memory of the request that started it: its standard input is in there. Guarded by itself; a leaf.
    request: Mutex<Option<Held>>,
}

/// The host's end of a standard input.
#[derive(Default)]
enum Stdin {
    /// Nobody can write to it.
    #[default]
    Closed,
    /// A request is writing to it.
    InUse,
    /// Whoever comes may write to it.
    Open(HostWriter),
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::InUse => "InUse",
            Self::Open(_) => "Open",
        })
    }
}

/// A standard input that is being written to. Dropping it lets others write.
pub(crate) struct StdinWriter {
    process: Arc<StartedProcess>,
    writer: Option<HostWriter>,
}

impl StartedProcess {
    pub(crate) fn new(
        pid: Pid,
        argv: Vec<String>,
        log: Arc<Log>,
        stdin: Option<HostWriter>,
        request: Option<Held>,
    ) -> Self {
        Self {
            pid,
            argv,
            started_at: jiff::Timestamp::now(),
            log,
            cpu_nanos: AtomicU64::new(0),
            stdin: Mutex::new(stdin.map_or(Stdin::Closed, Stdin::Open)),
            request: Mutex::new(request),
        }
    }

    fn stdin(&self) -> MutexGuard<'_, Stdin> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CPU time that it used; zero before its end.
    pub(crate) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    /// Notes the end of the process, which used so much CPU time.
    pub(crate) fn end(&self, exit: ProcessExit, cpu_time: Duration) {
        let nanos = u64::try_from(cpu_time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.store(nanos, Ordering::Relaxed);
        let stdin = std::mem::take(&mut *self.stdin());
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop((stdin, request));
        self.log.end(exit);
    }

    /// Takes the standard input to write to it.
    pub(crate) fn take_stdin(self: &Arc<Self>) -> Result<StdinWriter, Problem> {
        let mut stdin = self.stdin();
        match std::mem::replace(&mut *stdin, Stdin::InUse) {
            Stdin::Open(writer) => Ok(StdinWriter { process: Arc::clone(self), writer: Some(writer) }),
            Stdin::InUse => {
                let detail =
                    format!("another request is writing to the standard input of process {}", self.pid);
                Err(Problem::new(ProblemCode::StdinBusy, detail))
            }
            Stdin::Closed => {
                *stdin = Stdin::Closed;
                let detail =
                    format!("the standard input of process {} is closed, or was never a pipe", self.pid);
                Err(Problem::new(ProblemCode::StdinClosed, detail))
            }
        }
    }
}

impl StdinWriter {
    /// Writes, waiting for the process to make room.
    ///
    /// # Errors
    /// `EPIPE` if nobody reads any more.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Errno> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes).await,
            None => Err(Errno::EPIPE),
        }
    }

    /// The process sees the end of its input once it has read what is there.
    pub(crate) fn close(mut self) {
        self.writer = None;
    }
}

impl Drop for StdinWriter {
    fn drop(&mut self) {
        let mut stdin = self.process.stdin();
        // The process may have ended meanwhile.
        if matches!(*stdin, Stdin::InUse) {
            *stdin = self.writer.take().map_or(Stdin::Closed, Stdin::Open);
        }
    }
}
