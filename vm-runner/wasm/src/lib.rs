//! The WebAssembly driver: runs `wasm32-wasip1` programs and the published agentOS software packages on wasmtime.
//!
//! The driver decodes what a guest asks, calls `vm_kernel::syscall` and encodes the answer; it has no semantics of its
//! own. The host interface is that of `wasm-abi.md`. Must never know HTTP, Kubernetes or host files other than the
//! software folder and the folder of compiled guest programs.
//!
//! # Lock order
//! `module_cache` (the map of loaded modules), `ticker` (the engines), `guest_code` (the queue; the folder; the known
//! digests): leaves, never held together nor across an await.

mod convert;
mod driver;
mod engine;
mod entry;
mod error;
mod flags;
mod guest;
mod guest_code;
mod host_call;
#[expect(clippy::too_many_arguments, reason = "a host function has the parameters that its module declares")]
mod host_fs;
#[expect(clippy::too_many_arguments, reason = "a host function has the parameters that its module declares")]
mod host_net;
#[expect(clippy::too_many_arguments, reason = "a host function has the parameters that its module declares")]
mod host_process;
mod host_tty;
mod host_user;
mod layout;
mod link;
mod memory;
mod module_cache;
#[expect(clippy::too_many_arguments, reason = "a host function has the parameters that its module declares")]
mod preview1;
mod run;
pub mod software;
mod standard;
mod ticker;
mod trim;

pub use driver::WasmDriver;
pub use engine::{Compiler, EngineOptions, WasmEngine};
pub use error::{Error, Result};
pub use guest_code::GuestCodeCache;
