//! Streams: events as they come, WebSockets, uploads of any size, and what becomes of them when the gateway stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, stream};
use gateway::config::{Limits, Timeouts};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;

use crate::support::runner::{Script, answer};
use crate::support::socket::{echo_messages, hear, hear_goodbye};
use crate::support::world::{Body, World, exec, request, whole};

/// A runner whose answer is an event stream, which a test writes.
pub(crate) fn events() -> (Script, mpsc::Sender<&'static [u8]>) {
    let (writer, reader) = mpsc::channel::<&'static [u8]>(16);
    let reader = Arc::new(std::sync::Mutex::new(Some(reader)));
    let script: Script = Arc::new(move |_| {
        let reader = reader.lock().unwrap().take();
        Box::pin(async move {
            let frames = stream::unfold(reader.unwrap(), |mut reader| async {
                let bytes = reader.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(bytes))), reader))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(StreamBody::new(frames).boxed_unsync())
                .unwrap()
        })
    });
    (script, writer)
}

/// The next bytes of a body; nothing at its end.
pub(crate) async fn next(body: &mut Incoming) -> Option<Bytes> {
    let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("nothing comes");
    frame.map(|frame| frame.unwrap().into_data().unwrap())
}

fn stopping() -> Timeouts {
    Timeouts { stop_delay: Duration::ZERO, ..Timeouts::default() }
}

#[tokio::test]
async fn events_arrive_byte_by_byte_as_they_are_written() {
    let (script, writer) = events();
    let (world, _runner) = World::usual(script).await;
    let mut connection = world.connect(None).await;
    let response = connection.head(request("GET", "ada", "events?after=3", whole(""))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for byte in b"id: 4\ndata: {}\n\n".chunks(1) {
        writer.send(byte).await.unwrap();
        assert_eq!(next(&mut body).await.unwrap(), byte);
    }
    assert_eq!(world.metric("lodge_gateway_streams ").await, Some(1.0));
    drop(writer);
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_quiet_stream_is_not_taken_for_a_dead_one() {
    let (script, writer) = events();
    let timeouts = Timeouts {
        stall: Duration::from_millis(50),
        header: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let (world, _runner) = World::usual_with(script, timeouts, Limits::default()).await;
    let mut connection = world.connect(None).await;
    let mut body = connection.head(request("GET", "ada", "events", whole(""))).await.into_body();
    tokio::time::sleep(Duration::from_millis(300)).await;
    writer.send(b": \n\n").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), ": \n\n");
}

#[tokio::test]
async fn a_command_that_says_nothing_for_long_is_waited_for() {
    let script: Script = Arc::new(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            answer(StatusCode::OK, "done")
        })
    });
    let timeouts = Timeouts {
        stall: Duration::from_millis(50),
        header: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let (world, _runner) = World::usual_with(script, timeouts, Limits::default()).await;
    assert_eq!(world.send(exec("ada")).await.body, "done");
}

#[tokio::test]
async fn somebody_who_types_may_think() {
    let script: Script = Arc::new(|request: Request<Incoming>| {
        Box::pin(async move {
            let typed = request.into_body().collect().await.unwrap().to_bytes();
            answer(StatusCode::OK, typed)
        })
    });
    let timeouts = Timeouts { stall: Duration::from_millis(50), ..Timeouts::default() };
    let (world, _runner) = World::usual_with(script, timeouts, Limits::default()).await;
    let typing = stream::unfold(0, |count| async move {
        if count == 3 {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
        Some((Ok(Frame::data(Bytes::from_static(b"key"))), count + 1))
    });
    let body: Body = StreamBody::new(typing).boxed_unsync();
    let answered = world.send(request("POST", "ada", "processes/7/stdin", body)).await;
    assert_eq!((answered.status, &answered.body[..]), (200, &b"keykeykey"[..]));
}

#[tokio::test]
async fn a_websocket_passes_unharmed() {
    let (world, _runner) = World::usual(echo_messages()).await;
    for mut socket in [world.attach().await, world.attach_over_http2().await] {
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let sent: Vec<u8> = (0..size).map(|index| u8::try_from(index % 251).unwrap()).collect();
            socket.send(Message::binary(sent.clone())).await.unwrap();
            assert_eq!(hear(&mut socket).await.into_data(), sent, "{size} bytes");
        }
        socket.send(Message::text("ähm")).await.unwrap();
        assert_eq!(hear(&mut socket).await.into_text().unwrap(), "ähm");
        socket.close(None).await.unwrap();
        assert!(matches!(hear(&mut socket).await, Message::Close(_)));
    }
    for _ in 0..100 {
        if world.metric("lodge_gateway_requests_in_flight ").await == Some(0.0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the tunnels are still there");
}

#[tokio::test]
async fn a_refused_websocket_is_answered_in_words() {
    let (world, _runner) = World::usual(echo_messages()).await;
    let answered = world.send(request("GET", "ada", "shells/s-1/attach?after=7", whole(""))).await;
    assert_eq!((answered.status, answered.code().as_str()), (426, "upgrade-required"));
    world.api.accept_token("joe-token", "joe", &[]);
    let mut attempt = request("GET", "ada", "shells/s-1/attach", whole(""));
    for (name, value) in
        [("authorization", "Bearer joe-token"), ("connection", "upgrade"), ("upgrade", "websocket")]
    {
        attempt.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(world.send(attempt).await.status, 403);
}

#[tokio::test]
async fn a_large_upload_waits_for_its_reader_and_not_in_memory() {
    const CHUNK: usize = 64 * 1024;
    const TOTAL: u64 = 64 << 20;
    let go_on = Arc::new(Notify::new());
    let gate = go_on.clone();
    let script: Script = Arc::new(move |request: Request<Incoming>| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.notified().await;
            let (mut body, mut count) = (request.into_body(), 0);
            while let Some(frame) = body.frame().await {
                count += frame.unwrap().into_data().unwrap().len();
            }
            answer(StatusCode::OK, count.to_string())
        })
    });
    let (world, _runner) = World::usual(script).await;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let chunks = stream::iter(0..TOTAL / CHUNK as u64).map(move |_| {
        counter.fetch_add(CHUNK as u64, Ordering::SeqCst);
        Ok(Frame::data(Bytes::from_static(&[7; CHUNK])))
    });
    let upload = request("PUT", "ada", "files/big", StreamBody::new(chunks).boxed_unsync());
    let watch = async {
        // Until nothing more fits into buffers.
        let mut before = u64::MAX;
        while before != sent.load(Ordering::SeqCst) || before == 0 {
            before = sent.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        go_on.notify_one();
        before
    };
    let mut connection = world.connect(None).await;
    let (answered, in_flight) = tokio::join!(connection.send(upload), watch);
    assert_eq!((answered.status, &answered.body[..]), (200, TOTAL.to_string().as_bytes()));
    // What the kernel's socket buffers hold on loopback is most of it.
    assert!(in_flight < 24 << 20, "{in_flight} bytes were taken before anybody read one");
}

#[tokio::test]
async fn a_client_that_stops_taking_an_answer_loses_its_connection() {
    let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(Some(ended)));
    let script: Script = Arc::new(move |_| {
        let ended = ended.lock().unwrap().take();
        let endless = stream::repeat_with(move || {
            let _dropped_with_the_body = &ended;
            Ok(Frame::data(Bytes::from_static(&[7; 64 * 1024])))
        });
        Box::pin(async move { Response::new(StreamBody::new(endless).boxed_unsync()) })
    });
    let timeouts = Timeouts { stall: Duration::from_millis(200), ..Timeouts::default() };
    let (world, _runner) = World::usual_with(script, timeouts, Limits::default()).await;
    let mut connection = world.connect(None).await;
    let _not_read = connection.head(request("GET", "ada", "files/big", whole(""))).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), has_ended).await;
    assert!(matches!(ended, Ok(Err(_))), "the runner still writes");
}

#[tokio::test]
async fn a_gateway_that_stops_sends_its_streams_elsewhere() {
    let (script, writer) = events();
    let (world, _runner) = World::usual_with(script, stopping(), Limits::default()).await;
    let mut connection = world.connect(None).await;
    let mut body = connection.head(request("GET", "ada", "events", whole(""))).await.into_body();
    writer.send(b"id: 1\ndata: {}\n\n").await.unwrap();
    assert!(next(&mut body).await.is_some());
    world.stop.cancel();
    assert_eq!(next(&mut body).await, None, "the stream ends as one that has ended");
}

#[tokio::test]
async fn a_gateway_that_stops_says_goodbye_to_its_websockets_and_is_gone_soon() {
    let (mut world, _runner) = World::usual_with(echo_messages(), stopping(), Limits::default()).await;
    let mut sockets = [world.attach().await, world.attach_over_http2().await];
    for socket in &mut sockets {
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(hear(socket).await.into_text().unwrap(), "hello");
    }
    world.stop.cancel();
    for socket in &mut sockets {
        assert_eq!(hear_goodbye(socket).await, 1012);
    }
    drop(sockets);
    let gateway = world.gateway.take().unwrap();
    tokio::time::timeout(Duration::from_secs(5), gateway).await.expect("it is still there").unwrap();
}

#[tokio::test]
async fn what_a_command_says_is_not_cut_off_by_a_gateway_that_stops() {
    let (script, writer) = events();
    let (world, _runner) = World::usual_with(script, stopping(), Limits::default()).await;
    let mut connection = world.connect(None).await;
    let mut body = connection.head(exec("ada")).await.into_body();
    writer.send(b"id: 1\ndata: {}\n\n").await.unwrap();
    assert!(next(&mut body).await.is_some());
    world.stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    writer.send(b"id: 2\ndata: {}\n\n").await.unwrap();
    assert!(next(&mut body).await.is_some());
    drop(writer);
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn who_waits_too_long_for_an_answer_of_a_gateway_that_stops_is_told_so() {
    let script: Script = Arc::new(|_| Box::pin(std::future::pending()));
    let timeouts = Timeouts { drain: Duration::from_millis(1_100), ..stopping() };
    let (world, _runner) = World::usual_with(script, timeouts, Limits::default()).await;
    let mut connection = world.connect(None).await;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.stop.cancel();
    };
    let (answered, ()) = tokio::join!(connection.send(exec("ada")), stop);
    assert_eq!((answered.status, answered.code().as_str()), (502, "shutting-down"));
    assert_eq!(answered.json()["limit"], "gateway --drain-timeout");
}

#[tokio::test]
async fn the_next_request_is_not_taken_for_the_body_that_a_websocket_opening_does_not_have() {
    let script: Script = Arc::new(|request| {
        Box::pin(async move {
            if !request.uri().path().ends_with("/attach") {
                return answer(StatusCode::OK, "understood");
            }
            // As a runner does that answers before the body is there, and reads it on.
            tokio::spawn(request.into_body().collect());
            answer(StatusCode::CONFLICT, "no such shell")
        })
    });
    let (world, runner) = World::usual(script).await;
    let mut opening = request("GET", "ada", "shells/s-1/attach", whole(vec![b'x'; 50]));
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket"), ("content-length", "50")] {
        opening.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(world.send(opening).await.status, 409);
    let next = tokio::time::timeout(Duration::from_secs(5), world.send(exec("ada"))).await;
    let next = next.expect("the next request is answered");
    assert_eq!((next.status, &next.body[..]), (200, &b"understood"[..]));
    assert_eq!(runner.connections(), 1, "on the connection that is there");
}
