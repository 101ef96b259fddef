//! `…/files`: stat, list, attributes, mkdir, move, copy and link. Contents travel as plain request and response bodies.
//!
//! Paths are guest paths: absolute, `/`-separated. A name that is not UTF-8 is shown with U+FFFD in these documents; its
//! `pathEncoded` gives the percent-encoded bytes that a route takes. Requests take either form of a path.

use serde::{Deserialize, Serialize};

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Its percent-encoded bytes; present only where `target` is not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_encoded: Option<String>,
    /// The entity tag of a regular file, for `If-Match`; it changes with every change of content or attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ListResponse {
    /// The directory.
    pub path: String,
    /// Its entries, sorted by name; a directory stands before what is in it.
    pub entries: Vec<DirEntry>,
    /// Whether there were more entries than the answer may hold.
    #[serde(default)]
    pub truncated: bool,
    /// What to give as `?after=` for the entries that follow; present if `truncated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Most entries in one [`ListResponse`]; `?limit=` asks for less.
pub const MAX_LIST_ENTRIES: usize = 10_000;
/// Largest `depth` of a listing.
pub const MAX_LIST_DEPTH: u32 = 64;

/// Body of `POST …/files:mkdir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MkdirRequest {
    /// The directory to make.
    #[serde(default)]
    pub path: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<String>,
    /// Whether missing parents are made, and an existing directory is no error.
    #[serde(default)]
    pub parents: bool,
    /// Permission bits in octal; default `0755`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// Body of `POST …/files:move`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveRequest {
    /// What to move.
    #[serde(default)]
    pub from: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_encoded: Option<String>,
    /// Its new path (the full path, not the directory to move into).
    #[serde(default)]
    pub to: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_encoded: Option<String>,
    /// Whether an existing destination is replaced, as `rename` does; default is to refuse.
    #[serde(default)]
    pub overwrite: bool,
    /// Whether missing parents of the destination are made.
    #[serde(default)]
    pub parents: bool,
}

/// Body of `POST …/files:copy`: a file, or a directory with everything in it. Modes, times, links among what is copied
/// and holes are kept; owners only where the user may set them. The copy is there as a whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyRequest {
    /// What to copy. A symbolic link is copied as one.
    #[serde(default)]
    pub from: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_encoded: Option<String>,
    /// Path of the copy (the full path, not the directory to copy into).
    #[serde(default)]
    pub to: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_encoded: Option<String>,
    /// Whether an existing destination is replaced, a directory with everything in it; default is to refuse.
    #[serde(default)]
    pub overwrite: bool,
    /// Whether missing parents of the destination are made.
    #[serde(default)]
    pub parents: bool,
}

/// Answer of `POST …/files:copy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CopyResponse {
    /// The copy.
    pub stat: FileStat,
    /// How many files, directories and links it is made of.
    pub entries: u64,
    /// How many bytes were copied.
    pub bytes: u64,
}

/// Body of `POST …/files:link`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkRequest {
    /// Path of the new link.
    #[serde(default)]
    pub path: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<String>,
    /// What a symbolic link says, absolute or relative to its directory; for a hard link the absolute path of a file.
    #[serde(default)]
    pub target: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_encoded: Option<String>,
    /// Whether to make a hard link; default is a symbolic one.
    #[serde(default)]
    pub hard: bool,
    /// Whether missing parents are made.
    #[serde(default)]
    pub parents: bool,
}

/// Body of `PATCH …/files/{path}`: changes what is given, in the order of these fields. A symbolic link is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributesRequest {
    /// Size in bytes: cuts, or fills with zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Owner; only root may give a file away, so this works where the workspace's user is root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Permission bits in octal, such as `0644`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Last access, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accessed: Option<String>,
    /// Last change of the content, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
}
