//! `index.json`: which modules a software folder holds compiled, and which file of which package is which module.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::place;
use crate::error::{Error, Result};

/// Name of the file in a software folder.
pub(crate) const FILE: &str = "index.json";
/// Folder of the compiled modules in a software folder.
pub(crate) const COMPILED: &str = "compiled";

/// The contents of `index.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// What the compiled modules depend on, see [`crate::Compiler::fingerprint`].
    pub fingerprint: String,
    /// The compiled modules by the lower-case hexadecimal sha256 of their WebAssembly.
    pub modules: BTreeMap<String, ModuleEntry>,
    /// The sha256 of every program file: first by package file or folder (`packages/...`), then by path within it.
    pub contents: BTreeMap<String, BTreeMap<String, String>>,
}

/// One compiled module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleEntry {
    /// Bytes of WebAssembly.
    pub size: u64,
    /// Bytes of machine code and its tables.
    pub compiled_size: u64,
}

impl Index {
    /// Reads the index of a software folder.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = place::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Format { path, reason: error.to_string() })
    }

    /// The contents of `index.json`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers under string keys can always be written.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}
