//! What a spare does before anybody wants it: once the whole way of a boot and a first command.
//!
//! A server of its own answers on a connection of its own, as the real one will. So all code on that way has been loaded,
//! memory for it was got from the host, and the usual programs are there. The workspace that is played keeps its files in
//! the slot itself, where those of the real one will be a folder, and leaves nothing there. May be dropped at any time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use vm_api::{ExecRequest, WorkspaceConfig, route};

use super::machine_room::MachineRoom;
use super::serve_connection;
use super::server::{Role, Server};
use crate::boot_request::{Access, BootRequest};
use crate::task;

/// The folder of a workspace with this name is the slot itself. No workspace has it.
const UID: &str = ".";
/// The usual commands.
const COMMAND: &str = "echo | cat | tr a b | grep -c . ; ls / ; true";
/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a rehearsal failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("a connection: {0}")]
    Connection(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error("{path} was answered {status}")]
    Refused { path: String, status: StatusCode },
    #[error("it took too long")]
    Timeout,
}

/// Does ahead of time what a workspace that is usual will need.
pub(super) async fn rehearse(room: &Arc<MachineRoom>) {
    let played = tokio::time::timeout(TIMEOUT, play(room)).await;
    if let Err(error) = played.unwrap_or(Err(Error::Timeout)) {
        tracing::debug!(%error, "the rehearsal failed; the first commands will start slower");
    }
    room.prepare_again();
}

async fn play(room: &Arc<MachineRoom>) -> Result<(), Error> {
    let stage = Stage(Arc::new(Server::new(Arc::clone(room), Role::Rehearsal)));
    let (ours, theirs) = UnixStream::pair()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await?;
    // On the threads that the real ones will run on.
    let _serving = task::spawn(serve_connection(theirs, Arc::clone(&stage.0), CancellationToken::new()));
    let _connection = task::spawn(connection);
    let config = WorkspaceConfig::new("rehearsal", "rehearsal");
    let boot = BootRequest { uid: Cow::Borrowed(UID), config: Cow::Owned(config), access: Access::Full };
    post(&mut sender, route::BOOT, &boot).await?;
    let exec = route::Workspace::at_runner(UID).exec();
    post(&mut sender, &exec, &ExecRequest::command(COMMAND)).await
}

async fn post<T: Serialize>(
    sender: &mut SendRequest<Full<Bytes>>,
    path: &str,
    body: &T,
) -> Result<(), Error> {
    sender.ready().await?;
    let body = Full::new(Bytes::from(serde_json::to_vec(body)?));
    let response = sender.send_request(http::Request::builder().method(Method::POST).uri(path).body(body)?);
    let response = response.await?;
    let status = response.status();
    response.into_body().collect().await?;
    if status.is_success() { Ok(()) } else { Err(Error::Refused { path: path.to_owned(), status }) }
}

/// The server that is played with. Leaves nothing, however far the play has come.
struct Stage(Arc<Server>);

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.begin_stop();
        if let Some(vm) = self.0.vm() {
            vm.storage().discard();
        }
    }
}
