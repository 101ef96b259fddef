//! Runners that break connections, stop, and lose their VM: what is sent again, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::config::{Limits, Timeouts};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use vm_api::ProblemCode;

use crate::support::runner::{Answer, Runner, Script, answer, echo, problem};
use crate::support::world::{Answered, Body, World, exec, request, whole};

/// A runner that begins with `failing` and then does what it is asked to; and how often it was reached.
fn after(
    failures: usize,
    failing: impl Fn() -> Answer + Send + Sync + 'static,
) -> (Script, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let script: Script = Arc::new(move |request: Request<Incoming>| {
        let fails = count.fetch_add(1, Ordering::SeqCst) < failures;
        let failure = fails.then(&failing);
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            failure.unwrap_or_else(|| answer(StatusCode::OK, body))
        })
    });
    (script, reached)
}

/// A runner that ends its connection in the middle of the first requests.
fn breaking(failures: usize) -> (Script, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let script: Script = Arc::new(move |request: Request<Incoming>| {
        let fails = count.fetch_add(1, Ordering::SeqCst) < failures;
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert!(!fails, "the runner dies");
            answer(StatusCode::OK, body)
        })
    });
    (script, reached)
}

fn quick() -> Timeouts {
    Timeouts { hold: Duration::from_millis(300), ..Timeouts::default() }
}

async fn send(script: Script, request: Request<Body>) -> Answered {
    let (world, _runner) = World::usual_with(script, quick(), Limits::default()).await;
    world.send(request).await
}

#[tokio::test]
async fn a_file_is_written_again_when_the_connection_breaks() {
    let (script, reached) = breaking(2);
    let answered = send(script, request("PUT", "ada", "files/a", whole("content"))).await;
    assert_eq!((answered.status, &answered.body[..]), (200, &b"content"[..]));
    assert_eq!(reached.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_is_not_the_same_when_done_twice_is_never_sent_twice() {
    let conditional = {
        let mut request = request("PUT", "ada", "files/a", whole("content"));
        request.headers_mut().insert("if-none-match", "*".parse().unwrap());
        request
    };
    for attempt in [
        exec("ada"),
        conditional,
        request("PUT", "ada", "files/a?append", whole("line")),
        request("POST", "ada", "files:move", whole("{}")),
        request("POST", "ada", "processes", whole("{}")),
        request("POST", "ada", "processes/7/kill", whole("{}")),
    ] {
        let what = format!("{} {}", attempt.method(), attempt.uri());
        let (script, reached) = breaking(1);
        let answered = send(script, attempt).await;
        assert_eq!((answered.status, answered.code().as_str()), (502, "runner-unreachable"), "{what}");
        assert!(answered.detail().contains("may have been carried out"), "{}", answered.detail());
        assert_eq!(reached.load(Ordering::SeqCst), 1, "{what}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_whatever_it_reaches_is_not_sent_for_ever() {
    let (script, reached) = breaking(usize::MAX);
    let answered = send(script, request("GET", "ada", "files/poison", whole(""))).await;
    assert_eq!(answered.status, 503);
    assert_eq!(reached.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_a_runner_says_it_did_not_do_is_handed_over_again_whatever_it_is() {
    for code in [ProblemCode::ShuttingDown, ProblemCode::WorkspaceStopping, ProblemCode::WorkspaceNotBound] {
        let (script, reached) = after(2, move || problem(code));
        let answered = send(script, exec("ada")).await;
        assert_eq!((answered.status, &answered.body[..]), (200, &br#"{"command":"true"}"#[..]), "{code:?}");
        assert_eq!(reached.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn a_runner_that_goes_on_stopping_is_quoted() {
    let (script, _) = after(usize::MAX, || problem(ProblemCode::ShuttingDown));
    let answered = send(script, exec("ada")).await;
    assert_eq!((answered.status, answered.code().as_str()), (503, "shutting-down"));
    assert_eq!(answered.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_read_survives_the_death_of_a_vm_and_a_command_does_not() {
    let (script, reached) = after(1, || problem(ProblemCode::VmDied));
    let answered = send(script, request("GET", "ada", "files/a", whole(""))).await;
    assert_eq!((answered.status, reached.load(Ordering::SeqCst)), (200, 2));
    let (script, reached) = after(1, || problem(ProblemCode::VmDied));
    let answered = send(script, exec("ada")).await;
    assert_eq!((answered.status, answered.code().as_str()), (502, "vm-died"));
    assert_eq!(reached.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_that_broke_while_they_waited_cost_no_request() {
    let (world, runner) = World::usual(echo()).await;
    let mut connection = world.connect(None).await;
    for _ in 0..20 {
        assert_eq!(connection.send(exec("ada")).await.status, 200);
        runner.hang_up();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(runner.connections(), 20);
}

#[tokio::test]
async fn requests_go_on_when_their_runner_comes_back() {
    let (world, runner) = World::usual(echo()).await;
    let port = runner.address;
    drop(runner);
    let mut connection = world.connect(None).await;
    let back = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let listener = tokio::net::TcpListener::bind(port).await.unwrap();
        let identity = world.lodge.machine(&crate::support::world::RUNNER_NAMES);
        Runner::serve(listener, &world.lodge, &identity, echo())
    };
    let (answered, _runner) = tokio::join!(connection.send(exec("ada")), back);
    assert_eq!(answered.status, 200, "{}", answered.json());
    assert_eq!(answered.json()["method"], Method::POST.as_str());
}
