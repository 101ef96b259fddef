//! Mutual TLS: who may connect, who may do what, and certificates that change.
#![expect(clippy::disallowed_methods, reason = "tests start the real program and connect to it")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use vm_api::{Problem, WorkspaceConfig, header, route};

use crate::runner::{PROGRAM, software};

const SERVER: &str = "lodge-runner-0.lodge-runner.team-a.svc";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A client that trusts this authority, with a certificate of `signer`.
    fn client(&self, identity: Option<(&Self, &str)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.0.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some((signer, name)) = identity else { return builder.with_no_client_auth() };
        let (certificate, key) = signer.issue(name);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
    }

    /// Writes what the server needs.
    fn write(&self, dir: &Path) {
        let (certificate, key) = self.issue(SERVER);
        std::fs::write(dir.join("ca.crt"), self.0.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(authority: &Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        authority.write(dir.path());
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let child = Command::new(PROGRAM)
            .args(["--log", "warn", "serve", "--listen", &address.to_string(), "--data"])
            .arg(dir.path().join("data"))
            .arg("--software")
            .arg(software())
            .arg("--tls-cert")
            .arg(dir.path().join("tls.crt"))
            .arg("--tls-key")
            .arg(dir.path().join("tls.key"))
            .arg("--tls-client-ca")
            .arg(dir.path().join("ca.crt"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the supervisor does not serve");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { child, address, dir }
    }

    async fn send(
        &self,
        client: ClientConfig,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Option<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let name = ServerName::try_from(SERVER).unwrap();
        let stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let request = http::Request::builder().method(method).uri(path).header("host", SERVER);
        let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.ok()?;
        let status = response.status();
        Some((status, response.into_body().collect().await.ok()?.to_bytes()))
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_name_in_the_certificate_decides_what_a_client_may_do() {
    let authority = Authority::new();
    let server = Server::start(&authority).await;
    let config = serde_json::to_vec(&WorkspaceConfig::new("team-a", "ada")).unwrap();
    let routes = route::Workspace::at_runner("u");
    let operator = authority.client(Some((&authority, header::OPERATOR_IDENTITY)));
    let gateway = authority.client(Some((&authority, header::GATEWAY_IDENTITY)));
    let stranger = authority.client(Some((&authority, "somebody.example")));

    let (status, body) =
        server.send(gateway.clone(), Method::PUT, routes.base(), config.clone()).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert!(problem.detail.contains(header::OPERATOR_IDENTITY), "{}", problem.detail);

    let (status, body) = server.send(operator, Method::PUT, routes.base(), config).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body:?}");

    let exec = br#"{"command":"echo hi"}"#.to_vec();
    let (status, body) =
        server.send(gateway.clone(), Method::POST, &routes.exec(), exec.clone()).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body:?}");
    let (status, _) = server.send(gateway, Method::DELETE, routes.base(), Vec::new()).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = server.send(stranger, Method::POST, &routes.exec(), exec).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn without_a_certificate_of_the_authority_nobody_is_served() {
    let authority = Authority::new();
    let server = Server::start(&authority).await;
    assert!(server.send(authority.client(None), Method::GET, route::WORKSPACES, Vec::new()).await.is_none());
    let other = Authority::new();
    let forged = authority.client(Some((&other, header::OPERATOR_IDENTITY)));
    assert!(server.send(forged, Method::GET, route::WORKSPACES, Vec::new()).await.is_none());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn certificates_that_change_are_loaded_again() {
    let authority = Authority::new();
    let server = Server::start(&authority).await;
    let next = Authority::new();
    next.write(server.dir.path());
    let started = Instant::now();
    loop {
        let client = next.client(Some((&next, header::OPERATOR_IDENTITY)));
        if let Some((status, _)) = server.send(client, Method::GET, route::WORKSPACES, Vec::new()).await {
            assert_eq!(status, StatusCode::OK);
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "the new certificates are not in use");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
