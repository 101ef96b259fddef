//! Events: what people see in `kubectl describe`, once per transition. A failure to publish is logged and forgotten.

use crate::{metrics::Metrics, rush::Rush};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use lodge_crds::label;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::mpsc::{self, error::TrySendError};

/// How many news may wait.
const CAPACITY: usize = 4096;
/// How many places are for warnings only.
const KEPT_FOR_WARNINGS: usize = CAPACITY / 2;
/// How many have to wait before they are published in a rush, too.
const MANY: usize = 512;
/// How long a rush may hold up one Event.
const PAUSE: Duration = Duration::from_millis(50);
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

/// Takes news, without waiting until they are published.
#[derive(Clone, Debug)]
pub struct Announcer(mpsc::Sender<Notice>);

/// News about an object.
#[derive(Debug)]
struct Notice {
    object: ObjectReference,
    news: News,
}

/// News that wait to be published.
#[derive(Debug)]
pub struct Outbox(mpsc::Receiver<Notice>);

impl Announcer {
    /// An announcer, and where its news wait.
    pub fn new() -> (Self, Outbox) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), Outbox(receiver))
    }

    /// Announces news about an object.
    pub fn announce<K: Resource<DynamicType = ()>>(&self, object: &K, news: News) {
        let is_normal = news.severity == EventType::Normal;
        // Thousands of objects at once are no reason to miss what is wrong with one of them.
        if is_normal && self.0.capacity() < KEPT_FOR_WARNINGS {
            return tracing::debug!(
                reason = news.reason,
                news.note,
                "too much is going on, an event is left out"
            );
        }
        let notice = Notice { object: object.object_ref(&()), news };
        if let Err(
            TrySendError::Full(Notice { object: _, news }) | TrySendError::Closed(Notice { object: _, news }),
        ) = self.0.try_send(notice)
        {
            tracing::warn!(
                reason = news.reason,
                note = news.note,
                "too much is going on, an event is not published"
            );
        }
    }
}

/// Publishes Events, one after the other, so that a burst of them takes nothing away from what matters more.
#[derive(Clone)]
pub struct Publisher {
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

impl Publisher {
    /// Publishes in the name of this replica.
    pub fn new(client: Client, identity: &str, metrics: Arc<Metrics>) -> Self {
        let reporter =
            Reporter { controller: label::FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), metrics }
    }

    /// Publishes what comes, for ever. That all is well is told slowly during a rush.
    pub async fn run(&self, outbox: &mut Outbox, rush: &Rush) {
        while let Some(notice) = outbox.0.recv().await {
            if notice.news.severity == EventType::Normal && outbox.0.len() < MANY {
                rush.let_pass(PAUSE).await;
            }
            self.publish(notice).await;
        }
    }

    /// Publishes what waits.
    pub async fn flush(&self, outbox: &mut Outbox) {
        while let Ok(notice) = outbox.0.try_recv() {
            self.publish(notice).await;
        }
    }

    async fn publish(&self, notice: Notice) {
        let Notice { object, news: News { severity, reason, action, note } } = notice;
        let event = Event {
            type_: severity,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(shortened(&note).to_owned()),
            secondary: None,
        };
        self.metrics.published(reason);
        if let Err(error) = self.recorder.publish(&event, &object).await {
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
    fn news_that_all_is_well_give_way_to_warnings() {
        let (announcer, mut outbox) = Announcer::new();
        let pod = k8s_openapi::api::core::v1::Pod::default();
        let news = |severity| News { severity, reason: "Bound", action: "Reconcile", note: String::new() };
        for _ in 0..2 * CAPACITY {
            announcer.announce(&pod, news(EventType::Normal));
        }
        announcer.announce(&pod, news(EventType::Warning));
        let mut severities = Vec::new();
        while let Ok(notice) = outbox.0.try_recv() {
            severities.push(notice.news.severity);
        }
        assert_eq!(severities.pop(), Some(EventType::Warning));
        assert_eq!(severities.len(), CAPACITY - KEPT_FOR_WARNINGS + 1);
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(600);
        assert_eq!(shortened(&long).len(), 1024);
        assert_eq!(shortened(&format!("x{long}")).len(), 1023);
    }
}
