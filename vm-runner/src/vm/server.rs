//! The routes of a vm process.
//!
//! The supervisor has authorised and limited what arrives here. Before `POST /boot` nothing else is answered.

pub(crate) mod errno;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod file;
mod health;
pub(crate) mod process;
pub(crate) mod query;
pub(crate) mod shell;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::{Method, StatusCode};
use tokio::sync::Notify;
use tracing::Instrument as _;
use vm_api::area::{Area, AreaError};
use vm_api::{Problem, ProblemCode, WorkspaceConfig, route};

use super::boot::Vm;
use super::machine_room::MachineRoom;
use crate::boot_request::{self, Access, BootRequest, MAX_CONFIG_BYTES};
use crate::http::{self as web, Request, Response};
use crate::telemetry::request_span;
use crate::validate::validate;

/// What a server's VM is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The workspace that the process is for.
    Workspace,
    /// Nothing: it is thrown away, and leaves nothing.
    Rehearsal,
}

/// Answers the requests of one vm process.
pub(crate) struct Server {
    room: Arc<MachineRoom>,
    role: Role,
    vm: OnceLock<Arc<Vm>>,
    /// Whether the VM is for reading files only.
    is_reading: AtomicBool,
    is_stopping: AtomicBool,
    /// Told after every answer.
    answered: Notify,
}

impl Server {
    pub(crate) fn new(room: Arc<MachineRoom>, role: Role) -> Self {
        Self {
            room,
            role,
            vm: OnceLock::new(),
            is_reading: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            answered: Notify::new(),
        }
    }

    /// Waits for the next answer, unless there was one since the last time.
    pub(super) async fn wait_for_answer(&self) {
        self.answered.notified().await;
    }

    /// The VM, once it is booted.
    pub(crate) fn vm(&self) -> Option<&Arc<Vm>> {
        self.vm.get()
    }

    /// Takes nothing more but what is being answered.
    pub(crate) fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the VM takes this now.
    fn admit(&self, area: Area, request: &Request) -> Result<(), Problem> {
        if self.is_stopping.load(Ordering::Relaxed) {
            let detail = "the VM is being stopped; the request was not done, send it again";
            return Err(Problem::new(ProblemCode::WorkspaceStopping, detail));
        }
        if self.is_reading.load(Ordering::Acquire)
            && !area.is_file_read(request.method().as_str(), request.query())
        {
            let detail = "this VM only reads files of a workspace that sleeps";
            return Err(Problem::new(ProblemCode::WorkspaceAsleep, detail));
        }
        Ok(())
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let span = request_span("vm", &request);
        let result = self.route(&mut request).instrument(span).await;
        let response = result.unwrap_or_else(|problem| web::problem(&problem));
        if response.status().is_client_error() || response.status().is_server_error() {
            request.discard_rest().await;
        }
        self.answered.notify_one();
        response
    }

    async fn route(&self, request: &mut Request) -> Result<Response, Problem> {
        let path = request.path().to_owned();
        let path = path.as_str();
        if let Some((uid, area)) = route::split_runner_path(path) {
            let vm = self.booted(uid)?;
            let area_kind = match Area::parse(area, request.method().as_str()) {
                Ok(area) => area,
                Err(AreaError::NotFound) => return Err(web::route_not_found(path)),
                Err(AreaError::Method(allowed)) => {
                    return Ok(web::method_not_allowed(request.method(), path, allowed));
                }
            };
            self.admit(area_kind, request)?;
            return match area_kind {
                Area::Exec => exec::exec(vm, request).await,
                Area::Processes => process::processes(vm, request).await,
                Area::Process(action) => process::process(vm, action, area, request).await,
                Area::Shells => shell::shells(vm, request).await,
                Area::Shell(action) => shell::shell(vm, action, area, request).await,
                Area::Events => event::events(vm, request),
                Area::File => file::file(vm, request).await,
                Area::Mkdir => file::mkdir(vm, request).await,
                Area::Move => file::rename(vm, request).await,
                Area::Copy => file::copy(vm, request).await,
                Area::Link => file::link(vm, request).await,
                Area::BatchRead => file::batch_read(vm, request).await,
                Area::BatchWrite => file::batch_write(vm, request).await,
                Area::Archive => file::archive(vm, request).await,
                Area::Health => Ok(health::health(vm)),
                Area::Fsck => health::fsck(vm).await,
                // The supervisor's.
                Area::Wake | Area::Sleep | Area::Runs | Area::Run(_) => Err(web::route_not_found(path)),
            };
        }
        match (path, request.method()) {
            (route::BOOT, &Method::POST) => self.boot(request).await,
            (boot_request::RUN, &Method::POST) => {
                self.admit(Area::Exec, request)?;
                exec::run(self.vm.get().ok_or_else(not_booted)?, request).await
            }
            (boot_request::CONFIG, &Method::PUT) => self.reconfigure(request).await,
            (boot_request::PROMOTE, &Method::POST) => {
                self.is_reading.store(false, Ordering::Release);
                Ok(web::empty(StatusCode::NO_CONTENT))
            }
            (boot_request::ACTIVITY, &Method::GET) => {
                Ok(web::json(StatusCode::OK, &self.vm.get().map(|vm| vm.activity()).unwrap_or_default()))
            }
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
        let BootRequest { uid, config, access } = web::parse_json(&body)?;
        validate(&config, self.room.catalog())?;
        self.is_reading.store(access == Access::Files, Ordering::Release);
        let vm = self.room.boot(&uid, &config)?;
        if self.role == Role::Workspace {
            self.room.keep_guest_code(&uid);
        }
        match self.vm.set(Arc::new(vm)) {
            Ok(()) => Ok(web::empty(StatusCode::NO_CONTENT)),
            Err(_) => {
                Err(Problem::new(ProblemCode::AlreadyBooted, "this vm process has a workspace already"))
            }
        }
    }

    async fn reconfigure(&self, request: &mut Request) -> Result<Response, Problem> {
        let config: WorkspaceConfig = request.read_json(MAX_CONFIG_BYTES).await?;
        let vm = self.vm.get().ok_or_else(not_booted)?;
        vm.reconfigure(&config);
        Ok(web::empty(StatusCode::NO_CONTENT))
    }
}

fn not_booted() -> Problem {
    Problem::new(ProblemCode::WorkspaceNotFound, "not booted yet")
}
