//! The supervisor: serves the API of all workspaces of a runner, and starts and stops their vm processes.
//!
//! ```text
//!  operator, gateway ──TLS──▶ listener ──▶ server ──▶ registry ──▶ workspace (one owner task each)
//!                                            │                        │ boots, stops
//!                                            ▼                        ▼
//!                                         forward ──control line──▶ vm process ◀── spare pool
//! ```
//! It trusts no vm process: what they answer is passed on, never interpreted. It must never know the kernel or a file
//! system, and writes nothing secret to disk.

pub(crate) mod child;
mod client;
mod event;
mod fleet;
mod forward;
mod journal;
mod memory;
mod metrics;
pub(crate) mod peer;
mod registry;
mod run;
mod server;
mod slot;
mod spare;
mod state_dir;
pub(crate) mod tls;
mod tunnel;
mod uid;
mod watch;
mod workspace;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::child::{ChildOptions, Spawner};
use self::event::Events;
use self::fleet::Fleet;
use self::forward::Forwarder;
use self::journal::Journal;
use self::memory::Residents;
use self::metrics::Metrics;
use self::registry::Registry;
use self::run::Runs;
use self::server::Server;
use self::slot::Slots;
use self::spare::Spares;
use self::state_dir::{KnownEpochs, StateDir};
use self::tls::Tls;
use self::watch::Changes;
use crate::config::{Isolation, ListenAddress, ServeConfig};
use crate::http::Request;
use crate::listener::{self, Listener, Protocol};
use crate::software::{self, Catalog};
use crate::task::{self, Task};
use crate::vm::lockdown::{self, Landlock};

/// What the answers of VMs that have stopped get to reach their clients.
const LAST_ANSWERS_GRACE: Duration = Duration::from_secs(1);

/// Why the supervisor cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Software(#[from] software::Error),
    #[error("--data: {0}")]
    StateDir(#[from] state_dir::Error),
    #[error("--data: {0}")]
    Slot(#[from] slot::Error),
    #[error("TLS: {0}")]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Listen(#[from] listener::Error),
    #[error(transparent)]
    Isolation(#[from] lockdown::Error),
    #[error("starting: {0}")]
    Start(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT. Then, in this order: it is not ready any more and takes no connections; requests get
/// `--stop-grace` to be answered; all VMs are stopped at once, each with its own `--stop-grace`, and tell what they still
/// answer; what happened is written down.
pub(crate) async fn serve(config: ServeConfig) -> Result<(), Error> {
    let signals = termination().map_err(Error::Start)?;
    raise_open_files();
    let (tls, _reload) = start_tls(&config)?;
    let listener = Listener::bind(&config.listen).await?;
    let probes = match config.metrics_listen {
        Some(address) => Some(Listener::bind(&ListenAddress::Tcp(address)).await?),
        None => None,
    };
    let (fleet, known) = build_fleet(&config)?;
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let runs = Runs::new(Arc::clone(&fleet), stop.clone());
    runs.recover(fleet.state_dir.unfinished(&known)?).await;
    let registry = Registry::new(Arc::clone(&fleet), known, config.max_workspaces, stop.clone());
    let server = Arc::new(Server {
        fleet: Arc::clone(&fleet),
        registry: Arc::clone(&registry),
        runs: Arc::clone(&runs),
        forwarder: Forwarder::new(config.max_requests, config.max_requests_per_workspace),
        stop: drain.clone(),
    });
    let spares = keep_spares(&fleet);
    let watch = fleet.residents.clone().watch(config.memory_limit_bytes, Arc::clone(&fleet.metrics));
    let _watch = task::spawn(watch);
    let _probes = probes.map(|probes| serve_probes(probes, Arc::clone(&server), drain.clone()));
    tracing::info!(listen = %listener.address(), "serving");
    let mut serving = Some(task::spawn(serve_api(listener, tls, server, drain.clone())));

    signals.await;
    let began = Instant::now();
    tracing::info!("stopping");
    drain.cancel();
    finish_within(config.stop_grace, &mut serving).await;
    stop.cancel();
    drop(spares);
    let spares = fleet.spares.drain().into_iter().map(|spare| spare.stop(config.stop_grace));
    tokio::join!(registry.stopped(), futures::future::join_all(spares));
    // What VMs answered as they stopped is on its way.
    finish_within(LAST_ANSWERS_GRACE, &mut serving).await;
    tokio::join!(runs.finish(), fleet.events.finish());
    fleet.journal.flush().await;
    tracing::info!(took = ?began.elapsed(), "stopped");
    Ok(())
}

/// Waits until all requests are answered, but no longer than this.
async fn finish_within(limit: Duration, serving: &mut Option<Task<()>>) {
    if let Some(task) = serving
        && tokio::time::timeout(limit, task).await.is_ok()
    {
        *serving = None;
    }
}

/// Takes all the file descriptors that the host allows: an awake workspace needs about seven, and hosts begin with 1024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files could not be raised");
    }
}

/// Resolves at the first SIGTERM or SIGINT.
fn termination() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn start_tls(config: &ServeConfig) -> Result<(Option<Tls>, Option<Task<()>>), Error> {
    let Some(files) = config.tls.clone() else { return Ok((None, None)) };
    let (tls, reload) = tls::load(files)?;
    Ok((Some(tls), Some(task::spawn(reload))))
}

fn build_fleet(config: &ServeConfig) -> Result<(Arc<Fleet>, KnownEpochs), Error> {
    let landlock = check_isolation(config.isolation)?;
    let catalog = Catalog::open(&config.software)?;
    catalog.check_engine()?;
    // A path that means the same to a vm process, which runs elsewhere.
    let data = std::path::absolute(&config.data).map_err(Error::Start)?;
    let state_dir = StateDir::open(&data)?;
    let slots = Slots::open(&data)?;
    let known = state_dir.scan()?;
    let options = ChildOptions {
        software: catalog.folder().to_owned(),
        isolation: config.isolation,
        guest_grace: config.stop_grace,
        log_arguments: config.log_arguments.clone(),
    };
    let spawner = Spawner::start(options, slots.clone()).map_err(Error::Start)?;
    let metrics = Arc::new(Metrics::new());
    metrics.set_landlock(landlock.version());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let journal = Journal::start(&data).map_err(Error::Start)?;
    let fleet = Fleet {
        landlock,
        state_dir,
        slots,
        volumes: config.volumes.clone(),
        residents: Residents::default(),
        readers: Arc::new(Semaphore::new(config.max_readers)),
        spares: Spares::new(spawner, config.spares, Arc::clone(&metrics)),
        catalog,
        metrics,
        changes: Changes::new(),
        events: Events::new(journal.clone()),
        journal,
        boots: Semaphore::new(cores.max(2) * 2),
        boot_timeout: config.boot_timeout,
        stop_grace: config.stop_grace,
        max_requests_per_workspace: config.max_requests_per_workspace,
    };
    Ok((Arc::new(fleet), known))
}

/// Finds out what holds vm processes on this host, and says so where it is less than all.
fn check_isolation(demanded: Isolation) -> Result<Landlock, Error> {
    let landlock = lockdown::probe_landlock()?;
    if landlock.is_whole() {
        return Ok(landlock);
    }
    if demanded == Isolation::Strict {
        return Err(lockdown::Error::Weak(landlock).into());
    }
    tracing::warn!(
        "weak isolation: {landlock}; an escaped guest would reach the files of all workspaces of this runner. \
         --isolation strict refuses to run here"
    );
    Ok(landlock)
}

fn keep_spares(fleet: &Arc<Fleet>) -> Task<Infallible> {
    let fleet = Arc::clone(fleet);
    task::spawn(async move { fleet.spares.keep_filled().await })
}

async fn serve_api(listener: Listener, tls: Option<Tls>, server: Arc<Server>, stop: CancellationToken) {
    let service_for = move |peer| {
        let server = Arc::clone(&server);
        service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok(server.answer(peer, Request::new(request)).await) }
        })
    };
    // Who waits for it says for how long.
    listener::serve(listener, (tls, Protocol::Any), service_for, stop, Duration::MAX).await;
}

fn serve_probes(listener: Listener, server: Arc<Server>, stop: CancellationToken) -> Task<()> {
    let service_for = move |_peer| {
        let server = Arc::clone(&server);
        service_fn(move |request| {
            let response = server.probe(&Request::new(request));
            async move { Ok(response) }
        })
    };
    task::spawn(listener::serve(listener, (None, Protocol::Http1), service_for, stop, Duration::ZERO))
}
