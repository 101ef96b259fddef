//! `…/files:archive`: a tree as a tar archive, out with `GET` and in with `PUT`.

use serde::{Deserialize, Serialize};

/// Media type of an archive.
pub const MEDIA_TYPE: &str = "application/x-tar";
/// Most entries that one archive may bring in.
pub const MAX_ARCHIVE_ENTRIES: u64 = 1_000_000;

/// Answer of `PUT …/files:archive`: what the archive brought. It is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ArchiveResponse {
    /// Regular files.
    pub files: u64,
    /// Directories, new ones and those that were there.
    pub directories: u64,
    /// Symbolic and hard links.
    pub links: u64,
    /// Named pipes.
    pub pipes: u64,
    /// Bytes of content.
    pub bytes: u64,
}
