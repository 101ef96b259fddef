//! A runner that is scripted by its test: real mutual TLS, real HTTP, answers from a closure.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use vm_api::{Problem, ProblemCode, problem};

use super::pki::{Authority, Identity, provider};

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a runner answers.
pub(crate) type Script = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync>;

pub(crate) struct Runner {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    hang_up: Arc<Mutex<CancellationToken>>,
    task: tokio::task::JoinHandle<()>,
}

impl Runner {
    /// Starts a runner that trusts clients of `authority` and shows `identity`.
    pub(crate) async fn start(authority: &Authority, identity: &Identity, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, authority, identity, script)
    }

    pub(crate) fn serve(
        listener: TcpListener,
        authority: &Authority,
        identity: &Identity,
        script: Script,
    ) -> Self {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider())
            .build()
            .unwrap();
        let mut tls = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain(), identity.key())
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let hang_up = Arc::new(Mutex::new(CancellationToken::new()));
        let current = hang_up.clone();
        let task = tokio::spawn(async move {
            // Connections end with the runner.
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, script, counter) = (acceptor.clone(), script.clone(), counter.clone());
                let hang_up = current.lock().unwrap().clone();
                tasks.spawn(hang_up.run_until_cancelled_owned(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    counter.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |request| {
                        let answer = script(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(tls), service).await;
                }));
            }
        });
        Self { address, connections, hang_up, task }
    }

    /// Breaks every connection, as a process that is killed does; new ones are taken.
    pub(crate) fn hang_up(&self) {
        std::mem::take(&mut *self.hang_up.lock().unwrap()).cancel();
    }

    /// Connections that finished their handshake.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
}

pub(crate) fn problem(code: ProblemCode) -> Answer {
    let problem = Problem::new(code, "so says the runner");
    let mut response = answer(StatusCode::from_u16(problem.status).unwrap(), problem.to_json());
    response.headers_mut().insert("content-type", problem::MEDIA_TYPE.parse().unwrap());
    response
}

/// Tells what the request was.
pub(crate) fn echo() -> Script {
    Arc::new(|request| {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers: serde_json::Map<_, _> = parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
                .collect();
            let seen = serde_json::json!({
                "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers,
                "body": String::from_utf8_lossy(&body),
            });
            answer(StatusCode::OK, seen.to_string())
        })
    })
}
