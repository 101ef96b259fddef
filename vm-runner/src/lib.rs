//! The vm-runner: one binary with two faces. The *supervisor* ([`supervisor`]) serves the API of all workspaces of a
//! pod; a *vm process* ([`vm`]) holds one VM. They share a control line ([`control`]) and the routes of `vm-api`.
//!
//! Lock order: every lock of this crate is a leaf. None is held while another is taken, across an await, or while the
//! kernel is called.

mod area;
mod args;
mod boot_request;
mod config;
mod control;
mod http;
mod listener;
mod software;
mod supervisor;
mod task;
mod telemetry;
mod validate;

use std::process::ExitCode;

pub use args::Args;
pub use config::{Config, Error as ConfigError, ListenAddress};
pub use telemetry::{Error as TelemetryError, init as init_telemetry};
