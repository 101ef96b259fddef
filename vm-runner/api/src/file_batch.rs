//! `…/files:batchRead` and `…/files:batchWrite`: many small files in one request.
//!
//! Every file has a result of its own, in the order of the request: one that fails does not keep the others from being
//! read or written. A batch is not a transaction.

use serde::{Deserialize, Serialize};

use crate::{Base64, FileStat, Problem};

/// Most files in one batch.
pub const MAX_BATCH_FILES: usize = 1000;
/// Most bytes of content in the answer of a batch; each file that does not fit gets a problem instead.
pub const MAX_BATCH_BYTES: u64 = 16 << 20;

/// Body of `POST …/files:batchRead`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchReadRequest {
    /// What to read; at most [`MAX_BATCH_FILES`].
    pub files: Vec<BatchReadFile>,
}

/// One file to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchReadFile {
    /// Its path.
    #[serde(default)]
    pub path: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<String>,
}

/// Answer of `POST …/files:batchRead`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BatchReadResponse {
    /// One result a file, in the order of the request.
    pub results: Vec<BatchReadResult>,
}

/// What reading one file gave: `stat` with one of `content` and `contentBase64`, or `problem`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BatchReadResult {
    /// The path that was asked for.
    pub path: String,
    /// Its attributes, with its entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<FileStat>,
    /// Its content, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Its content otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<Base64>,
    /// Why it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Body of `POST …/files:batchWrite`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchWriteRequest {
    /// What to write, in this order; at most [`MAX_BATCH_FILES`].
    pub files: Vec<BatchWriteFile>,
    /// Whether missing parents are made.
    #[serde(default)]
    pub parents: bool,
}

/// One file to write, as `PUT …/files/{path}` does. Exactly one of `content` and `contentBase64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchWriteFile {
    /// Its path.
    #[serde(default)]
    pub path: String,
    /// The same as percent-encoded bytes, for names that are not UTF-8; instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<String>,
    /// Its content as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Its content as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<Base64>,
    /// Permission bits in octal; default as for `PUT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// As the header `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// As the header `If-None-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_none_match: Option<String>,
}

/// Answer of `POST …/files:batchWrite`. What it tells as written is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BatchWriteResponse {
    /// One result a file, in the order of the request.
    pub results: Vec<BatchWriteResult>,
    /// How many of them are problems.
    pub failed: u64,
}

/// What writing one file gave: `stat`, or `problem`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BatchWriteResult {
    /// The path that was asked for.
    pub path: String,
    /// Whether the file is new.
    #[serde(default)]
    pub created: bool,
    /// Its attributes, with its entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stat: Option<FileStat>,
    /// Why it was not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
