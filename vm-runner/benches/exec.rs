//! How long things take at the runner's API: `cargo bench -p vm-runner`.
//!
//! One client on one kept connection over a Unix socket, a real supervisor, real vm processes. Each time runs from
//! before the request is written until the whole answer is read, so it includes the first byte of output. Needs the guest
//! software in `.local/software`.
#![expect(clippy::disallowed_methods, reason = "starts the real program")]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for people, which may give up"
)]

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
enum Spares {
    None,
    One,
}

struct Runner {
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
    async fn start(spares: Spares) -> Self {
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

    async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> Bytes {
        self.sender.ready().await.expect("the connection lives");
        let request = http::Request::builder().method(method).uri(path).header("host", "bench");
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = self.sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        body
    }

    async fn create(&mut self, uid: &str) {
        let config = serde_json::to_vec(&WorkspaceConfig::new("bench", uid)).expect("JSON");
        self.send(Method::PUT, route::Workspace::at_runner(uid).base(), config).await;
    }

    async fn delete(&mut self, uid: &str) {
        self.send(Method::DELETE, route::Workspace::at_runner(uid).base(), Vec::new()).await;
    }

    async fn exec(&mut self, uid: &str, request: &ExecRequest) -> ExecResponse {
        let body = serde_json::to_vec(request).expect("JSON");
        let answer = self.send(Method::POST, &route::Workspace::at_runner(uid).exec(), body).await;
        let response: ExecResponse = serde_json::from_slice(&answer).expect("an answer");
        assert_eq!(response.exit_code, Some(0), "{response:?}");
        response
    }

    async fn wait_for_a_spare(&mut self) {
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

    /// Proportional memory of the vm processes, in KiB.
    fn vm_memory(&self) -> Vec<u64> {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<String> = children.collect();
        let pss = |pid: &str| {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())
        };
        children.iter().flat_map(|list| list.split_whitespace()).filter_map(pss).collect()
    }
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

fn report(what: &str, mut times: Vec<Duration>) {
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

async fn bench_exec(runner: &mut Runner, what: &str, request: ExecRequest, count: usize) {
    for _ in 0..count.div_ceil(10) {
        runner.exec("awake", &request).await;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        runner.exec("awake", &request).await;
        times.push(started.elapsed());
    }
    report(what, times);
}

async fn bench_create(runner: &mut Runner, count: usize) {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let uid = format!("create-{number}");
        let started = Instant::now();
        runner.create(&uid).await;
        times.push(started.elapsed());
        runner.delete(&uid).await;
    }
    report("create a workspace (PUT until ready)", times);
}

async fn bench_boot(runner: &mut Runner, spares: Spares, count: usize) {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let uid = format!("boot-{number}");
        runner.create(&uid).await;
        if let Spares::One = spares {
            runner.wait_for_a_spare().await;
        }
        let started = Instant::now();
        let response = runner.exec(&uid, &ExecRequest::command("echo hello")).await;
        times.push(started.elapsed());
        assert_eq!(response.stdout, "hello\n");
        runner.delete(&uid).await;
    }
    let what = match spares {
        Spares::One => "asleep to `echo hello`, warm spare",
        Spares::None => "asleep to `echo hello`, cold process",
    };
    report(what, times);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut runner = Runner::start(Spares::One).await;
    runner.create("awake").await;
    bench_exec(&mut runner, "exec true", ExecRequest::argv(["true"]), 2000).await;
    bench_exec(
        &mut runner,
        "exec sh -c 'echo hello | tr a-z A-Z'",
        ExecRequest::command("echo hello | tr a-z A-Z"),
        500,
    )
    .await;
    let script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done";
    bench_exec(&mut runner, "100 x /bin/true by a shell loop", ExecRequest::command(script), 20).await;
    bench_create(&mut runner, 200).await;
    bench_boot(&mut runner, Spares::One, 30).await;
    println!("memory of the vm processes (awake, spare)    PSS {:?} KiB", runner.vm_memory());
    drop(runner);
    let mut runner = Runner::start(Spares::None).await;
    bench_boot(&mut runner, Spares::None, 30).await;
}
