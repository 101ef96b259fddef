//! Watching files: changes by the guest and by the API.

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;
use vm_api::{FileChange, sse};

use crate::runner::{Runner, Workspace};

/// A client that watches.
struct Watcher {
    body: Incoming,
    decoder: sse::Decoder,
    waiting: std::collections::VecDeque<(u64, FileChange)>,
    _driver: AbortOnDropHandle<()>,
}

impl Watcher {
    async fn start(runner: &Runner, path: &str) -> Self {
        let (mut sender, driver) = runner.connect().await;
        let request = http::Request::builder().uri(path).header("host", "test").body(Full::new(Bytes::new()));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (decoder, waiting) = Default::default();
        Self { body: response.into_body(), decoder, waiting, _driver: driver }
    }

    async fn next(&mut self) -> (u64, FileChange) {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return change;
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(20), self.body.frame()).await;
            let Ok(frame) = frame else { panic!("no change comes") };
            let frame = frame.unwrap().unwrap();
            for message in self.decoder.push(frame.data_ref().unwrap()).unwrap() {
                let id = message.id.unwrap().parse().unwrap();
                self.waiting.push_back((id, serde_json::from_str(&message.data).unwrap()));
            }
        }
    }

    /// The next changes, shown.
    async fn take(&mut self, count: usize) -> Vec<String> {
        self.take_but("", count).await
    }

    /// The next changes, shown, but for one that may come or not.
    async fn take_but(&mut self, optional: &str, count: usize) -> Vec<String> {
        let mut shown = Vec::new();
        while shown.len() < count {
            let change = show(&self.next().await.1);
            if change != optional {
                shown.push(change);
            }
        }
        shown
    }
}

fn show(change: &FileChange) -> String {
    match change {
        FileChange::Watching { path } => format!("watching {path}"),
        FileChange::Created(file) => format!("created {}", file.path),
        FileChange::Changed(file) => format!("changed {}", file.path),
        FileChange::Removed(file) => format!("removed {}", file.path),
        FileChange::Moved { from, file, .. } => format!("moved {from} {}", file.path),
        FileChange::Lost { .. } => "lost".to_owned(),
    }
}

fn recursive(workspace: &Workspace<'_>) -> String {
    format!("{}&recursive", workspace.routes.watch("/home/agent"))
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_watch_sees_what_the_guest_and_the_api_do() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.put("/home/agent/old", "old").await;
    let mut watcher = Watcher::start(&runner, &recursive(&workspace)).await;
    assert_eq!(watcher.take(1).await, ["watching /home/agent"]);
    workspace.sh("mkdir d && echo x > d/f").await;
    assert_eq!(watcher.take(2).await, ["created /home/agent/d", "created /home/agent/d/f"]);
    workspace.put("/home/agent/new", "1").await;
    workspace.put("/home/agent/old", "2").await;
    // What was written into the new file may be told with its creation, or after it.
    let late = "changed /home/agent/d/f";
    let expected = ["created /home/agent/new", "changed /home/agent/old"];
    assert_eq!(watcher.take_but(late, 2).await, expected);
    workspace.sh("mv d/f g; rm new; echo more >> g; chmod 600 old; echo elsewhere > /tmp/t").await;
    let expected = [
        "moved /home/agent/d/f /home/agent/g",
        "removed /home/agent/new",
        "changed /home/agent/g",
        "changed /home/agent/old",
    ];
    assert_eq!(watcher.take_but(late, 4).await, expected);
    assert_eq!(workspace.delete("/home/agent/d", "?recursive").await.status, StatusCode::NO_CONTENT);
    assert_eq!(watcher.take(1).await, ["removed /home/agent/d"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_client_that_comes_back_misses_nothing() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let path = recursive(&workspace);
    let mut watcher = Watcher::start(&runner, &path).await;
    watcher.take(1).await;
    workspace.put("/home/agent/1", "1").await;
    let (seen, _) = watcher.next().await;
    drop(watcher);
    // Whether the connection's end or the write is seen first, nothing may be lost.
    workspace.put("/home/agent/2", "2").await;
    let mut watcher = Watcher::start(&runner, &format!("{path}&after={seen}")).await;
    let mut shown = watcher.take(2).await;
    shown.sort();
    assert_eq!(shown, ["created /home/agent/2", "watching /home/agent"]);
    let mut stranger = Watcher::start(&runner, &format!("{path}&after=999999")).await;
    assert_eq!(stranger.take(2).await, ["lost", "watching /home/agent"]);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_client_that_is_too_slow_is_told_what_it_lost() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("mkdir d").await;
    let mut watcher = Watcher::start(&runner, &recursive(&workspace)).await;
    watcher.take(1).await;
    // Far more than the ring and the sockets on the way hold.
    let mut archive = Vec::new();
    for number in 0..30_000 {
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("{}{number}", "n".repeat(90))).unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
    }
    let path = workspace.routes.archive("/home/agent/d");
    assert_eq!(runner.send(Method::PUT, &path, archive).await.status, StatusCode::OK);
    let mut last = String::new();
    let mut is_lost = false;
    while !last.ends_with("29999") {
        last = watcher.take(1).await.remove(0);
        is_lost |= last == "lost";
    }
    assert!(is_lost);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn there_are_bounds_for_watches() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let mut watchers = Vec::new();
    for _ in 0..64 {
        watchers.push(Watcher::start(&runner, &workspace.routes.watch("/home/agent")).await);
    }
    let refused = runner.get(&workspace.routes.watch("/home/agent")).await.problem();
    assert_eq!((refused.code.as_str(), refused.status), ("limit-watches", 429));
    let missing = runner.get(&workspace.routes.watch("/none")).await.problem();
    assert_eq!(missing.code, "path-not-found");
    let head = runner.send(Method::HEAD, &workspace.routes.file("/home/agent/none"), "").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
}
