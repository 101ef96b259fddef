//! A plain HTTP client of the gateway: one kept connection, so that times are those of a request and not of TLS.

use crate::cluster::{Cluster, SYSTEM_NAMESPACE};
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinHandle};

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

/// A connection to the gateway.
#[derive(Debug)]
pub struct GatewayClient {
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
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
        let address = cluster.field(SYSTEM_NAMESPACE, "service/lodge-gateway", ".spec.clusterIP")?;
        let tcp = TcpStream::connect((address.as_str(), 443)).await.context("connecting to the gateway")?;
        tcp.set_nodelay(true)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(cluster, identity)?));
        let name = ServerName::try_from(format!("lodge-gateway.{SYSTEM_NAMESPACE}.svc"))?;
        let stream = connector.connect(name, tcp).await.context("TLS with the gateway")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let authorization = match identity {
            Identity::Token(token) => Some(format!("Bearer {token}")),
            Identity::Administrator | Identity::Anonymous => None,
        };
        Ok(Self { sender, authorization, connection })
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn send(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        self.send_body(method, path, None, Full::new(body.into()).boxed()).await
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
        body: BoxBody<Bytes, Infallible>,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("lodge-gateway.{SYSTEM_NAMESPACE}.svc"))
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(body)?;
        self.sender.ready().await.context("the connection to the gateway")?;
        let start = Instant::now();
        let mut response = self.sender.send_request(request).await?;
        let first = response.body_mut().frame().await.transpose()?;
        let first_byte = start.elapsed();
        let (head, rest) = response.into_parts();
        let mut body = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default().to_vec();
        body.extend_from_slice(&rest.collect().await?.to_bytes());
        Ok(Answer { status: head.status, headers: head.headers, body: body.into(), first_byte })
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
