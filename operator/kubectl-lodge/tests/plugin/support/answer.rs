//! What a gateway of a test answers.

use std::io;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde::Serialize;
use serde_json::{Value, json};
use vm_api::{Problem, ProblemCode, problem, sse};

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Any bytes.
pub(crate) fn bytes(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// A document.
pub(crate) fn document(status: u16, value: &impl Serialize) -> Answer {
    let mut answer = bytes(status, serde_json::to_vec(value).unwrap());
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

/// A problem of the gateway; one that passes comes with a time.
pub(crate) fn refused(code: ProblemCode, detail: &str) -> Answer {
    let problem = Problem::new(code, detail);
    let status = problem.status;
    let mut answer = document(status, &problem);
    answer.headers_mut().insert("content-type", problem::MEDIA_TYPE.parse().unwrap());
    if matches!(status, 503 | 429) {
        answer.headers_mut().insert("retry-after", "1".parse().unwrap());
    }
    answer
}

/// How a stream goes on after its messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Ends,
    Breaks,
    Stays,
}

/// Events with their numbers.
pub(crate) fn events(messages: &[(u64, Value)], then: Then) -> Answer {
    let text: String = messages.iter().map(|(id, message)| sse::encode(*id, &message.to_string())).collect();
    let first = futures::stream::iter([Ok(Frame::data(Bytes::from(text)))]);
    let rest = futures::stream::once(async move {
        match then {
            Then::Stays => std::future::pending().await,
            // Later, so that what came before has left.
            _ => tokio::time::sleep(std::time::Duration::from_millis(30)).await,
        }
        Err(io::Error::other("cut"))
    });
    let body = match then {
        Then::Ends => StreamBody::new(first).boxed_unsync(),
        Then::Breaks | Then::Stays => StreamBody::new(futures::StreamExt::chain(first, rest)).boxed_unsync(),
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    answer
}

/// A command that has ended.
pub(crate) fn exited(code: u8, stdout: &str) -> Answer {
    events(
        &[
            (0, json!({"type": "started", "pid": 7})),
            (stdout.len() as u64, json!({"type": "stdout", "text": stdout})),
            (stdout.len() as u64 + 1, json!({"type": "exited", "exitCode": code})),
        ],
        Then::Ends,
    )
}
