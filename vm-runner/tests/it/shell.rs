//! Shells: terminals that several clients attach to.
#![expect(clippy::disallowed_methods, reason = "attaches over a connection of its own")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::task::AbortOnDropHandle;
use vm_api::{ProcessExit, ShellInfo, ShellList, ShellMessage};

use crate::runner::{Runner, Workspace};

/// How long something may take to be shown before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An attached client.
struct Client {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    /// Where the next byte shown stands.
    seq: u64,
    /// Shown, and not looked at yet.
    shown: Vec<u8>,
    messages: Vec<ShellMessage>,
    closed: Option<Option<CloseFrame>>,
    _driver: AbortOnDropHandle<()>,
}

async fn open(runner: &Runner, workspace: &Workspace<'_>, request: serde_json::Value) -> ShellInfo {
    let answer = runner.post(&workspace.routes.shells(), &request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

/// Attaches; the first message has been read.
async fn attach(runner: &Runner, workspace: &Workspace<'_>, id: &str, query: &str) -> Client {
    let stream = UnixStream::connect(runner.socket()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    }));
    let path = format!("{}{query}", workspace.routes.shell(id, "attach"));
    let request = http::Request::builder()
        .uri(path)
        .header("host", "test")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        panic!("{status} {}", String::from_utf8_lossy(&body));
    }
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let config = Some(WebSocketConfig::default());
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, config).await;
    let (shown, messages) = (Vec::new(), Vec::new());
    let mut client = Client { socket, seq: 0, shown, messages, closed: None, _driver: driver };
    client.read().await;
    assert!(matches!(client.messages[..], [ShellMessage::Attached { .. }]), "{:?}", client.messages);
    while !client.messages.iter().any(|message| matches!(message, ShellMessage::Replayed { .. })) {
        client.read().await;
    }
    client
}

impl Client {
    /// Reads one message.
    async fn read(&mut self) {
        let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        match message.unwrap_or_else(|_| panic!("nothing comes after {:?}", self.text())) {
            Some(Ok(Message::Binary(bytes))) => {
                self.seq += bytes.len() as u64;
                self.shown.extend_from_slice(&bytes);
            }
            Some(Ok(Message::Text(text))) => {
                let message = serde_json::from_str(&text).unwrap();
                if let ShellMessage::Replayed { seq } = message {
                    self.seq = seq;
                }
                self.messages.push(message);
            }
            Some(Ok(Message::Close(frame))) => self.closed = Some(frame),
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error}"),
            None => self.closed = Some(None),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Reads until this is shown, and forgets it with all before.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.shown.windows(text.len()).position(|window| window == text.as_bytes()) {
                let seen: Vec<u8> = self.shown.drain(..at + text.len()).collect();
                return String::from_utf8_lossy(&seen).into_owned();
            }
            assert!(self.closed.is_none(), "closed after {:?}", self.text());
            self.read().await;
        }
    }

    async fn type_in(&mut self, text: &str) {
        self.socket.send(Message::binary(text.as_bytes().to_vec())).await.unwrap();
    }

    async fn tell(&mut self, message: serde_json::Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Reads to the end; how the shell ended.
    async fn exit(&mut self) -> ProcessExit {
        while self.closed.is_none() {
            self.read().await;
        }
        match self.messages.last() {
            Some(ShellMessage::Exited(exit)) => exit.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_login_shell_runs_commands_and_tells_how_it_ended() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let shell = open(&runner, &workspace, json!({"cols": 100, "rows": 30})).await;
    assert_eq!((shell.cols, shell.rows, shell.argv.join(" ").as_str()), (100, 30, "/bin/sh -l"));
    let mut client = attach(&runner, &workspace, &shell.id, "").await;
    client.type_in("echo $((6*7)) $TERM; pwd\r").await;
    client.until("42 xterm-256color").await;
    client.until("/home/agent").await;
    // Nothing here answers where the cursor is; the VM does, and the prompt comes at the bottom.
    client.until("\x1b[29;1H").await;
    client.type_in("exit 3\r").await;
    let exit = client.exit().await;
    assert_eq!((exit.exit_code, exit.signal), (Some(3), None));
    let close = client.closed.unwrap().unwrap();
    assert_eq!(u16::from(close.code), 1000);
    // It is still known, with all that it has shown.
    let info: ShellInfo = runner.get(&workspace.routes.shell(&shell.id, "")).await.json();
    assert_eq!(info.exit.unwrap().exit_code, Some(3));
    let mut late = attach(&runner, &workspace, &shell.id, "").await;
    assert_eq!(late.exit().await.exit_code, Some(3));
    assert!(late.text().contains("42 xterm-256color"), "{}", late.text());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn several_clients_see_and_type_the_same() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let id = open(&runner, &workspace, json!({"argv": ["cat"]})).await.id;
    let mut first = attach(&runner, &workspace, &id, "").await;
    let mut second = attach(&runner, &workspace, &id, "").await;
    first.type_in("from one\r").await;
    // Once as the echo, once from cat.
    for client in [&mut first, &mut second] {
        client.until("from one\r\nfrom one\r\n").await;
    }
    second.type_in("from two\r").await;
    for client in [&mut first, &mut second] {
        client.until("from two\r\nfrom two\r\n").await;
    }
    assert_eq!(first.seq, second.seq);
    let list: ShellList = runner.get(&workspace.routes.shells()).await.json();
    assert_eq!((list.items.len(), list.items[0].attached), (1, 2));
    first.type_in("\x04").await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.exit().await.exit_code, Some(0));
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_last_size_told_counts_for_everybody() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let id = open(&runner, &workspace, json!({"argv": ["sh"], "cols": 80, "rows": 24})).await.id;
    let mut first = attach(&runner, &workspace, &id, "").await;
    let mut second = attach(&runner, &workspace, &id, "").await;
    // The published stty knows no sizes, but the shell draws its prompt at the bottom.
    first.until("\x1b[24;1H").await;
    second.tell(json!({"type": "resize", "cols": 132, "rows": 43})).await;
    while !first.messages.contains(&ShellMessage::Resized { cols: 132, rows: 43 }) {
        first.read().await;
    }
    first.type_in("true\r").await;
    first.until("\x1b[42;1H").await;
    let resize = json!({"cols": 90, "rows": 20});
    let info: ShellInfo = runner.post(&workspace.routes.shell(&id, "resize"), &resize).await.json();
    assert_eq!((info.cols, info.rows), (90, 20));
    first.type_in("true\r").await;
    first.until("\x1b[20;1H").await;
    let answer = runner.post(&workspace.routes.shell(&id, "resize"), &json!({"cols": 0, "rows": 20})).await;
    assert_eq!(answer.problem().field.as_deref(), Some("cols"));
    // A message that makes no sense is refused, and the client stays.
    second.tell(json!({"type": "frobnicate"})).await;
    second.tell(json!({"type": "resize", "cols": 5000, "rows": 1})).await;
    while second.messages.iter().filter(|message| matches!(message, ShellMessage::Refused { .. })).count() < 2
    {
        second.read().await;
    }
    second.type_in("echo here\r").await;
    second.until("here").await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_client_that_comes_back_sees_what_it_missed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request =
        json!({"command": "i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; read x"});
    let id = open(&runner, &workspace, request).await.id;
    let mut client = attach(&runner, &workspace, &id, "").await;
    client.until("line 3\r\n").await;
    let seq = client.seq - client.shown.len() as u64;
    drop(client);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut again = attach(&runner, &workspace, &id, &format!("?after={seq}")).await;
    let missed = again.until("line 19\r\n").await;
    let expected: String = (4..20).map(|number| format!("line {number}\r\n")).collect();
    assert_eq!(missed, expected);
    let mut fresh = attach(&runner, &workspace, &id, "").await;
    assert!(fresh.until("line 19\r\n").await.starts_with("line 0\r\n"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_long_history_is_replayed_from_a_whole_line() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let id = open(&runner, &workspace, json!({"command": "seq 1 100000; echo all; read x"})).await.id;
    let mut client = attach(&runner, &workspace, &id, "").await;
    client.until("all\r\n").await;
    let info: ShellInfo = runner.get(&workspace.routes.shell(&id, "")).await.json();
    assert!(info.first > 0 && info.end - info.first <= 256 << 10, "{info:?}");
    let mut late = attach(&runner, &workspace, &id, "").await;
    let replay = late.until("all\r\n").await;
    let first: u32 = replay.lines().next().unwrap().parse().unwrap();
    let expected: String = (first..=100_000).map(|number| format!("{number}\r\n")).collect();
    assert_eq!(replay, expected + "all\r\n");
    let told = attach(&runner, &workspace, &id, "?after=0").await;
    assert!(matches!(told.messages[0], ShellMessage::Attached { seq, lost, .. } if seq == lost && lost > 0));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn control_c_interrupts_what_runs() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let id = open(&runner, &workspace, json!({"argv": ["sleep", "1000"]})).await.id;
    let mut client = attach(&runner, &workspace, &id, "").await;
    let started = Instant::now();
    client.type_in("\x03").await;
    assert_eq!(client.exit().await.signal.as_deref(), Some("SIGINT"));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(client.text().contains("^C"), "{}", client.text());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_client_that_does_not_read_is_let_go_and_the_others_stay() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let id =
        open(&runner, &workspace, json!({"command": "read x; seq 1 1000000; echo all; read x"})).await.id;
    let mut stuck = attach(&runner, &workspace, &id, "").await;
    let mut quick = attach(&runner, &workspace, &id, "").await;
    quick.type_in("go\r").await;
    quick.until("all\r\n").await;
    while stuck.closed.is_none() {
        stuck.read().await;
    }
    let lagged = stuck.messages.iter().find_map(|message| match message {
        ShellMessage::Lagged { seq, lost } => Some((*seq, *lost)),
        _ => None,
    });
    let (seq, lost) = lagged.unwrap_or_else(|| panic!("{:?}", stuck.messages));
    assert!(lost > 0 && seq > lost);
    assert_eq!(u16::from(stuck.closed.unwrap().unwrap().code), 1013);
    quick.type_in("\r").await;
    assert_eq!(quick.exit().await.exit_code, Some(0));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_shell_that_is_deleted_is_hung_up_with_all_that_it_started() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let id = open(&runner, &workspace, json!({"command": "sleep 1000 & echo ready; sleep 1000"})).await.id;
    let mut client = attach(&runner, &workspace, &id, "").await;
    client.until("ready").await;
    let started = Instant::now();
    let answer = runner.send(Method::DELETE, &workspace.routes.shell(&id, ""), "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let exit = client.exit().await;
    assert!(exit.signal.is_some() || exit.exit_code == Some(129), "{exit:?}");
    let health: vm_api::Health = runner.get(&workspace.routes.health()).await.json();
    assert_eq!(health.usage.unwrap().processes, 0);
    let problem = runner.get(&workspace.routes.shell(&id, "")).await.problem();
    assert_eq!(problem.code, "shell-not-found");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn terminals_have_a_limit_that_is_named() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request = json!({"argv": ["sleep", "1000"]});
    for _ in 0..64 {
        open(&runner, &workspace, request.clone()).await;
    }
    let answer = runner.post(&workspace.routes.shells(), &request).await;
    let problem = answer.problem();
    assert_eq!((problem.status, problem.code.as_str()), (429, "limit-terminals"), "{problem:?}");
    assert!(problem.limit.unwrap().contains("64"));
    let problem = runner.get(&workspace.routes.shell("nobody", "attach")).await.problem();
    assert_eq!(problem.code, "shell-not-found");
    let list: ShellList = runner.get(&workspace.routes.shells()).await.json();
    let problem = runner.get(&workspace.routes.shell(&list.items[0].id, "attach")).await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (426, "upgrade-required"));
}
