//! Kernel tests, one module per object, on a machine whose programs are closures. No wasm, no V8, no real sleeping.

#![expect(clippy::unwrap_used, reason = "a test that fails panics; all of this is tests")]

mod activity;
mod command;
mod cpu;
mod credentials;
mod devfs;
mod environment;
mod exec;
mod fd_table;
mod file;
mod group;
mod limits;
mod lock;
mod machine;
mod path;
mod pipe;
mod poll;
mod procfs;
mod program;
mod rlimit;
mod signal;
mod socket;
mod spawn;
mod strace;
mod stress;
mod time;
mod tty;
mod wait;
