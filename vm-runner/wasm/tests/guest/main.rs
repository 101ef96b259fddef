//! Guest programs on the real kernel: ring iv of the tests. Run with `--release`.
//!
//! `abi` runs small `.wat` programs, one per rule of the host interface. `shell` runs every script of
//! `tests/programs` with the published software and compares what it prints with what Linux prints. `software` looks at
//! the software folder itself.

mod abi;
mod machine;
mod shell;
mod software;
