//! Events as they are kept, and read again.

use vm_api::{LoggedEvent, Run, VmEvent};

/// Longest argument of a command that is kept, and most of them: what `ps` would show at a glance.
const MAX_ARGUMENT_CHARS: usize = 256;
const MAX_ARGUMENTS: usize = 8;

/// An event that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// It replaces the last one of the same topic.
    pub(super) topic: Option<String>,
    pub(super) data: String,
    /// Whether a VM runs from now on, if that changes.
    pub(super) is_up: Option<bool>,
}

/// Events that were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// How many at most were there, after the id that was asked for, and are gone.
    pub(crate) lost: u64,
    /// The id before the first.
    pub(crate) from: u64,
    /// The last id of all.
    pub(crate) last: u64,
    /// In order.
    pub(crate) items: Vec<(u64, String)>,
}

impl Entry {
    /// What is kept of an event that happens now.
    pub(crate) fn of(event: VmEvent) -> Self {
        let topic = match &event {
            VmEvent::ProcessOutput { pid, .. } => Some(format!("process/{pid}")),
            VmEvent::ShellData { id, .. } => Some(format!("shell/{id}")),
            _ => None,
        };
        let is_up = match &event {
            VmEvent::VmBooted { .. } => Some(true),
            VmEvent::VmShutdown { .. } => Some(false),
            _ => None,
        };
        let event = LoggedEvent { at: jiff::Timestamp::now().to_string(), event };
        // Strings and numbers only: cannot fail.
        Self { topic, data: serde_json::to_string(&event).unwrap_or_default(), is_up }
    }

    /// A run that begins, or has ended.
    pub(super) fn of_run(run: &Run) -> Self {
        Self::of(VmEvent::CronRun { name: run.name.clone(), end: run.end, exit_code: run.exit_code })
    }

    /// What is kept of an event that a VM tells: nothing that only a supervisor can know, and no more than fits.
    pub(crate) fn of_vm(json: &str) -> Option<Self> {
        let mut event = serde_json::from_str::<VmEvent>(json).ok()?;
        match &mut event {
            VmEvent::ProcessStarted { argv, .. } => {
                argv.truncate(MAX_ARGUMENTS);
                argv.iter_mut().for_each(shorten);
            }
            VmEvent::ShellStarted { id, .. }
            | VmEvent::ShellData { id, .. }
            | VmEvent::ShellExit { id, .. } => shorten(id),
            VmEvent::ProcessOutput { .. } | VmEvent::ProcessExit { .. } | VmEvent::Lost { .. } => {}
            _ => return None,
        }
        if let VmEvent::ProcessExit { exit, .. } | VmEvent::ShellExit { exit, .. } = &mut event {
            exit.signal.iter_mut().for_each(shorten);
        }
        Some(Self::of(event))
    }
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_ARGUMENT_CHARS) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use vm_api::SleepReason;

    use super::*;

    #[test]
    fn a_vm_tells_nothing_that_only_its_supervisor_knows() {
        let shutdown = VmEvent::VmShutdown { reason: Some(SleepReason::Idle), message: None };
        for forged in [shutdown, VmEvent::CronRun { name: "r".to_owned(), end: None, exit_code: None }] {
            assert_eq!(Entry::of_vm(&serde_json::to_string(&forged).unwrap()), None);
        }
        assert_eq!(Entry::of_vm("{}"), None);
        assert_eq!(Entry::of_vm("not json"), None);
    }

    #[test]
    fn a_long_command_is_kept_as_far_as_one_looks() {
        let argv = vec!["é".repeat(1000); 100];
        let event = VmEvent::ProcessStarted { pid: 2, argv };
        let entry = Entry::of_vm(&serde_json::to_string(&event).unwrap()).unwrap();
        let kept = serde_json::from_str::<LoggedEvent>(&entry.data).unwrap();
        let VmEvent::ProcessStarted { argv, .. } = kept.event else { panic!("{kept:?}") };
        assert_eq!((argv.len(), argv[0].chars().count()), (MAX_ARGUMENTS, MAX_ARGUMENT_CHARS + 1));
    }
}
