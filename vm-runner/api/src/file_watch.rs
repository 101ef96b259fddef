//! `GET …/files/{path}?watch`: what happens to files, as server-sent events.
//!
//! The id of a message is its sequence number. A client that comes back with it (`?after=` or `Last-Event-ID`) within
//! [`RESUME_SECONDS`] misses nothing; otherwise it is told `lost` and should read the tree again.

use serde::{Deserialize, Serialize};

use crate::FileType;

/// How long a watch goes on without its client.
pub const RESUME_SECONDS: u64 = 30;

/// One message of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FileChange {
    /// The watch has begun; what happens from now on is told.
    Watching {
        /// The path that is watched.
        path: String,
    },
    /// Something was made, or moved here from where the watch does not see.
    Created(ChangedFile),
    /// Content or attributes changed. Several changes that follow each other may be told once.
    Changed(ChangedFile),
    /// Something was removed, or moved to where the watch does not see.
    Removed(ChangedFile),
    /// Something was moved, with everything in it.
    Moved {
        /// Where it was.
        from: String,
        /// The percent-encoded bytes of `from`; present only where `from` is not exact.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_encoded: Option<String>,
        /// Where it is now.
        #[serde(flatten)]
        file: ChangedFile,
        /// Whether something else was there, which is gone now.
        #[serde(default)]
        replaced: bool,
    },
    /// Changes are missing before the next message: the client was too slow or away for too long.
    Lost {
        /// What to do.
        detail: String,
    },
}

/// The file that a change is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChangedFile {
    /// Its path.
    pub path: String,
    /// The percent-encoded bytes of `path`; present only where `path` is not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_encoded: Option<String>,
    /// What it is, or was.
    pub file_type: FileType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_one_flat_message() {
        let file = ChangedFile { path: "/b".to_owned(), path_encoded: None, file_type: FileType::File };
        let change = FileChange::Moved { from: "/a".to_owned(), from_encoded: None, file, replaced: false };
        let json = serde_json::to_value(&change).unwrap();
        let expected = r#"{"type":"moved","from":"/a","path":"/b","fileType":"file","replaced":false}"#;
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(expected).unwrap());
        assert_eq!(serde_json::from_value::<FileChange>(json).unwrap(), change);
    }
}
