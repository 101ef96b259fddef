//! Who asks too often, too much at once, too slowly, or says nothing at all.

use std::sync::Arc;
use std::time::Duration;

use gateway::config::{Limits, Rate, Timeouts};
use http::{HeaderValue, Request};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::refusal_beside_one_that_waits;
use crate::support::runner::{Script, echo};
use crate::support::world::{Body, World, exec};

fn with_token(token: &str) -> Request<Body> {
    let mut request = exec("ada");
    request.headers_mut().insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    request
}

#[tokio::test]
async fn a_user_who_asks_too_often_is_told_to_slow_down_and_others_are_not() {
    let limits = Limits { user_rate: Rate { per_second: 1, burst: 3 }, ..Limits::default() };
    let (world, _runner) = World::usual_with(echo(), Timeouts::default(), limits).await;
    world.api.accept_token("joe-token", "joe", &["team-a-devs"]);
    world.api.grant("joe", "create", "exec", "team-a");
    let mut connection = world.connect(None).await;
    for _ in 0..3 {
        assert_eq!(connection.send(exec("ada")).await.status, 200);
    }
    let answered = connection.send(exec("ada")).await;
    assert_eq!((answered.status, answered.code().as_str()), (429, "limit-user-requests"));
    assert_eq!(answered.headers["retry-after"], "1");
    assert_eq!(answered.json()["limit"], "gateway --max-user-requests-per-second");
    assert_eq!(connection.send(with_token("joe-token")).await.status, 200);
    assert_eq!(world.metric("lodge_gateway_limited_total{limit=\"user-rate\"}").await, Some(1.0));
}

#[tokio::test]
async fn a_user_has_only_so_many_requests_at_once() {
    let limits = Limits { user_requests: 1, ..Limits::default() };
    let script: Script = Arc::new(|_| Box::pin(std::future::pending()));
    let (world, _runner) = World::usual_with(script, Timeouts::default(), limits).await;
    let answered = refusal_beside_one_that_waits(&world).await;
    assert_eq!((answered.status, answered.code().as_str()), (429, "limit-user-requests"));
    assert_eq!(answered.json()["limit"], "gateway --max-user-requests");
}

#[tokio::test]
async fn a_flood_of_bad_tokens_is_not_reviewed_and_touches_nobody_who_is_known() {
    let limits = Limits { stranger_rate: Rate { per_second: 1, burst: 5 }, ..Limits::default() };
    // What is known must be reviewed again after this.
    let timeouts = Timeouts { token: Duration::from_millis(20), ..Timeouts::default() };
    let (world, _runner) = World::usual_with(echo(), timeouts, limits).await;
    let mut connection = world.connect(None).await;
    assert_eq!(connection.send(exec("ada")).await.status, 200);
    let mut statuses = Vec::new();
    for number in 0..50 {
        statuses.push(connection.send(with_token(&format!("stolen-{number}"))).await.status);
    }
    assert!(statuses.starts_with(&[401; 5]), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429));
    assert!(world.api.token_reviews() < 10, "{}", world.api.token_reviews());
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(connection.send(exec("ada")).await.status, 200);
    let mut anonymous = exec("ada");
    anonymous.headers_mut().remove("authorization");
    let answered = connection.send(anonymous).await;
    assert_eq!(answered.status, 429);
    assert_eq!(answered.json()["limit"], "gateway --max-strangers-per-second");
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let (world, _runner) = World::usual_with(echo(), Timeouts::default(), limits).await;
    let mut first = world.connect(None).await;
    let mut second = world.connect(None).await;
    let mut third = TcpStream::connect(world.address).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
    assert_eq!((first.send(exec("ada")).await.status, second.send(exec("ada")).await.status), (200, 200));
    drop(first);
    for _ in 0..200 {
        let mut another = TcpStream::connect(world.address).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_millis(20), another.read(&mut [0])).await;
        if closed.is_err() {
            return;
        }
    }
    panic!("the place of a connection that has ended is not free");
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_stay() {
    let timeouts = Timeouts {
        handshake: Duration::from_millis(100),
        header: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let (world, _runner) = World::usual_with(echo(), timeouts, Limits::default()).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut said = Vec::new();
    let in_time = Duration::from_secs(4);
    tokio::time::timeout(in_time, silent.read_to_end(&mut said)).await.unwrap().unwrap();
    for protocol in ["http/1.1", "h2"] {
        let mut silent = world.tls(protocol).await;
        // What is said at the end is of no interest, nor whether it ends in a friendly way.
        let _ = tokio::time::timeout(in_time, silent.read_to_end(&mut said)).await.expect(protocol);
    }
}

#[tokio::test]
async fn an_idle_http_2_connection_is_told_to_go() {
    let timeouts = Timeouts { header: Duration::from_millis(200), ..Timeouts::default() };
    let (world, _runner) = World::usual_with(echo(), timeouts, Limits::default()).await;
    let (mut sender, connection) = world.http2().await;
    let mut connection = tokio::spawn(connection);
    let uri = "https://gateway/v1/namespaces/team-a/workspaces/ada/exec";
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut request = exec("ada");
        *request.uri_mut() = uri.parse().unwrap();
        request.headers_mut().remove("host");
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    }
    let ended = tokio::time::timeout(Duration::from_secs(4), &mut connection).await;
    assert!(ended.is_ok(), "it is still there");
}

#[tokio::test]
async fn who_holds_connections_to_the_probes_does_not_keep_out_the_kubelet() {
    let (world, _runner) = World::usual(echo()).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(tokio::net::TcpStream::connect(world.health).await.unwrap());
    }
    let probe = tokio::time::timeout(Duration::from_secs(5), world.probe("/healthz")).await;
    assert_eq!(probe.expect("the probe is answered"), (200, "ok\n".to_owned()));
}
