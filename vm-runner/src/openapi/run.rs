//! Operations: `runs`.

use serde_json::{Value, json};
use vm_api::area::{Area, RunAction};
use vm_api::{ProblemCode, Run, RunList, RunRequest};

use super::operation::Operation;

const TAG: &str = "runs";

fn example() -> Value {
    json!({
        "name": "nightly-28913240", "startedAt": "2026-11-22T16:00:00Z", "finishedAt": "2026-11-22T16:00:02Z",
        "end": "Exited", "exitCode": 0, "outputTail": "done\n",
    })
}

pub(super) fn operations() -> Vec<Operation> {
    let list = Operation::of(Area::Runs, "GET", "listRuns", TAG, "Runs that go on, and the last that ended.")
        .json::<RunList>(200, "The runs, newest first.", json!({"items": [example()]}));
    let of = |action, method, id, summary| Operation::of(Area::Run(action), method, id, TAG, summary);
    let show = of(RunAction::Show, "GET", "showRun", "One run; never wakes the workspace.")
        .json::<Run>(200, "The run.", example())
        .problems(&[ProblemCode::RunNotFound]);
    let begin = of(
        RunAction::Begin,
        "PUT",
        "beginRun",
        "Begin a command unless a run of that name is known; the operator only.",
    )
    .takes::<RunRequest>(json!({"epoch": 4, "exec": {"command": "make nightly"}}))
    .json::<Run>(200, "The name was known: what became of that run.", example())
    .json::<Run>(201, "It begins.", example())
    .problems(&[
        ProblemCode::InvalidRequest,
        ProblemCode::StaleEpoch,
        ProblemCode::WorkspaceNotBound,
        ProblemCode::LimitRuns,
        ProblemCode::StorageFull,
        ProblemCode::StorageNewer,
        ProblemCode::StorageUnavailable,
        ProblemCode::ShuttingDown,
    ]);
    let stop = of(RunAction::Stop, "POST", "stopRun", "Stop a run; the operator only.")
        .about("SIGTERM, some time, then SIGKILL. The answer does not wait for the end; `GET /v1/watch` tells it.")
        .json::<Run>(200, "The run.", example())
        .problems(&[ProblemCode::RunNotFound]);
    vec![list, show, begin, stop]
}
