//! The runner alone: one `vm-runner serve --dev` on a Unix socket, no Kubernetes.

use super::{BenchArgs, sample};
use crate::{cluster::Cluster, percentile::Samples};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::net::UnixStream;
use vm_api::{ExecRequest, WorkspaceConfig, route};

/// A runner of this benchmark's own, ended when dropped.
struct Runner {
    process: Child,
    _data: tempfile::TempDir,
}

impl Drop for Runner {
    fn drop(&mut self) {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        drop(killed);
    }
}

type Sender = SendRequest<Full<Bytes>>;

pub(super) async fn run(cluster: &Cluster, args: &BenchArgs) -> Result<Vec<(String, Samples)>> {
    let (runner, mut sender) = start(cluster).await?;
    let mut rows = Vec::new();
    put(&mut sender, "bench").await?;
    for command in [&["true"][..], &["sh", "-c", "echo hello | tr a-z A-Z"][..]] {
        let request = serde_json::to_vec(&ExecRequest::argv(command.iter().copied()))?;
        let path = route::Workspace::at_runner("bench").exec();
        let mut samples = Samples::default();
        for number in 0..args.requests + 50 {
            let time = post(&mut sender, &path, request.clone()).await?;
            if number >= 50 {
                samples.add(time);
            }
        }
        rows.push((format!("runner: exec {}", command.join(" ")), samples));
    }
    rows.push(("runner: warm create to first byte of echo".to_owned(), create(sender, args).await?));
    drop(runner);
    Ok(rows)
}

/// A new workspace: PUT, then the first byte of `echo hello`, with a spare vm process waiting.
async fn create(sender: Sender, args: &BenchArgs) -> Result<Samples> {
    let sender = std::sync::Arc::new(tokio::sync::Mutex::new(sender));
    let request = serde_json::to_vec(&ExecRequest::command("echo hello"))?;
    sample(args.workspaces, Duration::from_millis(400), |number| {
        let (sender, request) = (sender.clone(), request.clone());
        async move {
            let mut sender = sender.lock().await;
            let uid = format!("warm-{number}");
            let start = Instant::now();
            put(&mut sender, &uid).await?;
            post(&mut sender, &route::Workspace::at_runner(&uid).exec(), request).await?;
            let time = start.elapsed();
            call(&mut sender, "DELETE", &route::Workspace::at_runner(&uid).base_with_epoch(1), Vec::new())
                .await?;
            Ok(time)
        }
    })
    .await
}

async fn start(cluster: &Cluster) -> Result<(Runner, Sender)> {
    let data = tempfile::tempdir()?;
    let socket = data.path().join("runner.sock");
    let process = Command::new(cluster.bin.join("vm-runner"))
        .args(["serve", "--dev", "--listen"])
        .arg(format!("unix:{}", socket.display()))
        .arg("--data")
        .arg(data.path().join("data"))
        .arg("--software")
        .arg(&cluster.software)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting vm-runner")?;
    let runner = Runner { process, _data: data };
    let sender = connect(&socket).await?;
    tokio::time::sleep(Duration::from_secs(1)).await; // for the spare
    Ok((runner, sender))
}

async fn connect(socket: &Path) -> Result<Sender> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                let (sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(async move { drop(connection.await) });
                return Ok(sender);
            }
            Err(error) => ensure!(Instant::now() < deadline, "{}: {error}", socket.display()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn put(sender: &mut Sender, uid: &str) -> Result<()> {
    let mut config = WorkspaceConfig::new("bench", uid);
    config.epoch = 1;
    config.generation = 1;
    call(sender, "PUT", route::Workspace::at_runner(uid).base(), serde_json::to_vec(&config)?).await?;
    Ok(())
}

/// Posts a command that must succeed, and answers the time to the first byte of the answer's body.
async fn post(sender: &mut Sender, path: &str, body: Vec<u8>) -> Result<Duration> {
    call(sender, "POST", path, body).await
}

async fn call(sender: &mut Sender, method: &str, path: &str, body: Vec<u8>) -> Result<Duration> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "runner")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    sender.ready().await?;
    let start = Instant::now();
    let mut response = sender.send_request(request).await?;
    let first = response.body_mut().frame().await.transpose()?;
    let time = start.elapsed();
    let status = response.status();
    let rest = response.into_body().collect().await?.to_bytes();
    let text = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    ensure!(
        status.is_success()
            && !(String::from_utf8_lossy(&text) + String::from_utf8_lossy(&rest)).contains("\"exitCode\":1"),
        "{method} {path}: {status} {}",
        String::from_utf8_lossy(&text)
    );
    Ok(time)
}
