//! `GET files/{path}?watch`: what happens to files, as server-sent events.
//!
//! The changes come from the VM's namespace (`vm_vfs::notify`), which keeps them in a bounded ring: a client that is too
//! slow is told that it lost some. When a client goes away its watch lingers for a while, so that nothing is lost when it
//! comes back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::Notify;
use vm_abi::{Access, Errno};
use vm_api::file_watch::RESUME_SECONDS;
use vm_api::{ChangedFile, FileChange, Problem, ProblemCode, sse};
use vm_vfs::VPath;
use vm_vfs::notify::{Change, ChangeKind, MAX_WATCHES, Watch, WatchOptions};

use super::stat::{wire_path, wire_type};
use super::{Target, UPLOAD_PREFIX};
use crate::http::{Body, BodyError, Response, header_text};
use crate::task::{self, Task};
use crate::vm::boot::Vm;
use crate::vm::server::query::Query;

/// How often a quiet stream shows that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Changes that are sent at once.
const MAX_CHANGES: usize = 256;
/// Watches without a client, and other tasks that outlive their request.
const MAX_LINGERING: usize = 16;
/// Header of a client that comes back (HTML, section 9.2).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers one request.
pub(super) fn watch(target: &Target<'_>, query: &Query, headers: &HeaderMap) -> Result<Response, Problem> {
    let is_recursive = query.switch("recursive")?;
    let after = match header_text(headers, &LAST_EVENT_ID) {
        Some(id) if query.get("after").is_none() => id.parse().ok(),
        _ => query.optional_number("after", u64::MAX)?,
    };
    let path = target.act(|walk, path| {
        let location = walk.resolve(path)?;
        location.check_access(walk.credentials, Access::READ)?;
        walk.canonicalize(path)
    })?;
    let ready = Arc::new(Notify::new());
    let wake = Arc::clone(&ready);
    let options =
        WatchOptions { path: path.clone(), is_recursive, wake: Arc::new(move || wake.notify_one()), after };
    let watch = target.vm.kernel().namespace().watch(options).map_err(|error| too_many(target, error))?;
    target.vm.files().lingering.forget(&path, is_recursive);
    let mut begin = Vec::new();
    if watch.is_lost() {
        begin.push(message(watch.start(), &lost()));
    }
    begin.push(message(watch.start(), &FileChange::Watching { path: wire_path(path.as_bytes()).0 }));
    let at = watch.start();
    let stay = Stay { vm: Arc::clone(target.vm), path, is_recursive, watch: Some(watch) };
    let frames = stream::iter(begin)
        .chain(follow(Following { stay, ready, at }))
        .map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
    let mut response = Response::new(Body::new(StreamBody::new(frames).map_err(BodyError::from)));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn too_many(target: &Target<'_>, error: vm_vfs::Error) -> Problem {
    if error != Errno::EMFILE {
        return target.problem(error);
    }
    let detail = format!("{MAX_WATCHES} watches of this VM are open, the most there can be");
    Problem::new(ProblemCode::LimitWatches, detail).with_errno("EMFILE").with_limit("watches of a VM")
}

fn lost() -> FileChange {
    FileChange::Lost { detail: "changes before this message are not known; read the files again".to_owned() }
}

fn message(id: u64, change: &FileChange) -> String {
    // Strings only: cannot fail.
    sse::encode(id, &serde_json::to_string(change).unwrap_or_default())
}

/// A stream under way.
struct Following {
    stay: Stay,
    ready: Arc<Notify>,
    at: u64,
}

/// Messages as they come; a sign of life when there are none for long.
fn follow(following: Following) -> impl stream::Stream<Item = String> {
    stream::unfold(following, |mut following| async move {
        loop {
            let changes = following.stay.watch.as_ref()?.read(following.at, MAX_CHANGES);
            following.at = changes.newest;
            let mut text = String::new();
            if changes.is_lost {
                text.push_str(&message(
                    changes.changes.first().map_or(changes.newest, |change| change.seq.saturating_sub(1)),
                    &lost(),
                ));
            }
            text.extend(changes.changes.iter().filter_map(describe).map(|(id, change)| message(id, &change)));
            if !text.is_empty() {
                return Some((text, following));
            }
            if changes.changes.len() == MAX_CHANGES {
                continue;
            }
            if tokio::time::timeout(HEARTBEAT_INTERVAL, following.ready.notified()).await.is_err() {
                return Some((sse::HEARTBEAT.to_owned(), following));
            }
        }
    })
}

/// A change as a message. What an upload does before its file is in place is nobody's business.
fn describe(change: &Change) -> Option<(u64, FileChange)> {
    let kind = match &change.from {
        _ if is_upload(&change.path) => return None,
        Some(from) if is_upload(from) && change.replaced => ChangeKind::Changed,
        Some(from) if is_upload(from) => ChangeKind::Created,
        _ => change.kind,
    };
    let (path, path_encoded) = wire_path(change.path.as_bytes());
    let file = ChangedFile { path, path_encoded, file_type: wire_type(change.file_type) };
    let message = match kind {
        ChangeKind::Created => FileChange::Created(file),
        ChangeKind::Changed => FileChange::Changed(file),
        ChangeKind::Removed => FileChange::Removed(file),
        ChangeKind::Moved => {
            let from = change.from.as_ref().map_or(&b""[..], |from| from.as_bytes());
            let (from, from_encoded) = wire_path(from);
            FileChange::Moved { from, from_encoded, file, replaced: change.replaced }
        }
    };
    Some((change.seq, message))
}

fn is_upload(path: &VPath) -> bool {
    path.components().any(|name| name.as_bytes().starts_with(UPLOAD_PREFIX))
}

/// Keeps a watch going for a while when its client is gone.
struct Stay {
    vm: Arc<Vm>,
    path: VPath,
    is_recursive: bool,
    watch: Option<Watch>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            self.vm.files().lingering.stay(&self.path, self.is_recursive, watch);
        }
    }
}

/// What goes on after its request has ended: watches that may be resumed, and clearing up. Guarded by leaves in the lock
/// order.
#[derive(Default)]
pub(super) struct Lingering {
    watches: Mutex<HashMap<(VPath, bool), Task<()>>>,
    clearing: Mutex<Vec<Task<()>>>,
}

impl Lingering {
    fn stay(&self, path: &VPath, is_recursive: bool, watch: Watch) {
        // A runtime that ends has nobody who would come back.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|_, task| !task.is_finished());
        if watches.len() < MAX_LINGERING {
            let stay = async move {
                tokio::time::sleep(Duration::from_secs(RESUME_SECONDS)).await;
                drop(watch);
            };
            watches.insert((path.clone(), is_recursive), task::spawn(stay));
        }
    }

    /// Somebody else watches this now.
    fn forget(&self, path: &VPath, is_recursive: bool) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).remove(&(path.clone(), is_recursive));
    }

    /// Does what a request could not do to its end.
    pub(super) fn clean_up(&self, work: impl Future<Output = ()> + Send + 'static) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let mut clearing = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
        clearing.retain(|task| !task.is_finished());
        clearing.push(task::spawn(work));
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::FileType;

    use super::*;

    fn change(kind: ChangeKind, path: &str, from: Option<&str>, replaced: bool) -> Change {
        let path_of = |text: &str| VPath::try_from(text).unwrap();
        let (path, from) = (path_of(path), from.map(path_of));
        Change { seq: 7, kind, path, from, file_type: FileType::Regular, replaced }
    }

    #[test]
    fn an_upload_looks_like_one_change_of_its_file() {
        let upload = "/d/.lodge-upload-3";
        assert!(describe(&change(ChangeKind::Created, upload, None, false)).is_none());
        let replaced = describe(&change(ChangeKind::Moved, "/d/f", Some(upload), true));
        assert!(matches!(replaced, Some((7, FileChange::Changed(_)))));
        let new = describe(&change(ChangeKind::Moved, "/d/f", Some(upload), false));
        assert!(matches!(new, Some((7, FileChange::Created(_)))));
    }

    #[test]
    fn a_message_has_its_number_and_kind() {
        let (id, change) = describe(&change(ChangeKind::Moved, "/b", Some("/a"), true)).unwrap();
        let text = message(id, &change);
        assert!(text.starts_with("id: 7\ndata: {\"type\":\"moved\""), "{text}");
    }
}
