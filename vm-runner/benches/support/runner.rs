//! A supervisor for a benchmark, a client on one kept connection, and the way numbers are printed.
#![expect(clippy::disallowed_methods, reason = "starts the real program")]
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;
use vm_api::{ExecRequest, ExecResponse, WorkspaceConfig, route};

/// How many vm processes a supervisor of this benchmark keeps warm.
#[derive(Clone, Copy)]
pub(crate) enum Spares {
    None,
    One,
}

pub(crate) struct Runner {
    child: Child,
    _dir: tempfile::TempDir,
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Runner {
    /// Starts a supervisor with a data folder of its own.
    pub(crate) async fn start(spares: Spares) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("socket");
        // `cargo bench -- DIR` measures with another software folder.
        let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        let usual = || format!("{}/../.local/software", env!("CARGO_MANIFEST_DIR"));
        let software = given.unwrap_or_else(usual);
        let child = Command::new(env!("CARGO_BIN_EXE_vm-runner"))
            .args([
                "--log",
                "warn",
                "serve",
                "--dev",
                "--listen",
                &format!("unix:{}", socket.display()),
                "--data",
            ])
            .arg(dir.path().join("data"))
            .arg("--software")
            .arg(software)
            .args([
                "--spares",
                match spares {
                    Spares::None => "0",
                    Spares::One => "1",
                },
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stream = connect(&socket).await;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        Self { child, _dir: dir, sender, _driver: driver }
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> Bytes {
        self.sender.ready().await.expect("the connection lives");
        let request = http::Request::builder().method(method).uri(path).header("host", "bench");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = self.sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        body
    }

    pub(crate) async fn create(&mut self, uid: &str) {
        self.put(&WorkspaceConfig::new("bench", uid)).await;
    }

    /// Creates a workspace whose uid is its name.
    pub(crate) async fn put(&mut self, config: &WorkspaceConfig) {
        let body = serde_json::to_vec(config).expect("JSON");
        self.send(Method::PUT, route::Workspace::at_runner(&config.name).base(), body).await;
    }

    pub(crate) async fn delete(&mut self, uid: &str) {
        self.send(Method::DELETE, route::Workspace::at_runner(uid).base(), Vec::new()).await;
    }

    pub(crate) async fn exec(&mut self, uid: &str, request: &ExecRequest) -> ExecResponse {
        let body = serde_json::to_vec(request).expect("JSON");
        let answer = self.send(Method::POST, &route::Workspace::at_runner(uid).exec(), body).await;
        let response: ExecResponse = serde_json::from_slice(&answer).expect("an answer");
        assert_eq!(response.exit_code, Some(0), "{response:?}");
        response
    }

    /// From before the request is written until the first byte that the command has written is there, streamed.
    pub(crate) async fn first_output(&mut self, uid: &str, request: &ExecRequest) -> Duration {
        let body = serde_json::to_vec(request).expect("JSON");
        self.sender.ready().await.expect("the connection lives");
        let started = Instant::now();
        let request =
            http::Request::builder().method(Method::POST).uri(route::Workspace::at_runner(uid).exec());
        let request = request.header("host", "bench").header("accept", "text/event-stream");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let mut response = self.sender.send_request(request).await.expect("an answer");
        assert!(response.status().is_success(), "{response:?}");
        let (mut text, mut first) = (Vec::new(), None);
        while let Some(frame) = response.body_mut().frame().await {
            text.extend_from_slice(&frame.expect("a whole answer").into_data().unwrap_or_default());
            if first.is_none() && contains(&text, b"\"type\":\"stdout\"") {
                first = Some(started.elapsed());
            }
        }
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("\"exitCode\":0"), "{text}");
        first.unwrap_or_else(|| panic!("no output: {text}"))
    }

    pub(crate) async fn wait_for_a_spare(&mut self) {
        loop {
            let metrics = self.send(Method::GET, route::METRICS, Vec::new()).await;
            if String::from_utf8_lossy(&metrics).contains("vm_runner_spares 1") {
                // The process is there; it warms up for a moment.
                tokio::time::sleep(Duration::from_millis(150)).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Memory of the vm processes, in KiB.
    pub(crate) fn vm_memory(&self) -> Vec<Memory> {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<String> = children.collect();
        children.iter().flat_map(|list| list.split_whitespace()).filter_map(memory).collect()
    }

    /// Proportional memory of the supervisor, in KiB.
    pub(crate) fn supervisor_memory(&self) -> u64 {
        memory(&self.child.id().to_string()).map_or(0, |memory| memory.proportional_kib)
    }
}

/// Memory of a process, in KiB. Of what many processes share, such as the code of the runner, each has its part of the
/// proportional number: beside few others much more than beside many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) proportional_kib: u64,
    pub(crate) private_kib: u64,
}

fn memory(pid: &str) -> Option<Memory> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let number = |name: &str| -> Option<u64> {
        rollup.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    let private_kib = number("Private_Clean:")? + number("Private_Dirty:")?;
    Some(Memory { proportional_kib: number("Pss:")?, private_kib })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

async fn connect(socket: &Path) -> UnixStream {
    let started = Instant::now();
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return stream,
            Err(error) if started.elapsed() > Duration::from_secs(20) => {
                panic!("the supervisor does not serve: {error}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

pub(crate) fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "{what:<44} n={:<5} p50={:>8.3} ms  p95={:>8.3} ms  p99={:>8.3} ms",
        times.len(),
        at(50),
        at(95),
        at(99)
    );
}
