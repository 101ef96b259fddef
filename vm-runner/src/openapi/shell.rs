//! Operations: `shells`.

use serde_json::{Value, json};
use vm_api::area::{Area, ShellAction};
use vm_api::{ProblemCode, ResizeRequest, ShellControl, ShellInfo, ShellList, ShellMessage, ShellRequest};

use super::exec::COMMAND_PROBLEMS;
use super::operation::Operation;

const TAG: &str = "shells";

fn example() -> Value {
    json!({
        "id": "5f2c-1", "pid": 7, "argv": ["/bin/sh", "-i"], "startedAt": "2026-11-22T16:00:00Z", "cols": 80,
        "rows": 24, "attached": 1, "first": 0, "end": 120,
    })
}

pub(super) fn operations() -> Vec<Operation> {
    let start = Operation::of(Area::Shells, "POST", "startShell", TAG, "Start a command in a terminal.")
        .takes::<ShellRequest>(json!({"cols": 120, "rows": 40}))
        .json::<ShellInfo>(201, "It runs.", example())
        .problems(&COMMAND_PROBLEMS)
        .problems(&[ProblemCode::LimitTerminals]);
    let list = Operation::of(Area::Shells, "GET", "listShells", TAG, "All shells.").json::<ShellList>(
        200,
        "The shells.",
        json!({"items": [example()]}),
    );
    let of = |action, method, id, summary| {
        Operation::of(Area::Shell(action), method, id, TAG, summary).problems(&[ProblemCode::ShellNotFound])
    };
    let show = of(ShellAction::Item, "GET", "showShell", "One shell.").json::<ShellInfo>(
        200,
        "The shell.",
        example(),
    );
    let end = of(ShellAction::Item, "DELETE", "endShell", "Hang up, as closing a terminal window does.")
        .answers(204, "It has ended.");
    let attach = of(ShellAction::Attach, "GET", "attachShell", "Attach to a shell: a WebSocket.")
        .about("Binary messages are what is typed (from the client) and what is shown (to it). Text messages are JSON: \
            the client sends `ShellControl`, the server `ShellMessage`. The first message is `attached`, then comes what \
            was shown since `after`, as far as it is kept. Several clients may attach at once.")
        .number("after", u64::MAX, "Position of the first byte that the client lacks; absent: everything that is kept.")
        .header("Upgrade", "`websocket`")
        .answers(101, "The connection is a WebSocket now.")
        .defines::<ShellControl>(json!({"type": "resize", "cols": 120, "rows": 40}))
        .defines::<ShellMessage>(json!({"type": "resized", "cols": 120, "rows": 40}))
        .problems(&[ProblemCode::UpgradeRequired, ProblemCode::InvalidQuery, ProblemCode::LimitStreams]);
    let resize = of(ShellAction::Resize, "POST", "resizeShell", "Give the terminal another size.")
        .takes::<ResizeRequest>(json!({"cols": 120, "rows": 40}))
        .json::<ShellInfo>(200, "The shell.", example())
        .problems(&[ProblemCode::ShellEnded]);
    vec![start, list, show, end, attach, resize]
}
