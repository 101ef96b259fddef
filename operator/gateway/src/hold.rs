//! Where requests wait for their workspace: so many for one, so many for all, and each until its deadline.
//!
//! Knows neither requests nor runners, only who waits for which name. Watches call [`WaitingRoom::wake`]; a visitor is
//! woken by whatever happened since it last asked, so that no change is missed between looking and waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Namespace and name.
type Place = (Box<str>, Box<str>);

/// Why nobody may wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// Too many wait for this workspace.
    #[error("too many requests wait for this workspace")]
    Workspace,
    /// Too many wait.
    #[error("too many requests wait for workspaces")]
    All,
}

/// Everybody who waits.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    most_per_place: usize,
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    total: usize,
    places: HashMap<Place, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    bell: Arc<Notify>,
}

impl WaitingRoom {
    pub(crate) fn new(most_per_place: usize, most: usize) -> Self {
        Self { most_per_place, most, inner: Mutex::default() }
    }

    /// Takes a seat. It is given back when the visit ends.
    pub(crate) fn enter(self: &Arc<Self>, namespace: &str, name: &str) -> Result<Visit, Full> {
        let mut inner = self.lock();
        if inner.total >= self.most {
            return Err(Full::All);
        }
        let place: Place = (namespace.into(), name.into());
        if inner.places.get(&place).is_some_and(|waiting| waiting.count >= self.most_per_place) {
            return Err(Full::Workspace);
        }
        let waiting = inner.places.entry(place.clone()).or_default();
        waiting.count += 1;
        let bell = waiting.bell.clone();
        inner.total += 1;
        Ok(Visit { room: self.clone(), place, bell })
    }

    /// Wakes whoever waits for one workspace.
    pub(crate) fn wake(&self, namespace: &str, name: &str) {
        let inner = self.lock();
        if inner.total == 0 {
            return;
        }
        if let Some(waiting) = inner.places.get(&(Box::from(namespace), Box::from(name))) {
            waiting.bell.notify_waiters();
        }
    }

    /// Wakes whoever waits for a workspace of a namespace.
    pub(crate) fn wake_namespace(&self, namespace: &str) {
        let inner = self.lock();
        for (_, waiting) in inner.places.iter().filter(|((theirs, _), _)| **theirs == *namespace) {
            waiting.bell.notify_waiters();
        }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.lock().places.values().for_each(|waiting| waiting.bell.notify_waiters());
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat in the waiting room.
#[derive(Debug)]
pub(crate) struct Visit {
    room: Arc<WaitingRoom>,
    place: Place,
    bell: Arc<Notify>,
}

impl Visit {
    /// Completes at the first call of the bell after this function was called, awaited or not.
    pub(crate) fn bell(&self) -> OwnedNotified {
        self.bell.clone().notified_owned()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut inner = self.room.lock();
        inner.total -= 1;
        if let Some(waiting) = inner.places.get_mut(&self.place) {
            waiting.count -= 1;
            if waiting.count == 0 {
                inner.places.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn room(most_per_place: usize, most: usize) -> Arc<WaitingRoom> {
        Arc::new(WaitingRoom::new(most_per_place, most))
    }

    #[test]
    fn one_workspace_cannot_take_every_seat() {
        let room = room(2, 3);
        let _first = room.enter("a", "x").unwrap();
        let _second = room.enter("a", "x").unwrap();
        assert_eq!(room.enter("a", "x").unwrap_err(), Full::Workspace);
        let _third = room.enter("a", "y").unwrap();
        assert_eq!(room.enter("b", "z").unwrap_err(), Full::All);
    }

    #[test]
    fn a_seat_is_given_back() {
        let room = room(1, 1);
        drop(room.enter("a", "x").unwrap());
        assert_eq!(room.len(), 0);
        assert!(room.lock().places.is_empty());
        assert!(room.enter("a", "x").is_ok());
    }

    #[test]
    fn a_visitor_hears_the_bell_that_rang_before_it_began_to_wait() {
        let room = room(9, 9);
        let visit = room.enter("a", "x").unwrap();
        let bell = visit.bell();
        room.wake("a", "x");
        assert!(bell.now_or_never().is_some());
    }

    #[test]
    fn a_bell_rings_for_those_whom_it_concerns() {
        let room = room(9, 9);
        let (visit, other) = (room.enter("a", "x").unwrap(), room.enter("b", "x").unwrap());
        let (mine, theirs) = (visit.bell(), other.bell());
        room.wake("a", "y");
        room.wake_namespace("b");
        assert!(mine.now_or_never().is_none());
        assert!(theirs.now_or_never().is_some());
        let mine = visit.bell();
        room.wake_namespace("a");
        assert!(mine.now_or_never().is_some());
        let mine = visit.bell();
        room.wake_all();
        assert!(mine.now_or_never().is_some());
    }
}
