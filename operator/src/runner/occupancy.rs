//! Which shared workspaces are on which runner of their namespace: decided here, and nowhere else.
//!
//! A workspace goes to the runner of the lowest ordinal that has room, and stays there, because its files do. What its status
//! says is the record. Between the decision and the record there is a seat: two reconciles at once see each other's, so that
//! no workspace is bound twice and no runner gets more than it may.
//!
//! ```text
//!   choose ─▶ seat ─▶ (pushed, written) ─▶ note: the seat is on record ─▶ leave: the workspace is gone
//!   close ─▶ nobody is seated at the last runners any more ─▶ they are removed ─▶ open
//! ```
//! After a restart of the operator the seats are filled from the statuses, before anything is reconciled. Dedicated workspaces
//! have a runner each and are unknown here. Knows no client.
//!
//! Lock order: the lock is a leaf.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Which shared workspaces are on which runner, by namespace.
#[derive(Debug, Default)]
pub struct Occupancy(Mutex<HashMap<String, Hall>>);

/// What runners may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Most workspaces of one runner.
    pub max_workspaces: u32,
    /// Most bytes that the workspaces of one runner may ask for, all together.
    pub max_bytes: u64,
    /// Most runners of a namespace.
    pub max_replicas: u32,
}

/// A shared workspace that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// How much it may write to the runner's volume.
    pub bytes: u64,
}

/// Why there is no runner for a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Every runner that there may be is full.
    Full,
    /// The last runners are being removed; then new ones can be made.
    Closing,
}

/// The runners of a namespace.
#[derive(Debug, Default)]
struct Hall {
    seats: HashMap<String, Seat>,
    loads: BTreeMap<u32, Load>,
    /// Runners from this ordinal on are being removed.
    closed: Option<u32>,
    /// Since when there have been more runners than are needed.
    surplus: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    ordinal: u32,
    bytes: u64,
    /// Whether its files may be there: then it stays.
    is_recorded: bool,
}

/// Where a workspace goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The ordinal of the runner.
    pub ordinal: u32,
    /// Whether another one was chosen before, which may not be needed any more.
    pub has_moved: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    workspaces: u32,
    bytes: u64,
}

impl Occupancy {
    /// Notes that a workspace is on a runner, as its status says.
    pub fn note(&self, occupant: &Occupant, ordinal: u32) {
        let Occupant { namespace, uid, bytes } = occupant;
        let mut halls = self.lock();
        halls
            .entry(namespace.clone())
            .or_default()
            .sit(uid, Seat { ordinal, bytes: *bytes, is_recorded: true });
    }

    /// The runner for a workspace that isn't on record anywhere: the same one whenever it is asked for, unless there is room at a
    /// lower one by then.
    ///
    /// # Errors
    /// If every runner that there may be is full, or being removed.
    pub fn choose(&self, occupant: &Occupant, capacity: Capacity) -> Result<Choice, NoRoom> {
        let Occupant { namespace, uid, bytes } = occupant;
        let mut halls = self.lock();
        let hall = halls.entry(namespace.clone()).or_default();
        let (before, is_recorded) = match hall.seats.get(uid) {
            Some(seat) => (Some(seat.ordinal), seat.is_recorded),
            None => (None, false),
        };
        hall.stand_up(uid);
        let chosen = before.filter(|_| is_recorded).or_else(|| hall.lowest_with_room(*bytes, capacity));
        // Where it was there is room, unless that is being removed.
        let ordinal = chosen.ok_or(match hall.closed {
            Some(from) if from < capacity.max_replicas => NoRoom::Closing,
            Some(_) | None => NoRoom::Full,
        })?;
        hall.sit(uid, Seat { ordinal, bytes: *bytes, is_recorded });
        Ok(Choice { ordinal, has_moved: before.is_some_and(|before| before != ordinal) })
    }

    /// The ordinal of the runner that a workspace is or shall be on.
    pub fn seat(&self, namespace: &str, uid: &str) -> Option<u32> {
        Some(self.lock().get(namespace)?.seats.get(uid)?.ordinal)
    }

    /// Notes that a workspace is gone. Returns whether its runner has none left, if it had a seat.
    pub fn leave(&self, namespace: &str, uid: &str) -> Option<bool> {
        let mut halls = self.lock();
        let hall = halls.get_mut(namespace)?;
        let ordinal = hall.stand_up(uid)?;
        let is_empty = !hall.loads.contains_key(&ordinal);
        if hall.is_forgettable() {
            halls.remove(namespace);
        }
        Some(is_empty)
    }

    /// Forgets every workspace that isn't among these.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.lock().retain(|_, hall| {
            let gone: Vec<_> = hall.seats.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
            for uid in gone {
                hall.stand_up(&uid);
            }
            !hall.is_forgettable()
        });
    }

    /// How many runners a namespace needs for the workspaces that it has.
    pub fn needed(&self, namespace: &str) -> u32 {
        self.lock().get(namespace).map_or(0, Hall::needed)
    }

    /// Notes that a namespace has more runners than it needs, or that it hasn't. Returns for how long it has had.
    pub fn surplus(&self, namespace: &str, is_surplus: bool) -> Duration {
        let mut halls = self.lock();
        if !is_surplus {
            if let Some(hall) = halls.get_mut(namespace) {
                hall.surplus = None;
                if hall.is_forgettable() {
                    halls.remove(namespace);
                }
            }
            return Duration::ZERO;
        }
        let hall = halls.entry(namespace.to_owned()).or_default();
        hall.surplus.get_or_insert_with(Instant::now).elapsed()
    }

    /// From now on nobody is seated at runners from this ordinal on. Returns whether nobody is.
    pub fn close(&self, namespace: &str, from: u32) -> bool {
        let mut halls = self.lock();
        let hall = halls.entry(namespace.to_owned()).or_default();
        if hall.needed() > from {
            return false;
        }
        hall.closed = Some(from);
        true
    }

    /// Every runner may be used again.
    pub fn open(&self, namespace: &str) {
        let mut halls = self.lock();
        if let Some(hall) = halls.get_mut(namespace) {
            hall.closed = None;
            if hall.is_forgettable() {
                halls.remove(namespace);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Hall>> {
        // Each operation leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hall {
    fn sit(&mut self, uid: &str, seat: Seat) {
        self.stand_up(uid);
        let load = self.loads.entry(seat.ordinal).or_default();
        load.workspaces = load.workspaces.saturating_add(1);
        load.bytes = load.bytes.saturating_add(seat.bytes);
        self.seats.insert(uid.to_owned(), seat);
    }

    fn stand_up(&mut self, uid: &str) -> Option<u32> {
        let Seat { ordinal, bytes, is_recorded: _ } = self.seats.remove(uid)?;
        if let Some(load) = self.loads.get_mut(&ordinal) {
            load.workspaces = load.workspaces.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(bytes);
            if load.workspaces == 0 {
                self.loads.remove(&ordinal);
            }
        }
        Some(ordinal)
    }

    fn lowest_with_room(&self, bytes: u64, capacity: Capacity) -> Option<u32> {
        let Capacity { max_workspaces, max_bytes, max_replicas } = capacity;
        let end = self.closed.map_or(max_replicas, |closed| closed.min(max_replicas));
        (0..end).find(|ordinal| match self.loads.get(ordinal) {
            // An empty runner takes anything: a workspace that is larger than a volume has to go somewhere.
            None => true,
            Some(load) => load.workspaces < max_workspaces && load.bytes.saturating_add(bytes) <= max_bytes,
        })
    }

    fn needed(&self) -> u32 {
        self.loads.last_key_value().map_or(0, |(ordinal, _)| ordinal.saturating_add(1))
    }

    fn is_forgettable(&self) -> bool {
        self.seats.is_empty() && self.closed.is_none() && self.surplus.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_EACH: Capacity = Capacity { max_workspaces: 2, max_bytes: 100, max_replicas: 3 };

    fn occupant(uid: &str, bytes: u64) -> Occupant {
        Occupant { namespace: "team-a".to_owned(), uid: uid.to_owned(), bytes }
    }

    fn choose(occupancy: &Occupancy, uid: &str) -> Result<u32, NoRoom> {
        occupancy.choose(&occupant(uid, 1), TWO_EACH).map(|choice| choice.ordinal)
    }

    #[test]
    fn workspaces_fill_the_lowest_runner_first_and_never_more_than_there_may_be() {
        let occupancy = Occupancy::default();
        let chosen: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|uid| choose(&occupancy, uid)).into();
        assert_eq!(chosen, [Ok(0), Ok(0), Ok(1), Ok(1), Ok(2), Ok(2), Err(NoRoom::Full)]);
        assert_eq!(choose(&occupancy, "c"), Ok(1), "asking again changes nothing");
        assert_eq!(occupancy.needed("team-a"), 3);
        assert_eq!(occupancy.leave("team-a", "a"), Some(false));
        assert_eq!(choose(&occupancy, "g"), Ok(0));
        assert_eq!(occupancy.needed("team-b"), 0);
    }

    #[test]
    fn what_workspaces_may_write_counts_too_but_an_empty_runner_takes_anything() {
        let occupancy = Occupancy::default();
        let choose =
            |uid, bytes| occupancy.choose(&occupant(uid, bytes), TWO_EACH).map(|choice| choice.ordinal);
        assert_eq!([choose("a", 70), choose("b", 40), choose("c", 30)], [Ok(0), Ok(1), Ok(0)]);
        assert_eq!(choose("d", 1000), Ok(2));
    }

    #[test]
    fn the_record_is_right_whatever_was_decided() {
        let occupancy = Occupancy::default();
        assert_eq!(choose(&occupancy, "a"), Ok(0));
        occupancy.note(&occupant("a", 1), 7);
        assert_eq!((occupancy.seat("team-a", "a"), occupancy.needed("team-a")), (Some(7), 8));
        assert_eq!(choose(&occupancy, "a"), Ok(7), "beyond what there may be, but it is there");
    }

    #[test]
    fn one_that_is_not_on_record_yet_goes_to_a_lower_runner_as_soon_as_there_is_room() {
        let occupancy = Occupancy::default();
        for uid in ["a", "b", "c", "d"] {
            choose(&occupancy, uid).unwrap();
        }
        occupancy.note(&occupant("d", 1), 1);
        occupancy.leave("team-a", "a");
        occupancy.leave("team-a", "b");
        assert_eq!(choose(&occupancy, "d"), Ok(1), "its files are there");
        let choice = occupancy.choose(&occupant("c", 1), TWO_EACH);
        assert_eq!(choice, Ok(Choice { ordinal: 0, has_moved: true }));
        let choice = occupancy.choose(&occupant("c", 1), TWO_EACH);
        assert_eq!(choice, Ok(Choice { ordinal: 0, has_moved: false }));
    }

    #[test]
    fn nobody_is_seated_at_a_runner_that_goes() {
        let occupancy = Occupancy::default();
        for uid in ["a", "b", "c"] {
            choose(&occupancy, uid).unwrap();
        }
        assert!(!occupancy.close("team-a", 1), "c is there");
        assert_eq!([occupancy.leave("team-a", "c"), occupancy.leave("team-a", "c")], [Some(true), None]);
        assert!(occupancy.close("team-a", 1));
        assert_eq!(choose(&occupancy, "d"), Err(NoRoom::Closing));
        occupancy.open("team-a");
        assert_eq!(choose(&occupancy, "d"), Ok(1));
    }

    #[test]
    fn after_a_new_list_only_those_in_it_count() {
        let occupancy = Occupancy::default();
        for uid in ["a", "b"] {
            choose(&occupancy, uid).unwrap();
        }
        occupancy.retain(&HashSet::from(["b".to_owned()]));
        assert_eq!((occupancy.seat("team-a", "a"), occupancy.seat("team-a", "b")), (None, Some(0)));
        occupancy.retain(&HashSet::new());
        assert!(occupancy.lock().is_empty(), "nothing is left of a namespace without workspaces");
    }
}
