//! `POST …/exec`: run one command and answer when it has ended.

use serde::{Deserialize, Serialize};

use crate::{Base64, EnvVar, WireDuration};

/// A command to run. Exactly one of `command` and `argv`, and at most one of `stdin` and `stdinBase64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExecRequest {
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
    /// Standard input as text; absent means empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Standard input as bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin_base64: Option<Base64>,
    /// Wall-clock limit; absent means `spec.limits.commandTimeout`, which is also the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<WireDuration>,
    /// Most bytes kept of each of stdout and stderr; the rest is dropped and flagged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<u64>,
}

impl ExecRequest {
    /// A request for a shell command line.
    #[must_use]
    pub fn command(command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..Self::default() }
    }

    /// A request for a program without a shell.
    #[must_use]
    pub fn argv<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: Some(argv.into_iter().map(Into::into).collect()), ..Self::default() }
    }
}

/// `outputLimit` when the request names none.
pub const DEFAULT_OUTPUT_LIMIT_BYTES: u64 = 1 << 20;
/// The largest `outputLimit`.
pub const MAX_OUTPUT_LIMIT_BYTES: u64 = 64 << 20;

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExecResponse {
    /// Exit code, or null when a signal ended the command.
    pub exit_code: Option<u8>,
    /// Name of the signal that ended the command, such as `SIGKILL`, or null.
    pub signal: Option<String>,
    /// What the command wrote to standard output, as text. Bytes that are not UTF-8 are shown as U+FFFD; then
    /// `stdoutBase64` holds the exact bytes.
    pub stdout: String,
    /// The exact bytes of standard output; present only where `stdout` could not show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<Base64>,
    /// What the command wrote to standard error, as text.
    pub stderr: String,
    /// The exact bytes of standard error; present only where `stderr` could not show them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<Base64>,
    /// Whether standard output was longer than `outputLimit`.
    #[serde(default)]
    pub stdout_truncated: bool,
    /// Whether standard error was longer than `outputLimit`.
    #[serde(default)]
    pub stderr_truncated: bool,
    /// What cut the output, where it was cut: `outputLimit`, or the limit of the specification that raises it. Else the limit
    /// of the specification that the command ran into, such as `spec.limits.memory`, if it did, and failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Whether the command was killed because its time was up.
    #[serde(default)]
    pub timed_out: bool,
    /// From spawn to end, by a monotonic clock.
    pub duration_ms: f64,
}

impl ExecResponse {
    /// The exact bytes of standard output.
    #[must_use]
    pub fn stdout_bytes(&self) -> &[u8] {
        self.stdout_base64.as_ref().map_or(self.stdout.as_bytes(), Base64::as_bytes)
    }

    /// The exact bytes of standard error.
    #[must_use]
    pub fn stderr_bytes(&self) -> &[u8] {
        self.stderr_base64.as_ref().map_or(self.stderr.as_bytes(), Base64::as_bytes)
    }

    /// What a shell would report as `$?`: the exit code, or 128 and the signal's number.
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        match (self.exit_code, &self.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128_u8.saturating_add(signal_number(signal)),
            (None, None) => 255,
        }
    }
}

/// Linux's number of a signal's name. Names that are not known count as SIGKILL.
fn signal_number(name: &str) -> u8 {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().position(|known| *known == bare).and_then(|index| u8::try_from(index + 1).ok()).unwrap_or(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_refuses_fields_that_it_does_not_know() {
        let error = serde_json::from_str::<ExecRequest>(r#"{"command":"true","comand":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `comand`"), "{error}");
    }

    #[test]
    fn a_signal_is_reported_as_a_shell_would() {
        let response = ExecResponse { signal: Some("SIGTERM".to_owned()), ..ExecResponse::default() };
        assert_eq!(response.shell_code(), 143);
    }

    #[test]
    fn exact_bytes_win_over_the_text() {
        let response = ExecResponse {
            stdout: "\u{fffd}".to_owned(),
            stdout_base64: Some(Base64(vec![0xff])),
            ..ExecResponse::default()
        };
        assert_eq!(response.stdout_bytes(), [0xff]);
    }
}
