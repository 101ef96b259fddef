//! What is around the plugin: an API server that knows a few objects, a gateway with real TLS, a kubeconfig.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kubectl_lodge::Terminal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::answer::Answer;
use super::pki::{self, Authority};

/// What the gateway saw of a request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) has_certificate: bool,
    pub(crate) bytes: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body as a document; null if there is none.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// Method and what comes after the workspace.
    pub(crate) fn line(&self) -> String {
        let area = self.path.split_once("/workspaces/ada/").map_or(self.path.as_str(), |(_, area)| area);
        format!("{} {area}", self.method)
    }
}

/// A request, and the connection if it is to become another one.
pub(crate) struct Call {
    pub(crate) seen: Seen,
    pub(crate) upgrade: OnUpgrade,
    /// How many requests there were, with this one.
    pub(crate) count: usize,
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Script = Arc<dyn Fn(Call) -> Answering + Send + Sync>;

pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) gateway: SocketAddr,
    /// Objects of the API server by path.
    pub(crate) objects: Objects,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) home: TempDir,
    _tasks: JoinSet<()>,
}

type Objects = Arc<Mutex<HashMap<String, Value>>>;

/// What a run of the plugin came to.
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

pub(crate) const CONFIG_MAP: &str = "/api/v1/namespaces/lodge-system/configmaps/lodge-gateway";
pub(crate) const WORKSPACE: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/ada";

impl World {
    /// A world whose gateway answers its n-th request with `script(n)`.
    pub(crate) async fn new(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::answering(move |call| script(call.count)).await
    }

    /// A world whose gateway answers by what it is asked.
    pub(crate) async fn answering(script: impl Fn(Call) -> Answer + Send + Sync + 'static) -> Self {
        let script = Arc::new(script);
        Self::serving(move |call| {
            let script = Arc::clone(&script);
            Box::pin(async move { script(call) })
        })
        .await
    }

    /// A world whose gateway takes its time.
    pub(crate) async fn serving(script: impl Fn(Call) -> Answering + Send + Sync + 'static) -> Self {
        let authority = pki::authority();
        let (objects, seen) = (Objects::default(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_address = api.local_addr().unwrap();
        tasks.spawn(serve_api(api, objects.clone()));
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway_address = gateway.local_addr().unwrap();
        tasks.spawn(serve_gateway(gateway, pki::acceptor(&authority), seen.clone(), Arc::new(script)));
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
        std::fs::write(self.kubeconfig(), text).unwrap();
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// Replaces the user of the kubeconfig.
    pub(crate) fn set_user(&self, user: &str) {
        let text = std::fs::read_to_string(self.kubeconfig()).unwrap();
        std::fs::write(self.kubeconfig(), text.replace("{token: jane-token}", user)).unwrap();
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, &b""[..]).await
    }

    pub(crate) async fn run_with(
        &self,
        arguments: &[&str],
        stdin: impl std::io::Read + Send + 'static,
    ) -> Outcome {
        // Before the dashes, where an option is one.
        let (subcommand, rest) = arguments.split_first().unwrap();
        let line = ["kubectl-lodge", subcommand, "--kubeconfig"].map(OsString::from).into_iter();
        let line = line.chain([self.kubeconfig().into_os_string()]).chain(rest.iter().map(OsString::from));
        let (stdout, stderr) = (Written::default(), Written::default());
        let mut terminal = Terminal::of_streams(stdin, stdout.clone(), stderr.clone());
        let code = kubectl_lodge::run(line, &mut terminal).await;
        Outcome { code, stdout: stdout.take(), stderr: String::from_utf8(stderr.take()).unwrap() }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and area of every request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

/// What was written to a stream.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn serve_gateway(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, seen, script) = (acceptor.clone(), seen.clone(), script.clone());
        connections.spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let has_certificate = tls.get_ref().1.peer_certificates().is_some();
            let service =
                service_fn(move |request| take(request, has_certificate, seen.clone(), script.clone()));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(tls), service);
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn take(
    mut request: Request<Incoming>,
    has_certificate: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
) -> Result<Answer, hyper::Error> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let this = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        has_certificate,
        bytes,
    };
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(this.clone());
        seen.len()
    };
    Ok(script(Call { seen: this, upgrade, count }).await)
}

async fn serve_api(listener: TcpListener, objects: Objects) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let objects = objects.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let objects = objects.clone();
            async move { Ok::<_, Infallible>(api_answer(request, &objects).await) }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

async fn api_answer(request: Request<Incoming>, objects: &Objects) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path();
    let name = path.rsplit('/').next().unwrap();
    let mut objects = objects.lock().unwrap();
    let (status, value) = match objects.get_mut(path) {
        Some(object) if parts.method == http::Method::PATCH => {
            merge(object, serde_json::from_slice(&body).unwrap());
            (200, object.clone())
        }
        Some(object) => (200, object.clone()),
        None => (
            404,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                   "message": format!("{name} not found"), "code": 404, "details": {"name": name}}),
        ),
    };
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

/// RFC 7396, as far as tests need it.
fn merge(object: &mut Value, change: Value) {
    match (object, change) {
        (Value::Object(object), Value::Object(change)) => {
            for (name, value) in change {
                merge(object.entry(name).or_insert(Value::Null), value);
            }
        }
        (object, change) if object.is_null() && change.is_object() => {
            *object = json!({});
            merge(object, change);
        }
        (object, change) => *object = change,
    }
}
