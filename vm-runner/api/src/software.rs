//! The software that a runner offers: answer of `GET /v1/software`.

use serde::{Deserialize, Serialize};

/// One package that a workspace may name in `spec.software`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SoftwarePackage {
    /// Name in `spec.software[].name`.
    pub name: String,
    /// Version of the published package, or of the first in a set.
    pub version: String,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
    /// SPDX expression.
    #[serde(default)]
    pub license: String,
    /// Other packages that come with it.
    #[serde(default)]
    pub includes: Vec<String>,
    /// The commands that it brings, sorted.
    pub commands: Vec<String>,
}

/// Answer of `GET /v1/software`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SoftwareList {
    /// The packages.
    pub items: Vec<SoftwarePackage>,
}
