//! Requests that wait, are refused because there are too many, or are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::pki::Authority;
use crate::support::runner::{Runner, Script, answer, echo, problem};
use crate::support::world::{RUNNER_NAMES, World, exec, pod, request, secret, whole, workspace};
use crate::{always, refusal_beside_one_that_waits};
use bytes::Bytes;
use futures::stream;
use gateway::config::{Limits, Timeouts};
use http::StatusCode;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::net::TcpListener;
use vm_api::ProblemCode;

// Waiting.

fn quick() -> Timeouts {
    Timeouts {
        hold: Duration::from_millis(300),
        unknown_grace: Duration::from_millis(50),
        stop_delay: Duration::ZERO,
        ..Timeouts::default()
    }
}

#[tokio::test]
async fn a_request_waits_until_its_workspace_is_bound() {
    let (world, _runner) = World::usual(echo()).await;
    world.api.put("workspaces", workspace("new", None));
    let mut connection = world.connect(None).await;
    let binding = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.api.put("workspaces", workspace("new", Some("lodge-runner-0")));
        Instant::now()
    };
    let (answered, bound) = tokio::join!(connection.send(exec("new")), binding);
    assert_eq!(answered.status, 200);
    assert!(bound.elapsed() < Duration::from_secs(1), "it was not woken by the binding");
}

#[tokio::test]
async fn a_request_waits_until_its_runner_has_an_address_and_takes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = refusals.clone();
    // The first answers say that the runner was not told about the workspace yet.
    let script: Script = Arc::new(move |request| {
        let code = match count.fetch_add(1, Ordering::SeqCst) {
            0 => Some(ProblemCode::WorkspaceNotFound),
            1 => Some(ProblemCode::WorkspaceNotBound),
            _ => None,
        };
        match code {
            Some(code) => Box::pin(async move { problem(code) }),
            None => echo()(request),
        }
    });
    let world =
        World::with(listener.local_addr().unwrap().port(), Timeouts::default(), Limits::default()).await;
    world.admit_jane();
    world.api.put("workspaces", workspace("ada", Some("lodge-runner-0")));
    world.api.put("pods", pod(None));
    let mut connection = world.connect(None).await;
    let start = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.api.put("pods", pod(Some("127.0.0.1")));
        tokio::time::sleep(Duration::from_millis(50)).await;
        Runner::serve(listener, &world.lodge, &world.lodge.machine(&RUNNER_NAMES), script)
    };
    let (answered, _runner) = tokio::join!(connection.send(exec("ada")), start);
    assert_eq!(answered.status, 200, "{}", answered.json());
    assert_eq!(answered.json()["body"], r#"{"command":"true"}"#, "the body was sent again in full");
    assert_eq!(refusals.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_command_that_began_by_waiting_does_not_keep_others_from_it_while_it_runs() {
    let script: Script = Arc::new(|request| {
        let is_long = request.uri().path().contains("uid-long");
        Box::pin(async move {
            if is_long {
                std::future::pending::<()>().await;
            }
            answer(StatusCode::OK, "done")
        })
    });
    let limits = Limits { held: 1, ..Limits::default() };
    let (world, _runner) = World::usual_with(script, quick(), limits).await;
    world.api.put("workspaces", workspace("long", None));
    world.api.put("workspaces", workspace("new", None));
    let (mut first, mut second) = (world.connect(None).await, world.connect(None).await);
    let mut long = Box::pin(first.head(exec("long")));
    let others = async {
        while world.metric("lodge_gateway_requests_held").await != Some(1.0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.api.put("workspaces", workspace("long", Some("lodge-runner-0")));
        while world.metric("lodge_gateway_requests_held").await != Some(0.0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let bind = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.api.put("workspaces", workspace("new", Some("lodge-runner-0")));
        };
        tokio::join!(second.send(exec("new")), bind).0
    };
    let answered = tokio::select! {
        _ = &mut long => panic!("it runs on"),
        answered = tokio::time::timeout(Duration::from_secs(5), others) => answered,
    };
    assert_eq!(answered.expect("the seat is given back").status, 200);
}

#[tokio::test]
async fn a_request_does_not_wait_for_ever() {
    let (world, _runner) = World::usual_with(echo(), quick(), Limits::default()).await;
    let mut stuck = workspace("stuck", None);
    stuck["status"]["conditions"] =
        json!([{"type": "Ready", "status": "False", "message": "no node has room for the runner"}]);
    world.api.put("workspaces", stuck);
    let answered = world.send(exec("stuck")).await;
    assert_eq!((answered.status, answered.code().as_str()), (503, "workspace-not-bound"));
    assert_eq!(answered.headers["retry-after"], "1");
    assert!(answered.detail().contains("no node has room for the runner"), "{}", answered.detail());
}

#[tokio::test]
async fn a_runner_that_cannot_be_reached_is_named_as_the_reason() {
    let world = World::with(1, quick(), Limits::default()).await;
    world.admit_jane();
    world.api.put("workspaces", workspace("ada", Some("lodge-runner-0")));
    world.api.put("pods", pod(Some("127.0.0.1")));
    let answered = world.send(exec("ada")).await;
    assert_eq!((answered.status, answered.code().as_str()), (503, "runner-unreachable"));
}

#[tokio::test]
async fn a_runner_with_a_certificate_of_another_namespace_gets_no_requests() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let script = always(move || {
        count.fetch_add(1, Ordering::SeqCst);
        answer(StatusCode::OK, "stolen")
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::with(listener.local_addr().unwrap().port(), quick(), Limits::default()).await;
    let other = world.lodge.machine(&["*.lodge-runner.team-b.svc"]);
    let _runner = Runner::serve(listener, &world.lodge, &other, script);
    world.admit_jane();
    world.api.put("workspaces", workspace("ada", Some("lodge-runner-0")));
    world.api.put("pods", pod(Some("127.0.0.1")));
    assert_eq!(world.send(exec("ada")).await.status, 503);
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_so_many_requests_wait_for_one_workspace() {
    let limits = Limits { held_per_workspace: 2, ..Limits::default() };
    let (world, _runner) = World::usual_with(echo(), quick(), limits).await;
    world.api.put("workspaces", workspace("new", None));
    let attempts = futures::future::join_all((0..4).map(|_| world.send(exec("new")))).await;
    let mut statuses: Vec<_> = attempts.iter().map(|answered| answered.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [429, 429, 503, 503]);
    let refused = attempts.iter().find(|answered| answered.status == 429).unwrap();
    assert_eq!(refused.json()["limit"], "gateway --max-held-per-workspace");
}

#[tokio::test]
async fn a_request_that_may_have_been_carried_out_is_not_sent_again() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let script: Script = Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        // Ends the connection in the middle of the request.
        Box::pin(async { panic!("the runner dies") })
    });
    let (world, _runner) = World::usual(script).await;
    let answered = world.send(exec("ada")).await;
    assert_eq!((answered.status, answered.code().as_str()), (502, "runner-unreachable"));
    assert!(answered.detail().contains("may have been carried out"), "{}", answered.detail());
    assert_eq!(reached.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_only_reads_is_sent_again_when_the_connection_breaks() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let script: Script = Arc::new(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            assert!(number > 0, "the runner dies");
            answer(StatusCode::OK, "read")
        })
    });
    let (world, _runner) = World::usual(script).await;
    let answered = world.send(request("GET", "ada", "files/notes.txt", whole(""))).await;
    assert_eq!((answered.status, &answered.body[..]), (200, &b"read"[..]));
}

// Limits and life.

#[tokio::test]
async fn a_client_that_leaves_ends_its_command_and_is_recorded() {
    let (began, mut has_begun) = tokio::sync::mpsc::channel::<()>(1);
    let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(Some(ended)));
    let script: Script = Arc::new(move |_| {
        let (began, ended) = (began.clone(), ended.lock().unwrap().take());
        Box::pin(async move {
            // Dropped with the command.
            let _ended = ended;
            began.send(()).await.unwrap();
            std::future::pending().await
        })
    });
    let (world, _runner) = World::usual(script).await;
    let mut connection = world.connect(None).await;
    tokio::select! {
        _ = connection.send(exec("ada")) => panic!("the command does not end"),
        _ = has_begun.recv() => {}
    }
    drop(connection);
    assert!(has_ended.await.is_err(), "the runner sees that the client has left");
    let metrics = world.probe("/metrics").await.1;
    assert!(metrics.contains("code=\"499\"} 1"), "{metrics}");
    assert!(metrics.contains("lodge_gateway_requests_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_and_while_it_is_sent() {
    let limits = Limits { exec_body_bytes: 10, file_body_bytes: 100_000, ..Limits::default() };
    let (world, _runner) = World::usual_with(echo(), Timeouts::default(), limits).await;
    let answered = world.send(exec("ada")).await;
    assert_eq!((answered.status, answered.code().as_str()), (413, "body-too-large"));
    assert_eq!(answered.json()["limit"], "gateway --max-exec-body-bytes");
    let chunks = (0..20).map(|_| Ok(Frame::data(Bytes::from(vec![0; 10_000]))));
    let body = StreamBody::new(stream::iter(chunks.collect::<Vec<_>>())).boxed_unsync();
    let answered = world.send(request("PUT", "ada", "files/big", body)).await;
    assert_eq!((answered.status, answered.code().as_str()), (413, "body-too-large"));
}

#[tokio::test]
async fn only_so_many_requests_are_worked_on_at_once() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let script: Script = Arc::new(|_| Box::pin(std::future::pending()));
    let (world, _runner) = World::usual_with(script, Timeouts::default(), limits).await;
    let answered = refusal_beside_one_that_waits(&world).await;
    assert_eq!(answered.status, 503);
    assert_eq!(answered.json()["limit"], "gateway --max-requests");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_not_waited_for() {
    let timeouts = Timeouts { stall: Duration::from_millis(100), ..quick() };
    let (world, _runner) = World::usual_with(echo(), timeouts, Limits::default()).await;
    let body = StreamBody::new(stream::pending()).boxed_unsync();
    let answered = world.send(request("PUT", "ada", "files/slow", body)).await;
    assert_eq!((answered.status, answered.code().as_str()), (408, "body-incomplete"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let (world, _runner) = World::usual(echo()).await;
    let next = Authority::new("next");
    world.api.put("secrets", secret(&next));
    for _ in 0..200 {
        let tcp = tokio::net::TcpStream::connect(world.address).await.unwrap();
        let config = rustls::ClientConfig::builder_with_provider(crate::support::pki::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(next.roots())
            .with_no_client_auth();
        let name = "lodge-gateway.lodge-system.svc".try_into().unwrap();
        if tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the new certificate is not shown");
}

#[tokio::test]
async fn a_gateway_that_stops_finishes_what_it_began_and_takes_nothing_new() {
    let script: Script = Arc::new(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer(StatusCode::OK, "done")
        })
    });
    let timeouts = Timeouts { stop_delay: Duration::from_millis(50), ..quick() };
    let (mut world, _runner) = World::usual_with(script, timeouts, Limits::default()).await;
    let mut connection = world.connect(None).await;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.stop.cancel();
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.probe("/readyz").await
    };
    let (answered, (ready, why)) = tokio::join!(connection.send(exec("ada")), stop);
    assert_eq!((answered.status, &answered.body[..]), (200, &b"done"[..]));
    assert_eq!((ready, why.as_str()), (503, "the gateway is stopping\n"));
    drop(connection);
    let gateway = world.gateway.take().unwrap();
    tokio::time::timeout(Duration::from_secs(5), gateway).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
}

#[tokio::test]
async fn metrics_and_probes_are_served_without_tls() {
    let (world, _runner) = World::usual(echo()).await;
    assert_eq!(world.send(exec("ada")).await.status, 200);
    assert_eq!(world.probe("/healthz").await.0, 200);
    let (status, text) = world.probe("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        text.contains("lodge_gateway_requests_total{area=\"exec\",verb=\"create\",code=\"200\"} 1"),
        "{text}"
    );
    assert!(!text.contains("ada") && !text.contains("jane"), "{text}");
}
