//! The OpenAPI 3.1 document of a runner, made from the types that travel and from [`Area`], which routes are made from.
//!
//! One table of operations a part of the API (`openapi/*.rs`). Schemas come from `vm-api` (feature `schema`). A test
//! compares the tables with what [`Area::parse`] takes, so that no route is missing and none is invented.

mod exec;
mod file;
mod operation;
mod process;
mod run;
mod shell;
mod workspace;

use std::io::{self, Write as _};
use std::sync::OnceLock;

use bytes::Bytes;
use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use vm_api::area::{Area, ProcessAction, RunAction, ShellAction};
use vm_api::{Problem, ProblemCode};

use self::operation::Operation;
use crate::http::{self as web, Response};

/// Prints the document for people and other programs.
pub(crate) fn print() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:#}", document())
}

/// The document as an answer. It is the same for everybody, and made once.
pub(crate) fn response() -> Response {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| Bytes::from(document().to_string()));
    web::with_type(StatusCode::OK, "application/json", document.clone())
}

/// The document.
fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let (path, method, description) = operation.describe(&mut schemas);
        if let Value::Object(methods) = paths.entry(path).or_insert_with(|| json!({})) {
            methods.insert(method, description);
        }
    }
    let example = Problem::new(ProblemCode::PathNotFound, "/home/agent/none: no such file or directory")
        .with_errno("ENOENT")
        .with_path(b"/home/agent/none");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lodge: API of a runner",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "servers": [{"url": "/", "description": "A runner. At the gateway, `/v1/workspaces/{uid}` is \
            `/v1/namespaces/{namespace}/workspaces/{name}`, and a bearer token says who asks."}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": definitions(&mut schemas),
            "responses": {"Problem": {
                "description": "The request was not done.",
                "content": {vm_api::problem::MEDIA_TYPE: {"schema": problem, "example": example}},
            }},
        },
        "x-problem-codes": ProblemCode::ALL.iter().map(|code| json!({
            "code": code.as_str(),
            "status": code.status(),
            "title": code.title(),
            "meaning": code.meaning(),
            "wayOut": code.way_out(),
        })).collect::<Vec<_>>(),
    })
}

const DESCRIPTION: &str = "Everything that a client may ask of a workspace. A workspace that sleeps is woken by the \
    first request that needs it; reading files does not need it.\n\nErrors are problem documents (RFC 9457) with a stable \
    `code`; `limit` names the field of the specification that raises the limit that was hit, `errno` the system's error. \
    Names that are not UTF-8 travel percent-encoded in fields that end with `Encoded`.\n\nStreams of server-sent events \
    carry one JSON document with a `type` a message; the id of a message is what `?after=` or `Last-Event-ID` resumes \
    from, and a comment every 15 seconds shows that the stream lives.";

fn tags() -> Value {
    json!([
        {"name": "workspaces", "description": "What the operator asks of a runner."},
        {"name": "exec", "description": "Commands that a request waits for."},
        {"name": "processes", "description": "Commands that outlive their request, and everything else that runs."},
        {"name": "shells", "description": "Terminals that several clients may attach to."},
        {"name": "runs", "description": "Commands that begin at most once, by name: what a CronJob does."},
        {"name": "files", "description": "The workspace's files, with POSIX's rules for the workspace's user. \
            What a write is answered for is durable."},
        {"name": "power", "description": "Waking and sleeping on demand."},
        {"name": "probes", "description": "For Kubernetes and Prometheus."},
    ])
}

fn definitions(schemas: &mut SchemaGenerator) -> Map<String, Value> {
    schemas.take_definitions(true)
}

fn operations() -> Vec<Operation> {
    [
        workspace::operations(),
        exec::operations(),
        process::operations(),
        shell::operations(),
        run::operations(),
        file::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The path of an area below that of its workspace.
fn path_of(area: Area) -> &'static str {
    match area {
        Area::Exec => "exec",
        Area::Processes => "processes",
        Area::Process(ProcessAction::Show) => "processes/{pid}",
        Area::Process(ProcessAction::Wait) => "processes/{pid}/wait",
        Area::Process(ProcessAction::Kill) => "processes/{pid}/kill",
        Area::Process(ProcessAction::Stdin) => "processes/{pid}/stdin",
        Area::Process(ProcessAction::Output) => "processes/{pid}/output",
        Area::Process(ProcessAction::Strace) => "processes/{pid}/strace",
        Area::Shells => "shells",
        Area::Shell(ShellAction::Item) => "shells/{id}",
        Area::Shell(ShellAction::Attach) => "shells/{id}/attach",
        Area::Shell(ShellAction::Resize) => "shells/{id}/resize",
        Area::Runs => "runs",
        Area::Run(RunAction::Show | RunAction::Begin) => "runs/{name}",
        Area::Run(RunAction::Stop) => "runs/{name}/stop",
        Area::Events => "events",
        Area::File => "files/{path}",
        Area::Mkdir => "files:mkdir",
        Area::Move => "files:move",
        Area::Copy => "files:copy",
        Area::Link => "files:link",
        Area::BatchRead => "files:batchRead",
        Area::BatchWrite => "files:batchWrite",
        Area::Archive => "files:archive",
        Area::Fsck => "files:fsck",
        Area::Health => "health",
        Area::Wake => "wake",
        Area::Sleep => "sleep",
    }
}

#[cfg(test)]
mod tests;
