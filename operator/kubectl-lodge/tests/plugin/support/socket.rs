//! The workspace's end of a WebSocket.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answer::{Answer, bytes};
use super::world::Call;

pub(crate) struct Socket(WebSocketStream<TokioIo<Upgraded>>);

/// Answers a request with a WebSocket, which `serve` goes on with.
pub(crate) fn switch<F>(call: Call, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Answer
where
    F: Future<Output = ()> + Send,
{
    let key = call.seen.header("sec-websocket-key").unwrap().to_owned();
    tokio::spawn(async move {
        let upgraded = call.upgrade.await.unwrap();
        serve(Socket(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await))
            .await;
    });
    let mut answer = bytes(101, Bytes::new());
    let headers = answer.headers_mut();
    headers.insert("connection", "Upgrade".parse().unwrap());
    headers.insert("upgrade", "websocket".parse().unwrap());
    headers.insert("sec-websocket-accept", derive_accept_key(key.as_bytes()).parse().unwrap());
    answer
}

impl Socket {
    pub(crate) async fn tell(&mut self, value: Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    pub(crate) async fn show(&mut self, bytes: &[u8]) {
        self.0.send(Message::Binary(bytes.to_vec().into())).await.unwrap();
    }

    /// What comes next: a document, or else what is typed; `None` when the client is gone.
    pub(crate) async fn next(&mut self) -> Option<Result<Value, Vec<u8>>> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Some(Ok(serde_json::from_str(&text).unwrap())),
                Some(Ok(Message::Binary(bytes))) => return Some(Err(bytes.into())),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// What is typed next; `None` when the client is gone.
    pub(crate) async fn typed(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Err(typed) = self.next().await? {
                return Some(typed);
            }
        }
    }

    /// What is told next; `None` when the client is gone.
    pub(crate) async fn told(&mut self) -> Option<Value> {
        loop {
            if let Ok(told) = self.next().await? {
                return Some(told);
            }
        }
    }

    /// Says goodbye and waits until it is heard.
    pub(crate) async fn finish(mut self) {
        let _ = self.0.close(None).await;
        while let Some(Ok(_)) = self.0.next().await {}
    }
}
