//! A supervisor for one test, in a folder that goes away with it, and a client.
#![expect(clippy::disallowed_methods, reason = "tests start the real program")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;
use vm_api::{ExecRequest, ExecResponse, Power, Problem, WorkspaceConfig, WorkspaceState, route};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_vm-runner");

/// The guest software, or the end of the test with the way to get it.
pub(crate) fn software() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/software");
    assert!(
        folder.join("manifest.json").exists(),
        "no guest software in {}: `make build` makes it, `make test` does all of it",
        folder.display()
    );
    folder
}

/// A running supervisor.
pub(crate) struct Runner {
    program: PathBuf,
    flags: Vec<String>,
    child: Child,
    dir: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The problem document, with the content type that it must have.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.headers["content-type"], vm_api::problem::MEDIA_TYPE, "{self:?}");
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }
}

impl Runner {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a supervisor with further flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::start_program(Path::new(PROGRAM), flags).await
    }

    /// Starts a supervisor in a folder that is prepared.
    pub(crate) async fn start_in(dir: tempfile::TempDir, flags: &[&str]) -> Self {
        Self::start_program_in(Path::new(PROGRAM), dir, flags).await
    }

    /// Starts another program that can be a supervisor.
    pub(crate) async fn start_program(program: &Path, flags: &[&str]) -> Self {
        Self::start_program_in(program, tempfile::tempdir().unwrap(), flags).await
    }

    async fn start_program_in(program: &Path, dir: tempfile::TempDir, flags: &[&str]) -> Self {
        let child = spawn(program, dir.path(), flags);
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut runner = Self { program: program.to_owned(), flags, child, dir };
        runner.wait_until_it_serves().await;
        runner
    }

    /// Starts another supervisor on the data of one that still lives.
    pub(crate) async fn start_beside(other: &Self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(other.data(), dir.path().join("data")).unwrap();
        let flags = ["--spares", "0"];
        let child = spawn(&other.program, dir.path(), &flags);
        let flags = flags.map(str::to_owned).to_vec();
        let mut runner = Self { program: other.program.clone(), flags, child, dir };
        runner.wait_until_it_serves().await;
        // It listens before it has its folder.
        assert_eq!(runner.get(route::READYZ).await.status, StatusCode::OK);
        runner
    }

    /// Starts another supervisor on the same data, after this one has ended.
    pub(crate) async fn restart(&mut self) {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        self.child = spawn(&self.program, self.dir.path(), &flags);
        self.wait_until_it_serves().await;
    }

    async fn wait_until_it_serves(&mut self) {
        let started = Instant::now();
        while UnixStream::connect(self.socket()).await.is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the supervisor ended: {status}");
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the supervisor does not serve");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// A connection of its own, and the task that drives it.
    pub(crate) async fn connect(&self) -> (http1::SendRequest<Full<Bytes>>, AbortOnDropHandle<()>) {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        (sender, AbortOnDropHandle::new(driver))
    }

    /// A connection of its own that can leave HTTP.
    pub(crate) async fn connect_for_upgrades(
        &self,
    ) -> (http1::SendRequest<Full<Bytes>>, AbortOnDropHandle<()>) {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        (sender, AbortOnDropHandle::new(driver))
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send_with(method, path, &[], body).await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (mut sender, _driver) = self.connect().await;
        let mut request = http::Request::builder().method(method).uri(path).header("host", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post<T: serde::Serialize>(&self, path: &str, body: &T) -> Answer {
        self.send(Method::POST, path, serde_json::to_vec(body).unwrap()).await
    }

    pub(crate) async fn put_workspace(&self, uid: &str, config: &WorkspaceConfig) -> Answer {
        let path = route::Workspace::at_runner(uid).base().to_owned();
        self.send(Method::PUT, &path, serde_json::to_vec(config).unwrap()).await
    }

    /// Creates a workspace and gives a handle on it.
    pub(crate) async fn workspace(&self, uid: &str) -> Workspace<'_> {
        self.workspace_with(uid, |_| {}).await
    }

    pub(crate) async fn workspace_with(
        &self,
        uid: &str,
        change: impl FnOnce(&mut WorkspaceConfig),
    ) -> Workspace<'_> {
        let mut config = WorkspaceConfig::new("test", uid);
        change(&mut config);
        let answer = self.put_workspace(uid, &config).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        Workspace { runner: self, routes: route::Workspace::at_runner(uid) }
    }

    /// The vm processes of this supervisor.
    pub(crate) fn vm_pids(&self) -> Vec<u32> {
        children_of(self.pid())
    }

    /// Waits until the supervisor has ended, however it does.
    pub(crate) fn wait_for_the_end(&mut self) {
        self.child.wait().unwrap();
    }

    /// Tells the supervisor to stop and waits until it has.
    pub(crate) fn terminate(&mut self) {
        signal(self.pid(), "TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Kills the supervisor and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, dir: &Path, flags: &[&str]) -> Child {
    Command::new(program)
        .args(["--log", "warn", "serve", "--dev", "--stop-grace", "2"])
        .arg("--listen")
        .arg(format!("unix:{}", dir.join("socket").display()))
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--software")
        .arg(software())
        .args(flags)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// One workspace of a supervisor.
pub(crate) struct Workspace<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) routes: route::Workspace,
}

impl Workspace<'_> {
    /// Runs a shell command line; anything but an answer is the end of the test.
    pub(crate) async fn sh(&self, command: &str) -> ExecResponse {
        self.exec(&ExecRequest::command(command)).await
    }

    pub(crate) async fn exec(&self, request: &ExecRequest) -> ExecResponse {
        let answer = self.try_exec(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    pub(crate) async fn try_exec(&self, request: &ExecRequest) -> Answer {
        self.runner.post(&self.routes.exec(), request).await
    }

    pub(crate) async fn put(&self, path: &str, content: impl Into<Bytes>) -> Answer {
        self.runner.send(Method::PUT, &self.routes.file(path), content).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.runner.get(&self.routes.file(path)).await
    }

    pub(crate) async fn delete(&self, path: &str, query: &str) -> Answer {
        self.runner.send(Method::DELETE, &format!("{}{query}", self.routes.file(path)), "").await
    }

    pub(crate) async fn state(&self) -> WorkspaceState {
        self.runner.get(self.routes.base()).await.json()
    }

    /// Waits until the supervisor says that the workspace is in this state.
    pub(crate) async fn wait_for(&self, power: Power) -> WorkspaceState {
        let started = Instant::now();
        loop {
            let state = self.state().await;
            if state.power == power {
                return state;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "still {state:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Sends a signal to a process that this test knows.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success());
}

/// The processes whose parent is `pid`.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The name of the program may hold anything; the parent is the second field after it.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = fields.split_whitespace();
        let state = fields.next().unwrap_or_default();
        if state != "Z" && fields.next() == Some(&pid.to_string()) {
            children.push(child);
        }
    }
    children
}

/// Whether a process exists and has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
