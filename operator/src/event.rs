//! Events: what people see in `kubectl describe`, once per transition. A failure to publish is logged and forgotten.

use crate::metrics::Metrics;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use lodge_crds::{Workspace, label};
use std::{fmt, sync::Arc};

/// The longest note that the API takes.
const MAX_NOTE_BYTES: usize = 1024;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether somebody should look.
    pub severity: EventType,
    /// What, in one word.
    pub reason: &'static str,
    /// What the operator was doing, in one word.
    pub action: &'static str,
    /// What, for people.
    pub note: String,
}

/// Publishes Events.
#[derive(Clone)]
pub struct Announcer {
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Announcer")
    }
}

impl Announcer {
    /// Publishes in the name of this replica.
    pub fn new(client: Client, identity: &str, metrics: Arc<Metrics>) -> Self {
        let reporter =
            Reporter { controller: label::FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), metrics }
    }

    /// Publishes news about a Workspace.
    pub async fn announce(&self, workspace: &Workspace, news: &News) {
        let News { severity, reason, action, note } = news;
        let event = Event {
            type_: *severity,
            reason: (*reason).to_owned(),
            action: (*action).to_owned(),
            note: Some(shortened(note).to_owned()),
            secondary: None,
        };
        self.metrics.published(reason);
        if let Err(error) = self.recorder.publish(&event, &workspace.object_ref(&())).await {
            // In a namespace that is being deleted nothing can be made any more.
            tracing::info!(%error, reason, "could not publish an event");
        }
    }
}

fn shortened(note: &str) -> &str {
    note.get(..note.floor_char_boundary(MAX_NOTE_BYTES)).unwrap_or(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(600);
        assert_eq!(shortened(&long).len(), 1024);
        assert_eq!(shortened(&format!("x{long}")).len(), 1023);
    }
}
