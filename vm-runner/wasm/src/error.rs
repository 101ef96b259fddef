//! What can go wrong on the host side of the driver. What a guest sees is an errno, never one of these.

use std::path::PathBuf;

/// A failure of the driver or of the software build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine cannot run the engine.
    #[error("create the WebAssembly engine: {0:#}")]
    Engine(#[source] wasmtime::Error),
    /// The epoch thread could not be started.
    #[error("start the epoch thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The bytes are no module that this engine accepts.
    #[error("compile the module: {0:#}")]
    Compile(#[source] wasmtime::Error),
    /// The module is valid, but nothing that can be run; in words for whoever ran it.
    #[error("{0}")]
    Unrunnable(String),
    /// Host functions could not be defined.
    #[error("define the host functions: {0:#}")]
    Link(#[source] wasmtime::Error),
    /// A compiled module is missing, damaged or made for another engine.
    #[error("load {path}: {reason}; run `vm-runner software build` with this version of vm-runner")]
    Load {
        /// The compiled file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A published package is missing.
    #[error(
        "the npm package {name} is not in {node_modules}: run `npm ci --ignore-scripts` in vm-runner/software"
    )]
    MissingPackage {
        /// Its name.
        name: String,
        /// Where it should be.
        node_modules: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not say what it should.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Result of the driver's host side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Builds the error of a failed file operation; for `map_err`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
