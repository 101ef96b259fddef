//! What a process runs.

use std::sync::Arc;

use crate::driver::Program;
use crate::mutex::Mutex;
use crate::process::environment::Completed;
use crate::usage::Charge;

/// A program with its arguments and environment, fixed from one exec to the next.
pub(crate) struct Image {
    /// What runs.
    pub(crate) program: Arc<dyn Program>,
    /// The path it was found at.
    pub(crate) path: Vec<u8>,
    /// Its arguments, its name first.
    pub(crate) argv: Arc<[Vec<u8>]>,
    /// Its environment, as `NAME=value`.
    pub(crate) envp: Completed,
    /// For the memory of both, as long as the process runs.
    pub(crate) charge: Mutex<Charge>,
}

impl Image {
    /// The program's name, cut as Linux cuts it.
    pub(crate) fn comm(&self) -> Vec<u8> {
        const MAX_BYTES: usize = 15;
        let name = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        name[..name.len().min(MAX_BYTES)].to_vec()
    }
}

/// What arguments and environment cost: as Linux counts them, a pointer and a terminator with each.
pub(crate) fn args_bytes(argv: &[Vec<u8>], envp: &[Vec<u8>]) -> usize {
    argv.iter().chain(envp).fold(0, |sum, entry| sum.saturating_add(entry.len()).saturating_add(9))
}
