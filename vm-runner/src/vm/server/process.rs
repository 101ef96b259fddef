//! `processes`: commands that run on their own, with their output kept for whoever comes back for it, and a look at
//! everything else that runs in the VM.
//!
//! The kernel's table says what runs; the table here adds what the API has started: its output, its standard input, and
//! how it ended. Such a process is the leader of a session of its own; when `timeout` is over (at most
//! `spec.limits.commandTimeout`), all of the session is killed. When it ends, what it has started runs on.

pub(crate) mod log;
mod message;
mod output;
mod pump;
mod started;
mod stdin;
mod strace;
mod table;
mod view;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use vm_abi::Signal;
use vm_api::area::ProcessAction;
use vm_api::process::{DEFAULT_OUTPUT_BUFFER_BYTES, MAX_OUTPUT_BUFFER_BYTES};
use vm_api::{
    KillRequest, Problem, ProblemCode, ProcessRequest, SignalName, StdinMode, VmEvent, WireDuration, route,
};
use vm_kernel::{Pid, ProcessHandle, Stdio};

use self::log::Log;
use self::pump::Pump;
use self::started::StartedProcess;
use super::exec::order::{Order, Wanted, parse_timeout};
use super::exec::{Job, invalid};
use super::query::Query;
use crate::http::{self as web, Request, Response};
use crate::task;
use crate::vm::boot::Vm;

#[expect(unused_imports, reason = "read by the activity route")]
pub(crate) use self::table::ProcessActivity;
pub(crate) use self::table::ProcessTable;

/// Largest request.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// How long a streamed command lives on when its stream was cut and nobody has taken it up again.
const LEASH: Duration = Duration::from_secs(5);
/// How long `wait` waits when the request does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// How long it waits at most.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Answers `processes`: the list, or a new one.
pub(crate) async fn processes(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    if *request.method() == Method::POST {
        return start(vm, request).await;
    }
    let query = Query::parse(request.query(), &["tree"])?;
    let list = if query.switch("tree")? { view::tree(vm) } else { view::list(vm) };
    Ok(web::json(StatusCode::OK, &list))
}

/// Answers what is about one process.
pub(crate) async fn process(
    vm: &Arc<Vm>,
    action: ProcessAction,
    area: &str,
    request: &mut Request,
) -> Result<Response, Problem> {
    let pid = parse_pid(area)?;
    match action {
        ProcessAction::Show => {
            Query::parse(request.query(), &[])?;
            Ok(web::json(StatusCode::OK, &view::one(vm, pid).ok_or_else(|| not_found(pid))?))
        }
        ProcessAction::Wait => wait(vm, pid, request).await,
        ProcessAction::Kill => kill(vm, pid, request).await,
        ProcessAction::Stdin => stdin::write(&started(vm, pid)?, request).await,
        ProcessAction::Output => output::output(&started(vm, pid)?, request),
        ProcessAction::Strace => strace::strace(vm, pid, request),
    }
}

/// Runs a command for a client that follows its output.
pub(crate) fn exec(vm: &Arc<Vm>, job: Job) -> Result<Response, Problem> {
    let Job { order, stdin, timeout, held, .. } = job;
    let argv = order.argv().to_vec();
    let process =
        order.spawn(vm, |command| command.stdin(stdin).stdout(Stdio::Piped).stderr(Stdio::Piped))?;
    let log = new_log(vm, DEFAULT_OUTPUT_BUFFER_BYTES);
    let started = Arc::new(StartedProcess::new(process.pid(), argv, log, None, Some(held)));
    // Before anybody could find the command abandoned.
    let response = output::follow(&started, None);
    supervise(vm, process, &started, timeout, Some(LEASH));
    response
}

async fn start(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let mut held = vm.buffers().hold();
    let body = request.read_body_as_allowed(MAX_REQUEST_BYTES, |bytes| held.grow_to(bytes)).await?;
    let wanted: ProcessRequest = web::parse_json(&body)?;
    let ProcessRequest { command, argv, env, cwd, user, stdin, timeout, output_buffer } = wanted;
    let order = Order::parse(vm, Wanted { command, argv, env, cwd, user })?;
    let timeout = parse_timeout(vm, timeout)?;
    let buffer = parse_output_buffer(output_buffer)?;
    let stdin = match stdin {
        StdinMode::Null => Stdio::Null,
        StdinMode::Pipe => Stdio::Piped,
    };
    let argv = order.argv().to_vec();
    let mut process =
        order.spawn(vm, |command| command.stdin(stdin).stdout(Stdio::Piped).stderr(Stdio::Piped))?;
    let pid = process.pid();
    let writer = process.stdin.take();
    let started = Arc::new(StartedProcess::new(pid, argv, new_log(vm, buffer), writer, None));
    supervise(vm, process, &started, timeout, None);
    // It may have ended by now, but is still known.
    let info = view::one(vm, pid).ok_or_else(|| not_found(pid))?;
    Ok(web::json(StatusCode::CREATED, &info))
}

fn new_log(vm: &Vm, most_bytes: u64) -> Arc<Log> {
    let most = usize::try_from(most_bytes).unwrap_or(usize::MAX);
    Arc::new(Log::new(most, vm.processes().kept_output().hold()))
}

fn supervise(
    vm: &Arc<Vm>,
    process: ProcessHandle,
    started: &Arc<StartedProcess>,
    timeout: Duration,
    leash: Option<Duration>,
) {
    vm.processes().insert(Arc::clone(started));
    vm.events().append(&VmEvent::ProcessStarted { pid: started.pid.raw(), argv: view::shown(&started.argv) });
    let pump = Pump::new(Arc::downgrade(vm), process, Arc::clone(started), timeout, leash);
    vm.processes().set_pump(started, task::spawn(pump.run()));
}

fn parse_output_buffer(bytes: Option<u64>) -> Result<u64, Problem> {
    match bytes {
        None => Ok(DEFAULT_OUTPUT_BUFFER_BYTES),
        Some(bytes) if bytes <= MAX_OUTPUT_BUFFER_BYTES => Ok(bytes),
        Some(bytes) => {
            let detail = format!(
                "outputBuffer is {bytes}; the most is {MAX_OUTPUT_BUFFER_BYTES}: write longer output to a file"
            );
            Err(invalid("outputBuffer", detail).with_limit("outputBuffer"))
        }
    }
}

fn parse_pid(area: &str) -> Result<Pid, Problem> {
    let (id, _) = route::split_item(area, route::PROCESSES).unwrap_or_default();
    id.parse().ok().and_then(Pid::new).ok_or_else(|| not_found(id))
}

fn not_found(pid: impl std::fmt::Display) -> Problem {
    let detail = format!("there is no process {pid}, or it ended long ago");
    Problem::new(ProblemCode::ProcessNotFound, detail)
}

/// A process that the API has started.
fn started(vm: &Vm, pid: Pid) -> Result<Arc<StartedProcess>, Problem> {
    vm.processes().get(pid).ok_or_else(|| match vm.kernel().process(pid) {
        Some(_) => {
            let detail = format!(
                "process {pid} was started inside the VM or by a buffered exec; only processes of POST /processes have streams"
            );
            Problem::new(ProblemCode::ProcessWithoutStreams, detail)
        }
        None => not_found(pid),
    })
}

/// Answers when the process has ended or the time is up.
async fn wait(vm: &Arc<Vm>, pid: Pid, request: &Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["timeout"])?;
    let timeout = parse_wait(query.get("timeout"))?;
    let mut info = view::one(vm, pid).ok_or_else(|| not_found(pid))?;
    if let Some(started) = vm.processes().get(pid) {
        if tokio::time::timeout(timeout, started.log.wait_end()).await.is_ok() {
            view::set_ended(&mut info, &started);
        }
    } else if let Some(process) = vm.kernel().process(pid)
        && let Ok(status) = tokio::time::timeout(timeout, process.wait()).await
    {
        view::set_status(&mut info, status, process.cpu_time(vm.kernel()));
    }
    Ok(web::json(StatusCode::OK, &info))
}

fn parse_wait(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(DEFAULT_WAIT) };
    match text.parse::<WireDuration>() {
        Ok(timeout) if timeout.0 <= MAX_WAIT => Ok(timeout.0),
        Ok(_) => {
            let detail = format!("timeout={text}: the most is {}", WireDuration(MAX_WAIT));
            Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("timeout"))
        }
        Err(error) => {
            Err(Problem::new(ProblemCode::InvalidQuery, format!("timeout={text}: {error}"))
                .with_field("timeout"))
        }
    }
}

async fn kill(vm: &Vm, pid: Pid, request: &mut Request) -> Result<Response, Problem> {
    let body = request.read_body(MAX_REQUEST_BYTES).await?;
    let KillRequest { signal, group } =
        if body.is_empty() { KillRequest::default() } else { web::parse_json(&body)? };
    let signal = parse_signal(signal)?;
    let result = if group { vm.kernel().kill_group_of(pid, signal) } else { vm.kernel().kill(pid, signal) };
    result.map_err(|errno| match vm.processes().get(pid) {
        Some(_) => Problem::new(ProblemCode::ProcessEnded, format!("process {pid} has ended"))
            .with_errno(errno.name()),
        None => not_found(pid).with_errno(errno.name()),
    })?;
    Ok(web::empty(StatusCode::NO_CONTENT))
}

fn parse_signal(signal: Option<SignalName>) -> Result<Signal, Problem> {
    let (shown, found) = match signal {
        None => return Ok(Signal::SIGTERM),
        Some(SignalName::Number(number)) => (number.to_string(), Signal::from_raw(number)),
        Some(SignalName::Name(name)) => {
            let found = Signal::from_name(&name).or_else(|| Signal::from_raw(name.parse().ok()?));
            (name.chars().take(32).collect(), found)
        }
    };
    found.ok_or_else(|| {
        invalid(
            "signal",
            format!("there is no signal {shown:?}: a name such as SIGTERM, or a number from 1 to 64"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        let name = |text: &str| parse_signal(Some(SignalName::Name(text.to_owned())));
        assert_eq!(parse_signal(None).unwrap(), Signal::SIGTERM);
        assert_eq!(name("int").unwrap(), Signal::SIGINT);
        assert_eq!(name("9").unwrap(), Signal::SIGKILL);
        assert_eq!(parse_signal(Some(SignalName::Number(1))).unwrap(), Signal::SIGHUP);
        for signal in [SignalName::Number(0), SignalName::Number(65), SignalName::Name("SIGNONE".to_owned())]
        {
            assert!(parse_signal(Some(signal)).unwrap_err().detail.contains("1 to 64"));
        }
    }

    #[test]
    fn a_number_that_is_no_pid_is_not_found() {
        assert_eq!(parse_pid("processes/7/kill").unwrap().raw(), 7);
        for area in ["processes/0", "processes/-1", "processes/x", "processes/99999999999"] {
            assert!(parse_pid(area).unwrap_err().is(ProblemCode::ProcessNotFound), "{area}");
        }
    }

    #[test]
    fn limits_of_a_request_are_named() {
        assert_eq!(parse_output_buffer(None).unwrap(), DEFAULT_OUTPUT_BUFFER_BYTES);
        let problem = parse_output_buffer(Some(MAX_OUTPUT_BUFFER_BYTES + 1)).unwrap_err();
        assert_eq!(problem.limit.as_deref(), Some("outputBuffer"));
        assert_eq!(parse_wait(Some("1s")).unwrap(), Duration::from_secs(1));
        assert!(parse_wait(Some("2h")).unwrap_err().detail.contains("1h"));
        assert!(parse_wait(Some("soon")).is_err());
    }
}
