//! A vm process: one VM behind the control line of a supervisor.
//!
//! ```text
//!  control line ──connections──▶ server ──▶ exec ──▶ kernel ──▶ wasm driver
//!                                       └──▶ files ──▶ vfs (as the workspace's user)
//! ```
//! It holds no secret of the host, has no network, and ends when the supervisor does. The supervisor is trusted; the
//! guests are not.

mod allocator;
pub(crate) mod boot;
pub(crate) mod buffers;
mod commands;
pub(crate) mod etc;
mod idle;
pub(crate) mod lockdown;
pub(crate) mod machine_room;
mod rehearsal;
mod root;
pub(crate) mod server;
mod software_image;
mod storage;

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::lockdown::Grants;
use self::machine_room::MachineRoom;
use self::server::{Role, Server};
use crate::config::VmConfig;
use crate::control::{self, Use};
use crate::http::Request;
use crate::task;

/// What answers get to reach their client after the guests have ended.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// Why a vm process cannot serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Lockdown(#[from] lockdown::Error),
    #[error("the control line on standard input: {0}; a vm process is started by `vm-runner serve`")]
    Line(#[source] io::Error),
    #[error(transparent)]
    MachineRoom(#[from] machine_room::Error),
    #[error("the last writes could not be made durable: {0}")]
    Close(&'static str),
}

/// Gives up what a vm process does not need. Runs before any thread is started.
pub(crate) fn lock_down(config: &VmConfig) -> Result<(), Error> {
    allocator::prepare();
    let VmConfig { software, guest_grace: _, slot, volumes, isolation } = config;
    let landlock = lockdown::apply(Grants { software, slot: slot.as_deref(), volumes }, *isolation)?;
    // The supervisor has said it aloud.
    tracing::debug!(%landlock, "locked down");
    Ok(())
}

/// Serves until the supervisor says stop or is gone.
pub(crate) async fn serve(config: VmConfig) -> Result<(), Error> {
    let line = io::stdin().as_fd().try_clone_to_owned().map_err(Error::Line)?;
    // Not a socket: started by hand.
    rustix::net::sockopt::socket_type(&line).map_err(|errno| Error::Line(errno.into()))?;
    let line = UnixDatagram::from_std(line.into()).map_err(Error::Line)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Line)?;
    let grants = boot::Grants { slot: config.slot, volumes: config.volumes };
    let room = Arc::new(MachineRoom::open(&config.software, grants)?);
    lockdown::seal()?;
    let (mut connections, drain) = (JoinSet::new(), CancellationToken::new());
    let (mut early, usage) = early_connections(&line)?;
    match usage {
        // A process that is wanted at once has no time to warm up.
        Use::Now => {
            let room = Arc::clone(&room);
            connections.spawn_blocking(move || room.load_shell());
        }
        Use::Later => tokio::select! {
            biased;
            wanted = accept(&line) => early.extend(wanted.ok()),
            () = has_request(&early) => {}
            () = rehearsal::rehearse(&room) => {}
        },
    }
    let server = Arc::new(Server::new(room, Role::Workspace));
    let _trim = task::spawn(idle::trim(Arc::clone(&server)));
    for stream in early {
        connections.spawn(serve_connection(stream, Arc::clone(&server), drain.clone()));
    }
    let grace = loop {
        let stream = tokio::select! {
            stream = accept(&line) => stream,
            _ = terminate.recv() => break config.guest_grace,
        };
        match stream {
            Ok(stream) => {
                while connections.try_join_next().is_some() {}
                connections.spawn(serve_connection(stream, Arc::clone(&server), drain.clone()));
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::debug!("the supervisor is gone");
                break Duration::ZERO;
            }
            Err(error) => tracing::warn!(%error, "taking a connection failed"),
        }
    };
    stop(&server, connections, &drain, grace).await
}

/// Ends in order: no new requests, the guests, the answers that are under way, the files.
async fn stop(
    server: &Server,
    mut connections: JoinSet<()>,
    drain: &CancellationToken,
    grace: Duration,
) -> Result<(), Error> {
    server.begin_stop();
    let Some(vm) = server.vm() else { return Ok(()) };
    vm.kernel().shutdown(grace).await;
    let ends = async {
        for process in vm.processes().all() {
            process.log.wait_end().await;
        }
    };
    // What could not be told in time is not told.
    let _ = tokio::time::timeout(ANSWER_GRACE, ends).await;
    vm.events().close();
    drain.cancel();
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(ANSWER_GRACE, ended).await.is_err() {
        tracing::debug!("answers were cut off");
    }
    drop(connections);
    let storage = vm.storage().clone();
    let closed = tokio::task::spawn_blocking(move || storage.close()).await;
    match closed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::Close(error.errno().message())),
        Err(_) => Err(Error::Close("the flush ended abnormally")),
    }
}

/// Connections that came while the process started, and whether one of them is for now.
fn early_connections(line: &UnixDatagram) -> Result<(Vec<UnixStream>, Use), Error> {
    let (mut streams, mut usage) = (Vec::new(), Use::Later);
    // What else there is to tell, such as the supervisor's end, is told again.
    while let Ok((stream, wanted)) = control::accept(line.as_fd()) {
        streams.push(UnixStream::from_std(stream).map_err(Error::Line)?);
        if wanted == Use::Now {
            usage = Use::Now;
        }
    }
    Ok((streams, usage))
}

/// Waits until something comes on the connection that was made ahead.
async fn has_request(early: &[UnixStream]) {
    match early.first() {
        // An error is met again by whoever reads.
        Some(stream) => drop(stream.readable().await),
        None => std::future::pending().await,
    }
}

/// Takes the next connection. The line is no datagram socket, but its readiness is told alike.
async fn accept(line: &UnixDatagram) -> io::Result<UnixStream> {
    let (stream, _) = line.async_io(Interest::READABLE, || control::accept(line.as_fd())).await?;
    UnixStream::from_std(stream)
}

async fn serve_connection(stream: UnixStream, server: Arc<Server>, drain: CancellationToken) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, hyper::Error>(server.answer(Request::new(request)).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
