//! Who waits for a turn, and whose is next: of those whose command has used least lately, the one that has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::Share;

/// Those who wait.
#[derive(Default)]
pub(super) struct Queue {
    /// By share. A process that waits uses nothing, so its place among its share's is fixed; its share is judged anew
    /// each time.
    shares: BTreeMap<usize, Waiting>,
}

struct Waiting {
    share: Arc<Share>,
    /// By what each has used and how long it has waited.
    processes: BTreeMap<(u64, u64), Queued>,
}

/// One who waits.
pub(super) struct Queued {
    pub(super) waker: Waker,
    pub(super) is_heavy: bool,
    pub(super) since: Duration,
}

/// Where one waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    share: usize,
    used: u64,
    pub(super) ticket: u64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    pub(super) fn push(&mut self, share: &Arc<Share>, used: u64, ticket: u64, queued: Queued) -> Place {
        let place = Place { share: Arc::as_ptr(share).addr(), used, ticket };
        let new = || Waiting { share: Arc::clone(share), processes: BTreeMap::new() };
        let waiting = self.shares.entry(place.share).or_insert_with(new);
        waiting.processes.insert((used, ticket), queued);
        place
    }

    /// Whose turn it is, and whether it computes much.
    pub(super) fn first(&self, period: u64) -> Option<(Place, bool)> {
        let first = |(share, waiting): (&usize, &Waiting)| {
            let (&(used, ticket), queued) = waiting.processes.first_key_value()?;
            let place = Place { share: *share, used, ticket };
            Some(((waiting.share.recent.get(period), used, ticket), (place, queued.is_heavy)))
        };
        self.shares.iter().filter_map(first).min_by_key(|(order, _)| *order).map(|(_, first)| first)
    }

    /// Takes one out; `None` if it is not there.
    pub(super) fn pop(&mut self, place: Place) -> Option<Queued> {
        let waiting = self.shares.get_mut(&place.share)?;
        let queued = waiting.processes.remove(&(place.used, place.ticket));
        if waiting.processes.is_empty() {
            self.shares.remove(&place.share);
        }
        queued
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        self.waker(place).is_some()
    }

    /// What wakes one.
    pub(super) fn waker(&self, place: Place) -> Option<Waker> {
        let waiting = self.shares.get(&place.share)?;
        Some(waiting.processes.get(&(place.used, place.ticket))?.waker.clone())
    }

    pub(super) fn set_waker(&mut self, place: Place, waker: &Waker) {
        let waiting = self.shares.get_mut(&place.share);
        if let Some(queued) = waiting.and_then(|share| share.processes.get_mut(&(place.used, place.ticket))) {
            queued.waker.clone_from(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::task::noop_waker;

    use super::{Queue, Queued, Share};

    #[test]
    fn the_share_that_has_used_least_by_now_comes_first() {
        let queued = || Queued { waker: noop_waker(), is_heavy: true, since: Duration::ZERO };
        let (one, other) = (Arc::new(Share::default()), Arc::new(Share::default()));
        let mut queue = Queue::default();
        let a = queue.push(&one, 5, 0, queued());
        let b = queue.push(&one, 3, 1, queued());
        let c = queue.push(&other, 9, 2, queued());
        assert_eq!(queue.first(0).unwrap().0.ticket, b.ticket);
        one.recent.add(0, 1);
        assert_eq!(queue.first(0).unwrap().0.ticket, c.ticket);
        assert!(queue.contains(c) && queue.pop(c).is_some() && !queue.contains(c));
        assert!(queue.pop(b).is_some() && queue.pop(b).is_none());
        assert_eq!(queue.first(0).unwrap().0.ticket, a.ticket);
        assert!(queue.pop(a).is_some() && queue.is_empty());
    }
}
