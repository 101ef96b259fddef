//! A gateway with everything around it: a scripted API server, certificates, a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway::Gateway;
use gateway::config::{Config, Limits, Timeouts};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::api_server::ApiServer;
use super::pki::{Authority, Identity, provider};
use super::runner::{Runner, Script};

pub(crate) const NAMESPACE: &str = "team-a";
/// What the gateway is called in its certificate.
pub(crate) const GATEWAY_NAME: &str = "lodge-gateway.lodge-system.svc";
pub(crate) const RUNNER_NAMES: [&str; 1] = ["*.lodge-runner.team-a.svc"];

pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) struct World {
    pub(crate) api: ApiServer,
    /// Signs what Lodge's parts show each other.
    pub(crate) lodge: Authority,
    /// Signs what users of the cluster show.
    pub(crate) cluster: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) gateway: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// A world whose gateway expects runners at `runner_port`.
    pub(crate) async fn with(runner_port: u16, timeouts: Timeouts, limits: Limits) -> Self {
        Self::around(Authority::new("lodge"), runner_port, Vec::new(), timeouts, limits, |_| ()).await
    }

    /// A world with a bound workspace `ada` and its runner, in which `jane` may do everything with token `jane-token`.
    pub(crate) async fn usual(script: Script) -> (Self, Runner) {
        Self::usual_with(script, Timeouts::default(), Limits::default()).await
    }

    pub(crate) async fn usual_with(script: Script, timeouts: Timeouts, limits: Limits) -> (Self, Runner) {
        Self::usual_for(&[], script, timeouts, limits).await
    }

    /// The same, for tokens with one of these audiences.
    pub(crate) async fn usual_for(
        audiences: &[&str],
        script: Script,
        timeouts: Timeouts,
        limits: Limits,
    ) -> (Self, Runner) {
        let lodge = Authority::new("lodge");
        let runner = Runner::start(&lodge, &lodge.machine(&RUNNER_NAMES), script).await;
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let port = runner.address.port();
        let world = Self::around(lodge, port, audiences, timeouts, limits, |api| {
            api.put("workspaces", workspace("ada", Some("lodge-runner-0")));
            api.put("pods", pod(Some("127.0.0.1")));
        })
        .await;
        world.admit_jane();
        (world, runner)
    }

    /// A gateway, and what it finds in the cluster.
    pub(crate) async fn around(
        lodge: Authority,
        runner_port: u16,
        token_audiences: Vec<String>,
        timeouts: Timeouts,
        limits: Limits,
        prepare: impl FnOnce(&ApiServer),
    ) -> Self {
        let (api, cluster) = (ApiServer::new(), Authority::new("cluster"));
        api.put("secrets", secret(&lodge));
        api.put("configmaps", client_ca(&cluster));
        prepare(&api);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            listen: any,
            health_listen: any,
            metrics_listen: any,
            namespace: "lodge-system".to_owned(),
            tls_secret: "lodge-gateway-tls".to_owned(),
            serving_secret: None,
            token_audiences,
            runner_selector: "app.kubernetes.io/name=lodge-runner".to_owned(),
            runner_port,
            timeouts,
            limits,
        };
        let gateway = Gateway::bind(config, api.client()).await.unwrap();
        let address = gateway.address().unwrap();
        let health = gateway.health_address().unwrap().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(gateway.run(stop.clone()));
        let world = Self { api, lodge, cluster, address, health, stop, gateway: Some(task) };
        world.ready().await;
        world
    }

    pub(crate) fn admit_jane(&self) {
        self.api.accept_token("jane-token", "jane", &["team-a-devs"]);
        for verb in ["create", "get", "update", "delete"] {
            for subresource in ["exec", "files", "processes", "shells", "events", "power", "runs"] {
                self.api.grant("jane", verb, subresource, NAMESPACE);
            }
        }
    }

    async fn ready(&self) {
        for _ in 0..500 {
            if self.probe("/readyz").await.0 == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the gateway is not ready: {}", self.probe("/readyz").await.1);
    }

    /// Status and text of a probe.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        let tcp = TcpStream::connect(self.health).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
        let _connection = AbortOnDrop(tokio::spawn(async { drop(connection.await) }));
        let request = Request::get(path).header("host", "probe").body(Full::new(Bytes::new())).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Connection {
        Connection::open(self.address, &self.lodge, identity).await
    }

    /// A connection that speaks a protocol and has said nothing yet.
    pub(crate) async fn tls(&self, protocol: &str) -> TlsStream<TcpStream> {
        tls(self.address, GATEWAY_NAME, &self.lodge, None, protocol).await
    }

    /// An HTTP/2 connection, and what drives it.
    pub(crate) async fn http2(
        &self,
    ) -> (http2::SendRequest<Body>, impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let tls = self.tls("h2").await;
        http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap()
    }

    /// The value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.probe("/metrics").await.1;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answered {
        self.connect(None).await.send(request).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(gateway) = &self.gateway {
            gateway.abort();
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A client's connection to the gateway.
pub(crate) struct Connection {
    sender: http1::SendRequest<Body>,
    _task: AbortOnDrop,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, lodge: &Authority, identity: Option<&Identity>) -> Self {
        let tls = tls(address, GATEWAY_NAME, lodge, identity, "http/1.1").await;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
        Self { sender, _task: AbortOnDrop(tokio::spawn(async { drop(connection.await) })) }
    }

    pub(crate) async fn head(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answered {
        let (parts, body) = self.head(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

pub(crate) async fn tls(
    address: SocketAddr,
    name: &'static str,
    lodge: &Authority,
    identity: Option<&Identity>,
    protocol: &str,
) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(lodge.roots());
    let mut config = match identity {
        Some(identity) => config.with_client_auth_cert(identity.chain(), identity.key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A request for an area of a workspace, with jane's token.
pub(crate) fn request(method: &str, workspace: &str, area: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("/v1/namespaces/{NAMESPACE}/workspaces/{workspace}/{area}"))
        .header("host", "lodge-gateway")
        .header("authorization", "Bearer jane-token")
        .body(body)
        .unwrap()
}

pub(crate) fn exec(workspace: &str) -> Request<Body> {
    request("POST", workspace, "exec", whole(r#"{"command":"true"}"#))
}

pub(crate) fn workspace(name: &str, runner: Option<&str>) -> Value {
    let status = runner.map_or(json!({}), |runner| json!({"runner": {"name": runner, "epoch": 1}}));
    json!({
        "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "spec": {}, "status": status,
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}")},
    })
}

pub(crate) fn pod(address: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "subdomain": "lodge-runner"},
        "metadata": {"name": "lodge-runner-0", "namespace": NAMESPACE, "uid": "4c0f8d6a-pod"},
        "status": {"phase": "Pending"},
    });
    if let Some(address) = address {
        pod["status"] = json!({"phase": "Running", "podIP": address});
    }
    pod
}

pub(crate) fn secret(lodge: &Authority) -> Value {
    let gateway = lodge.machine(&["gateway.lodge.internal", "lodge-gateway.lodge-system.svc"]);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "lodge-gateway-tls", "namespace": "lodge-system"},
        "data": {
            "tls.crt": STANDARD.encode(gateway.certificate_pem),
            "tls.key": STANDARD.encode(gateway.key_pem),
            "ca.crt": STANDARD.encode(lodge.pem()),
        },
    })
}

pub(crate) fn client_ca(cluster: &Authority) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": cluster.pem()},
    })
}
