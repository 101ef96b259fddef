//! The software that a runner offers: `manifest.json` of its software folder, and the answer of `GET /v1/software`.

use serde::{Deserialize, Serialize};

/// `manifest.json`: what a software folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareManifest {
    /// Version of this format.
    pub schema: u32,
    /// Names the engine and settings that the modules were compiled for; another engine refuses them.
    pub engine: String,
    /// The packages, by name.
    pub packages: Vec<SoftwarePackage>,
}

/// One package that a workspace may name in `spec.software`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SoftwarePackage {
    /// Name in `spec.software[].name`.
    pub name: String,
    /// Version of the published package, or of the newest in a set.
    pub version: String,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
    /// SPDX expression of the package, as published.
    #[serde(default)]
    pub license: String,
    /// Files and folders that hold it, relative to the software folder, first wins.
    #[serde(default)]
    pub sources: Vec<SoftwareSource>,
    /// Other packages that come with it, first wins.
    #[serde(default)]
    pub includes: Vec<String>,
    /// The commands that it brings, sorted.
    pub commands: Vec<String>,
}

/// Where a package's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareSource {
    /// `packages/x.aospkg` or a folder `packages/x`.
    pub path: String,
    /// Only these commands of it; empty means all.
    #[serde(default)]
    pub commands: Vec<String>,
}

/// Answer of `GET /v1/software`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareList {
    /// The packages.
    pub items: Vec<SoftwarePackage>,
}
