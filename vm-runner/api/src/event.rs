//! `GET …/events`: what happens in a workspace, as server-sent events.
//!
//! They are kept by the runner: numbers go on over VMs, sleeps and restarts of the runner, and nobody is woken or kept awake
//! by reading them. Of notices that there is output, only the last of each process and shell is kept.
//!
//! Events say that there is something, and where: output itself is read from `/processes/{pid}/output` and
//! `/shells/{id}/attach`, from the position that comes before the one in the event.

use serde::{Deserialize, Serialize};

use crate::{ProcessExit, RunEnd, SleepReason, WakeCause};

/// Something that happened in a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum VmEvent {
    /// A process was started by the API.
    ProcessStarted {
        /// Its number.
        pid: i32,
        /// Its arguments.
        argv: Vec<String>,
    },
    /// A process that the API started has written something. Comes several times a second at most.
    ProcessOutput {
        /// Its number.
        pid: i32,
        /// Position of the end of its output now.
        seq: u64,
    },
    /// A process that the API started has ended.
    ProcessExit {
        /// Its number.
        pid: i32,
        /// How.
        #[serde(flatten)]
        exit: ProcessExit,
    },
    /// A shell was started.
    ShellStarted {
        /// Names it in routes.
        id: String,
        /// The number of its first process.
        pid: i32,
    },
    /// A shell has shown something. Comes several times a second at most.
    ShellData {
        /// Names it in routes.
        id: String,
        /// Position of the end of what it has shown.
        seq: u64,
    },
    /// A shell has ended.
    ShellExit {
        /// Names it in routes.
        id: String,
        /// How.
        #[serde(flatten)]
        exit: ProcessExit,
    },
    /// A VM runs. Process numbers and shells of an earlier one mean nothing any more.
    VmBooted {
        /// What woke the workspace.
        cause: WakeCause,
        /// From the request to the start of the boot.
        queued_ms: u64,
        /// From the start of the boot until the VM could serve.
        booted_ms: u64,
    },
    /// The VM is gone.
    VmShutdown {
        /// Why the workspace sleeps; absent when its runner stopped, or ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<SleepReason>,
        /// In words, where there is more to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// A run (`…/runs/{name}`), such as one of a CronJob, has begun or ended.
    CronRun {
        /// Names it.
        name: String,
        /// How it ended; absent when it begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<RunEnd>,
        /// Exit code, if it has ended with one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<u8>,
    },
    /// Events were dropped before this reader came for them.
    Lost {
        /// How many at most.
        events: u64,
    },
}

/// One message of `GET …/events`: something that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LoggedEvent {
    /// When the runner noted it, RFC 3339.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub event: VmEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_by_their_type() {
        let exit = ProcessExit { signal: Some("SIGKILL".to_owned()), ..ProcessExit::default() };
        let event = VmEvent::ProcessExit { pid: 7, exit };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            (&json["type"], &json["pid"], &json["signal"]),
            (&"processExit".into(), &7.into(), &"SIGKILL".into())
        );
        assert_eq!(serde_json::from_value::<VmEvent>(json).unwrap(), event);
    }

    #[test]
    fn a_run_tells_its_end_when_it_has_one() {
        let began = VmEvent::CronRun { name: "r".to_owned(), end: None, exit_code: None };
        assert_eq!(serde_json::to_string(&began).unwrap(), r#"{"type":"cronRun","name":"r"}"#);
        let ended = VmEvent::CronRun { name: "r".to_owned(), end: Some(RunEnd::Exited), exit_code: Some(3) };
        let json = r#"{"type":"cronRun","name":"r","end":"Exited","exitCode":3}"#;
        assert_eq!(serde_json::to_string(&ended).unwrap(), json);
    }
}
