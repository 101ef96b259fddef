//! One run, from its beginning to its end.
//!
//! The command is a streamed one of the VM (`boot_request::RUN`), whose stream the supervisor follows: a long silence is no
//! problem, and what it wrote last is known even when it does not end well. Output is never kept but for its end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use vm_api::{
    ExecRequest, ExecResponse, KillRequest, OutputMessage, Problem, ProblemCode, ProcessExit, Run, RunEnd,
    SignalName, route, sse,
};

use super::tail::last_of;
use super::{Active, Recorded, Runs};
use crate::boot_request;
use crate::http::Body;
use crate::supervisor::client::{self, VmClient};
use crate::supervisor::forward;
use crate::supervisor::journal::{Begun, Error};
use crate::supervisor::uid::Uid;
use crate::supervisor::workspace::{Purpose, Stopped, Workspace};

/// How often a command is sent again to a VM that was about to stop when it came.
const MAX_ATTEMPTS: usize = 5;
/// What a VM gets beyond a run's own time before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a VM may take for a question about a process.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a problem that a vm process may answer with.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A run that is to be conducted.
pub(super) struct Conduct {
    pub(super) runs: Arc<Runs>,
    pub(super) workspace: Workspace,
    pub(super) uid: Uid,
    pub(super) epoch: u64,
    pub(super) active: Arc<Active>,
    pub(super) exec: ExecRequest,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    end: RunEnd,
    exit_code: Option<u8>,
    /// Why it could not be begun.
    reason: Option<String>,
}

impl End {
    fn new(end: RunEnd) -> Self {
        Self { end, exit_code: None, reason: None }
    }

    fn not_started(problem: Problem) -> Self {
        let reason = Some(problem.detail);
        Self { reason, ..Self::new(RunEnd::NotStarted) }
    }
}

/// Remembers a run, runs it, and remembers its end.
pub(super) async fn conduct(order: Conduct) {
    let Conduct { runs, workspace, uid, epoch, active, exec } = order;
    let recorded = match runs.fleet.journal.begin_run(&uid, epoch, active.run()).await {
        Ok(Begun::New) => Recorded::Yes,
        Ok(Begun::Known(run)) => Recorded::Before(run),
        Err(error) => Recorded::Never(error.into()),
    };
    let begins = matches!(recorded, Recorded::Yes);
    active.recorded.send_replace(recorded);
    if !begins {
        return runs.leave(&uid, &active.name);
    }
    runs.announce(&uid, active.run());
    tracing::info!(workspace = %uid, run = active.name, "run began");
    let end = perform(&runs, &workspace, &uid, &active, exec).await;
    let run = ended(&active, end);
    tracing::info!(workspace = %uid, run = active.name, end = ?run.end, exit_code = run.exit_code, "run ended");
    // It may have been bound anew meanwhile.
    let epoch = workspace.state().epoch;
    match runs.fleet.journal.end_run(&uid, epoch, run.clone()).await {
        // Without a folder it was deleted meanwhile.
        Ok(()) | Err(Error::NoFolder) => {}
        Err(error) => {
            tracing::error!(workspace = %uid, run = active.name, %error, "the end of a run could not be remembered");
        }
    }
    runs.leave(&uid, &active.name);
    runs.announce(&uid, run);
}

fn ended(active: &Active, end: End) -> Run {
    let End { end, exit_code, reason } = end;
    let run = active.run();
    Run {
        finished_at: Some(jiff::Timestamp::now().to_string()),
        end: Some(end),
        exit_code,
        output_tail: reason.map_or(run.output_tail, |reason| last_of(&reason).to_owned()),
        ..run
    }
}

async fn perform(runs: &Runs, workspace: &Workspace, uid: &Uid, active: &Active, exec: ExecRequest) -> End {
    // It keeps the workspace awake, and is no request.
    let _visit = workspace.enter_run();
    // Without one the VM has its own.
    let timeout = exec.timeout.map_or(Duration::MAX, |timeout| timeout.0);
    // A request that was read can be written again.
    let body = serde_json::to_vec(&exec).unwrap_or_default();
    drop(exec);
    let begun = tokio::select! {
        biased;
        () = active.stop.cancelled() => return End::new(RunEnd::Stopped),
        () = runs.stop.cancelled() => return End::new(RunEnd::Lost),
        begun = begin(workspace, &body) => begun,
    };
    let (vm, stream) = match begun {
        Ok(begun) => begun,
        Err(end) => return end,
    };
    let follower = Follower { uid, active, vm: &vm, grace: runs.fleet.stop_grace, pid: OnceLock::new() };
    let exit = match tokio::time::timeout(timeout.saturating_add(PATIENCE), follower.follow(stream)).await {
        Ok(exit) => exit,
        Err(_) => {
            tracing::warn!(workspace = %uid, run = active.name, "a VM did not end a run when its time was up");
            return End::new(RunEnd::TimedOut);
        }
    };
    let exit_code = exit.as_ref().map(shell_code);
    let end = match exit {
        _ if active.stop.is_cancelled() => RunEnd::Stopped,
        Some(exit) if exit.timed_out => RunEnd::TimedOut,
        // It ended by itself, or by a signal: whose?
        Some(exit) if exit.signal.is_none() => RunEnd::Exited,
        Some(_) => interrupted(runs, workspace.is_stopped(&vm)).unwrap_or(RunEnd::Exited),
        None => interrupted(runs, workspace.wait_stopped(&vm).await).unwrap_or(RunEnd::Lost),
    };
    End { end, exit_code, reason: None }
}

/// How a run ended that something else has ended, if something has.
fn interrupted(runs: &Runs, stopped: Option<Stopped>) -> Option<RunEnd> {
    if runs.stop.is_cancelled() {
        return Some(RunEnd::Lost);
    }
    stopped.map(|stopped| match stopped {
        Stopped::ByOrder => RunEnd::Stopped,
        Stopped::ByItself => RunEnd::Lost,
    })
}

fn shell_code(exit: &ProcessExit) -> u8 {
    let ProcessExit { exit_code, signal, .. } = exit.clone();
    ExecResponse { exit_code, signal, ..ExecResponse::default() }.shell_code()
}

/// Begins the command in the workspace's VM, which is booted if need be.
async fn begin(workspace: &Workspace, body: &[u8]) -> Result<(Arc<VmClient>, Body), End> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let reached = forward::connect(workspace, Purpose::Act(Run::WAKE_CAUSE)).await;
        let (vm, channel, _) = reached.map_err(not_reached)?;
        let request = http::Request::post(boot_request::RUN)
            .body(client::full(body.to_vec()))
            .map_err(|_| End::new(RunEnd::NotStarted))?;
        let Ok(response) = channel.send(request).await else {
            // Whether it began is not known.
            return Err(End::new(RunEnd::Lost));
        };
        if response.status() == StatusCode::OK {
            return Ok((vm, response.into_body()));
        }
        let problem = problem_of(response.into_body()).await;
        if !problem.is(ProblemCode::WorkspaceStopping) || attempts >= MAX_ATTEMPTS {
            return Err(End::not_started(problem));
        }
        // It was not done; the next VM takes it.
        workspace.wait_for_another(Purpose::Act(Run::WAKE_CAUSE), &vm).await;
    }
}

fn not_reached(problem: Problem) -> End {
    match problem.known_code() {
        Some(ProblemCode::WorkspaceDeleting | ProblemCode::WorkspaceNotFound) => End::new(RunEnd::Stopped),
        _ => End::not_started(problem),
    }
}

async fn problem_of(body: Body) -> Problem {
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let problem = body.ok().and_then(|body| serde_json::from_slice::<Problem>(&body.to_bytes()).ok());
    problem.unwrap_or_else(|| {
        Problem::new(ProblemCode::Internal, "the vm process did not begin the command, and did not say why")
    })
}

/// Who follows a command's output.
struct Follower<'a> {
    uid: &'a Uid,
    active: &'a Active,
    vm: &'a Arc<VmClient>,
    grace: Duration,
    /// The command, once it is known.
    pid: OnceLock<i32>,
}

impl Follower<'_> {
    /// Follows the stream to its end, which comes soon when the run is stopped. `None` if it broke off.
    async fn follow(&self, stream: Body) -> Option<ProcessExit> {
        let mut reading = std::pin::pin!(self.read(stream));
        tokio::select! {
            exit = reading.as_mut() => return exit,
            () = self.active.stop.cancelled() => {}
        }
        for signal in ["SIGTERM", "SIGKILL"] {
            self.kill(signal).await;
            if let Ok(exit) = tokio::time::timeout(self.grace, reading.as_mut()).await {
                return exit;
            }
        }
        // What is left of it is killed as nobody follows it any more.
        None
    }

    async fn read(&self, mut stream: Body) -> Option<ProcessExit> {
        let mut decoder = sse::Decoder::default();
        loop {
            let Ok(chunk) = stream.frame().await?.ok()?.into_data() else { continue };
            for message in decoder.push(&chunk).ok()? {
                match serde_json::from_str::<OutputMessage>(&message.data).ok()? {
                    OutputMessage::Started { pid } => {
                        self.pid.get_or_init(|| pid);
                    }
                    OutputMessage::Stdout(data) | OutputMessage::Stderr(data) => {
                        self.active.tail().push(data.as_bytes());
                    }
                    OutputMessage::Lost { .. } => {}
                    OutputMessage::Exited(exit) => return Some(exit),
                }
            }
        }
    }

    /// Sends a signal to the command and what it runs in the foreground. It may have ended.
    async fn kill(&self, signal: &str) {
        let Some(pid) = self.pid.get() else { return };
        let path = route::Workspace::at_runner(self.uid.as_str()).process(*pid, "kill");
        let request = KillRequest { signal: Some(SignalName::Name(signal.to_owned())), group: true };
        // Strings only: cannot fail.
        let body = serde_json::to_vec(&request).unwrap_or_default();
        let Ok(request) = http::Request::post(path).body(client::full(body)) else { return };
        let sent = async { self.vm.connect().await?.send(request).await };
        if let Ok(Err(error)) = tokio::time::timeout(ASK_TIMEOUT, sent).await {
            tracing::debug!(workspace = %self.uid, run = self.active.name, %error, "a signal did not arrive");
        }
    }
}
