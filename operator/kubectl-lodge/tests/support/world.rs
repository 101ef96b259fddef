//! What is around the plugin: an API server that knows a few objects, a gateway with real TLS, a kubeconfig.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kubectl_lodge::Terminal;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use vm_api::{ExecResponse, Problem, ProblemCode, problem};

/// What the gateway saw of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) has_certificate: bool,
    pub(crate) body: Value,
}

pub(crate) type Answer = Response<Full<Bytes>>;
type Script = Arc<dyn Fn(usize) -> Answer + Send + Sync>;

pub(crate) struct World {
    pub(crate) authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) gateway: SocketAddr,
    /// Objects of the API server by path.
    pub(crate) objects: Arc<Mutex<HashMap<String, Value>>>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    home: TempDir,
    _tasks: JoinSet<()>,
}

/// What a run of the plugin came to.
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

pub(crate) const CONFIG_MAP: &str = "/api/v1/namespaces/lodge-system/configmaps/lodge-gateway";

impl World {
    /// A world whose gateway answers its n-th request with `script(n)`.
    pub(crate) async fn new(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let authority = authority();
        let (objects, seen) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_address = api.local_addr().unwrap();
        tasks.spawn(serve_api(api, objects.clone()));
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway_address = gateway.local_addr().unwrap();
        tasks.spawn(serve_gateway(gateway, acceptor(&authority), seen.clone(), Arc::new(script)));
        let home = tempfile::tempdir().unwrap();
        let world = Self { authority, gateway: gateway_address, objects, seen, home, _tasks: tasks };
        world.write_kubeconfig(api_address, "{token: jane-token}");
        world.put(CONFIG_MAP, world.config_map(Some(&format!("https://{gateway_address}"))));
        world
    }

    pub(crate) fn config_map(&self, address: Option<&str>) -> Value {
        let mut data = json!({"ca.crt": self.authority.pem()});
        if let Some(address) = address {
            data["address"] = json!(address);
        }
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lodge-gateway"}, "data": data})
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    pub(crate) fn write_kubeconfig(&self, api: SocketAddr, user: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u, namespace: team-a}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'http://{api}'}}}}]\n\
             users: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(self.home.path().join("kubeconfig"), text).unwrap();
    }

    /// Replaces the user of the kubeconfig.
    pub(crate) fn set_user(&self, user: &str) {
        let path = self.home.path().join("kubeconfig");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("{token: jane-token}", user)).unwrap();
    }

    /// A client certificate of this world's authority, as base64 PEM: certificate and key.
    pub(crate) fn user_certificate(&self) -> (String, String) {
        use base64::Engine as _;
        let (certificate, key) = issue(&self.authority, &[]);
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        (encode(certificate), encode(key))
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, b"").await
    }

    pub(crate) async fn run_with(&self, arguments: &[&str], mut stdin: &[u8]) -> Outcome {
        let kubeconfig = self.home.path().join("kubeconfig");
        // Before the dashes, where an option is one.
        let (subcommand, rest) = arguments.split_first().unwrap();
        let line = ["kubectl-lodge", subcommand, "--kubeconfig"].map(OsString::from).into_iter();
        let line = line.chain([kubeconfig.into_os_string()]).chain(rest.iter().map(OsString::from));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
        let code = kubectl_lodge::run(line, &mut terminal).await;
        Outcome { code, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "lodge");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn acceptor(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let (certificate, key) = issue(authority, &["lodge-gateway.lodge-system.svc"]);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve_gateway(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(tls) = acceptor.accept(tcp).await else { continue };
        let has_certificate = tls.get_ref().1.peer_certificates().is_some();
        let (seen, script) = (seen.clone(), script.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (seen, script) = (seen.clone(), script.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let authorization =
                    parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
                let count = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(Seen {
                        path: parts.uri.to_string(),
                        authorization,
                        has_certificate,
                        body: serde_json::from_slice(&body).unwrap(),
                    });
                    seen.len()
                };
                Ok::<_, Infallible>(script(count))
            }
        });
        // One connection after the other is enough for one client.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
    }
}

async fn serve_api(listener: TcpListener, objects: Arc<Mutex<HashMap<String, Value>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let objects = objects.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let path = request.uri().path();
            let name = path.rsplit('/').next().unwrap();
            let answer = match objects.lock().unwrap().get(path) {
                Some(object) => json_answer(StatusCode::OK, object),
                None => json_answer(
                    StatusCode::NOT_FOUND,
                    &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                            "message": format!("{name} not found"), "code": 404, "details": {"name": name}}),
                ),
            };
            async move { Ok::<_, Infallible>(answer) }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

/// A command that has ended.
pub(crate) fn exited(code: u8, stdout: &str) -> Answer {
    let response =
        ExecResponse { exit_code: Some(code), stdout: stdout.to_owned(), ..ExecResponse::default() };
    json_answer(StatusCode::OK, &serde_json::to_value(response).unwrap())
}

/// A problem of the gateway.
pub(crate) fn refused(code: ProblemCode, detail: &str) -> Answer {
    let problem = Problem::new(code, detail);
    let status = StatusCode::from_u16(problem.status).unwrap();
    let mut answer = json_answer(status, &serde_json::to_value(problem).unwrap());
    answer.headers_mut().insert("content-type", problem::MEDIA_TYPE.parse().unwrap());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert("retry-after", "1".parse().unwrap());
    }
    answer
}
