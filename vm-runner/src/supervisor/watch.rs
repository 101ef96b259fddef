//! `GET /v1/watch`: every change of every workspace, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use vm_api::{Run, WorkspaceChange, WorkspaceState, sse};

use super::uid::Uid;
use crate::http::{Body, BodyError, Response};

/// Changes that a slow watcher may be behind before its stream is ended.
const MAX_BEHIND: usize = 4096;
/// How often a quiet stream shows that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Where changes are announced.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    sender: broadcast::Sender<Arc<WorkspaceChange>>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(MAX_BEHIND) }
    }

    /// Announces a change to all who watch. Nobody watching is fine.
    pub(crate) fn announce(&self, change: WorkspaceChange) {
        let _ = self.sender.send(Arc::new(change));
    }

    /// Begins to listen. To miss nothing, begin before the list is read.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<WorkspaceChange>> {
        self.sender.subscribe()
    }
}

/// A response that starts with the list, and the runs that go on or were lost, and goes on with the changes.
pub(crate) fn response(
    list: Vec<Arc<WorkspaceState>>,
    runs: Vec<(Uid, Run)>,
    changes: broadcast::Receiver<Arc<WorkspaceChange>>,
    stop: CancellationToken,
) -> Response {
    let start = list
        .into_iter()
        .map(|state| WorkspaceChange::State { state: Box::new(WorkspaceState::clone(&state)) })
        .chain(
            runs.into_iter()
                .map(|(uid, run)| WorkspaceChange::Run { uid: uid.to_string(), run: Box::new(run) }),
        )
        .chain([WorkspaceChange::Synced]);
    let messages = stream::iter(start.map(Arc::new)).map(Some).chain(follow(changes, stop));
    let mut id = 0_u64;
    let frames = messages.map(move |message| {
        let text = match message {
            Some(change) => {
                id += 1;
                // Strings and numbers only: cannot fail.
                sse::encode(id, &serde_json::to_string(&*change).unwrap_or_default())
            }
            None => sse::HEARTBEAT.to_owned(),
        };
        Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames).map_err(BodyError::from)));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Changes as they come; `None` when it is time for a sign of life. Ends when the watcher is too far behind.
fn follow(
    changes: broadcast::Receiver<Arc<WorkspaceChange>>,
    stop: CancellationToken,
) -> impl Stream<Item = Option<Arc<WorkspaceChange>>> {
    stream::unfold((changes, stop), |(mut changes, stop)| async move {
        let next = tokio::select! {
            () = stop.cancelled() => return None,
            next = tokio::time::timeout(HEARTBEAT_INTERVAL, changes.recv()) => next,
        };
        match next {
            Err(_elapsed) => Some((None, (changes, stop))),
            Ok(Ok(change)) => Some((Some(change), (changes, stop))),
            Ok(Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed)) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_starts_with_the_list_and_ends_when_the_supervisor_stops() {
        let changes = Changes::new();
        let stop = CancellationToken::new();
        let run = ("u".parse().unwrap(), Run { name: "r".to_owned(), ..Run::default() });
        let response = response(Vec::new(), vec![run], changes.subscribe(), stop.clone());
        changes.announce(WorkspaceChange::Deleted { uid: "u".to_owned() });
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let run = r#"{"type":"run","uid":"u","run":{"name":"r","startedAt":""}}"#;
        assert_eq!(first, format!("id: 1\ndata: {run}\n\n"));
        let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(second, "id: 2\ndata: {\"type\":\"synced\"}\n\n");
        let third = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(third, "id: 3\ndata: {\"type\":\"deleted\",\"uid\":\"u\"}\n\n");
        stop.cancel();
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_watcher_that_is_too_far_behind_has_to_start_again() {
        let changes = Changes::new();
        let response = response(Vec::new(), Vec::new(), changes.subscribe(), CancellationToken::new());
        for _ in 0..=MAX_BEHIND {
            changes.announce(WorkspaceChange::Synced);
        }
        let mut body = response.into_body();
        assert!(body.frame().await.is_some());
        assert!(body.frame().await.is_none());
    }
}
