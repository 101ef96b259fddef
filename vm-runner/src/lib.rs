//! The vm-runner: supervisor and vm process.
