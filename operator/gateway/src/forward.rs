//! Sends requests to runners, over kept-alive connections with mutual TLS.
//!
//! Connections are pooled per runner's pod: a pod that takes the name of another never gets its connections. The pool
//! knows runners by an authority that is made of the pod's namespace, name and UID; the address is looked up when a
//! connection is made. The TLS server name comes from namespace, Service and name, so that only a certificate of that
//! namespace counts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::body::OutboundBody;
use crate::directory::{Directory, RunnerEntry};
use crate::spawn::Spawner;
use crate::tls::TlsStore;

/// A TCP connection to a runner takes less than this, or the runner is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// So does the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than any server keeps an idle connection, so that requests do not meet one that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle connections kept per runner.
const IDLE_PER_RUNNER: usize = 64;
/// A runner whose node is gone is noticed in about a minute, even in the middle of a long command.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// Why a request did not bring an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It was not sent: the runner cannot be reached.
    #[error("the runner cannot be reached: {0}")]
    NotSent(#[source] legacy::Error),
    /// It was sent, at least in part, and the connection broke before there was an answer.
    #[error("the connection to the runner broke: {0}")]
    Broken(#[source] legacy::Error),
    /// The runner's name cannot be part of a URI; it is not one that Kubernetes gives.
    #[error("the runner's name cannot be used: {0}")]
    Name(#[source] http::Error),
}

/// Sends requests to runners.
#[derive(Clone)]
pub(crate) struct Forwarder {
    client: Client<RunnerConnector, OutboundBody>,
}

impl Forwarder {
    pub(crate) fn new(directory: Arc<Directory>, tls: Arc<TlsStore>, port: u16, spawner: Spawner) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        let client = Client::builder(spawner)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_RUNNER)
            .build(RunnerConnector { directory, tls, port, tcp });
        Self { client }
    }

    /// Sends a request, whose URI is the path at the runner, and gives the head of the answer.
    pub(crate) async fn send(
        &self,
        runner: &RunnerEntry,
        mut request: Request<OutboundBody>,
    ) -> Result<Response<Incoming>, Error> {
        *request.uri_mut() = uri(runner, request.uri().path_and_query().cloned()).map_err(Error::Name)?;
        request.headers_mut().insert(
            HOST,
            HeaderValue::try_from(server_name(runner)).map_err(|error| Error::Name(error.into()))?,
        );
        *request.version_mut() = http::Version::HTTP_11;
        self.client
            .request(request)
            .await
            .map_err(|error| if error.is_connect() { Error::NotSent(error) } else { Error::Broken(error) })
    }
}

fn uri(runner: &RunnerEntry, path: Option<PathAndQuery>) -> Result<Uri, http::Error> {
    let authority = Authority::try_from(format!("{}.{}.{}", runner.name, runner.namespace, runner.pod_uid))?;
    Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority)
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
}

/// Finds the runner that [`uri`] was made for, if its pod is still the same.
fn runner_of(directory: &Directory, uri: &Uri) -> Option<Arc<RunnerEntry>> {
    let mut parts = uri.host()?.rsplitn(3, '.');
    let (pod_uid, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    directory.runners().get(namespace, name).filter(|runner| *runner.pod_uid == *pod_uid)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects to runners.
#[derive(Clone)]
struct RunnerConnector {
    directory: Arc<Directory>,
    tls: Arc<TlsStore>,
    port: u16,
    tcp: HttpConnector,
}

impl RunnerConnector {
    async fn connect(mut self, uri: Uri) -> Result<RunnerConnection, BoxError> {
        let runner = runner_of(&self.directory, &uri).ok_or("the runner's pod was replaced")?;
        let address = runner.address.ok_or("the runner's pod has no address")?;
        let material = self.tls.current().ok_or("the gateway has no certificate yet")?;
        let name = ServerName::try_from(server_name(&runner))?;
        let target = Uri::builder()
            .scheme("http")
            .authority(std::net::SocketAddr::new(address, self.port).to_string())
            .path_and_query("/")
            .build()?;
        let tcp = self.tcp.call(target).await?.into_inner();
        let handshake = TlsConnector::from(material.client.clone()).connect(name, tcp);
        let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| "the runner did not finish the TLS handshake in time")??;
        Ok(RunnerConnection(TokioIo::new(tls)))
    }
}

fn server_name(runner: &RunnerEntry) -> String {
    format!("{}.{}.{}.svc", runner.name, runner.service, runner.namespace)
}

impl Service<Uri> for RunnerConnector {
    type Response = RunnerConnection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<RunnerConnection, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection to a runner.
struct RunnerConnection(TokioIo<TlsStream<TcpStream>>);

impl Connection for RunnerConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for RunnerConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for RunnerConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(pod_uid: &str) -> RunnerEntry {
        RunnerEntry {
            namespace: "team-a".into(),
            name: "lodge-runner-0".into(),
            service: "lodge-runner".into(),
            pod_uid: pod_uid.into(),
            address: Some("10.1.2.3".parse().unwrap()),
            is_ready: true,
        }
    }

    #[test]
    fn connections_belong_to_a_pod_and_not_to_its_name() {
        let directory = Directory::default();
        directory.runners().insert("team-a", "lodge-runner-0", runner("3f1b-1"));
        let uri = uri(&runner("3f1b-1"), Some(PathAndQuery::from_static("/v1/x?y"))).unwrap();
        assert_eq!(uri.path_and_query().unwrap(), "/v1/x?y");
        assert!(runner_of(&directory, &uri).is_some());
        directory.runners().insert("team-a", "lodge-runner-0", runner("3f1b-2"));
        assert!(runner_of(&directory, &uri).is_none());
    }

    #[test]
    fn a_runner_is_known_by_a_certificate_of_its_namespace() {
        assert_eq!(server_name(&runner("p")), "lodge-runner-0.lodge-runner.team-a.svc");
    }
}
