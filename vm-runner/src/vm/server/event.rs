//! `GET events`: what happens in the VM, kept in a bounded ring for whoever collects it.
//!
//! Sequence numbers begin at 1 with each boot; the supervisor, who collects events and keeps them, has its own. Must never
//! know what becomes of them.

pub(crate) mod stream;
pub(crate) mod throttle;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use vm_api::{Problem, ProblemCode, VmEvent};

use super::query::Query;
use crate::http::{Request, Response};
use crate::vm::boot::Vm;

/// Most events that are kept.
const MAX_EVENTS: usize = 1024;
/// Most bytes of events that are kept.
const MAX_BYTES: usize = 1 << 20;
/// Most readers at once.
const MAX_READERS: usize = 64;

/// The events of a VM.
#[derive(Debug)]
pub(crate) struct EventLog {
    /// Guarded by itself; a leaf in the lock order.
    kept: Mutex<Kept>,
    grown: watch::Sender<()>,
    is_closed: AtomicBool,
    readers: AtomicUsize,
}

#[derive(Debug)]
struct Kept {
    events: VecDeque<Arc<str>>,
    bytes: usize,
    /// Sequence number of the first event.
    first: u64,
}

/// Follows the events.
struct EventReader {
    log: Arc<EventLog>,
    after: u64,
    grown: watch::Receiver<()>,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        let kept = Kept { events: VecDeque::new(), bytes: 0, first: 1 };
        Self {
            kept: Mutex::new(kept),
            grown: watch::Sender::new(()),
            is_closed: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something happened.
    pub(crate) fn append(&self, event: &VmEvent) {
        // Strings and numbers only: cannot fail.
        let event: Arc<str> = serde_json::to_string(event).unwrap_or_default().into();
        self.kept().append(event);
        self.grown.send_replace(());
    }

    /// Nothing more will happen: streams end with what there is.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.grown.send_replace(());
    }

    fn read_after(self: &Arc<Self>, after: u64) -> Result<EventReader, Problem> {
        let last = self.kept().last();
        if after > last {
            let detail = format!("after={after}: the last event of this boot is {last}");
            return Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("after"));
        }
        let add = |count: usize| (count < MAX_READERS).then_some(count + 1);
        if self.readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return Err(stream::too_many_readers("events", MAX_READERS));
        }
        Ok(EventReader { log: Arc::clone(self), after, grown: self.grown.subscribe() })
    }
}

impl Kept {
    fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    fn append(&mut self, event: Arc<str>) {
        self.bytes += event.len();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.events.len() > 1) {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.len();
            self.first += 1;
        }
    }

    /// The first event after this number, or how many are lost.
    fn after(&self, after: u64) -> Option<Result<Arc<str>, u64>> {
        if after + 1 < self.first {
            return Some(Err(self.first - after - 1));
        }
        let index = usize::try_from(after + 1 - self.first).ok()?;
        self.events.get(index).cloned().map(Ok)
    }
}

impl stream::Messages for EventReader {
    async fn next(&mut self) -> Option<(u64, String)> {
        loop {
            self.grown.mark_unchanged();
            let is_closed = self.log.is_closed.load(Ordering::Acquire);
            let found = self.log.kept().after(self.after);
            match found {
                Some(Ok(event)) => {
                    self.after += 1;
                    return Some((self.after, event.as_ref().to_owned()));
                }
                Some(Err(events)) => {
                    self.after += events;
                    let lost = VmEvent::Lost { events };
                    return Some((self.after, serde_json::to_string(&lost).unwrap_or_default()));
                }
                None if is_closed => return None,
                None => self.grown.changed().await.ok()?,
            }
        }
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        self.log.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers `GET events`.
pub(crate) fn events(vm: &Vm, request: &Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["after"])?;
    let after = stream::after(&query, request.headers())?.unwrap_or(0);
    Ok(stream::response(vm.events().read_after(after)?))
}

#[cfg(test)]
mod tests {
    use super::stream::Messages as _;
    use super::*;

    fn output(seq: u64) -> VmEvent {
        VmEvent::ProcessOutput { pid: 2, seq }
    }

    #[tokio::test]
    async fn events_are_numbered_and_can_be_taken_up_again() {
        let log = Arc::new(EventLog::new());
        (1..=3).for_each(|seq| log.append(&output(seq)));
        let mut reader = log.read_after(1).unwrap();
        let (number, event) = reader.next().await.unwrap();
        assert_eq!((number, event.as_str()), (2, r#"{"type":"processOutput","pid":2,"seq":2}"#));
        assert_eq!(reader.next().await.unwrap().0, 3);
        assert!(log.read_after(4).is_err());
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_last_event_of_a_vm_that_stops() {
        let log = Arc::new(EventLog::new());
        let mut reader = log.read_after(0).unwrap();
        let end = async {
            tokio::task::yield_now().await;
            log.append(&output(1));
            log.close();
        };
        let (next, ()) = tokio::join!(reader.next(), end);
        assert_eq!(next.unwrap().0, 1);
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_late_reader_is_told_how_many_events_it_missed() {
        let log = Arc::new(EventLog::new());
        (0..MAX_EVENTS as u64 + 10).for_each(|seq| log.append(&output(seq)));
        let mut reader = log.read_after(0).unwrap();
        assert_eq!(reader.next().await.unwrap(), (10, r#"{"type":"lost","events":10}"#.to_owned()));
        assert_eq!(reader.next().await.unwrap().0, 11);
    }

    #[test]
    fn there_are_only_so_many_readers() {
        let log = Arc::new(EventLog::new());
        let readers: Vec<_> = (0..MAX_READERS).map(|_| log.read_after(0).unwrap()).collect();
        assert!(log.read_after(0).err().unwrap().is(ProblemCode::LimitStreams));
        drop(readers);
        assert!(log.read_after(0).is_ok());
    }
}
