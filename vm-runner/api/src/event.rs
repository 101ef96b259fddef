//! `GET …/events`: what happens in a VM, as server-sent events.
//!
//! Events say that there is something, and where: output itself is read from `/processes/{pid}/output` and
//! `/shells/{id}/attach`, from the position that comes before the one in the event.

use serde::{Deserialize, Serialize};

use crate::ProcessExit;

/// Something that happened in a VM.
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
    /// Events were dropped before this reader came for them.
    Lost {
        /// How many.
        events: u64,
    },
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
}
