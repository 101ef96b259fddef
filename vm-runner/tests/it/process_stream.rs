//! Reads streams of server-sent events, message by message, and lets go of them where a test wants to.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;
use vm_api::{OutputMessage, ProcessExit, sse};

use crate::runner::Runner;

/// How long a message may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open stream. Dropping it closes its connection.
pub(crate) struct Stream {
    pub(crate) headers: HeaderMap,
    body: Incoming,
    decoder: sse::Decoder,
    ready: VecDeque<sse::Message>,
    _driver: AbortOnDropHandle<()>,
}

/// All of a command's output.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) lost: u64,
    pub(crate) exit: Option<ProcessExit>,
}

impl Runner {
    /// Opens a stream; anything but one is the end of the test.
    pub(crate) async fn stream(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Stream {
        let (mut sender, driver) = self.connect().await;
        let request = http::Request::builder().method(method).uri(path).header("host", "test");
        let request = request.header("accept", "text/event-stream").body(Full::new(body.into())).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            let body = body.collect().await.unwrap().to_bytes();
            panic!("{} {}", head.status, String::from_utf8_lossy(&body));
        }
        let (decoder, ready) = (sse::Decoder::default(), VecDeque::new());
        Stream { headers: head.headers, body, decoder, ready, _driver: driver }
    }
}

impl Stream {
    /// The next message with its number; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Option<(u64, T)> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                let id = message.id.unwrap().parse().unwrap();
                return Some((id, serde_json::from_str(&message.data).unwrap()));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.unwrap()?;
            if let Ok(chunk) = frame.unwrap().into_data() {
                self.ready.extend(self.decoder.push(&chunk).unwrap());
            }
        }
    }

    /// The next message of a command's output.
    pub(crate) async fn output(&mut self) -> (u64, OutputMessage) {
        self.next().await.unwrap()
    }

    /// Everything to the end.
    pub(crate) async fn collect(&mut self) -> Output {
        let mut output = Output::default();
        while let Some((_, message)) = self.next().await {
            match message {
                OutputMessage::Started { .. } => {}
                OutputMessage::Stdout(data) => output.stdout.extend_from_slice(data.as_bytes()),
                OutputMessage::Stderr(data) => output.stderr.extend_from_slice(data.as_bytes()),
                OutputMessage::Lost { bytes } => output.lost += bytes,
                OutputMessage::Exited(exit) => output.exit = Some(exit),
            }
        }
        output
    }
}
