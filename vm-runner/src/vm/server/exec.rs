//! `POST exec`: a command, run to its end.
//!
//! A command is a session of its own; when its time is up, or its client goes away, all of the session is killed. What a
//! command leaves running in the background goes on. A client that accepts `text/event-stream` gets the output as it
//! comes: the command is then a process of `process.rs`, whose stream can be taken up again within a few seconds.

mod body;
pub(crate) mod order;
mod output;
mod problem;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use vm_abi::Signal;
use vm_api::exec::{DEFAULT_OUTPUT_LIMIT_BYTES, MAX_OUTPUT_LIMIT_BYTES};
use vm_api::{Base64, ExecRequest, ExecResponse, Problem, header};
use vm_kernel::{ExitStatus, Kernel, Limit, ProcessHandle, Sid, Stdio};

use self::body::HeldBody;
use self::order::{Order, Wanted, parse_timeout};
use self::output::Output;
use super::event::stream;
use super::process;
use crate::http::{self as web, Body, Request, Response};
use crate::vm::boot::Vm;
use crate::vm::buffers::Held;

pub(crate) use self::problem::invalid;

/// Largest request; its stdin is part of it.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// How long the rest of a command's output is waited for when something in the background still holds it.
pub(crate) const BACKGROUND_GRACE: Duration = Duration::from_millis(50);
/// Answers up to this are not worth counting.
const MAX_UNCOUNTED_BYTES: usize = 64 << 10;

/// Answers one request.
pub(crate) async fn exec(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let is_streamed = stream::is_wanted(request.headers());
    let mut held = vm.buffers().hold();
    let body = request.read_body_as_allowed(MAX_REQUEST_BYTES, |bytes| held.grow_to(bytes)).await?;
    let wanted: ExecRequest = web::parse_json(&body)?;
    let job = Job::parse(vm, wanted, held)?;
    if is_streamed { process::exec(vm, job) } else { job.run(vm).await }
}

/// Answers the supervisor's request for a run: always streamed, and for as long as it says.
pub(crate) async fn run(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let mut held = vm.buffers().hold();
    let body = request.read_body_as_allowed(MAX_REQUEST_BYTES, |bytes| held.grow_to(bytes)).await?;
    let mut wanted: ExecRequest = web::parse_json(&body)?;
    let timeout = wanted.timeout.take().map(|timeout| timeout.0);
    let mut job = Job::parse(vm, wanted, held)?;
    job.timeout = timeout.unwrap_or(job.timeout);
    process::exec(vm, job)
}

/// A command with what it reads and how much it may write.
pub(crate) struct Job {
    pub(crate) order: Order,
    pub(crate) stdin: Stdio,
    pub(crate) timeout: Duration,
    output_limit: usize,
    /// The request's share of memory.
    pub(crate) held: Held,
}

impl Job {
    fn parse(vm: &Vm, request: ExecRequest, held: Held) -> Result<Self, Problem> {
        let ExecRequest { command, argv, env, cwd, user, stdin, stdin_base64, timeout, output_limit } =
            request;
        let order = Order::parse(vm, Wanted { command, argv, env, cwd, user })?;
        let stdin = match (stdin, stdin_base64) {
            (Some(_), Some(_)) => return Err(invalid("stdin", "give either stdin or stdinBase64, not both")),
            (Some(text), None) => Stdio::Bytes(Bytes::from(text)),
            (None, Some(Base64(bytes))) => Stdio::Bytes(Bytes::from(bytes)),
            (None, None) => Stdio::Null,
        };
        let timeout = parse_timeout(vm, timeout)?;
        Ok(Self { order, stdin, timeout, output_limit: parse_output_limit(output_limit)?, held })
    }

    async fn run(self, vm: &Arc<Vm>) -> Result<Response, Problem> {
        let Self { order, stdin, timeout, output_limit, held: _held } = self;
        let started = Instant::now();
        let mut process =
            order.spawn(vm, |command| command.stdin(stdin).stdout(Stdio::Piped).stderr(Stdio::Piped))?;
        let output = |reader| Output::new(reader, output_limit, vm.buffers().hold());
        let running = Running {
            stdout: output(process.stdout.take()),
            stderr: output(process.stderr.take()),
            guard: SessionGuard { kernel: vm.kernel().clone(), session: Some(process.session()) },
            process,
        };
        let (response, held) = running.finish(vm, timeout, started).await;
        Ok(answer(&response, held))
    }
}

fn answer(response: &ExecResponse, held: [Held; 2]) -> Response {
    let mut answer = if response.stdout.len() + response.stderr.len() <= MAX_UNCOUNTED_BYTES {
        web::json(StatusCode::OK, response)
    } else {
        // Strings and numbers only: cannot fail.
        let bytes = serde_json::to_vec(response).map(Bytes::from).unwrap_or_default();
        let empty = web::with_type(StatusCode::OK, "application/json", Bytes::new());
        empty.map(|_| Body::new(HeldBody { bytes, _held: held }))
    };
    if let Ok(value) = HeaderValue::try_from(format!("run;dur={:.3}", response.duration_ms)) {
        answer.headers_mut().insert(header::SERVER_TIMING, value);
    }
    answer
}

fn parse_output_limit(limit: Option<u64>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(DEFAULT_OUTPUT_LIMIT_BYTES);
    if limit > MAX_OUTPUT_LIMIT_BYTES {
        let detail = format!(
            "outputLimit is {limit}; the most is {MAX_OUTPUT_LIMIT_BYTES}: write longer output to a file"
        );
        return Err(invalid("outputLimit", detail).with_limit("outputLimit"));
    }
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Milliseconds, to the microsecond.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Exit code or name of the signal, as the API tells it.
pub(crate) fn code_and_signal(status: ExitStatus) -> (Option<u8>, Option<String>) {
    match status {
        ExitStatus::Exited(code) => (Some(code), None),
        ExitStatus::Signaled(signal) => (None, Some(signal.name().into_owned())),
    }
}

/// The limit of the specification that a command ran into, if it failed. Whether it failed because of that, nobody knows but
/// itself; but whoever looks for the reason looks there first.
pub(crate) fn limit_hit(process: &ProcessHandle, status: ExitStatus) -> Option<&'static str> {
    const LIMITS: [(Limit, &str); 6] = [
        (Limit::Memory, "spec.limits.memory"),
        (Limit::Processes, "spec.limits.processes"),
        (Limit::Fds, "spec.limits.openFiles"),
        (Limit::OpenFiles, "spec.limits.openFiles"),
        (Limit::Pipes, "spec.limits.openFiles"),
        (Limit::Sockets, "spec.limits.sockets"),
    ];
    if status == ExitStatus::Exited(0) {
        return None;
    }
    LIMITS.into_iter().find(|(limit, _)| process.has_hit(*limit)).map(|(_, path)| path)
}

/// A command that runs.
struct Running {
    process: ProcessHandle,
    stdout: Output,
    stderr: Output,
    guard: SessionGuard,
}

impl Running {
    async fn finish(mut self, vm: &Vm, timeout: Duration, started: Instant) -> (ExecResponse, [Held; 2]) {
        let ended = tokio::time::timeout(timeout, self.run()).await.ok();
        let timed_out = ended.is_none();
        let status = match ended {
            Some(status) => status,
            None => {
                self.guard.kill();
                let status = self.process.wait().await;
                self.read_rest().await;
                status
            }
        };
        self.guard.release();
        let hit = if timed_out { None } else { limit_hit(&self.process, status) };
        let Self { process: _, mut stdout, mut stderr, guard: _guard } = self;
        for output in [&mut stdout, &mut stderr] {
            if let Some(reader) = output.reader.take() {
                vm.discard(reader);
            }
        }
        let duration_ms = milliseconds(started.elapsed());
        let (exit_code, signal) = code_and_signal(status);
        let (stdout_text, stdout_base64) = text_or_bytes(stdout.take());
        let (stderr_text, stderr_base64) = text_or_bytes(stderr.take());
        let response = ExecResponse {
            exit_code,
            signal,
            stdout: stdout_text,
            stdout_base64,
            stderr: stderr_text,
            stderr_base64,
            stdout_truncated: stdout.cut_by().is_some(),
            stderr_truncated: stderr.cut_by().is_some(),
            limit: stdout.cut_by().or(stderr.cut_by()).or(hit).map(str::to_owned),
            timed_out,
            duration_ms,
        };
        (response, [stdout.into_held(), stderr.into_held()])
    }

    /// Reads everything until the command has ended. May be cancelled: nothing that was read is lost.
    async fn run(&mut self) -> ExitStatus {
        let Self { process, stdout, stderr, guard: _ } = self;
        let status = {
            let mut output =
                std::pin::pin!(async { tokio::join!(stdout.read_to_end(), stderr.read_to_end()) });
            tokio::select! {
                biased;
                _ = output.as_mut() => None,
                status = process.wait() => Some(status),
            }
        };
        let Some(status) = status else { return process.wait().await };
        self.read_rest().await;
        status
    }

    /// Reads what is on its way when the command has ended. Something in the background may hold the streams for long.
    async fn read_rest(&mut self) {
        let Self { stdout, stderr, .. } = self;
        let rest = async { tokio::join!(stdout.read_to_end(), stderr.read_to_end()) };
        let _ = tokio::time::timeout(BACKGROUND_GRACE, rest).await;
        // What the time did not suffice for is there by now.
        self.stdout.take_available();
        self.stderr.take_available();
    }
}

/// Kills a command's session when its client goes away.
struct SessionGuard {
    kernel: Kernel,
    session: Option<Sid>,
}

impl SessionGuard {
    fn kill(&self) {
        if let Some(session) = self.session {
            // Nobody may be left in it.
            let _ = self.kernel.kill_session(session, Signal::SIGKILL);
        }
    }

    fn release(&mut self) {
        self.session = None;
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Text as it is; other bytes in both forms.
fn text_or_bytes(bytes: Bytes) -> (String, Option<Base64>) {
    match String::from_utf8(bytes.into()) {
        Ok(text) => (text, None),
        Err(error) => {
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(Base64(error.into_bytes())))
        }
    }
}

#[cfg(test)]
mod tests {
    use vm_api::ProblemCode;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_kept_exactly() {
        let (text, bytes) = text_or_bytes(Bytes::from_static(b"a\xffb"));
        assert_eq!((text.as_str(), bytes), ("a\u{fffd}b", Some(Base64(b"a\xffb".to_vec()))));
        assert_eq!(text_or_bytes(Bytes::from_static(b"ok")), ("ok".to_owned(), None));
    }

    #[test]
    fn an_output_limit_above_the_most_is_refused_by_name() {
        let problem = parse_output_limit(Some(MAX_OUTPUT_LIMIT_BYTES + 1)).unwrap_err();
        assert!(problem.is(ProblemCode::InvalidRequest));
        assert_eq!(problem.limit.as_deref(), Some("outputLimit"));
    }
}
