//! The vm-runner: one binary with two faces. The *supervisor* (`supervisor`) serves the API of all workspaces of a pod;
//! a *vm process* (`vm`) holds one VM. They share a control line (`control`) and the routes of `vm-api`.
//!
//! # Lock order
//!
//! Every lock of this crate is a leaf: none is held while another is taken, across an await, or while the kernel is
//! called. They are `Registry::entries`, `Spares::ready`, `VmClient::idle`, `Slots::away`, `Residents::entries`,
//! `Tunnels::open`, `BoundedStderr::quota`, `MachineRoom::prepared`, `Vm::settings`, `Vm::discarding`, and `Lingering::watches` and `Lingering::clearing` of the files API.
//!
//! Two are not: `FileShared::commit` is held while the file systems are called, so that a condition still holds when
//! what depends on it is done; `Syncs::done` is an asynchronous lock, held while a sync is waited for.

mod args;
mod boot_request;
mod config;
mod control;
mod guest_path;
mod http;
mod listener;
mod openapi;
mod run;
mod scheduling;
mod software;
mod software_command;
mod supervisor;
mod task;
mod telemetry;
mod validate;
mod vm;

use std::future::Future;
use std::io;
use std::process::ExitCode;

pub use args::Args;
use config::TaskConfig;
pub use config::{Config, Error as ConfigError};
pub use telemetry::{Error as TelemetryError, init as init_telemetry};

/// Why the process failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] Failure);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("starting threads: {0}")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Supervisor(#[from] supervisor::Error),
    #[error(transparent)]
    Vm(#[from] vm::Error),
    #[error(transparent)]
    Run(#[from] run::Error),
    #[error(transparent)]
    Software(#[from] software_command::Error),
    #[error("writing to standard output: {0}")]
    Output(#[source] io::Error),
}

/// A process that has given up what its task does not need, and may begin.
#[derive(Debug)]
pub struct LockedDown {
    task: TaskConfig,
    /// Counted while the files that tell it could still be read.
    workers: usize,
}

/// Gives up what this process will not need; one that holds guests, nearly everything. Comes first in a process: before it opens
/// anything, and before there is a second thread.
///
/// # Errors
/// When the host does not allow it.
pub fn lock_down(config: Config) -> Result<LockedDown, Error> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let task = config.task;
    match &task {
        TaskConfig::Vm(config) => vm::lock_down(config).map_err(Failure::from)?,
        TaskConfig::Run(config) => run::lock_down(config).map_err(Failure::from)?,
        // Starts programs and owns the data folder.
        TaskConfig::Serve(_) => scheduling::take_short_turns(),
        // These hold no guest.
        TaskConfig::SoftwareBuild { .. } | TaskConfig::SoftwareList { .. } | TaskConfig::OpenApi => {}
    }
    Ok(LockedDown { task, workers })
}

/// Does what the configuration says, to its end.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(process: LockedDown) -> Result<ExitCode, Error> {
    Ok(dispatch(process)?)
}

fn dispatch(process: LockedDown) -> Result<ExitCode, Failure> {
    let LockedDown { task, workers } = process;
    match task {
        TaskConfig::Serve(config) => block_on(workers, supervisor::serve(config))?.map_err(Failure::from)?,
        TaskConfig::Vm(config) => block_on(workers, vm::serve(config))?.map_err(Failure::from)?,
        TaskConfig::Run(config) => return block_on(workers, run::run(config))?.map_err(Failure::from),
        TaskConfig::SoftwareBuild { node_modules, packages, out, cache } => {
            software_command::build(node_modules, packages, out, cache)?;
        }
        TaskConfig::SoftwareList { software } => software_command::list(&software)?,
        TaskConfig::OpenApi => openapi::print().map_err(Failure::Output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<F: Future>(workers: usize, future: F) -> Result<F::Output, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers).enable_all().build().map_err(Failure::Runtime)?;
    let output = runtime.block_on(future);
    // What still blocks, such as reading standard input, must not keep the process.
    runtime.shutdown_background();
    Ok(output)
}
