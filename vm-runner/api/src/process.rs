//! `…/processes`: commands that run on their own, with their output kept for whoever comes back for it.
//!
//! Positions in output are counted in bytes of both streams together: the `seq` of a message says how much output there
//! is up to its end, and `?after=` asks for what follows. [`OutputMessage::Exited`] comes one after the last byte.

use serde::{Deserialize, Serialize};

use crate::{Base64, EnvVar, WireDuration};

/// A command to start. Exactly one of `command` and `argv`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProcessRequest {
    /// A shell command line, run by `/bin/sh -c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A program and its arguments, run without a shell.
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
    /// What standard input is.
    pub stdin: StdinMode,
    /// Wall-clock limit; absent means `spec.limits.commandTimeout`, which is also the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<WireDuration>,
    /// Most bytes of output that are kept for readers; older output is dropped, and readers are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_buffer: Option<u64>,
}

/// What the standard input of a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum StdinMode {
    /// Empty.
    #[default]
    Null,
    /// What is posted to `/processes/{pid}/stdin`.
    Pipe,
}

/// `outputBuffer` when the request names none.
pub const DEFAULT_OUTPUT_BUFFER_BYTES: u64 = 1 << 20;
/// The largest `outputBuffer`.
pub const MAX_OUTPUT_BUFFER_BYTES: u64 = 16 << 20;

/// A process of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessInfo {
    /// Its number in the VM.
    pub pid: i32,
    /// Its parent's number; 0 if the API started it, 1 if its parent has ended.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// Its arguments, as text.
    pub argv: Vec<String>,
    /// Whether it runs.
    pub state: ProcessState,
    /// When it was started, as RFC 3339.
    pub started_at: String,
    /// Memory of its program.
    pub memory_bytes: u64,
    /// CPU time that it has used itself, without its children, in milliseconds.
    #[serde(default)]
    pub cpu_ms: f64,
    /// How many ancestors are above it; present in an answer to `?tree`, which lists children after their parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// How it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ProcessExit>,
    /// What is kept of its output; present if the API started it on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputState>,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ProcessState {
    /// It has not ended.
    Running,
    /// It has ended, and its parent has not asked how.
    Zombie,
    /// It has ended; the API still knows how, and its last output.
    Ended,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessExit {
    /// Exit code, or null when a signal ended it.
    pub exit_code: Option<u8>,
    /// Name of the signal that ended it, such as `SIGKILL`, or null.
    pub signal: Option<String>,
    /// Whether it was killed because its time was up.
    #[serde(default)]
    pub timed_out: bool,
    /// The limit of the specification that it ran into, such as `spec.limits.memory`; present only if it did, and failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// From spawn to end, by a monotonic clock; null where the API did not start it.
    #[serde(default)]
    pub duration_ms: Option<f64>,
}

/// What is kept of a process's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputState {
    /// Position of the oldest byte that is kept.
    pub first: u64,
    /// Position of the end: all output so far.
    pub end: u64,
}

/// Answer of `GET …/processes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProcessList {
    /// The processes, ascending by pid; with `?tree` each after its parent.
    pub items: Vec<ProcessInfo>,
}

/// Body of `POST …/processes/{pid}/kill`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KillRequest {
    /// Name or number of the signal; absent means SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,
    /// Whether the whole group of the process gets it.
    pub group: bool,
}

/// A signal by name, such as `SIGTERM` or `term`, or by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum SignalName {
    /// Linux's number.
    Number(i32),
    /// Linux's name, with or without `SIG`.
    Name(String),
}

/// Answer of `POST …/processes/{pid}/stdin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StdinResponse {
    /// How many bytes of the request the process's standard input took.
    pub bytes: u64,
}

/// One message of the stream of a command's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum OutputMessage {
    /// The command runs; only at the beginning.
    Started {
        /// Its number: the stream can be taken up again at `/processes/{pid}/output?after=`.
        pid: i32,
    },
    /// Standard output.
    Stdout(OutputData),
    /// Standard error.
    Stderr(OutputData),
    /// Output was dropped before this reader came for it.
    Lost {
        /// How much.
        bytes: u64,
    },
    /// The command has ended; the last message.
    Exited(ProcessExit),
}

/// Output, as text where it is UTF-8 and as bytes elsewhere. The pieces of a stream, put together, are exactly what the
/// command wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputData {
    /// The output as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The output as bytes; present where it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<Base64>,
}

impl OutputData {
    /// The exact bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match (&self.base64, &self.text) {
            (Some(bytes), _) => bytes.as_bytes(),
            (None, Some(text)) => text.as_bytes(),
            (None, None) => &[],
        }
    }
}

impl From<Vec<u8>> for OutputData {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { text: Some(text), base64: None },
            Err(error) => Self { text: None, base64: Some(Base64(error.into_bytes())) },
        }
    }
}

/// Answer of `GET …/processes/{pid}/output` to those who want no stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputPage {
    /// The messages, in order.
    pub messages: Vec<OutputMessage>,
    /// Where the next page begins: the `?after=` to ask with.
    pub next: u64,
    /// Whether there is more to read now.
    pub has_more: bool,
}

/// One message of `GET …/processes/{pid}/strace`. The stream ends with the process; it cannot be taken up again, for
/// nothing is noted while nobody reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StraceMessage {
    /// A system call has returned, or something else happened to the process.
    Call {
        /// Who called.
        pid: i32,
        /// When, as RFC 3339.
        at: String,
        /// The call as `strace(1)` writes it: name, arguments, result, duration.
        text: String,
    },
    /// The reader was too slow.
    Lost {
        /// How many lines it missed.
        lines: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_text_where_it_can_be_and_exact_everywhere() {
        let text = serde_json::to_value(OutputMessage::Stdout(b"a\n".to_vec().into())).unwrap();
        assert_eq!(text, serde_json::json!({"type": "stdout", "text": "a\n"}));
        let bytes = serde_json::to_value(OutputMessage::Stderr(vec![0xff].into())).unwrap();
        assert_eq!(bytes, serde_json::json!({"type": "stderr", "base64": "/w=="}));
        let back: OutputMessage = serde_json::from_value(bytes).unwrap();
        assert!(matches!(back, OutputMessage::Stderr(data) if data.as_bytes() == [0xff]));
    }

    #[test]
    fn the_end_of_a_command_is_told_with_its_type() {
        let exit = ProcessExit { exit_code: Some(3), duration_ms: Some(1.5), ..ProcessExit::default() };
        let json = serde_json::to_value(OutputMessage::Exited(exit.clone())).unwrap();
        assert_eq!(
            (&json["type"], &json["exitCode"], &json["durationMs"]),
            (&"exited".into(), &3.into(), &1.5.into())
        );
        assert_eq!(serde_json::from_value::<OutputMessage>(json).unwrap(), OutputMessage::Exited(exit));
    }

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        for (json, signal) in [
            (r#"{"signal":"SIGINT"}"#, Some(SignalName::Name("SIGINT".to_owned()))),
            (r#"{"signal":9,"group":true}"#, Some(SignalName::Number(9))),
            ("{}", None),
        ] {
            assert_eq!(serde_json::from_str::<KillRequest>(json).unwrap().signal, signal, "{json}");
        }
    }
}
