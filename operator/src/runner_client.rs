//! Talking to a runner: the role ([`RunnerClient`], [`RunnerConnection`]) and how it is played over mTLS ([`HttpRunnerClient`]).
//!
//! One HTTP/2 connection per runner pod carries everything: pushed configurations, deletions and the stream of changes. It is
//! kept alive by pings, so that a lost node is noticed, and it *is* the runner as far as the operator knows: when it ends,
//! the runner's memory is taken for lost.
//!
//! Knows nothing of Kubernetes. Configurations hold secrets: nothing here logs or quotes them.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::de::DeserializeOwned;
use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use vm_api::{
    Problem, Run, RunList, RunRequest, WorkspaceChange, WorkspaceConfig, WorkspaceState, route, sse,
};

use crate::{
    certificate::Leaf,
    spawn::{Task, spawn},
};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a runner may take to accept a configuration.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a runner may take to stop a VM and remove its data.
const DELETE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a runner may take to accept, show or stop a run. What the run does takes its own time.
const RUN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a quiet connection is tried, and how long the answer may take.
const PING: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The longest list of runs that is read: every run that a runner keeps, with a tail of output that JSON makes six times as long.
const MAX_RUNS_BYTES: usize = 16 << 20;

/// Where a runner is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerAddress {
    /// Address of its API.
    pub socket: SocketAddr,
    /// Name its certificate must be valid for.
    pub server_name: String,
}

/// Who connects to runners.
#[async_trait]
pub trait RunnerClient: fmt::Debug + Send + Sync {
    /// Connects to a runner.
    async fn connect(&self, address: &RunnerAddress) -> Result<Arc<dyn RunnerConnection>, Error>;
}

/// A connection to a runner.
#[async_trait]
pub trait RunnerConnection: fmt::Debug + Send + Sync {
    /// Tells the runner what a workspace shall be.
    async fn put(&self, uid: &str, config: &WorkspaceConfig) -> Result<WorkspaceState, Error>;
    /// What the runner knows about a workspace. Refused if it doesn't have it, or was not told about it since it began.
    async fn get(&self, uid: &str) -> Result<WorkspaceState, Error>;
    /// Makes the runner forget a workspace, with its VM and its data. Also succeeds if the runner never knew it.
    async fn delete(&self, uid: &str, epoch: u64) -> Result<(), Error>;
    /// Begins a command in a workspace, unless the runner knows a run of this name. Tells what became of the run in either case.
    async fn put_run(&self, uid: &str, name: &str, request: &RunRequest) -> Result<Run, Error>;
    /// A run of a workspace.
    async fn get_run(&self, uid: &str, name: &str) -> Result<Run, Error>;
    /// The runs of a workspace that go on, and the last that ended.
    async fn list_runs(&self, uid: &str) -> Result<RunList, Error>;
    /// Asks a run to end. It does so in its own time.
    async fn stop_run(&self, uid: &str, name: &str) -> Result<Run, Error>;
    /// The runner's workspaces and what changes about them. Its end is the end of the connection.
    async fn watch(&self) -> Result<BoxStream<'static, Result<WorkspaceChange, Error>>, Error>;
}

/// Why a runner did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("could not connect to the runner at {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the runner broke: {0}")]
    Broken(#[from] hyper::Error),
    /// No answer came in time.
    #[error("the runner did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The runner refused, and said why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer makes no sense.
    #[error("the runner's answer can't be understood: {0}")]
    Answer(String),
    /// The operator has no certificate yet.
    #[error("the operator has no client certificate yet")]
    NoCertificate,
}

impl Error {
    /// The runner's own words, if it answered at all.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Connect { .. }
            | Self::Broken(_)
            | Self::Timeout(_)
            | Self::Answer(_)
            | Self::NoCertificate => None,
        }
    }

    /// Name of the variant, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Broken(_) => "broken",
            Self::Timeout(_) => "timeout",
            Self::Refused(_) => "refused",
            Self::Answer(_) => "answer",
            Self::NoCertificate => "no_certificate",
        }
    }
}

/// Connects over mTLS, with the operator's certificate.
#[derive(Clone, Default)]
pub struct HttpRunnerClient {
    tls: Arc<RwLock<Option<Arc<ClientConfig>>>>,
}

impl fmt::Debug for HttpRunnerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpRunnerClient")
    }
}

impl HttpRunnerClient {
    /// Uses this certificate for new connections.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn set_certificate(&self, leaf: &Leaf) -> Result<(), rustls::Error> {
        let config = Arc::new(client_config(leaf)?);
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
        Ok(())
    }
}

fn client_config(leaf: &Leaf) -> Result<ClientConfig, rustls::Error> {
    let unreadable = |error: rustls::pki_types::pem::Error| rustls::Error::General(error.to_string());
    let certificates = |pem: &str| {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(unreadable)
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&leaf.bundle)? {
        roots.add(certificate)?;
    }
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).map_err(unreadable)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&leaf.certificate)?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[async_trait]
impl RunnerClient for HttpRunnerClient {
    async fn connect(&self, address: &RunnerAddress) -> Result<Arc<dyn RunnerConnection>, Error> {
        let tls =
            self.tls.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::NoCertificate)?;
        let failed = |source| Error::Connect { address: address.socket, source };
        let name = ServerName::try_from(address.server_name.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let dial = async {
            let stream = TcpStream::connect(address.socket).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(tls).connect(name, stream).await
        };
        let stream = timeout(CONNECT_TIMEOUT, dial)
            .await
            .map_err(|_| Error::Timeout(CONNECT_TIMEOUT))?
            .map_err(failed)?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream));
        let (sender, connection) =
            timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| Error::Timeout(CONNECT_TIMEOUT))??;
        let driver = spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a runner ended");
            }
        });
        Ok(Arc::new(HttpRunnerConnection { sender, authority: address.server_name.clone(), _driver: driver }))
    }
}

struct HttpRunnerConnection {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
    _driver: Task<()>,
}

impl fmt::Debug for HttpRunnerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpRunnerConnection").field(&self.authority).finish()
    }
}

impl HttpRunnerConnection {
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<http::Response<Incoming>, Error> {
        let answer = |error: http::Error| Error::Answer(error.to_string());
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(answer)?;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = read(response).await?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Error::Refused(Box::new(problem)),
            Err(_) => Error::Answer(format!("status {status} without a problem document")),
        })
    }

    /// A request about runs, with a JSON answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        most_bytes: usize,
    ) -> Result<T, Error> {
        let exchange = async {
            let body = read_up_to(self.send(method, path, body).await?, most_bytes).await?;
            serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string()))
        };
        timeout(RUN_TIMEOUT, exchange).await.map_err(|_| Error::Timeout(RUN_TIMEOUT))?
    }
}

#[async_trait]
impl RunnerConnection for HttpRunnerConnection {
    async fn put(&self, uid: &str, config: &WorkspaceConfig) -> Result<WorkspaceState, Error> {
        let body = serde_json::to_vec(config).map_err(|error| Error::Answer(error.to_string()))?;
        let route = route::Workspace::at_runner(uid);
        let exchange = async {
            let body = read(self.send(Method::PUT, route.base(), body.into()).await?).await?;
            serde_json::from_slice(&body).map_err(|error| Error::Answer(error.to_string()))
        };
        timeout(PUT_TIMEOUT, exchange).await.map_err(|_| Error::Timeout(PUT_TIMEOUT))?
    }

    async fn get(&self, uid: &str) -> Result<WorkspaceState, Error> {
        let route = route::Workspace::at_runner(uid);
        self.ask(Method::GET, route.base(), Bytes::new(), MAX_ANSWER_BYTES).await
    }

    async fn delete(&self, uid: &str, epoch: u64) -> Result<(), Error> {
        let path = route::Workspace::at_runner(uid).base_with_epoch(epoch);
        let exchange = async { read(self.send(Method::DELETE, &path, Bytes::new()).await?).await };
        timeout(DELETE_TIMEOUT, exchange).await.map_err(|_| Error::Timeout(DELETE_TIMEOUT))?.map(|_| ())
    }

    async fn put_run(&self, uid: &str, name: &str, request: &RunRequest) -> Result<Run, Error> {
        let body = serde_json::to_vec(request).map_err(|error| Error::Answer(error.to_string()))?;
        let path = route::Workspace::at_runner(uid).run(name, "");
        self.ask(Method::PUT, &path, body.into(), MAX_ANSWER_BYTES).await
    }

    async fn get_run(&self, uid: &str, name: &str) -> Result<Run, Error> {
        let path = route::Workspace::at_runner(uid).run(name, "");
        self.ask(Method::GET, &path, Bytes::new(), MAX_ANSWER_BYTES).await
    }

    async fn list_runs(&self, uid: &str) -> Result<RunList, Error> {
        let path = route::Workspace::at_runner(uid).runs();
        self.ask(Method::GET, &path, Bytes::new(), MAX_RUNS_BYTES).await
    }

    async fn stop_run(&self, uid: &str, name: &str) -> Result<Run, Error> {
        let path = route::Workspace::at_runner(uid).run(name, "stop");
        self.ask(Method::POST, &path, Bytes::new(), MAX_ANSWER_BYTES).await
    }

    async fn watch(&self) -> Result<BoxStream<'static, Result<WorkspaceChange, Error>>, Error> {
        let open = self.send(Method::GET, route::WATCH, Bytes::new());
        let response =
            timeout(CONNECT_TIMEOUT, open).await.map_err(|_| Error::Timeout(CONNECT_TIMEOUT))??;
        if response.status() != StatusCode::OK {
            return Err(Error::Answer(format!("status {} to {}", response.status(), route::WATCH)));
        }
        Ok(decode(response.into_body()).boxed())
    }
}

async fn read(response: http::Response<Incoming>) -> Result<Bytes, Error> {
    read_up_to(response, MAX_ANSWER_BYTES).await
}

async fn read_up_to(response: http::Response<Incoming>, most_bytes: usize) -> Result<Bytes, Error> {
    let body = Limited::new(response.into_body(), most_bytes).collect().await;
    Ok(body.map_err(|error| Error::Answer(error.to_string()))?.to_bytes())
}

fn decode(body: Incoming) -> impl futures::Stream<Item = Result<WorkspaceChange, Error>> {
    let chunks = body.into_data_stream().map_err(Error::from).boxed();
    let start = (chunks, sse::Decoder::default(), VecDeque::new());
    futures::stream::try_unfold(start, |(mut chunks, mut decoder, mut ready)| async move {
        loop {
            if let Some(sse::Message { data, .. }) = ready.pop_front() {
                let change = serde_json::from_str(&data).map_err(|error| Error::Answer(error.to_string()))?;
                return Ok(Some((change, (chunks, decoder, ready))));
            }
            let Some(chunk) = chunks.try_next().await? else { return Ok(None) };
            ready.extend(decoder.push(&chunk).map_err(|error| Error::Answer(error.to_string()))?);
        }
    })
}
