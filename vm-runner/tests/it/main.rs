//! The vm-runner as a whole: real processes, real guests. Needs the guest software in `.local/software`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod errors;
mod exec;
mod files;
mod lifecycle;
mod run;
mod runner;
mod tls;
