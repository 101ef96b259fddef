//! A runner that runs nothing: it answers the operator over mutual TLS as a runner does, for any number of namespaces.
//!
//! For measuring the operator by itself. Which namespace's runner is meant is told by the name that the operator connects to.
//! Every workspace is said to be asleep.
//!
//! Lock order: one mutex, held for no await.

use crate::runner_peer::Certificate;
use anyhow::Result;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{net::TcpListener, sync::broadcast, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use vm_api::{
    Power, RunList, SleepReason, StorageState, WorkspaceChange, WorkspaceConfig, WorkspaceState, route, sse,
};

/// Answers until it is dropped.
#[derive(Debug)]
pub struct FakeRunner {
    server: JoinHandle<()>,
}

impl Drop for FakeRunner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the runners of all namespaces know.
#[derive(Debug)]
struct Known {
    states: Mutex<HashMap<String, WorkspaceState>>,
    changes: broadcast::Sender<WorkspaceChange>,
}

impl FakeRunner {
    /// Listens.
    ///
    /// # Errors
    /// If the address is taken or the certificate no good.
    pub async fn start(address: SocketAddr, certificate: &Certificate) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(certificate)?));
        let listener = TcpListener::bind(address).await?;
        let known = Arc::new(Known { states: Mutex::default(), changes: broadcast::Sender::new(65_536) });
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, known) = (acceptor.clone(), known.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| answer(known.clone(), request));
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Self { server })
    }
}

fn server_config(certificate: &Certificate) -> Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(certificate.authority.as_bytes()) {
        roots.add(authority?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
    let chain =
        CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

async fn answer(known: Arc<Known>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let authority = request.uri().authority().map(|authority| authority.host().to_owned());
    // lodge-runner-0.lodge-runner.NAMESPACE.svc
    let namespace =
        authority.as_deref().and_then(|name| name.split('.').nth(2)).unwrap_or_default().to_owned();
    if request.uri().path() == route::WATCH {
        return Ok(Response::new(known.watch(namespace)));
    }
    let path = request.uri().path().to_owned();
    let Some((uid, area)) = route::split_runner_path(&path) else { return Ok(status(StatusCode::NOT_FOUND)) };
    Ok(match (request.method().clone(), area) {
        (Method::PUT, "") => match request.into_body().collect().await.map(|body| body.to_bytes()) {
            Ok(body) => known.put(uid, &body),
            Err(_) => status(StatusCode::BAD_REQUEST),
        },
        (Method::GET, "") => match known.lock().get(uid) {
            Some(state) => json(state),
            None => status(StatusCode::NOT_FOUND),
        },
        (Method::DELETE, "") => {
            known.lock().remove(uid);
            known.tell(WorkspaceChange::Deleted { uid: uid.to_owned() });
            status(StatusCode::NO_CONTENT)
        }
        (Method::GET, route::RUNS) => json(&RunList::default()),
        _ => status(StatusCode::NOT_FOUND),
    })
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn json(document: &impl serde::Serialize) -> Response<Body> {
    let text = serde_json::to_vec(document).unwrap_or_default();
    Response::new(Full::new(text.into()).boxed_unsync())
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, WorkspaceState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: WorkspaceChange) {
        // Nobody may be listening.
        drop(self.changes.send(change));
    }

    fn put(&self, uid: &str, body: &[u8]) -> Response<Body> {
        let Ok(config) = serde_json::from_slice::<WorkspaceConfig>(body) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let state = WorkspaceState {
            uid: uid.to_owned(),
            namespace: config.namespace,
            name: config.name,
            generation: config.generation,
            epoch: config.epoch,
            power: Power::Asleep,
            sleep: Some(SleepReason::NotStarted),
            message: None,
            restart_required: Vec::new(),
            storage: StorageState { persistent: true, reason: None },
            last_wake: None,
            usage: None,
        };
        self.lock().insert(uid.to_owned(), state.clone());
        let response = json(&state);
        self.tell(WorkspaceChange::State { state: Box::new(state) });
        response
    }

    /// The workspaces of a namespace, and what becomes of them.
    fn watch(&self, namespace: String) -> Body {
        let changes = self.changes.subscribe();
        let present: Vec<_> = {
            let states = self.lock();
            let ours = states.values().filter(|state| state.namespace == namespace);
            ours.map(|state| WorkspaceChange::State { state: Box::new(state.clone()) }).collect()
        };
        let coming =
            stream::unfold(changes, |mut changes| async move { Some((changes.recv().await.ok()?, changes)) });
        let ours = move |change: &WorkspaceChange| match change {
            WorkspaceChange::State { state } => state.namespace == namespace,
            _ => true,
        };
        let all = stream::iter(present)
            .chain(stream::iter([WorkspaceChange::Synced]))
            .chain(coming.filter(move |change| std::future::ready(ours(change))));
        let frames = all.map(|change| {
            let data = serde_json::to_string(&change).unwrap_or_default();
            Ok(Frame::data(Bytes::from(sse::encode(0, &data))))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}
