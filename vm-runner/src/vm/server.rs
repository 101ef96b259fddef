//! The routes of a vm process.
//!
//! The supervisor has authorised and limited what arrives here. Before `POST /boot` nothing else is answered.

pub(crate) mod errno;
pub(crate) mod exec;
mod file;
mod health;
pub(crate) mod query;

use std::sync::{Arc, OnceLock};

use http::{Method, StatusCode};
use vm_api::{Problem, ProblemCode, WorkspaceConfig, route};

use super::boot::Vm;
use super::machine_room::MachineRoom;
use crate::area::{Area, AreaError};
use crate::boot_request::{self, BootRequest, MAX_CONFIG_BYTES};
use crate::http::{self as web, Request, Response};
use crate::validate::validate;

/// Answers the requests of one vm process.
pub(crate) struct Server {
    room: MachineRoom,
    vm: OnceLock<Arc<Vm>>,
}

impl Server {
    pub(crate) fn new(room: MachineRoom) -> Self {
        Self { room, vm: OnceLock::new() }
    }

    /// The VM, once it is booted.
    pub(crate) fn vm(&self) -> Option<&Arc<Vm>> {
        self.vm.get()
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let response = self.route(&mut request).await.unwrap_or_else(|problem| web::problem(&problem));
        if response.status().is_client_error() || response.status().is_server_error() {
            request.discard_rest().await;
        }
        response
    }

    async fn route(&self, request: &mut Request) -> Result<Response, Problem> {
        let path = request.path().to_owned();
        let path = path.as_str();
        if let Some((uid, area)) = route::split_runner_path(path) {
            let vm = self.booted(uid)?;
            let area_kind = match Area::parse(area, request.method(), path) {
                Ok(area) => area,
                Err(AreaError::NotFound(problem)) => return Err(problem),
                Err(AreaError::Method(allowed)) => {
                    return Ok(web::method_not_allowed(request.method(), path, allowed));
                }
            };
            return match area_kind {
                Area::Exec => exec::exec(vm, request).await,
                Area::File => file::file(vm, request).await,
                Area::Mkdir => file::mkdir(vm, request).await,
                Area::Move => file::rename(vm, request).await,
                Area::Health => Ok(health::health(vm)),
            };
        }
        match (path, request.method()) {
            (route::BOOT, &Method::POST) => self.boot(request).await,
            (boot_request::CONFIG, &Method::PUT) => self.reconfigure(request).await,
            _ => Err(web::route_not_found(path)),
        }
    }

    fn booted(&self, uid: &str) -> Result<&Arc<Vm>, Problem> {
        match self.vm.get() {
            Some(vm) if vm.uid() == uid => Ok(vm),
            _ => Err(Problem::new(
                ProblemCode::WorkspaceNotFound,
                format!("this VM is not that of workspace {uid}"),
            )),
        }
    }

    async fn boot(&self, request: &mut Request) -> Result<Response, Problem> {
        let body = request.read_body(MAX_CONFIG_BYTES).await?;
        let BootRequest { uid, config } = web::parse_json(&body)?;
        validate(&config, self.room.catalog())?;
        let vm = self.room.boot(&uid, &config)?;
        match self.vm.set(Arc::new(vm)) {
            Ok(()) => Ok(web::empty(StatusCode::NO_CONTENT)),
            Err(_) => {
                Err(Problem::new(ProblemCode::AlreadyBooted, "this vm process has a workspace already"))
            }
        }
    }

    async fn reconfigure(&self, request: &mut Request) -> Result<Response, Problem> {
        let config: WorkspaceConfig = request.read_json(MAX_CONFIG_BYTES).await?;
        let vm =
            self.vm.get().ok_or_else(|| Problem::new(ProblemCode::WorkspaceNotFound, "not booted yet"))?;
        vm.reconfigure(&config);
        Ok(web::empty(StatusCode::NO_CONTENT))
    }
}
