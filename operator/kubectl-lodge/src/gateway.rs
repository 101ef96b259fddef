//! The way to the gateway: where it is, whom to trust, and one request.
//!
//! Where: `--gateway`, or the address in ConfigMap `lodge-gateway`, or a port-forward to one of its pods. Whom: the CA of the
//! same ConfigMap, for the gateway's own name; the address's host name counts too, where the certificate has it.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::client::UpgradeConnectionError;
use kube::{Api, Client, ResourceExt as _};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vm_api::{Problem, ProblemCode, problem};

use crate::args::ClusterArgs;
use crate::cluster::{Cluster, api_error, is_ready};
use crate::error::Error;

const CONFIG_MAP: &str = "lodge-gateway";
const POD_SELECTOR: &str = "app.kubernetes.io/name=lodge-gateway";
/// Port of the gateway's pods.
const POD_PORT: u16 = 8443;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer that is taken: the largest outputs, in the worst encoding.
const ANSWER_BYTES: usize = 1 << 30;

/// A gateway that can be asked.
pub(crate) struct Gateway {
    endpoint: Endpoint,
    name: ServerName<'static>,
    tls: TlsConnector,
    authorization: Option<http::HeaderValue>,
}

enum Endpoint {
    Address { host: String, port: u16 },
    Pod { client: Client, namespace: String, name: String },
}

/// An answer of the gateway that is not a problem, or one that may be gone in a moment.
pub(crate) enum Answer {
    Done(Bytes),
    NotYet(Problem),
}

impl Gateway {
    /// Finds the gateway of a cluster.
    pub(crate) async fn find(cluster: Cluster, args: &ClusterArgs) -> Result<Self, Error> {
        let Cluster { client, namespace: _, credentials } = cluster;
        let lodge = &args.lodge_namespace;
        let published = match (&args.gateway, &args.gateway_ca) {
            (Some(_), Some(_)) => None,
            (Some(_), None) | (None, _) => Some(config_map(&client, lodge).await?),
        };
        let entry =
            |key: &str| published.as_ref()?.data.as_ref()?.get(key).filter(|text| !text.is_empty()).cloned();
        let roots = match &args.gateway_ca {
            Some(path) => {
                let from = path.display().to_string();
                let pem = std::fs::read(path)
                    .map_err(|error| Error::Ca { from: from.clone(), why: error.to_string() })?;
                roots(&pem, from)?
            }
            None => {
                let pem = entry("ca.crt").ok_or_else(|| Error::NoCa(lodge.clone()))?;
                roots(pem.as_bytes(), format!("in ConfigMap {lodge}/{CONFIG_MAP}"))?
            }
        };
        let own_name = format!("lodge-gateway.{lodge}.svc");
        let (endpoint, host) = match args.gateway.clone().or_else(|| entry("address")) {
            Some(address) => {
                let (host, port) = parse_address(&address)?;
                (Endpoint::Address { host: host.clone(), port }, host)
            }
            None => (find_pod(client, lodge).await?, own_name.clone()),
        };
        let server_name =
            |name: &str| ServerName::try_from(name.to_owned()).map_err(|_| Error::Address(name.to_owned()));
        let tls = trust(credentials.tls, roots, server_name(&own_name)?)?;
        Ok(Self {
            endpoint,
            name: server_name(&host)?,
            tls: TlsConnector::from(Arc::new(tls)),
            authorization: credentials.authorization,
        })
    }

    /// Sends a JSON document to a path, and gives the answer.
    pub(crate) async fn post(&self, path: &str, body: Vec<u8>) -> Result<Answer, Error> {
        let mut request = Request::post(path)
            .header(http::header::HOST, self.endpoint.host())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, concat!("kubectl-lodge/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.unreachable(error))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(http::header::AUTHORIZATION, authorization.clone());
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?))
            .await
            .map_err(|error| self.unreachable(error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
            self.read(response).await
        };
        // Moves the bytes. How it ends shows in the exchange.
        let driver = async {
            let _: hyper::Result<()> = connection.await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            outcome = exchange => outcome,
            never = driver => match never {},
        }
    }

    async fn connect(&self) -> Result<TlsStream<Box<dyn Stream>>, Error> {
        let connecting = async {
            let stream = self.endpoint.connect().await?;
            self.tls.connect(self.name.clone(), stream).await.map_err(|error| self.unreachable(error))
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| self.unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))?
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<Answer, Error> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| self.unreachable(format!("the answer broke off: {error}")))?
            .to_bytes();
        if parts.status == StatusCode::OK {
            return Ok(Answer::Done(body));
        }
        let is_problem = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
        match serde_json::from_slice::<Problem>(&body) {
            // The gateway says so only of requests that were not carried out. A VM that does not boot does not come
            // with time: whoever waits needs to know why.
            Ok(problem)
                if parts.status == StatusCode::SERVICE_UNAVAILABLE
                    && parts.headers.contains_key(http::header::RETRY_AFTER)
                    && !problem.is(ProblemCode::BootFailed) =>
            {
                Ok(Answer::NotYet(problem))
            }
            Ok(problem) if is_problem => Err(Error::Problem(Box::new(problem))),
            Ok(_) | Err(_) => {
                Err(Error::Foreign { at: self.endpoint.to_string(), status: parts.status.as_u16() })
            }
        }
    }

    fn unreachable(&self, why: impl ToString) -> Error {
        Error::Unreachable { at: self.endpoint.to_string(), why: why.to_string() }
    }
}

/// Bytes in both directions.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Endpoint {
    fn host(&self) -> String {
        match self {
            Self::Address { host, port } => format!("{host}:{port}"),
            Self::Pod { client: _, namespace, name: _ } => format!("lodge-gateway.{namespace}.svc"),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let unreachable = |why: String| Error::Unreachable { at: self.to_string(), why };
        match self {
            Self::Address { host, port } => {
                let tcp = TcpStream::connect((host.trim_matches(['[', ']']), *port))
                    .await
                    .map_err(|error| unreachable(error.to_string()))?;
                tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
                Ok(Box::new(tcp))
            }
            Self::Pod { client, namespace, name } => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
                let forward = pods.portforward(name, &[POD_PORT]).await;
                let mut forward = forward.map_err(|error| forward_error(error, namespace))?;
                let stream = forward.take_stream(POD_PORT);
                Ok(Box::new(stream.ok_or_else(|| unreachable("the port-forward has no stream".to_owned()))?))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { host, port } => write!(f, "https://{host}:{port}"),
            Self::Pod { client: _, namespace, name } => write!(f, "pod {namespace}/{name} (by port-forward)"),
        }
    }
}

async fn config_map(client: &Client, lodge: &str) -> Result<ConfigMap, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), lodge);
    match api.get_opt(CONFIG_MAP).await {
        Ok(Some(map)) => Ok(map),
        Ok(None) => Err(Error::NotInstalled(lodge.to_owned())),
        Err(error) => Err(api_error(
            error,
            &format!("read ConfigMap {lodge}/{CONFIG_MAP}; or give --gateway and --gateway-ca"),
        )),
    }
}

async fn find_pod(client: Client, lodge: &str) -> Result<Endpoint, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), lodge);
    let pods = api.list(&ListParams::default().labels(POD_SELECTOR)).await.map_err(|error| {
        api_error(error, &format!("list pods in namespace {lodge}; {}", forward_permissions(lodge)))
    })?;
    let ready = pods.items.into_iter().find(is_ready).ok_or_else(|| Error::NoGatewayPod(lodge.to_owned()))?;
    Ok(Endpoint::Pod { client, namespace: lodge.to_owned(), name: ready.name_any() })
}

/// What a port-forward needs, and how to do without.
fn forward_permissions(lodge: &str) -> String {
    // An upgrade of a GET, for which newer API servers ask for create.
    format!(
        "to reach the gateway by port-forward you need `list pods`, and `get` and `create pods/portforward`, in namespace \
         {lodge} (or let an administrator give it an address: chart value gateway.address)"
    )
}

/// Puts the failure of a port-forward into words. A refused upgrade has a status and no document.
fn forward_error(error: kube::Error, lodge: &str) -> Error {
    let doing = format!("forward a port to pods in namespace {lodge}; {}", forward_permissions(lodge));
    match error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(StatusCode::FORBIDDEN)) => {
            Error::Api(format!("you may not {doing}"))
        }
        other => api_error(other, &doing),
    }
}

/// Reads `https://HOST[:PORT]` or `HOST[:PORT]`.
fn parse_address(address: &str) -> Result<(String, u16), Error> {
    let refused = || Error::Address(address.to_owned());
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let uri: Uri = full.parse().map_err(|_| refused())?;
    if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(refused());
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(refused)?;
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

fn roots(pem: &[u8], from: String) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| Error::Ca { from: from.clone(), why: error.to_string() })?;
        roots.add(certificate).map_err(|error| Error::Ca { from: from.clone(), why: error.to_string() })?;
    }
    if roots.is_empty() {
        return Err(Error::Ca { from, why: "it holds no certificate".to_owned() });
    }
    Ok(roots)
}

/// Makes a configuration trust the gateway and nobody else.
fn trust(
    mut tls: ClientConfig,
    roots: RootCertStore,
    own_name: ServerName<'static>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let by_authority = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Error::Ca { from: "of the gateway".to_owned(), why: error.to_string() })?;
    tls.dangerous().set_certificate_verifier(Arc::new(GatewayVerifier { by_authority, own_name }));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// Accepts a certificate of Lodge's CA for the host that was asked for, or for the gateway's own name: its address may be
/// one that the operator was not told.
#[derive(Debug)]
struct GatewayVerifier {
    by_authority: Arc<WebPkiServerVerifier>,
    own_name: ServerName<'static>,
}

impl ServerCertVerifier for GatewayVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |name: &ServerName<'_>| {
            self.by_authority.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        verify(&self.own_name).or_else(|_| verify(server_name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        for (address, host, port) in [
            ("https://lodge.example.com", "lodge.example.com", 443),
            ("https://lodge.example.com:8443/", "lodge.example.com", 8443),
            ("10.0.0.7:8443", "10.0.0.7", 8443),
            ("https://[::1]:8443", "[::1]", 8443),
        ] {
            assert_eq!(parse_address(address).unwrap(), (host.to_owned(), port), "{address}");
        }
    }

    #[test]
    fn an_address_that_would_send_the_token_elsewhere_is_refused() {
        for address in ["http://lodge.example.com", "https://x/path", "https://", "", "https://x?y"] {
            assert!(parse_address(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_refused_port_forward_names_every_permission_that_it_needs() {
        let refused = UpgradeConnectionError::ProtocolSwitch(StatusCode::FORBIDDEN);
        let error = forward_error(kube::Error::UpgradeConnection(refused), "lodge-system").to_string();
        for part in
            ["you may not", "`list pods`", "`get` and `create pods/portforward`", "namespace lodge-system"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_ca_without_a_certificate_is_refused() {
        assert!(roots(b"", "x".to_owned()).is_err());
    }
}
