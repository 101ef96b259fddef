//! What a process runs.

use std::sync::Arc;

use crate::driver::Program;

/// A program with its arguments and environment, fixed from one exec to the next.
pub(crate) struct Image {
    /// What runs.
    pub(crate) program: Arc<dyn Program>,
    /// The path it was found at.
    pub(crate) path: Vec<u8>,
    /// Its arguments, its name first.
    pub(crate) argv: Arc<[Vec<u8>]>,
    /// Its environment, as `NAME=value`.
    pub(crate) envp: Arc<[Vec<u8>]>,
}
