//! `manifest.json`: the packages that a workspace can name. The control API's `SoftwareManifest` reads the same file;
//! this crate must not know that API, so the writing half is here.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::place;
use crate::error::{Error, Result};

/// Name of the file in a software folder.
pub(crate) const FILE: &str = "manifest.json";
/// Version of the format.
pub(crate) const SCHEMA: u32 = 1;

/// What a software folder offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of this format.
    pub schema: u32,
    /// Fingerprint of the engine that the modules were compiled for.
    pub engine: String,
    /// The packages, in the order of `packages.json`.
    pub packages: Vec<Package>,
}

/// One package that a workspace can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// The name.
    pub name: String,
    /// Version of the published package; of a set, the version of its first part.
    pub version: String,
    /// What it is, in a line.
    pub description: String,
    /// SPDX expression.
    pub license: String,
    /// Where its files are; of two commands with one name the first counts.
    pub sources: Vec<Source>,
    /// Other packages that come with it.
    #[serde(default)]
    pub includes: Vec<String>,
    /// The commands it brings, sorted.
    pub commands: Vec<String>,
}

/// Where files of a package are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `packages/<name>.aospkg` or a folder `packages/<name>`, relative to the software folder.
    pub path: String,
    /// Only these commands of it; empty means all.
    #[serde(default)]
    pub commands: Vec<String>,
}

impl Manifest {
    /// Reads the manifest of a software folder.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = place::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Format { path, reason: error.to_string() })
    }
}
