//! Streams of a workspace as a program holds them: its events, and a shell that is attached to. Both say where they are, so
//! that they can be taken up again, and how they end.

use crate::gateway::{Door, GatewayClient, Identity, whole};
use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, header::AUTHORIZATION};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};
use vm_api::{LoggedEvent, ProcessExit, ShellMessage, route::Workspace, sse};

/// `GET …/events`, open.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    decoder: sse::Decoder,
    arrived: VecDeque<(u64, LoggedEvent)>,
    // The connection lives as long as its client.
    _client: GatewayClient,
}

impl EventStream {
    /// Asks for what came after an event, and for what is still to come.
    ///
    /// # Errors
    /// If the gateway can't be reached or refuses.
    pub async fn open(door: &Door, identity: &Identity, route: &Workspace, after: u64) -> Result<Self> {
        let mut client = door.client(identity).await?;
        let request = client.request("GET", &format!("{}?after={after}", route.events()));
        let response = client.open(request, whole("")).await?;
        let status = response.status();
        let body = response.into_body();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body.collect().await?.to_bytes()));
        }
        Ok(Self { body, decoder: sse::Decoder::default(), arrived: VecDeque::new(), _client: client })
    }

    /// The next event with its number; nothing if the stream has come to its end, as it should.
    ///
    /// # Errors
    /// If the connection breaks in the middle, or what comes is no event.
    pub async fn next(&mut self) -> Result<Option<(u64, LoggedEvent)>> {
        loop {
            if let Some(event) = self.arrived.pop_front() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.context("a stream of events broke")?.into_data() else { continue };
            for message in self.decoder.push(&data)? {
                let number = message.id.as_deref().context("an event has a number")?.parse()?;
                self.arrived.push_back((number, serde_json::from_str(&message.data)?));
            }
        }
    }
}

/// What comes from a shell.
#[derive(Debug)]
pub enum Shown {
    /// Bytes for the screen.
    Bytes(Vec<u8>),
    /// The shell has ended.
    Exited(ProcessExit),
    /// The WebSocket was closed, with that code; the shell goes on.
    Closed(Option<u16>),
}

/// `GET …/shells/{id}/attach`, open.
#[derive(Debug)]
pub struct ShellSocket {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    position: u64,
}

impl ShellSocket {
    /// Attaches to a shell, to be shown what came after a position.
    ///
    /// # Errors
    /// If the gateway can't be reached or refuses.
    pub async fn attach(
        door: &Door,
        identity: &Identity,
        route: &Workspace,
        id: &str,
        after: u64,
    ) -> Result<Self> {
        let stream = door.connect(identity).await?;
        let path = route.shell(id, "attach");
        let mut request = format!("wss://{}{path}?after={after}", door.name).into_client_request()?;
        if let Some(authorization) = identity.authorization() {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::try_from(authorization)?);
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.context("the WebSocket")?;
        Ok(Self { socket, position: after })
    }

    /// How many bytes were shown up to here, since the shell began.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Types.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn type_keys(&mut self, keys: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::Binary(keys.to_vec().into())).await?)
    }

    /// What comes next.
    ///
    /// # Errors
    /// If the connection ends without a word, or bytes were lost.
    pub async fn next(&mut self) -> Result<Shown> {
        loop {
            let message = self.socket.next().await.context("the WebSocket ended without being closed")?;
            match message.context("the WebSocket broke")? {
                Message::Binary(bytes) => {
                    self.position += u64::try_from(bytes.len())?;
                    return Ok(Shown::Bytes(bytes.to_vec()));
                }
                Message::Close(frame) => return Ok(Shown::Closed(frame.map(|frame| frame.code.into()))),
                Message::Text(text) => match serde_json::from_str(&text)? {
                    ShellMessage::Attached { seq, lost, .. } => {
                        ensure!(lost == 0, "{lost} bytes were lost");
                        self.position = seq;
                    }
                    ShellMessage::Replayed { seq } => self.position = seq,
                    ShellMessage::Lagged { lost, .. } => bail!("too slow: {lost} bytes were lost"),
                    ShellMessage::Exited(exit) => return Ok(Shown::Exited(exit)),
                    _ => {}
                },
                _ => {}
            }
        }
    }
}
