//! `…/runs`: commands that a runner begins at most once, by name.
//!
//! A run outlives whoever asked for it: its supervisor wakes the workspace, runs the command, and keeps how it ended, so that
//! the operator can be replaced in the middle. Whoever asks again under the same name is told what became of the first;
//! which is why two leaders of the operator never run a scheduled command twice. Changes are told by
//! [`crate::WorkspaceChange::Run`].

use serde::{Deserialize, Serialize};

use crate::{ExecRequest, WakeCause};

/// Body of `PUT …/runs/{name}`: a command to begin, unless a run of that name is known.
///
/// Answered with a [`Run`]: status 201 if it began now, 200 if the name was known, whatever the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// Epoch of the binding, as in the configuration. A lower one than the runner's is refused (`stale-epoch`).
    pub epoch: u64,
    /// What to run. Its `timeout` may be longer than `spec.limits.commandTimeout`.
    pub exec: ExecRequest,
}

/// A run, going on or ended. Answer of `PUT`, `GET` and `POST …/stop` of `…/runs/{name}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Names it: a DNS label of at most 63 characters.
    pub name: String,
    /// When it was accepted, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// How it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
    /// Exit code of the command, or 128 and the number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The end of what the command wrote, to both outputs in the order it was read, at most [`MAX_TAIL_BYTES`]; or why it
    /// could not be run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_tail: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RunEnd {
    /// The command ended by itself; the exit code says how.
    Exited,
    /// It was stopped when its time was up.
    TimedOut,
    /// It was stopped by order: `POST …/stop`, `POST sleep`, `spec.power: Asleep`, or its workspace was deleted.
    Stopped,
    /// The command could not be begun: the VM did not boot, there is no such program or directory, `spec.power` is `Asleep`.
    NotStarted,
    /// It did not come to its end, or nobody knows: its VM or its runner stopped in the middle.
    Lost,
}

/// Answer of `GET …/runs`: those that go on, and the last that ended, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunList {
    /// The runs.
    pub items: Vec<Run>,
}

impl Run {
    /// What a boot for a run is counted as.
    pub const WAKE_CAUSE: WakeCause = WakeCause::Cron;

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.end.is_some()
    }
}

/// The longest [`Run::output_tail`].
pub const MAX_TAIL_BYTES: usize = 2048;
/// How many runs of a workspace go on at once at most.
pub const MAX_ACTIVE: usize = 64;
/// How many runs that ended a runner remembers for each workspace at least; with their names, that they can't begin again.
pub const KEPT_FINISHED: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_has_no_end() {
        let run =
            Run { name: "r".to_owned(), started_at: "2026-11-22T19:00:00Z".to_owned(), ..Run::default() };
        assert!(!run.is_finished());
        let json = serde_json::to_string(&run).unwrap();
        assert_eq!(json, r#"{"name":"r","startedAt":"2026-11-22T19:00:00Z"}"#);
    }
}
