//! `…/files`: stat, list, mkdir and move. Contents travel as plain request and response bodies.
//!
//! Paths are guest paths: absolute, `/`-separated. A name that is not UTF-8 is shown with U+FFFD in these documents; its
//! `pathEncoded` gives the percent-encoded bytes that a route takes.

use serde::{Deserialize, Serialize};

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// Attributes of a file. Answer of `GET …/files/{path}?stat`; symbolic links are described, not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStat {
    /// Absolute path as it was asked for.
    pub path: String,
    /// Percent-encoded path; present only where `path` is not the exact name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub file_type: FileType,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits in octal, such as `0644`.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u64,
    /// Inode number.
    pub inode: u64,
    /// Last change of the content, RFC 3339.
    pub modified: String,
    /// Last change of the attributes, RFC 3339.
    pub changed: String,
    /// Last access, RFC 3339.
    pub accessed: String,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirEntry {
    /// Path relative to the directory that was listed.
    pub name: String,
    /// Its attributes.
    #[serde(flatten)]
    pub stat: FileStat,
}

/// Answer of `GET …/files/{path}?list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListResponse {
    /// The directory.
    pub path: String,
    /// Its entries, sorted by name; a directory stands before what is in it.
    pub entries: Vec<DirEntry>,
    /// Whether there were more entries than the answer may hold.
    #[serde(default)]
    pub truncated: bool,
}

/// Most entries in one [`ListResponse`].
pub const MAX_LIST_ENTRIES: usize = 10_000;
/// Largest `depth` of a listing.
pub const MAX_LIST_DEPTH: u32 = 64;

/// Body of `POST …/files:mkdir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MkdirRequest {
    /// The directory to make.
    pub path: String,
    /// Whether missing parents are made, and an existing directory is no error.
    #[serde(default)]
    pub parents: bool,
    /// Permission bits in octal; default `0755`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// Body of `POST …/files:move`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveRequest {
    /// What to move.
    pub from: String,
    /// Its new path (the full path, not the directory to move into).
    pub to: String,
    /// Whether an existing destination is replaced, as `rename` does; default is to refuse.
    #[serde(default)]
    pub overwrite: bool,
    /// Whether missing parents of the destination are made.
    #[serde(default)]
    pub parents: bool,
}
