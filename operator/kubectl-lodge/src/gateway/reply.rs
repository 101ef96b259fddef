//! An answer of the gateway: its head, and its body as it comes. A connection whose answer was read to the end is kept
//! for the next request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::Upgraded;
use serde::de::DeserializeOwned;

use super::ask::RequestBody;
use crate::error::Error;
use crate::task::Task;

/// Largest document that is taken.
const DOCUMENT_BYTES: usize = 256 << 20;

/// A connection to the gateway, and the task that moves its bytes.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) _driver: Task,
}

/// A connection that was idle for longer is not used any more: the gateway may be closing it, and a request that meets
/// that is lost.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// A connection that nobody uses, and since when. A leaf: no other lock is taken, and nothing awaited, while it is held.
#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Option<(Instant, Connection)>>>);

impl Idle {
    pub(super) fn take(&self) -> Option<Connection> {
        let (since, connection) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (!connection.sender.is_closed() && since.elapsed() < MAX_IDLE).then_some(connection)
    }

    fn keep(&self, connection: Connection) {
        if !connection.sender.is_closed() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), connection));
        }
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Option<Connection>,
    pub(super) idle: Idle,
    pub(super) at: String,
}

impl Reply {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The next bytes; `None` at the end. Cancelling loses nothing.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    self.connection = None;
                    let why = format!("the answer broke off: {error}");
                    return Err(Error::Unreachable { at: self.at.clone(), why });
                }
                None => {
                    if let Some(connection) = self.connection.take() {
                        self.idle.keep(connection);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// All of it.
    pub(crate) async fn bytes(self) -> Result<Vec<u8>, Error> {
        self.bytes_up_to(DOCUMENT_BYTES).await
    }

    pub(super) async fn bytes_up_to(mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > most {
                return Err(Error::Answer(format!("it is longer than {most} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// A JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes().await?).map_err(|error| Error::Answer(error.to_string()))
    }

    /// The bytes of a connection that has changed its protocol, and the task that must live as long.
    pub(super) async fn upgrade(mut self) -> Result<(Upgraded, Option<Connection>), Error> {
        let at = self.at.clone();
        let upgraded = hyper::upgrade::on(&mut self.response)
            .await
            .map_err(|error| Error::Unreachable { at, why: error.to_string() })?;
        Ok((upgraded, self.connection))
    }
}
