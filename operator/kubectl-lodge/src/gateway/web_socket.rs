//! WebSockets to the gateway (RFC 6455), over the same connections as everything else.

use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::reply::Connection;
use super::{Ask, Gateway, Patience};
use crate::error::Error;

/// Largest message that is taken.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// A WebSocket.
pub(crate) struct WebSocket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    /// Moves the bytes as long as this lives.
    _connection: Option<Connection>,
}

/// What comes over it.
pub(crate) enum Incoming {
    Binary(Vec<u8>),
    Text(String),
    /// A sign of life.
    Quiet,
    /// The other side has closed it, or it broke.
    Closed(String),
}

impl Gateway {
    /// Opens a WebSocket.
    pub(crate) async fn web_socket(&self, path: String, patience: Patience<'_>) -> Result<WebSocket, Error> {
        let key = generate_key();
        let ask = Ask::get(path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        let reply = self.ask(ask, patience).await?;
        if reply.header(&SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err(Error::Answer("it is no WebSocket".to_owned()));
        }
        let (upgraded, connection) = reply.upgrade().await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
        Ok(WebSocket { stream, _connection: connection })
    }
}

impl WebSocket {
    /// The next message. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Incoming {
        match self.stream.next().await {
            Some(Ok(Message::Binary(bytes))) => Incoming::Binary(bytes.into()),
            Some(Ok(Message::Text(text))) => Incoming::Text(text.as_str().to_owned()),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Quiet,
            Some(Ok(Message::Close(frame))) => {
                let reason =
                    frame.map(|frame| frame.reason.as_str().to_owned()).filter(|text| !text.is_empty());
                Incoming::Closed(reason.unwrap_or_else(|| "it was closed".to_owned()))
            }
            Some(Err(error)) => Incoming::Closed(error.to_string()),
            None => Incoming::Closed("it ended".to_owned()),
        }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        self.stream.send(Message::Binary(bytes.into())).await.map_err(|error| error.to_string())
    }

    /// Sends a text.
    pub(crate) async fn tell(&mut self, text: String) -> Result<(), String> {
        self.stream.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// Says goodbye. Whether anybody hears it does not matter.
    pub(crate) async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }
}
