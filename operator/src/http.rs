//! The operator's own endpoints, in plain HTTP: `/healthz`, `/readyz` and `/metrics`. Nothing secret is behind them. Whoever can
//! connect may hold a few connections ([`door`]), and never keeps out the kubelet.

mod door;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use door::Door;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

/// What this replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Not yet useful.
    Starting = 0,
    /// Waiting to become the leader.
    Standby = 1,
    /// Reconciling.
    Leader = 2,
    /// On its way out.
    Stopping = 3,
}

/// The role of this replica, shared between those who set and those who show it.
#[derive(Clone, Debug, Default)]
pub struct RoleCell(Arc<AtomicU8>);

impl RoleCell {
    /// Changes the role.
    pub fn set(&self, role: Role) {
        self.0.store(role as u8, Ordering::Relaxed);
    }

    /// The role.
    pub fn get(&self) -> Role {
        match self.0.load(Ordering::Relaxed) {
            1 => Role::Standby,
            2 => Role::Leader,
            3 => Role::Stopping,
            _ => Role::Starting,
        }
    }
}

/// Serves `/healthz` and `/readyz`, for ever.
///
/// # Errors
/// If the address can't be listened on.
pub async fn serve_health(address: SocketAddr, role: RoleCell) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(role);
    axum::serve(Door::bind(address).await?, router).await
}

/// Serves `/metrics`, for ever. `expose` makes the text.
///
/// # Errors
/// If the address can't be listened on.
pub async fn serve_metrics(
    address: SocketAddr,
    expose: Arc<dyn Fn() -> String + Send + Sync>,
) -> io::Result<()> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = move || {
        let text = expose();
        async move { ([(axum::http::header::CONTENT_TYPE, OPEN_METRICS)], text) }
    };
    let router = Router::new().route("/metrics", get(metrics));
    axum::serve(Door::bind(address).await?, router).await
}

async fn ready(State(role): State<RoleCell>) -> impl IntoResponse {
    match role.get() {
        Role::Standby => (StatusCode::OK, "standby\n"),
        Role::Leader => (StatusCode::OK, "leader\n"),
        Role::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Role::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replica_is_ready_as_leader_and_as_standby_only() {
        let role = RoleCell::default();
        for (now, status) in [
            (Role::Starting, StatusCode::SERVICE_UNAVAILABLE),
            (Role::Standby, StatusCode::OK),
            (Role::Leader, StatusCode::OK),
            (Role::Stopping, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            role.set(now);
            assert_eq!(role.get(), now);
            assert_eq!(ready(State(role.clone())).await.into_response().status(), status);
        }
    }
}
