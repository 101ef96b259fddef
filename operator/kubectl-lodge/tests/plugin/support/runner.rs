//! A real runner behind the gateway of a test: the program that `cargo build --release -p vm-runner` has built.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::answer::Answer;
use super::world::{Call, WORKSPACE, World};

/// Where a connection breaks.
const CUT_BYTES: usize = 300_000;

/// A runner with one workspace.
pub(crate) struct Runner {
    child: Child,
    pub(crate) world: World,
    _folder: TempDir,
}

/// Where the program is: beside this test's, or in the context of the runner's image.
fn program() -> PathBuf {
    let release =
        Path::new(env!("CARGO_BIN_EXE_kubectl-lodge")).parent().unwrap().join("../release/vm-runner");
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/images/runner.context/vm-runner");
    [release, local]
        .into_iter()
        .find(|path| path.exists())
        .expect("build it: cargo build --release -p vm-runner")
}

impl Runner {
    pub(crate) async fn start() -> Self {
        Self::start_with(false).await
    }

    /// A runner to which the connection of the first command breaks in the middle of its output.
    pub(crate) async fn start_cutting() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(cuts: bool) -> Self {
        let software = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/software");
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("sock");
        let child = Command::new(program())
            .arg("serve")
            .arg("--dev")
            .args(["--listen", &format!("unix:{}", socket.display())])
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--software")
            .arg(software)
            .args(["--log", "warn"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (runner, is_cut) = (socket.clone(), Arc::new(AtomicBool::new(cuts)));
        let world = World::serving(move |call| {
            let is_exec = call.seen.line() == "POST exec";
            let most = (is_exec && is_cut.swap(false, Ordering::SeqCst)).then_some(CUT_BYTES);
            Box::pin(forward(call, runner.clone(), most))
        })
        .await;
        configure(&socket).await;
        let object = json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "ada"},
            "spec": {}, "status": {"power": "Awake", "conditions": [{"type": "Ready", "status": "True"}]}});
        world.put(WORKSPACE, object);
        Self { child, world, _folder: folder }
    }
}

/// Tells the runner about the workspace, as soon as it listens.
async fn configure(socket: &Path) {
    let config = json!({"namespace": "team-a", "name": "ada", "generation": 1, "epoch": 1,
                        "software": [{"name": "common"}]});
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let Ok(stream) = UnixStream::connect(socket).await else { continue };
        let body = Full::new(bytes::Bytes::from(config.to_string()));
        let request = Request::put("/v1/workspaces/u").header("host", "runner").body(body).unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        assert!(sender.send_request(request).await.unwrap().status().is_success());
        return;
    }
    panic!("the runner does not listen");
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Whoever fails here has a test that failed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a gateway does, without asking who it is.
async fn forward(call: Call, socket: PathBuf, most: Option<usize>) -> Answer {
    let path = call.seen.path.replacen("/v1/namespaces/team-a/workspaces/ada", "/v1/workspaces/u", 1);
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder().method(call.seen.method.as_str()).uri(path);
    for (name, value) in &call.seen.headers {
        if name != "content-length" && name != "transfer-encoding" {
            request = request.header(name, value);
        }
    }
    let mut answer = sender.send_request(request.body(Full::new(call.seen.bytes)).unwrap()).await.unwrap();
    if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        let there = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            let (here, there) = (call.upgrade.await.unwrap(), there.await.unwrap());
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(here), &mut TokioIo::new(there)).await;
        });
    }
    // The connection lives as long as the body.
    let mut left = most.unwrap_or(usize::MAX);
    answer.map(move |body| {
        let frames = body.into_data_stream().map(move |data| {
            let _ = &sender;
            let data = data.map_err(io::Error::other)?;
            left = left.checked_sub(data.len()).ok_or_else(|| io::Error::other("cut"))?;
            Ok(Frame::data(data))
        });
        StreamBody::new(frames).boxed_unsync()
    })
}
