//! WebSockets: a runner that echoes what it hears, and clients over HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::runner::{Script, problem};
use super::world::{World, whole};

const BASE: &str = "/v1/namespaces/team-a/workspaces/ada";
const ATTACH: &str = "shells/s-1/attach?after=7";

pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A client's WebSocket, over whatever.
pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

/// A runner that agrees to a WebSocket and says again what it hears.
pub(crate) fn echo_messages() -> Script {
    Arc::new(|mut request: Request<Incoming>| {
        Box::pin(async move {
            let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
                return problem(vm_api::ProblemCode::UpgradeRequired);
            };
            assert_eq!(request.uri(), "/v1/workspaces/uid-ada/shells/s-1/attach?after=7");
            assert!(request.headers().get("authorization").is_none());
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let io = TokioIo::new(upgrade.await.unwrap());
                let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_binary() || message.is_text()) && socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
                .body(Full::default().boxed_unsync())
                .unwrap()
        })
    })
}

impl World {
    /// A WebSocket over HTTP/1.1.
    pub(crate) async fn attach(&self) -> Socket {
        self.attach_to(ATTACH).await
    }

    /// The same, of any area.
    pub(crate) async fn attach_to(&self, area: &str) -> Socket {
        let request = Request::get(format!("wss://lodge-gateway.lodge-system.svc{BASE}/{area}"))
            .header("host", "lodge-gateway")
            .header("authorization", "Bearer jane-token")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        let wire: Box<dyn Wire> = Box::new(self.tls("http/1.1").await);
        tokio_tungstenite::client_async(request, wire).await.unwrap().0
    }

    /// A WebSocket over HTTP/2 (RFC 8441).
    pub(crate) async fn attach_over_http2(&self) -> Socket {
        let (mut sender, connection) = self.http2().await;
        tokio::spawn(connection);
        // The server must have said that it can.
        sender.ready().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let request = Request::connect(format!("https://lodge-gateway{BASE}/{ATTACH}"))
            .header("authorization", "Bearer jane-token")
            .extension(Protocol::from_static("websocket"))
            .body(whole(""))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        let wire: Box<dyn Wire> = Box::new(TokioIo::new(upgraded));
        WebSocketStream::from_raw_socket(wire, Role::Client, None).await
    }
}

/// What is heard next.
pub(crate) async fn hear(socket: &mut Socket) -> Message {
    socket.next().await.unwrap().unwrap()
}

/// The code of the goodbye that is heard next.
pub(crate) async fn hear_goodbye(socket: &mut Socket) -> u16 {
    match hear(socket).await {
        Message::Close(Some(frame)) => frame.code.into(),
        other => panic!("{other:?}"),
    }
}
