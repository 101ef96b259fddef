//! Streams of server-sent events: numbered messages, a sign of life when nothing comes, and where to take up again.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use vm_api::{Problem, ProblemCode, sse};

use crate::http::{Body, BodyError, Response, header_text};
use crate::vm::server::query::Query;

/// How often a quiet stream shows that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
const MEDIA_TYPE: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Gives messages one after the other.
pub(crate) trait Messages: Send + 'static {
    /// The next message as JSON, with its number; `None` at the end. Cancelling loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<(u64, String)>> + Send;
}

/// A response that tells messages as they come. Its end drops them.
pub(crate) fn response(messages: impl Messages) -> Response {
    let frames = stream::unfold(messages, |mut messages| async move {
        let text = match tokio::time::timeout(HEARTBEAT_INTERVAL, messages.next()).await {
            Ok(Some((number, json))) => sse::encode(number, &json),
            Ok(None) => return None,
            Err(_elapsed) => sse::HEARTBEAT.to_owned(),
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), messages))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames).map_err(BodyError::from)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the client wants a stream.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    header_text(headers, &ACCEPT).is_some_and(|accept| {
        accept.split(',').any(|range| range.split(';').next().unwrap_or_default().trim() == MEDIA_TYPE)
    })
}

/// Where the client wants to go on: `?after=`, or what a browser sends when it connects again.
pub(crate) fn after(query: &Query, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let (name, text) = match (query.get("after"), header_text(headers, &LAST_EVENT_ID)) {
        (Some(text), _) => ("after", text),
        (None, Some(text)) => ("last-event-id", text),
        (None, None) => return Ok(None),
    };
    text.parse().map(Some).map_err(|_| {
        Problem::new(ProblemCode::InvalidQuery, format!("{name}={text}: expected a sequence number"))
            .with_field(name)
    })
}

/// The problem of one reader too many.
pub(crate) fn too_many_readers(of: &str, most: usize) -> Problem {
    let limit = format!("{most} readers of {of}");
    Problem::new(ProblemCode::LimitStreams, format!("{limit} at once is the most; end some"))
        .with_limit(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(u64);

    impl Messages for Numbers {
        async fn next(&mut self) -> Option<(u64, String)> {
            self.0 += 1;
            match self.0 {
                1 => Some((1, "{}".to_owned())),
                2 => {
                    // Waits for longer than a stream stays quiet.
                    self.0 = 1;
                    tokio::time::sleep(HEARTBEAT_INTERVAL + Duration::from_secs(1)).await;
                    None
                }
                _ => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_shows_that_it_lives() {
        let mut body = response(Numbers(0)).into_body();
        let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(next().await, "id: 1\ndata: {}\n\n");
        assert_eq!(next().await, sse::HEARTBEAT);
    }

    #[test]
    fn a_stream_is_wanted_by_those_who_accept_one() {
        let accepts = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(text));
            is_wanted(&headers)
        };
        assert!(accepts("text/event-stream") && accepts("application/json, text/event-stream;q=0.9"));
        assert!(!accepts("application/json") && !accepts("*/*") && !is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn where_to_go_on_is_in_the_query_or_in_a_header() {
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("7"));
        let query = |text| Query::parse(Some(text), &["after"]).unwrap();
        assert_eq!(after(&query("after=3"), &headers).unwrap(), Some(3));
        assert_eq!(after(&query(""), &headers).unwrap(), Some(7));
        assert_eq!(after(&query(""), &HeaderMap::new()).unwrap(), None);
        assert!(after(&query("after=x"), &headers).unwrap_err().detail.contains("after=x"));
    }
}
