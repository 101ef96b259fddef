//! The gateway in front of the real runner: `cargo test -p gateway -- --ignored`. Needs `target/release/vm-runner` and the
//! guest software in `.local/software`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use gateway::config::{Limits, Timeouts};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use vm_api::WorkspaceConfig;

use crate::support::pki::Authority;
use crate::support::socket::hear;
use crate::support::world::{Body, RUNNER_NAMES, World, pod, request, tls, whole, workspace};

/// A runner's process; killed with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a runner and tells it about a workspace.
async fn start(lodge: &Authority, folder: &Path) -> (Process, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let identity = lodge.machine(&RUNNER_NAMES);
    for (name, text) in
        [("tls.crt", identity.certificate_pem), ("tls.key", identity.key_pem), ("ca.crt", lodge.pem())]
    {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let child = Command::new(root.join("target/release/vm-runner"))
        .arg("serve")
        .args(["--listen", &address.to_string(), "--log", "warn", "--spares", "1"])
        .arg("--data")
        .arg(folder)
        .arg("--software")
        .arg(root.join(".local/software"))
        .arg("--tls-cert")
        .arg(folder.join("tls.crt"))
        .arg("--tls-key")
        .arg(folder.join("tls.key"))
        .arg("--tls-client-ca")
        .arg(folder.join("ca.crt"))
        .stdout(Stdio::null())
        .spawn()
        .expect("target/release/vm-runner starts");
    let process = Process(child);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let operator = lodge.machine(&["operator.lodge.internal"]);
    let stream =
        tls(address, "lodge-runner-0.lodge-runner.team-a.svc", lodge, Some(&operator), "http/1.1").await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let config = serde_json::to_vec(&WorkspaceConfig::new("team-a", "ada")).unwrap();
    let put: Request<Body> =
        Request::put("/v1/workspaces/uid-ada").header("host", "runner").body(whole(config)).unwrap();
    let answer = sender.send_request(put).await.unwrap();
    let status = answer.status();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&text));
    driver.abort();
    (process, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs target/release/vm-runner and the software folder"]
async fn everything_that_a_workspace_does_is_done_through_the_gateway() {
    let (lodge, folder) = (Authority::new("lodge"), tempfile::tempdir().unwrap());
    let (_process, runner) = start(&lodge, folder.path()).await;
    let world =
        World::around(lodge, runner.port(), Vec::new(), Timeouts::default(), Limits::default(), |api| {
            api.put("workspaces", workspace("ada", Some("lodge-runner-0")));
            api.put("pods", pod(Some("127.0.0.1")));
        });
    let world = world.await;
    world.admit_jane();
    commands(&world).await;
    files(&world).await;
    terminal(&world).await;
    let openapi: Request<Body> = Request::get("/openapi.json")
        .header("host", "gateway")
        .header("authorization", "Bearer jane-token")
        .body(whole(""))
        .unwrap();
    let document = world.send(openapi).await.json();
    assert!(document["paths"].as_object().unwrap().len() > 20, "{document}");
    assert_eq!(world.send(request("POST", "ada", "sleep", whole(""))).await.json()["power"], "Asleep");
}

async fn commands(world: &World) {
    let shout = || whole(r#"{"command": "echo hello | tr a-z A-Z"}"#);
    let answered = world.send(request("POST", "ada", "exec", shout())).await;
    assert_eq!((answered.status, &answered.json()["stdout"]), (200, &json!("HELLO\n")));
    let mut streamed = request("POST", "ada", "exec", shout());
    streamed.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    let answered = world.send(streamed).await;
    assert_eq!(answered.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(answered.body.to_vec()).unwrap();
    assert!(text.contains("HELLO") && text.contains("exited"), "{text}");
    let listed = world.send(request("GET", "ada", "processes", whole(""))).await;
    assert_eq!(listed.status, 200, "{}", listed.json());
    let mut connection = world.connect(None).await;
    let events = connection.head(request("GET", "ada", "events?after=0", whole(""))).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let first = tokio::time::timeout(Duration::from_secs(20), events.into_body().frame()).await;
    assert!(first.unwrap().unwrap().is_ok());
}

async fn files(world: &World) {
    let content: Bytes = (0..3_000_000_u32).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let written = world.send(request("PUT", "ada", "files/home/agent/big", whole(content.clone()))).await;
    assert_eq!(written.status, 201, "{}", written.json());
    let read = world.send(request("GET", "ada", "files/home/agent/big", whole(""))).await;
    assert!(read.status == 200 && read.body == content, "{} bytes", read.body.len());
    let missing = world.send(request("GET", "ada", "files/home/agent/none", whole(""))).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "path-not-found"));
}

async fn terminal(world: &World) {
    let started = world.send(request("POST", "ada", "shells", whole(r#"{"cols": 80, "rows": 24}"#))).await;
    assert_eq!(started.status, 201, "{}", started.json());
    let id = started.json()["id"].as_str().unwrap().to_owned();
    let mut socket = world.attach_to(&format!("shells/{id}/attach")).await;
    socket.send(Message::binary(&b"echo $((6 * 7))\r"[..])).await.unwrap();
    let mut shown = Vec::new();
    let answer = async {
        while !String::from_utf8_lossy(&shown).contains("42") {
            if let Message::Binary(bytes) = hear(&mut socket).await {
                shown.extend_from_slice(&bytes);
            }
        }
    };
    let is_answered = tokio::time::timeout(Duration::from_secs(20), answer).await.is_ok();
    assert!(is_answered, "the shell shows only {:?}", String::from_utf8_lossy(&shown));
    let ended = world.send(request("DELETE", "ada", &format!("shells/{id}"), whole(""))).await;
    assert_eq!(ended.status, 204);
    let listed: Value = world.send(request("GET", "ada", "shells", whole(""))).await.json();
    assert!(listed["items"].is_array(), "{listed}");
}
