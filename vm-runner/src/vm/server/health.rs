//! `GET health`: that the VM serves, and what it uses.

use http::StatusCode;
use vm_api::Health;

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
