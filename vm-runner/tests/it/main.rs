//! The vm-runner as a whole: real processes, real guests. Needs the guest software in `.local/software`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod commands;
mod crash;
mod errors;
mod events;
mod exec;
mod exec_stream;
mod fencing;
mod files;
mod files_archive;
mod files_made_up;
mod files_tree;
mod files_watch;
mod files_write;
mod full;
mod guest_code;
mod hostile;
mod lifecycle;
mod limits;
mod process;
mod process_stream;
mod run;
mod runner;
mod runs;
mod shell;
mod sleep;
mod stop;
mod tls;
