//! Sends requests to runners, over kept-alive connections with mutual TLS, and knows afterwards whether a request that
//! brought no answer can have reached its runner.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::OutboundBody;
use crate::dial::{self, Connection, Dialer};
use crate::directory::RunnerEntry;
use crate::pool::Pool;

/// Why a request did not bring an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It was not sent: the runner cannot be reached.
    #[error("the runner cannot be reached: {0}")]
    NotSent(#[source] dial::Error),
    /// It was sent, at least in part, and the connection broke before there was an answer.
    #[error("the connection to the runner broke: {0}")]
    Broken(#[source] hyper::Error),
}

/// Sends requests to runners.
pub(crate) struct Forwarder {
    pub(crate) dialer: Dialer,
    pub(crate) pool: Arc<Pool>,
}

impl Forwarder {
    /// Sends a request, whose URI is the path at the runner, and gives the head of the answer.
    pub(crate) async fn send(
        &self,
        runner: &RunnerEntry,
        mut request: Request<OutboundBody>,
    ) -> Result<Response<Inbound>, Error> {
        *request.version_mut() = Version::HTTP_11;
        loop {
            let parked = self.pool.take(&runner.pod_uid);
            let was_parked = parked.is_some();
            let mut connection = match parked {
                Some(connection) => connection,
                // Rare, and large: every request would carry its room otherwise.
                None => Box::pin(self.dialer.dial(runner)).await.map_err(Error::NotSent)?,
            };
            request.headers_mut().insert(HOST, connection.host.clone());
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.receive(runner, connection, response)),
                Err(mut failed) => match failed.take_message() {
                    // The connection was closed while it waited: another one takes the request.
                    Some(unsent) if was_parked => request = unsent,
                    Some(_) => return Err(Error::NotSent(dial::Error::Http(failed.into_error()))),
                    None => return Err(Error::Broken(failed.into_error())),
                },
            }
        }
    }

    fn receive(
        &self,
        runner: &RunnerEntry,
        connection: Connection,
        response: Response<Incoming>,
    ) -> Response<Inbound> {
        // What speaks another protocol now never comes back.
        let connection = (response.status() != StatusCode::SWITCHING_PROTOCOLS).then_some(connection);
        let (pool, pod_uid) = (self.pool.clone(), runner.pod_uid.clone());
        response.map(|body| {
            let mut inbound = Inbound { body, connection, pool, pod_uid };
            if inbound.body.is_end_stream() {
                inbound.park();
            }
            inbound
        })
    }
}

/// The body of a runner's answer. Gives the connection back when it has been read to its end; dropped before, it closes
/// the connection, by which the runner notices that nobody wants the rest.
#[derive(Debug)]
pub(crate) struct Inbound {
    body: Incoming,
    connection: Option<Connection>,
    pool: Arc<Pool>,
    pod_uid: Arc<str>,
}

impl Inbound {
    fn park(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.park(&self.pod_uid, connection);
        }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.park(),
            Some(Ok(_)) if self.body.is_end_stream() => self.park(),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
