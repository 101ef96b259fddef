//! Guest programs on the real kernel: ring iv of the tests. Run with `--release`.
//!
//! `abi` runs small `.wat` programs, one per rule of the host interface. `shell` runs every script of
//! `tests/programs` with the published software and compares what it prints with what Linux prints. `software` looks at
//! the software folder itself.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests run on the host")]

mod abi;
mod machine;
mod shell;
mod software;
