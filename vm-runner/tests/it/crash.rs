//! `kill -9` at random instants: nothing that was acknowledged is lost, and the files are consistent.
//!
//! A writer in the guest acknowledges what it has made durable (`fsync(2)`) by writing its number to its output; a
//! writer on the API has its answer. The vm process or the supervisor is killed at an instant that nobody chose.
//! `CRASH_ROUNDS` sets how many rounds there are; `make nightly` asks for 500.
#![expect(clippy::disallowed_methods, reason = "tests kill processes of the host, and read one variable")]

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use vm_api::{ExecRequest, OutputMessage, WorkspaceConfig, route, sse};

use crate::runner::{Runner, children_of, eventually, signal};

const UID: &str = "crash";
/// Rounds in `make test`.
const ROUNDS: usize = 25;
/// The longest time from the start of the writers until the kill.
const LONGEST: Duration = Duration::from_millis(120);
/// Says a number when the file of that number, whole and with its name, is durable. dd is how the guest gets an fsync.
const WRITER: &str = "cd ~/guest; i=$FROM; while [ $i -lt $((FROM + 10000)) ]; do \
    echo content of $i | dd of=new conv=fsync 2>/dev/null && mv new f$i && \
    dd if=/dev/null of=f$i conv=notrunc,fsync 2>/dev/null && echo $i; i=$((i + 1)); done";

/// What was acknowledged, by writer.
#[derive(Default)]
struct Acknowledged {
    /// Largest number whose file must be there; all below it too.
    guest: BTreeMap<u64, u64>,
    api: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the guest software: make test runs it"]
async fn nothing_acknowledged_is_lost_when_a_process_is_killed() {
    let rounds = std::env::var("CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut runner = Runner::start_with(&["--spares", "0"]).await;
    let config = WorkspaceConfig::new("test", UID);
    assert_eq!(runner.put_workspace(UID, &config).await.status, StatusCode::OK);
    let made = runner.workspace_with(UID, |_| {}).await.sh("mkdir -p ~/guest ~/api").await;
    assert_eq!(made.exit_code, Some(0), "{made:?}");
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds {
        let from = u64::try_from(round).unwrap() * 100_000;
        let vm = children_of(runner.pid());
        let victim = if round % 3 == 2 { runner.pid() } else { vm[0] };
        let last = tokio::select! {
            last = write_in_guest(&runner, from) => last,
            () = write_by_api(&runner, &acknowledged.api) => unreachable!("writes until the kill"),
            () = kill(victim, random(LONGEST)) => unreachable!("never ends"),
        };
        acknowledged.guest.insert(from, last);
        if victim == runner.pid() {
            runner.wait_for_the_end();
            eventually("the vm process has ended with its supervisor", || {
                vm.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            })
            .await;
            runner.restart().await;
            assert_eq!(runner.put_workspace(UID, &config).await.status, StatusCode::OK);
        } else {
            eventually("the vm process is gone", || !Path::new(&format!("/proc/{victim}")).exists()).await;
        }
        check(&runner, &acknowledged, round).await;
    }
    let total: u64 = acknowledged.guest.iter().map(|(from, last)| last.saturating_sub(*from)).sum();
    assert!(total > 0, "the guest's writer never came to acknowledge anything");
    assert!(
        acknowledged.api.load(Ordering::Relaxed) > 0,
        "the API's writer never came to acknowledge anything"
    );
}

/// Everything acknowledged is there, with its content, and the file system is consistent.
async fn check(runner: &Runner, acknowledged: &Acknowledged, round: usize) {
    let workspace = runner.workspace_with(UID, |_| {}).await;
    // Content and presence in one go: a number that is missing or differs is printed.
    let mut script = String::from("cd ~/guest; ");
    if let Some((from, last)) = acknowledged.guest.last_key_value() {
        script.push_str(&format!(
            "i={from}; while [ $i -lt {last} ]; do \
             [ \"$(cat f$i)\" = \"content of $i\" ] || echo guest $i; i=$((i + 1)); done; "
        ));
    }
    let api = acknowledged.api.load(Ordering::Relaxed);
    script.push_str(&format!(
        "cd ~/api; i=$(({api} > 40 ? {api} - 40 : 0)); while [ $i -lt {api} ]; do \
         [ \"$(cat f$i)\" = \"api $i\" ] || echo api $i; i=$((i + 1)); done; \
         [ $(ls | grep -c '^f') -ge {api} ] || echo api files are missing"
    ));
    let found = workspace.sh(&script).await;
    assert_eq!((found.stdout.as_str(), found.exit_code), ("", Some(0)), "round {round}: {found:?}");
    let answer = runner.send(Method::POST, &workspace.routes.fsck(), "").await;
    assert_eq!(answer.status, StatusCode::OK, "round {round}: {answer:?}");
    let report: vm_api::FsckResponse = answer.json();
    assert_eq!(report.problems, Vec::<String>::new(), "round {round}");
}

/// Follows a writer in the guest until it is killed; answers the number after the last that it acknowledged.
async fn write_in_guest(runner: &Runner, from: u64) -> u64 {
    let mut order = ExecRequest::command(WRITER);
    order.env.push(vm_api::EnvVar::new("FROM", from.to_string()));
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(route::Workspace::at_runner(UID).exec())
        .header("host", "test")
        .header("accept", "text/event-stream")
        .body(Full::new(Bytes::from(serde_json::to_vec(&order).unwrap())))
        .unwrap();
    let (mut sender, _driver) = runner.connect().await;
    let Ok(response) = sender.send_request(request).await else { return from };
    let (mut body, mut decoder, mut output) = (response.into_body(), sse::Decoder::default(), String::new());
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(chunk) = frame.into_data() else { continue };
        for message in decoder.push(&chunk).unwrap() {
            if let OutputMessage::Stdout(data) = serde_json::from_str(&message.data).unwrap() {
                output.push_str(&data.text.unwrap_or_default());
            }
        }
    }
    // The last line may be cut.
    output.rsplit_once('\n').map_or(from, |(lines, _)| {
        lines.lines().last().and_then(|line| line.parse::<u64>().ok()).map_or(from, |last| last + 1)
    })
}

/// Writes file after file until a write is not answered.
async fn write_by_api(runner: &Runner, acknowledged: &AtomicU64) {
    let (mut sender, _driver) = runner.connect().await;
    loop {
        let number = acknowledged.load(Ordering::Relaxed);
        let path = route::Workspace::at_runner(UID).file(&format!("/home/agent/api/f{number}"));
        let request = http::Request::builder().method(Method::PUT).uri(path).header("host", "test");
        let request = request.body(Full::new(Bytes::from(format!("api {number}\n")))).unwrap();
        if sender.ready().await.is_err() {
            break;
        }
        match sender.send_request(request).await {
            Ok(response) if response.status().is_success() => {
                acknowledged.store(number + 1, Ordering::Relaxed);
                let _ = response.into_body().collect().await;
            }
            Ok(_) | Err(_) => break,
        }
    }
    // The other writer says when the round is over.
    std::future::pending::<()>().await;
}

async fn kill(pid: u32, after: Duration) {
    tokio::time::sleep(after).await;
    signal(pid, "KILL");
    std::future::pending::<()>().await;
}

/// Something between nothing and `most`.
fn random(most: Duration) -> Duration {
    // Std's hasher is seeded anew each time, which is all the randomness that is needed.
    most.mul_f64(f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX))
}
