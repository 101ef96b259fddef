//! One request to the gateway, and its body: whole, so that it can be sent again, or as it comes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use tokio::sync::mpsc;

pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request.
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Outgoing,
}

enum Outgoing {
    Whole(Bytes),
    /// Until it is sent.
    Stream(Option<ChunkBody>),
}

impl Ask {
    fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: Vec::new(), body: Outgoing::Whole(Bytes::new()) }
    }

    pub(crate) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: String) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: String) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn patch(path: String) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(crate) fn delete(path: String) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a JSON document.
    pub(crate) fn json(mut self, document: &impl Serialize) -> Self {
        // Text, numbers and lists: cannot fail.
        self.body = Outgoing::Whole(Bytes::from(serde_json::to_vec(document).unwrap_or_default()));
        self.header(CONTENT_TYPE, "application/json")
    }

    /// With these bytes.
    pub(crate) fn bytes(mut self, bytes: Bytes) -> Self {
        self.body = Outgoing::Whole(bytes);
        self.header(CONTENT_TYPE, "application/octet-stream")
    }

    /// With bytes that come as they are sent. Such a request is sent once at most.
    pub(crate) fn chunks(mut self, chunks: ChunkBody) -> Self {
        self.body = Outgoing::Stream(Some(chunks));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // What cannot be a header is no value that a server has given or could take.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Asks for a stream of events.
    pub(crate) fn events(self) -> Self {
        self.header(ACCEPT, "text/event-stream")
    }

    /// Whether it can be sent again, whatever became of it.
    pub(super) fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Whether it can be sent again if it certainly was not begun.
    pub(super) fn is_replayable(&self) -> bool {
        matches!(self.body, Outgoing::Whole(_) | Outgoing::Stream(Some(_)))
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.body, Outgoing::Stream(_))
    }

    /// The request to send now.
    pub(super) fn request(&mut self) -> Result<Request<RequestBody>, http::Error> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(match &mut self.body {
            Outgoing::Whole(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
            Outgoing::Stream(chunks) => chunks.take().unwrap_or_default().boxed_unsync(),
        })
    }
}

/// A body that comes through a channel, and counts what has passed.
#[derive(Debug, Default)]
pub(crate) struct ChunkBody {
    chunks: Option<mpsc::Receiver<io::Result<Bytes>>>,
    left: Option<u64>,
    passed: Arc<AtomicU64>,
}

impl ChunkBody {
    /// A body of `length` bytes, or of as many as come.
    pub(crate) fn new(
        chunks: mpsc::Receiver<io::Result<Bytes>>,
        length: Option<u64>,
        passed: Arc<AtomicU64>,
    ) -> Self {
        Self { chunks: Some(chunks), left: length, passed }
    }
}

impl Body for ChunkBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        chunks.poll_recv(cx).map(|chunk| {
            let chunk = chunk?;
            if let Ok(bytes) = &chunk {
                let count = bytes.len() as u64;
                self.passed.fetch_add(count, Ordering::Relaxed);
                self.left = self.left.map(|left| left.saturating_sub(count));
            }
            Some(chunk.map(Frame::data))
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_counts_what_has_passed() {
        let (sender, chunks) = mpsc::channel(2);
        let passed = Arc::new(AtomicU64::new(0));
        let body = ChunkBody::new(chunks, Some(3), Arc::clone(&passed));
        assert_eq!(body.size_hint().exact(), Some(3));
        sender.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
        drop(sender);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert_eq!(passed.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_stream_is_sent_once() {
        let (_sender, chunks) = mpsc::channel(1);
        let mut ask = Ask::put("/x".to_owned()).chunks(ChunkBody::new(chunks, None, Arc::default()));
        assert!(ask.is_replayable());
        ask.request().unwrap();
        assert!(!ask.is_replayable());
    }
}
