//! How long `exec true` takes in a workspace while its neighbour does its worst: `cargo bench -p vm-runner --bench
//! neighbour [-- NAME...]`.
//!
//! The neighbours are the hostile guests of `tests/it/hostile`, each running as long as it is measured beside. The client
//! of the hostile guest runs on a thread of its own, as another user's would. Prints, and decides nothing. Needs the
//! guest software in `.local/software`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program for people, which may give up"
)]

#[expect(dead_code, reason = "shared with tests/it, which checks the guests")]
#[path = "../tests/it/hostile/guest.rs"]
mod guest;
#[expect(dead_code, reason = "shared with tests/it, which needs more of it")]
#[path = "../tests/it/runner.rs"]
mod runner;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use vm_api::{ExecRequest, route};

use self::guest::Guest;
use self::runner::Runner;

/// How long is measured beside each guest.
const SPAN: Duration = Duration::from_secs(4);
/// What a guest gets to begin.
const HEAD_START: Duration = Duration::from_millis(500);
const NEIGHBOUR: &str = "neighbour";

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runner = runtime.block_on(Runner::start());
    let guests = Guest::all().into_iter().filter(|guest| wanted.is_empty() || wanted.contains(&guest.name));
    runtime.block_on(async {
        runner.workspace(NEIGHBOUR).await.sh("true").await;
        tokio::time::sleep(HEAD_START).await;
    });
    report("nobody", measure(&runtime, &runner));
    for guest in guests {
        let times = std::thread::scope(|scope| {
            let attack = scope.spawn(|| attack(&runner, &guest));
            std::thread::sleep(HEAD_START);
            let times = measure(&runtime, &runner);
            attack.join().unwrap();
            times
        });
        report(&guest.name, times);
    }
    runtime.block_on(async { runner.workspace(NEIGHBOUR).await });
}

/// Runs the guest again and again, until the neighbour has been measured.
fn attack(runner: &Runner, guest: &Guest) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let workspace = runner.workspace_with(&guest.name, |config| guest.configure(config)).await;
        let started = Instant::now();
        let span = SPAN + HEAD_START;
        while let Some(left) = span.checked_sub(started.elapsed()).filter(|left| left.as_millis() > 0) {
            let _ = workspace.try_exec(&guest.request(left)).await;
        }
        runner.send(Method::DELETE, workspace.routes.base(), "").await;
    });
}

/// The neighbour's times, one command after the other on one connection.
fn measure(runtime: &tokio::runtime::Runtime, runner: &Runner) -> Vec<Duration> {
    let body = Bytes::from(serde_json::to_vec(&ExecRequest::argv(["true"])).unwrap());
    runtime.block_on(async {
        let (mut sender, _driver) = runner.connect().await;
        let started = Instant::now();
        let mut times = Vec::new();
        while started.elapsed() < SPAN {
            let begin = Instant::now();
            exec(&mut sender, body.clone()).await;
            times.push(begin.elapsed());
            // As a user who does something else in between, and not as a second endless loop.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times
    })
}

async fn exec(sender: &mut SendRequest<Full<Bytes>>, body: Bytes) {
    sender.ready().await.unwrap();
    let path = route::Workspace::at_runner(NEIGHBOUR).exec();
    let request = http::Request::builder().method(Method::POST).uri(path).header("host", "bench");
    let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response.into_body().collect().await.unwrap();
}

fn report(beside: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "`exec true` beside {beside:<28} n={:<5} p50={:>7.3} ms  p95={:>7.3} ms  p99={:>7.3} ms  max={:>8.3} ms",
        times.len(),
        at(500),
        at(950),
        at(990),
        at(1000)
    );
}
