//! Operations: `exec` and `events`.

use serde_json::json;
use vm_api::area::Area;
use vm_api::{ExecRequest, ExecResponse, LoggedEvent, OutputMessage, ProblemCode};

use super::operation::Operation;

/// Problems of whatever starts a command.
pub(super) const COMMAND_PROBLEMS: [ProblemCode; 10] = [
    ProblemCode::CommandNotFound,
    ProblemCode::CommandNotExecutable,
    ProblemCode::UserUnknown,
    ProblemCode::InvalidCwd,
    ProblemCode::InvalidPath,
    ProblemCode::InvalidEnv,
    ProblemCode::LimitProcesses,
    ProblemCode::LimitMemory,
    ProblemCode::LimitArguments,
    ProblemCode::LimitBuffers,
];

pub(super) fn operations() -> Vec<Operation> {
    let exec = Operation::of(Area::Exec, "POST", "exec", "exec", "Run a command and answer when it has ended.")
        .about("With `Accept: text/event-stream` the output comes as it is written, its first byte at once. A stream \
            that was cut can be taken up again at `processes/{pid}/output` within a few seconds; after that the command \
            is killed. When the client of a plain request goes away, the command is killed at once.")
        .header("Accept", "`text/event-stream` for output as it comes.")
        .takes::<ExecRequest>(json!({"command": "echo hi | tr a-z A-Z", "timeout": "30s"}))
        .json::<ExecResponse>(200, "The command has ended, however it did.", json!({
            "exitCode": 0, "signal": null, "stdout": "HI\n", "stderr": "", "durationMs": 1.25,
        }))
        .events::<OutputMessage>("Its output as it comes.", json!({"type": "stdout", "text": "HI\n"}))
        .problems(&COMMAND_PROBLEMS);
    let events = Operation::of(Area::Events, "GET", "events", "exec", "What happened in the workspace, and what happens.")
        .about("Kept by the runner: numbers go on over VMs and sleeps, and reading wakes nothing. A bounded number of \
            events is kept; a reader that comes too late is told how many it lost at most. Of notices that there is output, \
            only the last of each process and shell is kept.")
        .resumable()
        .events::<LoggedEvent>("Events, without end.", json!({
            "at": "2026-11-22T16:00:00Z", "type": "processExit", "pid": 7, "exitCode": 0, "signal": null,
        }))
        .problems(&[ProblemCode::InvalidQuery, ProblemCode::LimitStreams]);
    vec![exec, events]
}
