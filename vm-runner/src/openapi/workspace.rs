//! Operations about workspaces as a whole, and probes.

use serde_json::{Value, json};
use vm_api::area::Area;
use vm_api::{
    Health, ProblemCode, SoftwareList, WorkspaceChange, WorkspaceConfig, WorkspaceList, WorkspaceState, route,
};

use super::operation::Operation;

const TAG: &str = "workspaces";

fn state() -> Value {
    json!({
        "uid": "0b6cf0fe", "namespace": "team-a", "name": "ada", "generation": 3, "epoch": 4, "power": "Awake",
        "storage": {"persistent": true},
    })
}

fn health() -> Value {
    json!({"status": "ok", "version": "0.1.0"})
}

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = of_the_runner();
    let item = format!("{}/{{uid}}", route::WORKSPACES);
    let of = |method, id, summary| {
        Operation::at(item.clone(), method, id, TAG, summary)
            .problems(&[ProblemCode::Forbidden, ProblemCode::WorkspaceNotFound])
    };
    let show = of("GET", "showWorkspace", "One workspace; never wakes it.").json::<WorkspaceState>(
        200,
        "Its state.",
        state(),
    );
    let put = of("PUT", "putWorkspace", "Tell the runner about a workspace; the operator only.")
        .takes::<WorkspaceConfig>(json!({
            "namespace": "team-a", "name": "ada", "generation": 3, "epoch": 4, "software": [{"name": "common"}],
        }))
        .json::<WorkspaceState>(200, "Its state.", state())
        .problems(&[
            ProblemCode::InvalidConfig,
            ProblemCode::SoftwareUnknown,
            ProblemCode::StaleEpoch,
            ProblemCode::LimitWorkspaces,
            ProblemCode::WorkspaceDeleting,
        ]);
    let delete = of("DELETE", "deleteWorkspace", "Stop a workspace and delete its data; the operator only.")
        .number("epoch", u64::MAX, "Refuse if the runner knows a higher fencing number.")
        .answers(204, "It is gone.")
        .problems(&[ProblemCode::StaleEpoch, ProblemCode::InvalidQuery]);
    operations.extend([show, put, delete]);
    let health =
        Operation::of(Area::Health, "GET", "health", "probes", "Whether the VM serves; never wakes it.")
            .json::<Health>(200, "`ok`, `asleep`, `waking` or `stopping`.", health());
    let wake =
        Operation::of(Area::Wake, "POST", "wake", "power", "Wake a workspace and wait until it is awake.")
            .json::<WorkspaceState>(200, "Its state.", state());
    let sleep = Operation::of(Area::Sleep, "POST", "sleep", "power", "Stop the VM in order; its files stay.")
        .about("Guests get SIGTERM, some time, then SIGKILL. Files are flushed. The next request wakes the workspace.")
        .json::<WorkspaceState>(200, "Its state.", state());
    operations.extend([health, wake, sleep]);
    operations
}

fn of_the_runner() -> Vec<Operation> {
    let list =
        Operation::at(route::WORKSPACES, "GET", "listWorkspaces", TAG, "All workspaces of the runner.")
            .json::<WorkspaceList>(200, "Their states.", json!({"items": [state()]}))
            .problems(&[ProblemCode::Forbidden]);
    let watch = Operation::at(route::WATCH, "GET", "watchWorkspaces", TAG, "Every change of every workspace.")
        .about("Starts with a `state` for each, then `synced`, then changes. A stream that lags behind is ended: connect \
            again.")
        .events::<WorkspaceChange>("The list and what changes.", json!({"type": "deleted", "uid": "0b6cf0fe"}))
        .problems(&[ProblemCode::Forbidden]);
    let software = Operation::at(route::SOFTWARE, "GET", "listSoftware", TAG, "The software that the runner offers.")
        .json::<SoftwareList>(200, "The packages.", json!({"items": [{
            "name": "common", "version": "0.3.4", "description": "The usual commands", "license": "Apache-2.0",
            "includes": [], "commands": ["sh", "ls"],
        }]}))
        .problems(&[ProblemCode::Forbidden]);
    let healthz = Operation::at(route::HEALTHZ, "GET", "healthz", "probes", "Whether the process lives.")
        .json::<Health>(200, "It does.", health());
    let readyz = Operation::at(route::READYZ, "GET", "readyz", "probes", "Whether the process can serve.")
        .json::<Health>(200, "It can.", health())
        .problems(&[ProblemCode::ShuttingDown]);
    let metrics = Operation::at(route::METRICS, "GET", "metrics", "probes", "Metrics.")
        .text("application/openmetrics-text", "OpenMetrics text.");
    let openapi = Operation::at(route::OPENAPI, "GET", "openapi", "probes", "This document.").json::<Value>(
        200,
        "OpenAPI 3.1.",
        json!({"openapi": "3.1.0"}),
    );
    vec![list, watch, software, healthz, readyz, metrics, openapi]
}
