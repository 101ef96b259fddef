//! A plain HTTP client of the gateway: one kept connection, so that times are those of a request and not of TLS.

use crate::cluster::{Cluster, SYSTEM_NAMESPACE};
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::client::TlsStream;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A bearer token.
    Token(String),
    /// The client certificate of the administrator's kubeconfig.
    Administrator,
    /// Nobody.
    Anonymous,
}

impl Identity {
    /// The `authorization` header of whoever it is.
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        match self {
            Self::Token(token) => Some(format!("Bearer {token}")),
            Self::Administrator | Self::Anonymous => None,
        }
    }
}

/// Where the gateway is, and how to be trusted by it and trust it.
#[derive(Debug, Clone)]
pub struct Door {
    /// Address of its Service.
    pub address: String,
    /// The name that its certificate is for.
    pub name: String,
    /// TLS that trusts it and shows no certificate.
    pub anonymous: Arc<rustls::ClientConfig>,
    administrator: Arc<rustls::ClientConfig>,
}

impl Door {
    /// Looks where the gateway is.
    ///
    /// # Errors
    /// If it isn't installed.
    pub fn find(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            address: cluster.field(SYSTEM_NAMESPACE, "service/lodge-gateway", ".spec.clusterIP")?,
            name: gateway_name(),
            anonymous: Arc::new(tls(cluster, &Identity::Anonymous)?),
            administrator: Arc::new(tls(cluster, &Identity::Administrator)?),
        })
    }

    /// Connects to the gateway's Service from the node, with TLS.
    ///
    /// # Errors
    /// If the gateway can't be reached.
    pub async fn connect(&self, identity: &Identity) -> Result<TlsStream<TcpStream>> {
        let tcp =
            TcpStream::connect((self.address.as_str(), 443)).await.context("connecting to the gateway")?;
        tcp.set_nodelay(true)?;
        let config = match identity {
            Identity::Administrator => &self.administrator,
            Identity::Token(_) | Identity::Anonymous => &self.anonymous,
        };
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        connector.connect(ServerName::try_from(self.name.clone())?, tcp).await.context("TLS with the gateway")
    }

    /// A client on a connection of its own.
    ///
    /// # Errors
    /// If the gateway can't be reached.
    pub async fn client(&self, identity: &Identity) -> Result<GatewayClient> {
        let stream = self.connect(identity).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(GatewayClient { sender, authorization: identity.authorization(), connection })
    }
}

/// The name that the gateway's certificate is for.
#[must_use]
pub fn gateway_name() -> String {
    format!("lodge-gateway.{SYSTEM_NAMESPACE}.svc")
}

/// One answer of the gateway.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response headers.
    pub headers: http::HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From sending the request to the first byte of the body (to the headers, if there is no body).
    pub first_byte: Duration,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none; the error shows it.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// The body of a request.
pub type ClientBody = BoxBody<Bytes, Infallible>;

/// A body that is at hand.
#[must_use]
pub fn whole(body: impl Into<Bytes>) -> ClientBody {
    Full::new(body.into()).boxed()
}

/// A connection to the gateway.
#[derive(Debug)]
pub struct GatewayClient {
    sender: SendRequest<ClientBody>,
    authorization: Option<String>,
    connection: JoinHandle<()>,
}

impl Drop for GatewayClient {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl GatewayClient {
    /// Connects to the gateway's Service from the node.
    ///
    /// # Errors
    /// If the gateway isn't installed or can't be reached.
    pub async fn connect(cluster: &Cluster, identity: &Identity) -> Result<Self> {
        Door::find(cluster)?.client(identity).await
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn send(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.send_body(method, path, None, whole(body)).await
    }

    /// Announces a body of `length` bytes, sends none of it, and reads the answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn announce(&mut self, method: &str, path: &str, length: u64) -> Result<Answer> {
        let never = StreamBody::new(futures::stream::pending());
        self.send_body(method, path, Some(length), BodyExt::boxed(never)).await
    }

    async fn send_body(
        &mut self,
        method: &str,
        path: &str,
        length: Option<u64>,
        body: ClientBody,
    ) -> Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let start = Instant::now();
        let mut response = self.open(request, body).await?;
        let first = response.body_mut().frame().await.transpose()?;
        let first_byte = start.elapsed();
        let (head, rest) = response.into_parts();
        let mut body = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default().to_vec();
        body.extend_from_slice(&rest.collect().await?.to_bytes());
        Ok(Answer { status: head.status, headers: head.headers, body: body.into(), first_byte })
    }

    /// A request with the headers that every request has.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", gateway_name())
            .header("content-type", "application/json");
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// Sends a request and returns the answer as soon as its head is there. Until its body is read, the connection serves
    /// nothing else.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn open(
        &mut self,
        request: http::request::Builder,
        body: ClientBody,
    ) -> Result<http::Response<Incoming>> {
        self.sender.ready().await.context("the connection to the gateway")?;
        Ok(self.sender.send_request(request.body(body)?).await?)
    }

    /// Runs a shell command in a workspace.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn exec(&mut self, namespace: &str, workspace: &str, command: &str) -> Result<Answer> {
        let path = format!("/v1/namespaces/{namespace}/workspaces/{workspace}/exec");
        self.send("POST", &path, serde_json::json!({ "command": command }).to_string()).await
    }
}

/// The client's side of TLS: the gateway's CA, and the administrator's certificate if asked for.
fn tls(cluster: &Cluster, identity: &Identity) -> Result<rustls::ClientConfig> {
    let pem = cluster.field(SYSTEM_NAMESPACE, "configmap/lodge-gateway", ".data.ca\\.crt")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        Identity::Token(_) | Identity::Anonymous => Ok(builder.with_no_client_auth()),
        Identity::Administrator => {
            let field = |name: &str| -> Result<Vec<u8>> {
                let path = format!("{{.users[0].user.{name}}}");
                let args = ["config", "view", "--raw", "-o", &format!("jsonpath={path}")];
                Ok(STANDARD.decode(cluster.kubectl(&args)?.success()?.trim())?)
            };
            let certificates = field("client-certificate-data")?;
            let certificates =
                CertificateDer::pem_slice_iter(&certificates).collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(&field("client-key-data")?)?;
            Ok(builder.with_client_auth_cert(certificates, key)?)
        }
    }
}
