//! Checking the files that a workspace keeps.

use serde::{Deserialize, Serialize};

/// Answer of `POST …/files:fsck`. The check reads everything and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FsckResponse {
    /// What is wrong, in words; empty when all is well.
    pub problems: Vec<String>,
    /// Inodes that were checked.
    pub inodes: u64,
    /// Bytes of content that they hold.
    pub bytes: u64,
}
