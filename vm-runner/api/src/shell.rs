//! `…/shells`: commands in a terminal, which several clients may attach to, now and later.
//!
//! `GET …/shells/{id}/attach` is a WebSocket. Binary frames are what is typed and shown; text frames are JSON:
//! [`ShellControl`] from the client, [`ShellMessage`] from the server. Positions count the bytes that were shown.

use serde::{Deserialize, Serialize};

use crate::{EnvVar, ProcessExit};

/// A command to start in a terminal. At most one of `command` and `argv`; neither means the user's login shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShellRequest {
    /// A shell command line, run by `/bin/sh -c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A program and its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// Variables on top of the workspace's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Working directory; absent means the user's home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Account name in the VM; absent means the workspace's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Characters in a row; absent means 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cols: Option<u16>,
    /// Rows; absent means 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
}

/// Most columns, and most rows, of a terminal.
pub const MAX_WINDOW: u16 = 1000;

/// A shell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ShellInfo {
    /// Names it in routes.
    pub id: String,
    /// The number of its first process.
    pub pid: i32,
    /// What was started.
    pub argv: Vec<String>,
    /// When, as RFC 3339.
    pub started_at: String,
    /// Characters in a row.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// How many clients are attached.
    pub attached: u32,
    /// Position of the oldest byte that is kept for replay.
    pub first: u64,
    /// Position of the end: all that was shown so far.
    pub end: u64,
    /// How it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ProcessExit>,
}

/// Answer of `GET …/shells`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ShellList {
    /// The shells, oldest first.
    pub items: Vec<ShellInfo>,
}

/// Body of `POST …/shells/{id}/resize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResizeRequest {
    /// Characters in a row.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// What an attached client tells, beside what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ShellControl {
    /// The window has this size now; the last one told by any client counts.
    Resize {
        /// Characters in a row.
        cols: u16,
        /// Rows.
        rows: u16,
    },
}

/// What an attached client is told, beside what is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ShellMessage {
    /// The first message.
    Attached {
        /// Position where the replay begins.
        seq: u64,
        /// How many bytes between the position asked for and this one are not kept any more.
        lost: u64,
        /// Characters in a row.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// All that was shown before is told. What programs asked the terminal then was left out, so that it is not answered
    /// twice.
    Replayed {
        /// Position of the first byte that follows. Whoever adds the bytes that it gets knows where to go on (`?after=`).
        seq: u64,
    },
    /// The window has this size now.
    Resized {
        /// Characters in a row.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// What the client sent was not understood; it stays attached.
    Refused {
        /// Stable name of the reason, as in problem documents.
        code: String,
        /// In words.
        detail: String,
    },
    /// The client reads too slowly: it missed bytes, and is let go. It may attach again.
    Lagged {
        /// Position of the oldest byte that is kept.
        seq: u64,
        /// How many bytes it missed.
        lost: u64,
    },
    /// The shell has ended; the last message.
    Exited(ProcessExit),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_told_apart_by_their_type() {
        let resize: ShellControl = serde_json::from_str(r#"{"type":"resize","cols":80,"rows":24}"#).unwrap();
        assert_eq!(resize, ShellControl::Resize { cols: 80, rows: 24 });
        assert!(serde_json::from_str::<ShellControl>(r#"{"type":"resize","cols":80}"#).is_err());
        let json =
            serde_json::to_value(ShellMessage::Attached { seq: 1, lost: 0, cols: 80, rows: 24 }).unwrap();
        assert_eq!(json["type"], "attached");
        let exit = ShellMessage::Exited(ProcessExit { exit_code: Some(0), ..ProcessExit::default() });
        assert_eq!(serde_json::to_value(exit).unwrap()["exitCode"], 0);
    }
}
