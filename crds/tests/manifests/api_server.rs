//! A real API server for the tests: the one of `LODGE_TEST_KUBECONFIG`, or one of this test's own.

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(120);

/// An API server. Dropping it ends it, if the test started it.
pub(super) struct ApiServer {
    pub(super) client: Client,
    /// A namespace for this run of the test only. It is never used twice, because where no controllers run a deleted
    /// namespace stays for ever.
    pub(super) namespace: String,
    _own: Option<Own>,
}

impl ApiServer {
    /// Finds or starts one, and waits until it answers.
    pub(super) async fn start() -> Self {
        if let Some(kubeconfig) = env::var_os("LODGE_TEST_KUBECONFIG") {
            let client = client(Path::new(&kubeconfig)).await.unwrap();
            return Self { client, namespace: namespace(), _own: None };
        }
        let mut own = Own::spawn();
        let kubeconfig = own.state().join("kubeconfig");
        let begin = Instant::now();
        loop {
            if let Ok(client) = client(&kubeconfig).await {
                let ready = client.request_text(http_get("/readyz")).await.is_ok_and(|body| body == "ok");
                if ready && client.apiserver_version().await.is_ok() {
                    return Self { client, namespace: namespace(), _own: Some(own) };
                }
            }
            let ended = own.process.try_wait().unwrap();
            let failed = ended.is_some_and(|status| !status.success());
            assert!(
                !failed && begin.elapsed() < READY_WITHIN,
                "the API server doesn't start:\n{}",
                own.output()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn namespace() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("lodge-crds-{}", now.as_nanos())
}

fn http_get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).unwrap()
}

async fn client(kubeconfig: &Path) -> Result<Client, Box<dyn std::error::Error>> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// An API server of this test's own, with a directory for its state and its output.
struct Own {
    program: PathBuf,
    process: Child,
    directory: TempDir,
}

impl Own {
    fn spawn() -> Self {
        let program = env::var_os("LODGE_CLUSTER_BIN").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.local/bin/lodge-cluster"),
            PathBuf::from,
        );
        assert!(
            program.exists(),
            "{} is missing: run `make build`, which builds it, or `make test`; or set LODGE_CLUSTER_BIN to the program, \
             or LODGE_TEST_KUBECONFIG to the kubeconfig of a cluster that may be tried things on",
            program.display()
        );
        let directory = tempfile::Builder::new().prefix("lodge-crds-").tempdir().unwrap();
        let log = File::create(directory.path().join("output")).unwrap();
        let process = Command::new(&program)
            .args(["api-server", "--state"])
            .arg(directory.path().join("state"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { program, process, directory }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // `down` ends what the state directory knows of; its answer doesn't matter if the program itself is ended.
        let down = Command::new(&self.program).args(["down", "--state"]).arg(self.state()).output();
        drop(down);
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
