//! `GET health`: that the VM serves, and what it uses. `POST files:fsck`: whether the kept files are in order.

use std::sync::Arc;

use http::StatusCode;
use vm_api::{Health, Problem, ProblemCode};

use crate::http::{Response, json};
use crate::vm::boot::Vm;

/// Answers one request.
pub(crate) fn health(vm: &Vm) -> Response {
    let health = Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        usage: Some(vm.usage()),
        isolation: None,
    };
    json(StatusCode::OK, &health)
}

/// Checks the kept files, beside everything else that goes on.
pub(crate) async fn fsck(vm: &Arc<Vm>) -> Result<Response, Problem> {
    let storage = vm.storage().clone();
    let checked = tokio::task::spawn_blocking(move || storage.check()).await;
    let ended = |error| Problem::new(ProblemCode::Internal, format!("the check ended abnormally: {error}"));
    Ok(json(StatusCode::OK, &checked.map_err(ended)??))
}
