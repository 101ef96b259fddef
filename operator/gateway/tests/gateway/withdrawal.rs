//! Tokens that are revoked and permissions that are taken away: the next request is refused, and streams end.
//!
//! All times are a hundredth of what they usually are.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, stream};
use gateway::config::{Limits, Timeouts};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio_tungstenite::tungstenite::Message;

use crate::streams::{events, next};
use crate::support::api_server::Trouble;
use crate::support::runner::echo;
use crate::support::socket::{echo_messages, hear, hear_goodbye};
use crate::support::world::{World, exec, request, whole};

/// What was withdrawn must have ended within 10 s.
const SOON: Duration = Duration::from_millis(2_000);

fn hundredth() -> Timeouts {
    Timeouts {
        token: Duration::from_millis(100),
        allowed: Duration::from_millis(100),
        stream_recheck: Duration::from_millis(40),
        outage_grace: Duration::from_millis(600),
        ..Timeouts::default()
    }
}

/// What can be taken away from jane.
const WAYS: [fn(&World); 2] = [
    |world| world.api.revoke_token("jane-token"),
    |world| {
        for (verb, subresource) in
            [("get", "events"), ("update", "shells"), ("update", "processes"), ("create", "exec")]
        {
            world.api.withdraw("jane", verb, subresource, "team-a");
        }
    },
];

#[tokio::test]
async fn a_request_is_refused_soon_after() {
    for (take_away, status) in WAYS.into_iter().zip([401, 403]) {
        let (world, _runner) = World::usual_with(echo(), hundredth(), Limits::default()).await;
        let mut connection = world.connect(None).await;
        assert_eq!(connection.send(exec("ada")).await.status, 200);
        take_away(&world);
        let began = Instant::now();
        while connection.send(exec("ada")).await.status == 200 {
            assert!(began.elapsed() < SOON, "it still counts");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(connection.send(exec("ada")).await.status, status);
    }
}

#[tokio::test]
async fn a_stream_of_events_ends_soon_after_and_not_before() {
    for take_away in WAYS {
        let (script, writer) = events();
        let (world, _runner) = World::usual_with(script, hundredth(), Limits::default()).await;
        let mut connection = world.connect(None).await;
        let mut body = connection.head(request("GET", "ada", "events", whole(""))).await.into_body();
        for _ in 0..5 {
            writer.send(b": \n\n").await.unwrap();
            assert!(next(&mut body).await.is_some());
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        take_away(&world);
        let ended = tokio::time::timeout(SOON, body.frame()).await.expect("the stream goes on");
        assert!(ended.is_none());
        drop(body);
        drop(connection);
        let ended = world.metric("lodge_gateway_streams_ended_total{reason=\"withdrawn\"}").await;
        assert_eq!(ended, Some(1.0));
    }
}

#[tokio::test]
async fn a_terminal_is_closed_with_the_reason() {
    for take_away in WAYS {
        let (world, _runner) = World::usual_with(echo_messages(), hundredth(), Limits::default()).await;
        let mut socket = world.attach().await;
        for _ in 0..5 {
            socket.send(Message::text("still here")).await.unwrap();
            assert_eq!(hear(&mut socket).await.into_text().unwrap(), "still here");
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        take_away(&world);
        let code = tokio::time::timeout(SOON, hear_goodbye(&mut socket)).await.expect("it stays open");
        assert_eq!(code, 1008);
    }
}

#[tokio::test]
async fn nobody_types_on_whose_permission_is_gone() {
    for take_away in WAYS {
        let (world, _runner) = World::usual_with(echo(), hundredth(), Limits::default()).await;
        let first = stream::once(async { Ok(Frame::data(Bytes::from_static(b"rm -r /tmp/"))) });
        let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending())).boxed_unsync();
        let mut connection = world.connect(None).await;
        let typing = connection.send(request("POST", "ada", "processes/7/stdin", body));
        let taking = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            take_away(&world);
        };
        let both = async { tokio::join!(typing, taking).0 };
        let answered = tokio::time::timeout(SOON, both).await.expect("the request goes on");
        assert_eq!((answered.status, answered.code().as_str()), (403, "forbidden"));
    }
}

#[tokio::test]
async fn while_the_api_server_is_down_everything_goes_on_for_the_grace_and_no_longer() {
    let (script, writer) = events();
    let (world, _runner) = World::usual_with(script, hundredth(), Limits::default()).await;
    let mut connection = world.connect(None).await;
    let mut body = connection.head(request("GET", "ada", "events", whole(""))).await.into_body();
    world.api.set_trouble(Some(Trouble::Answers(500)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    writer.send(b": \n\n").await.unwrap();
    assert!(next(&mut body).await.is_some());
    let mut other = world.connect(None).await;
    // The runner of this test answers once; that it is reached is what counts.
    let answered = other.send(request("GET", "ada", "events", whole(""))).await;
    assert_eq!(answered.code(), "runner-unreachable");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut third = world.connect(None).await;
    let answered = third.send(request("GET", "ada", "events", whole(""))).await;
    assert_eq!((answered.status, answered.code().as_str()), (503, "authentication-unavailable"));
    let ended = tokio::time::timeout(SOON, body.frame()).await.expect("the stream goes on for ever");
    assert!(ended.is_none());
}
