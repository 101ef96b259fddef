//! A runner's control API over mutual TLS, in memory.

use crate::workspace_state::never_used;
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use operator::{
    certificate::Leaf,
    spawn::{Task, spawn},
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_rustls::TlsAcceptor;
use vm_api::{Problem, ProblemCode, Run, RunEnd, RunList, RunRequest, WorkspaceChange, WorkspaceConfig, sse};

/// A runner that answers until it is dropped.
pub(crate) struct RunnerServer {
    pub(crate) address: SocketAddr,
    pub(crate) runner: Shared,
    _server: Task<()>,
}

/// What a runner knows.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) workspaces: Arc<Mutex<BTreeMap<String, WorkspaceConfig>>>,
    pub(crate) runs: Arc<Mutex<BTreeMap<String, (Run, RunRequest)>>>,
    changes: broadcast::Sender<WorkspaceChange>,
}

impl RunnerServer {
    /// Listens, with this certificate.
    pub(crate) async fn start(address: &str, leaf: &Leaf) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let runner =
            Shared { workspaces: Arc::default(), runs: Arc::default(), changes: broadcast::Sender::new(64) };
        let router = Router::new()
            .route("/v1/workspaces/{uid}", put(put_workspace).get(get_workspace).delete(delete_workspace))
            .route("/v1/workspaces/{uid}/runs", get(list_runs))
            .route("/v1/workspaces/{uid}/runs/{name}", put(put_run).get(get_run))
            .route("/v1/workspaces/{uid}/runs/{name}/stop", post(stop_run))
            .route("/v1/watch", get(watch))
            .with_state(runner.clone());
        let acceptor = TlsAcceptor::from(Arc::new(server_config(leaf)));
        let _server = spawn(async move {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                connections.push(spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(router);
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                }));
            }
        });
        Self { address, runner, _server }
    }
}

fn server_config(leaf: &Leaf) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(leaf.bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let chain =
        CertificateDer::pem_slice_iter(leaf.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn put_workspace(
    State(runner): State<Shared>,
    Path(uid): Path<String>,
    Json(config): Json<WorkspaceConfig>,
) -> Response {
    if config.software.iter().any(|package| package.name == "nope") {
        return refuse(Problem::new(ProblemCode::SoftwareUnknown, "there is no package \"nope\""));
    }
    let state = never_used(&uid, &config);
    runner.workspaces.lock().unwrap().insert(uid, config);
    let _ = runner.changes.send(WorkspaceChange::State { state: Box::new(state.clone()) });
    Json(state).into_response()
}

async fn get_workspace(State(runner): State<Shared>, Path(uid): Path<String>) -> Response {
    match runner.workspaces.lock().unwrap().get(&uid) {
        Some(config) => Json(never_used(&uid, config)).into_response(),
        None => refuse(Problem::new(ProblemCode::WorkspaceNotFound, "this runner has no such workspace")),
    }
}

async fn delete_workspace(
    State(runner): State<Shared>,
    Path(uid): Path<String>,
    Query(query): Query<HashMap<String, u64>>,
) -> Response {
    let mut workspaces = runner.workspaces.lock().unwrap();
    if workspaces.get(&uid).is_some_and(|config| query["epoch"] < config.epoch) {
        return refuse(Problem::new(ProblemCode::StaleEpoch, "a later epoch owns this workspace"));
    }
    workspaces.remove(&uid);
    let _ = runner.changes.send(WorkspaceChange::Deleted { uid });
    StatusCode::NO_CONTENT.into_response()
}

async fn put_run(
    State(runner): State<Shared>,
    Path((uid, name)): Path<(String, String)>,
    Json(request): Json<RunRequest>,
) -> Response {
    let mut runs = runner.runs.lock().unwrap();
    let is_new = !runs.contains_key(&name);
    let started_at = "2026-11-22T19:00:00Z".to_owned();
    let begun = || (Run { name: name.clone(), started_at, ..Run::default() }, request);
    let (run, _) = runs.entry(name.clone()).or_insert_with(begun);
    let _ = runner.changes.send(WorkspaceChange::Run { uid, run: Box::new(run.clone()) });
    (if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(run.clone())).into_response()
}

async fn get_run(State(runner): State<Shared>, Path((_, name)): Path<(String, String)>) -> Response {
    match runner.runs.lock().unwrap().get(&name) {
        Some((run, _)) => Json(run.clone()).into_response(),
        None => refuse(Problem::new(ProblemCode::RunNotFound, "there is no such run")),
    }
}

async fn list_runs(State(runner): State<Shared>) -> Response {
    let items = runner.runs.lock().unwrap().values().map(|(run, _)| run.clone()).collect();
    Json(RunList { items }).into_response()
}

async fn stop_run(State(runner): State<Shared>, Path((uid, name)): Path<(String, String)>) -> Response {
    let mut runs = runner.runs.lock().unwrap();
    let Some((run, _)) = runs.get_mut(&name) else {
        return refuse(Problem::new(ProblemCode::RunNotFound, "there is no such run"));
    };
    run.end = Some(RunEnd::Stopped);
    let _ = runner.changes.send(WorkspaceChange::Run { uid, run: Box::new(run.clone()) });
    Json(run.clone()).into_response()
}

async fn watch(State(runner): State<Shared>) -> Response {
    let changes = runner.changes.subscribe();
    let list: Vec<_> =
        runner.workspaces.lock().unwrap().iter().map(|(uid, config)| never_used(uid, config)).collect();
    let list = list.into_iter().map(|state| WorkspaceChange::State { state: Box::new(state) });
    let told = futures::stream::iter(list.chain([WorkspaceChange::Synced]).collect::<Vec<_>>());
    let changes =
        futures::stream::unfold(
            changes,
            |mut changes| async move { Some((changes.recv().await.ok()?, changes)) },
        );
    let text = |change: WorkspaceChange| {
        Ok::<_, std::convert::Infallible>(sse::encode(0, &serde_json::to_string(&change).unwrap()))
    };
    let stream = futures::StreamExt::map(futures::StreamExt::chain(told, changes), text);
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(stream)).unwrap()
}

fn refuse(problem: Problem) -> Response {
    (StatusCode::from_u16(problem.status).unwrap(), problem.to_json()).into_response()
}
