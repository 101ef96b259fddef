//! Operations: `processes`.

use serde_json::{Value, json};
use vm_api::area::{Area, ProcessAction};
use vm_api::{
    KillRequest, OutputMessage, OutputPage, ProblemCode, ProcessInfo, ProcessList, ProcessRequest,
    StdinResponse, StraceMessage,
};

use super::exec::COMMAND_PROBLEMS;
use super::operation::Operation;

const TAG: &str = "processes";
const FOUND: [ProblemCode; 2] = [ProblemCode::ProcessNotFound, ProblemCode::InvalidQuery];

fn example() -> Value {
    json!({
        "pid": 7, "parent": 1, "group": 7, "session": 7, "argv": ["sleep", "60"], "state": "running",
        "startedAt": "2026-11-22T16:00:00Z", "memoryBytes": 1_048_576, "cpuMs": 12.5,
        "output": {"first": 0, "end": 12},
    })
}

fn of(action: ProcessAction, method: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::of(Area::Process(action), method, id, TAG, summary).problems(&FOUND)
}

pub(super) fn operations() -> Vec<Operation> {
    let start = Operation::of(
        Area::Processes,
        "POST",
        "startProcess",
        TAG,
        "Start a command that outlives the request.",
    )
    .about("Its output is kept in a ring of `outputBuffer` bytes for whoever comes for it.")
    .takes::<ProcessRequest>(json!({"command": "make test", "cwd": "/home/agent/project", "stdin": "pipe"}))
    .json::<ProcessInfo>(201, "It runs.", example())
    .problems(&COMMAND_PROBLEMS);
    let list = Operation::of(Area::Processes, "GET", "listProcesses", TAG, "Everything that runs in the VM.")
        .switch("tree", "Children after their parents, with `depth`.")
        .json::<ProcessList>(200, "The processes.", json!({"items": [example()]}))
        .problems(&[ProblemCode::InvalidQuery]);
    let show = of(ProcessAction::Show, "GET", "showProcess", "One process.").json::<ProcessInfo>(
        200,
        "The process.",
        example(),
    );
    let wait = of(ProcessAction::Wait, "GET", "waitProcess", "Wait until a process has ended.")
        .query(
            "timeout",
            "How long to wait, such as `30s`; 60s if absent. The answer tells whether it has ended.",
        )
        .json::<ProcessInfo>(200, "The process: ended, or the time was up.", example());
    let kill = of(ProcessAction::Kill, "POST", "killProcess", "Send a signal to a process or its group.")
        .takes::<KillRequest>(json!({"signal": "SIGTERM", "group": true}))
        .json::<ProcessInfo>(200, "The signal is sent.", example())
        .problems(&[ProblemCode::ProcessEnded]);
    let stdin = of(ProcessAction::Stdin, "POST", "writeStdin", "Write to the standard input of a process.")
        .about("The body streams; the answer comes when the process has room for all of it.")
        .switch("close", "Close the standard input afterwards.")
        .takes_bytes("application/octet-stream")
        .json::<StdinResponse>(200, "It is written.", json!({"bytes": 12}))
        .problems(&[
            ProblemCode::StdinClosed,
            ProblemCode::StdinBusy,
            ProblemCode::ProcessWithoutStreams,
            ProblemCode::ProcessEnded,
        ]);
    let output = of(ProcessAction::Output, "GET", "readOutput", "The output of a process that the API has started.")
        .about("Sequence numbers count bytes. With `Accept: text/event-stream` the stream goes on until the process ends.")
        .header("Accept", "`text/event-stream` for a stream; anything else for one page.")
        .resumable()
        .json::<OutputPage>(200, "What is there.", json!({
            "messages": [{"type": "stdout", "text": "HI\n"}], "next": 3, "hasMore": false,
        }))
        .events::<OutputMessage>("What is there and what comes.", json!({"type": "exited", "exitCode": 0, "signal": null}))
        .problems(&[ProblemCode::ProcessWithoutStreams, ProblemCode::LimitStreams]);
    let strace = of(ProcessAction::Strace, "GET", "traceProcess", "The system calls of a process, as it makes them.")
        .switch("follow", "Those of processes that it starts, too.")
        .events::<StraceMessage>("Calls until the process ends.", json!({
            "type": "call", "pid": 7, "at": "2026-11-22T16:00:00.000001Z", "text": "read(0, 4096) = 12 <0.000002>",
        }))
        .problems(&[ProblemCode::LimitStreams]);
    vec![start, list, show, wait, kill, stdin, output, strace]
}
