//! Guest programs on the real kernel: ring iv of the tests. Run with `--release`.
//!
//! `abi` runs small `.wat` programs, one per rule of the host interface; `guest_code` programs that a guest brought. `shell` runs every script of
//! `tests/programs` with the published software and compares what it prints with what Linux prints. `software` looks at
//! the software folder itself. `hostile` runs programs that try a way out, or a way to take everything for themselves.
//! `wasi_testsuite` runs the WebAssembly project's own tests from a folder.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests run on the host")]

mod abi;
mod guest_code;
mod hostile;
mod machine;
mod memory;
mod shell;
mod software;
mod wasi_testsuite;
