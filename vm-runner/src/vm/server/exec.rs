//! `POST exec`: a command, run to its end.
//!
//! Environment, later ones win: the system's defaults, what packages provide, `spec.env`, the request's `env`. A
//! command is a session of its own; when its time is up, or its client goes away, all of the session is killed. What a
//! command leaves running in the background goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::StatusCode;
use http::header::HeaderValue;
use vm_abi::{Access, Errno, Signal};
use vm_api::exec::{DEFAULT_OUTPUT_LIMIT_BYTES, MAX_OUTPUT_LIMIT_BYTES};
use vm_api::{Base64, ExecRequest, ExecResponse, Problem, ProblemCode, header};
use vm_kernel::{Command, ExitStatus, HostReader, Kernel, ProcessHandle, Sid, Stdio};

use super::errno::shown;
use crate::http::{self as web, Request, Response};
use crate::validate::check_env;
use crate::vm::boot::{User, Vm};
use crate::vm::etc;

/// Largest request; its stdin is part of it.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// How long the rest of a command's output is waited for when something in the background still holds it.
const BACKGROUND_GRACE: Duration = Duration::from_millis(50);

/// Answers one request.
pub(crate) async fn exec(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let request: ExecRequest = request.read_json(MAX_REQUEST_BYTES).await?;
    let order = Order::parse(vm, request)?;
    let started = Instant::now();
    let (timeout, output_limit) = (order.timeout, order.output_limit);
    let mut running = order.spawn(vm)?;
    let mut response = running.finish(vm, timeout, output_limit).await;
    // To the microsecond.
    let duration = (started.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0;
    response.duration_ms = duration;
    let mut response = web::json(StatusCode::OK, &response);
    if let Ok(value) = HeaderValue::try_from(format!("run;dur={duration:.3}")) {
        response.headers_mut().insert(header::SERVER_TIMING, value);
    }
    Ok(response)
}

/// A request that makes sense.
struct Order {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    cwd: String,
    user: User,
    stdin: Stdio,
    timeout: Duration,
    output_limit: usize,
}

impl Order {
    fn parse(vm: &Vm, request: ExecRequest) -> Result<Self, Problem> {
        let ExecRequest { command, argv, env, cwd, user, stdin, stdin_base64, timeout, output_limit } =
            request;
        let argv = parse_argv(command, argv)?;
        check_env(&env, "env")?;
        let user = vm.user(user.as_deref())?;
        let cwd = parse_cwd(cwd, &user)?;
        let stdin = match (stdin, stdin_base64) {
            (Some(_), Some(_)) => return Err(invalid("stdin", "give either stdin or stdinBase64, not both")),
            (Some(text), None) => Stdio::Bytes(Bytes::from(text)),
            (None, Some(Base64(bytes))) => Stdio::Bytes(Bytes::from(bytes)),
            (None, None) => Stdio::Null,
        };
        let settings = vm.settings();
        let most = settings.command_timeout;
        let timeout = match timeout {
            None => most,
            Some(timeout) if timeout.0 <= most && !timeout.0.is_zero() => timeout.0,
            Some(timeout) => {
                let detail = format!(
                    "timeout is {timeout}; it must be more than 0 and at most {most:?}, which is spec.limits.commandTimeout"
                );
                return Err(invalid("timeout", detail).with_limit("spec.limits.commandTimeout"));
            }
        };
        let mut merged = settings.env.clone();
        merged.extend(env.into_iter().map(|var| (var.name, var.value)));
        Ok(Self {
            argv,
            env: merged,
            cwd,
            user,
            stdin,
            timeout,
            output_limit: parse_output_limit(output_limit)?,
        })
    }

    fn spawn(self, vm: &Arc<Vm>) -> Result<Running, Problem> {
        let Self { argv, env, cwd, user, stdin, timeout: _, output_limit: _ } = self;
        check_cwd(vm, &user, &cwd)?;
        let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or(etc::PATH, |(_, path)| path);
        let path = path.to_owned();
        let name = argv.first().cloned().unwrap_or_default();
        let mut command = Command::new(name.clone().into_bytes())
            .args(argv.into_iter().skip(1).map(String::into_bytes))
            .cwd(cwd.into_bytes())
            .credentials(user.credentials)
            .stdin(stdin)
            .stdout(Stdio::Piped)
            .stderr(Stdio::Piped);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let mut process =
            vm.kernel().spawn(command).map_err(|errno| spawn_problem(errno, &name, &path, vm))?;
        let stdout = Output::new(process.stdout.take());
        let stderr = Output::new(process.stderr.take());
        let guard = SessionGuard { kernel: vm.kernel().clone(), session: Some(process.session()) };
        Ok(Running { process, stdout, stderr, guard })
    }
}

fn parse_argv(command: Option<String>, argv: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let argv = match (command, argv) {
        (Some(command), None) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
        (None, Some(argv)) if argv.first().is_some_and(|name| !name.is_empty()) => argv,
        (None, Some(_)) => return Err(invalid("argv", "argv needs at least the name of a program")),
        (Some(_), Some(_)) => return Err(invalid("argv", "give either command or argv, not both")),
        (None, None) => return Err(invalid("command", "give a command (run by /bin/sh -c) or an argv")),
    };
    match argv.iter().position(|argument| argument.contains('\0')) {
        Some(index) => Err(invalid("argv", format!("argument {index} contains NUL"))),
        None => Ok(argv),
    }
}

fn parse_cwd(cwd: Option<String>, user: &User) -> Result<String, Problem> {
    let cwd = match cwd {
        None => return Ok(user.home.clone()),
        Some(cwd) if cwd.starts_with('/') => cwd,
        Some(cwd) => format!("{}/{cwd}", user.home.trim_end_matches('/')),
    };
    if cwd.contains('\0') {
        return Err(Problem::new(ProblemCode::InvalidPath, "cwd contains NUL").with_field("cwd"));
    }
    Ok(cwd)
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

/// A working directory that cannot be entered must not look like a command that does not exist.
fn check_cwd(vm: &Vm, user: &User, cwd: &str) -> Result<(), Problem> {
    let result = vm.walk(&user.credentials, |walk| {
        let location = walk.resolve(cwd.as_bytes())?;
        if !location.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        location.check_access(&user.credentials, Access::EXECUTE)
    });
    result.map_err(|error| {
        let errno = error.errno();
        Problem::new(ProblemCode::InvalidCwd, format!("cwd {}: {}", shown(cwd.as_bytes()), errno.message()))
            .with_errno(errno.name())
            .with_field("cwd")
    })
}

fn spawn_problem(errno: Errno, name: &str, path: &str, vm: &Vm) -> Problem {
    let shown = shown(name.as_bytes());
    let problem = match errno {
        Errno::ENOENT if name.contains('/') => {
            Problem::new(ProblemCode::CommandNotFound, format!("there is no program {shown}"))
        }
        Errno::ENOENT => Problem::new(
            ProblemCode::CommandNotFound,
            format!("there is no command {shown:?} in PATH={path}; does spec.software bring it?"),
        ),
        Errno::EACCES | Errno::ENOEXEC | Errno::EISDIR | Errno::ENOTDIR => Problem::new(
            ProblemCode::CommandNotExecutable,
            format!("{shown} cannot be run: {}", errno.message()),
        ),
        Errno::EAGAIN => {
            let most = vm.kernel().limits().max_processes;
            let detail = format!(
                "{most} processes run, the most of this workspace; end some or raise spec.limits.processes"
            );
            Problem::new(ProblemCode::LimitProcesses, detail).with_limit("spec.limits.processes")
        }
        Errno::ENOMEM => Problem::new(ProblemCode::LimitMemory, "no memory left for another program")
            .with_limit("spec.limits.memory"),
        Errno::E2BIG => {
            Problem::new(ProblemCode::LimitArguments, "arguments and environment are too long together")
        }
        Errno::ENFILE | Errno::EMFILE => {
            Problem::new(ProblemCode::LimitOpenFiles, "no room for another open file")
                .with_limit("spec.limits.openFiles")
        }
        other => Problem::new(
            ProblemCode::CommandNotExecutable,
            format!("{shown} cannot be run: {}", other.message()),
        ),
    };
    problem.with_errno(errno.name())
}

fn invalid(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::InvalidRequest, detail).with_field(field)
}

/// A command that runs.
struct Running {
    process: ProcessHandle,
    stdout: Output,
    stderr: Output,
    guard: SessionGuard,
}

impl Running {
    async fn finish(&mut self, vm: &Vm, timeout: Duration, limit: usize) -> ExecResponse {
        self.stdout.limit = limit;
        self.stderr.limit = limit;
        let ended = tokio::time::timeout(timeout, self.run()).await.ok();
        let timed_out = ended.is_none();
        let status = match ended {
            Some(status) => status,
            None => {
                self.guard.kill();
                let status = self.process.wait().await;
                self.stdout.take_available();
                self.stderr.take_available();
                status
            }
        };
        self.guard.release();
        for output in [&mut self.stdout, &mut self.stderr] {
            if let Some(reader) = output.reader.take() {
                vm.discard(reader);
            }
        }
        let (exit_code, signal) = match status {
            ExitStatus::Exited(code) => (Some(code), None),
            ExitStatus::Signaled(signal) => (None, Some(signal.name().into_owned())),
        };
        let (stdout, stdout_base64) = text_or_bytes(self.stdout.bytes.split().freeze());
        let (stderr, stderr_base64) = text_or_bytes(self.stderr.bytes.split().freeze());
        ExecResponse {
            exit_code,
            signal,
            stdout,
            stdout_base64,
            stderr,
            stderr_base64,
            stdout_truncated: self.stdout.is_truncated,
            stderr_truncated: self.stderr.is_truncated,
            timed_out,
            duration_ms: 0.0,
        }
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
        // Something in the background may hold the streams for long; what is on its way arrives at once.
        let rest = async { tokio::join!(stdout.read_to_end(), stderr.read_to_end()) };
        let _ = tokio::time::timeout(BACKGROUND_GRACE, rest).await;
        status
    }
}

/// What a command writes to one stream.
struct Output {
    reader: Option<HostReader>,
    bytes: BytesMut,
    limit: usize,
    is_truncated: bool,
}

impl Output {
    fn new(reader: Option<HostReader>) -> Self {
        Self { reader, bytes: BytesMut::new(), limit: usize::MAX, is_truncated: false }
    }

    async fn read_to_end(&mut self) {
        while let Some(reader) = &mut self.reader {
            match reader.read().await {
                Some(chunk) => self.keep(&chunk),
                None => self.reader = None,
            }
        }
    }

    fn take_available(&mut self) {
        while let Some(reader) = &mut self.reader {
            match reader.read().now_or_never() {
                Some(Some(chunk)) => self.keep(&chunk),
                Some(None) => self.reader = None,
                None => return,
            }
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        let room = self.limit - self.bytes.len();
        let kept = chunk.len().min(room);
        self.bytes.extend_from_slice(&chunk[..kept]);
        self.is_truncated |= kept < chunk.len();
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
    use super::*;

    #[test]
    fn a_request_has_exactly_one_of_command_and_argv() {
        let argv = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse_argv(Some("x".to_owned()), None).unwrap(), ["/bin/sh", "-c", "x"]);
        assert_eq!(parse_argv(None, argv(&["ls", "-l"])).unwrap(), ["ls", "-l"]);
        for (command, argv) in [
            (None, None),
            (Some("x".to_owned()), argv(&["x"])),
            (None, argv(&[])),
            (None, argv(&[""])),
            (None, argv(&["a\0"])),
        ] {
            assert!(parse_argv(command, argv).unwrap_err().is(ProblemCode::InvalidRequest));
        }
    }

    #[test]
    fn output_beyond_the_limit_is_dropped_and_flagged() {
        let mut output = Output::new(None);
        output.limit = 5;
        output.keep(b"abc");
        assert!(!output.is_truncated);
        output.keep(b"defg");
        assert_eq!((&output.bytes[..], output.is_truncated), (&b"abcde"[..], true));
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_exactly() {
        let (text, bytes) = text_or_bytes(Bytes::from_static(b"a\xffb"));
        assert_eq!((text.as_str(), bytes), ("a\u{fffd}b", Some(Base64(b"a\xffb".to_vec()))));
        assert_eq!(text_or_bytes(Bytes::from_static(b"ok")), ("ok".to_owned(), None));
    }

    #[test]
    fn an_output_limit_above_the_most_is_refused_by_name() {
        let problem = parse_output_limit(Some(MAX_OUTPUT_LIMIT_BYTES + 1)).unwrap_err();
        assert_eq!(problem.limit.as_deref(), Some("outputLimit"));
    }
}
