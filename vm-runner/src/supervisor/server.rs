//! The supervisor's routes.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use vm_api::area::{Area, AreaError, RunAction};
use vm_api::{
    Health, Power, Problem, ProblemCode, RunList, RunRequest, SoftwareList, WorkspaceConfig, WorkspaceList,
    WorkspaceState, route,
};

use super::fleet::Fleet;
use super::forward::Forwarder;
use super::peer::{Access, Peer};
use super::registry::Registry;
use super::run::Runs;
use super::uid::Uid;
use super::watch;
use crate::boot_request::MAX_CONFIG_BYTES;
use crate::http::{self as web, Request, Response};
use crate::telemetry::request_span;
use crate::vm::server::event::stream;
use crate::vm::server::query::Query;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) forwarder: Forwarder,
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// Answers one request of `peer`.
    pub(crate) async fn answer(&self, peer: Peer, request: Request) -> Response {
        let span = request_span("supervisor", &request);
        self.answer_in_span(peer, request).instrument(span).await
    }

    async fn answer_in_span(&self, peer: Peer, mut request: Request) -> Response {
        let started = Instant::now();
        let (area, result) = self.route(peer, &mut request).await;
        let response = result.unwrap_or_else(|problem| {
            if problem.limit.is_some() {
                self.fleet.metrics.count_refused(area);
            }
            web::problem(&problem)
        });
        if response.status().is_client_error() || response.status().is_server_error() {
            request.discard_rest().await;
        }
        let (status, duration) = (response.status().as_u16(), started.elapsed());
        self.fleet.metrics.observe_request(area, status, duration);
        tracing::debug!(area, status, ?duration, ?peer, "answered");
        response
    }

    async fn route(&self, peer: Peer, request: &mut Request) -> (&'static str, Result<Response, Problem>) {
        let path = request.path().to_owned();
        let path = path.as_str();
        if let Some((uid, area)) = route::split_runner_path(path) {
            let uid = match uid.parse::<Uid>() {
                Ok(uid) => uid,
                Err(problem) => return ("workspace", Err(problem)),
            };
            if area.is_empty() && !path.ends_with('/') {
                return ("workspace", self.workspace(peer, uid, request).await);
            }
            return match Area::parse(area, request.method().as_str()) {
                Ok(area) => (area.name(), self.act(peer, &uid, area, request).await),
                Err(AreaError::NotFound) => ("other", Err(web::route_not_found(path))),
                Err(AreaError::Method(allowed)) => {
                    ("other", Ok(web::method_not_allowed(request.method(), path, allowed)))
                }
            };
        }
        match (path, request.method()) {
            (route::WORKSPACES, &Method::GET) => ("workspaces", self.list(peer)),
            (route::WATCH, &Method::GET) => ("watch", self.watch(peer)),
            (route::SOFTWARE, &Method::GET) => ("software", self.software(peer)),
            (route::OPENAPI, &Method::GET) => ("openapi", Ok(crate::openapi::response())),
            (route::HEALTHZ | route::READYZ | route::METRICS, _) => ("probe", Ok(self.probe(request))),
            (route::WORKSPACES | route::WATCH | route::SOFTWARE | route::OPENAPI, method) => {
                ("other", Ok(web::method_not_allowed(method, path, "GET")))
            }
            _ => ("other", Err(web::route_not_found(path))),
        }
    }

    /// Health and metrics, which are also served without TLS.
    pub(crate) fn probe(&self, request: &Request) -> Response {
        let path = request.path();
        let is_probe = matches!(path, route::HEALTHZ | route::READYZ | route::METRICS);
        match (path, request.method()) {
            (route::METRICS, &Method::GET) => {
                let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                web::with_type(StatusCode::OK, media_type, self.fleet.metrics.encode())
            }
            (route::READYZ, &Method::GET) if self.stop.is_cancelled() => {
                web::problem(&Problem::new(ProblemCode::ShuttingDown, "the runner is stopping"))
            }
            (route::HEALTHZ | route::READYZ, &Method::GET) => {
                let isolation = Some(self.fleet.landlock.to_string());
                web::json(StatusCode::OK, &Health { isolation, ..health("ok") })
            }
            (_, method) if is_probe => web::method_not_allowed(method, path, "GET"),
            _ => web::problem(&web::route_not_found(path)),
        }
    }

    fn list(&self, peer: Peer) -> Result<Response, Problem> {
        peer.authorize(Access::Read)?;
        let items = self.registry.list().into_iter().map(Arc::unwrap_or_clone).collect();
        Ok(web::json(StatusCode::OK, &WorkspaceList { items }))
    }

    fn watch(&self, peer: Peer) -> Result<Response, Problem> {
        peer.authorize(Access::Read)?;
        let changes = self.fleet.changes.subscribe();
        Ok(watch::response(self.registry.list(), self.runs.to_tell(), changes, self.stop.clone()))
    }

    fn software(&self, peer: Peer) -> Result<Response, Problem> {
        peer.authorize(Access::Read)?;
        Ok(web::json(StatusCode::OK, &SoftwareList { items: self.fleet.catalog.list() }))
    }

    async fn workspace(&self, peer: Peer, uid: Uid, request: &mut Request) -> Result<Response, Problem> {
        peer.authorize(Access::of_workspace(request.method()))?;
        match *request.method() {
            Method::GET => Ok(state(&*self.registry.state(&uid)?)),
            Method::PUT => {
                let config: WorkspaceConfig = request.read_json(MAX_CONFIG_BYTES).await?;
                Ok(state(&*self.registry.put(&uid, config).await?))
            }
            Method::DELETE => {
                let epoch = epoch_query(request.query().unwrap_or_default())?;
                self.registry.delete(&uid, epoch).await?;
                self.runs.forget(&uid);
                Ok(web::empty(StatusCode::NO_CONTENT))
            }
            _ => Ok(web::method_not_allowed(request.method(), request.path(), "GET, PUT, DELETE")),
        }
    }

    async fn act(
        &self,
        peer: Peer,
        uid: &Uid,
        area: Area,
        request: &mut Request,
    ) -> Result<Response, Problem> {
        match area {
            Area::Events => return self.events(peer, uid, request).await,
            Area::Runs | Area::Run(_) => return self.run(peer, uid, area, request).await,
            _ => peer.authorize(Access::Act)?,
        }
        let workspace = self.registry.get(uid)?;
        match area {
            Area::Health => {
                // Asking how a workspace is never wakes it.
                let status = match workspace.state().power {
                    Power::Awake => return self.forwarder.forward(&workspace, area, request).await,
                    Power::Asleep => "asleep",
                    Power::Waking => "waking",
                    Power::Stopping => "stopping",
                };
                Ok(web::json(StatusCode::OK, &health(status)))
            }
            Area::Wake => {
                let _places = self.forwarder.admit(&workspace)?;
                Ok(state(&*workspace.wake().await?))
            }
            Area::Sleep => {
                let _places = self.forwarder.admit(&workspace)?;
                Ok(state(&*workspace.sleep().await?))
            }
            _ => self.forwarder.forward(&workspace, area, request).await,
        }
    }

    /// What happened in a workspace, and what happens; wakes nothing.
    async fn events(&self, peer: Peer, uid: &Uid, request: &Request) -> Result<Response, Problem> {
        peer.authorize(Access::Act)?;
        let epoch = self.registry.state(uid)?.epoch;
        let query = Query::parse(request.query(), &["after"])?;
        let after = stream::after(&query, request.headers())?.unwrap_or(0);
        let feed = self.fleet.events.follow(uid, epoch, after, self.stop.clone()).await?;
        Ok(stream::response(feed))
    }

    async fn run(
        &self,
        peer: Peer,
        uid: &Uid,
        area: Area,
        request: &mut Request,
    ) -> Result<Response, Problem> {
        let is_order = matches!(area, Area::Run(RunAction::Begin | RunAction::Stop));
        peer.authorize(if is_order { Access::Run } else { Access::Act })?;
        Query::parse(request.query(), &[])?;
        let epoch = self.registry.state(uid)?.epoch;
        let path = request.path().to_owned();
        let area_path = route::split_runner_path(&path).map(|(_, area)| area).unwrap_or_default();
        let (name, _) = route::split_item(area_path, route::RUNS).unwrap_or_default();
        let run = match area {
            Area::Run(RunAction::Begin) => {
                let wanted: RunRequest = request.read_json(MAX_RUN_BYTES).await?;
                let workspace = self.registry.get(uid)?;
                let (run, begins) = self.runs.begin(workspace, uid, name, wanted).await?;
                let status = if begins { StatusCode::CREATED } else { StatusCode::OK };
                return Ok(web::json(status, &run));
            }
            Area::Run(RunAction::Stop) => self.runs.stop(uid, epoch, name).await?,
            Area::Run(RunAction::Show) => self.runs.get(uid, epoch, name).await?,
            _ => {
                let items = self.runs.list(uid, epoch).await?;
                return Ok(web::json(StatusCode::OK, &RunList { items }));
            }
        };
        Ok(web::json(StatusCode::OK, &run))
    }
}

/// Largest order of a run; its standard input is part of it.
const MAX_RUN_BYTES: usize = 16 << 20;

fn health(status: &str) -> Health {
    Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        usage: None,
        isolation: None,
    }
}

fn state(state: &WorkspaceState) -> Response {
    web::json(StatusCode::OK, state)
}

fn epoch_query(query: &str) -> Result<Option<u64>, Problem> {
    let mut epoch = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "epoch" {
            return Err(Problem::new(
                ProblemCode::InvalidQuery,
                format!("unknown query parameter {name:?}; there is epoch"),
            ));
        }
        let number = value.parse().map_err(|_| {
            Problem::new(ProblemCode::InvalidQuery, format!("epoch={value}: expected a number"))
                .with_field("epoch")
        })?;
        epoch = Some(number);
    }
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_in_the_query_is_a_number_or_absent() {
        assert_eq!(epoch_query("").unwrap(), None);
        assert_eq!(epoch_query("epoch=7").unwrap(), Some(7));
        assert!(epoch_query("epoch=x").unwrap_err().detail.contains("expected a number"));
        assert!(epoch_query("epoc=7").unwrap_err().detail.contains("there is epoch"));
    }
}
