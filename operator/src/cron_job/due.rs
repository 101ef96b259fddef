//! Which instants of a schedule are due, and which of them are missed. Pure.
//!
//! Everything between how far the schedule was followed and now is due. Normally that is one instant, a moment ago. It is more
//! after the operator, the runner or the clock were away; then `catchUp` and `startingDeadline` choose. What isn't chosen is
//! missed, and is always older than what is.

use super::schedule::Timetable;
use jiff::{SignedDuration, Timestamp};
use lodge_crds::CatchUp;
use std::{collections::VecDeque, time::Duration};

/// A run that is later than this isn't on time: `catchUp: None` doesn't begin it, and `concurrencyPolicy: Forbid` lets it wait
/// instead of skipping it. A change of the leader or a restart of a runner takes less.
pub const ON_TIME: SignedDuration = SignedDuration::from_mins(1);

/// So many are counted one by one; a dense schedule that rested for long has missed at least so many.
const MOST_COUNTED: u64 = 10_000;

/// What is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// To begin, oldest first.
    pub chosen: Vec<Timestamp>,
    /// How many older ones are missed.
    pub missed: u64,
    /// The last missed one.
    pub missed_until: Option<Timestamp>,
}

/// How to choose.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Which missed runs are made up for.
    pub catch_up: CatchUp,
    /// How late a run may begin.
    pub starting_deadline: Option<Duration>,
}

/// Chooses among the instants after `until`, up to `now`.
pub fn due(timetable: &Timetable, until: Timestamp, now: Timestamp, choice: Choice) -> Due {
    let (passed, count) = passed(timetable, until, now);
    let deadline = choice.starting_deadline.map_or(SignedDuration::MAX, |deadline| {
        SignedDuration::try_from(deadline).unwrap_or(SignedDuration::MAX)
    });
    let (most, deadline) = match choice.catch_up {
        CatchUp::None => (1, deadline.min(ON_TIME)),
        CatchUp::Last => (1, deadline),
        CatchUp::All => (CatchUp::MAX_RUNS, deadline),
    };
    let is_missed = |index: usize, instant: &Timestamp| {
        index + most < passed.len() || now.duration_since(*instant) > deadline
    };
    let missed = passed.iter().enumerate().filter(|(index, instant)| is_missed(*index, instant)).count();
    let (missed, chosen): (Vec<_>, Vec<_>) = {
        let mut instants: Vec<_> = passed.into();
        let chosen = instants.split_off(missed);
        (instants, chosen)
    };
    let missed_until = missed.last().copied();
    Due { missed: count - u64::try_from(chosen.len()).unwrap_or_default(), chosen, missed_until }
}

/// The last instants that have passed, oldest first, and how many there were in all.
fn passed(timetable: &Timetable, until: Timestamp, now: Timestamp) -> (VecDeque<Timestamp>, u64) {
    let mut window = Window::default();
    let mut at = until;
    while let Some(next) = timetable.next(at).filter(|next| *next <= now) {
        window.push(next);
        at = next;
        if window.count >= MOST_COUNTED {
            let last = last_before(timetable, at, now);
            return (last.instants, window.count + last.count);
        }
    }
    (window.instants, window.count)
}

/// The last instants between two, looked for from the end, in steps that grow until there are enough.
fn last_before(timetable: &Timetable, from: Timestamp, now: Timestamp) -> Window {
    let mut length = SignedDuration::from_secs(128);
    loop {
        let start = now.checked_sub(length).map_or(from, |start| start.max(from));
        let mut window = Window::default();
        let mut at = start;
        while let Some(next) = timetable.next(at).filter(|next| *next <= now) {
            window.push(next);
            at = next;
        }
        if window.instants.len() > CatchUp::MAX_RUNS || start == from {
            return window;
        }
        length = length.saturating_mul(8);
    }
}

/// The last instants of many.
#[derive(Debug, Default)]
struct Window {
    instants: VecDeque<Timestamp>,
    count: u64,
}

impl Window {
    fn push(&mut self, instant: Timestamp) {
        // One more than can be chosen, so that there is a last missed one.
        if self.instants.len() > CatchUp::MAX_RUNS {
            self.instants.pop_front();
        }
        self.instants.push_back(instant);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-01T{text}Z").parse().unwrap()
    }

    fn timetable(schedule: &str) -> Timetable {
        Timetable::parse(schedule, TimeZone::UTC, at("00:00:00")).unwrap()
    }

    fn choose(schedule: &str, until: &str, now: &str, catch_up: CatchUp, deadline: Option<u64>) -> Due {
        let starting_deadline = deadline.map(Duration::from_secs);
        due(&timetable(schedule), at(until), at(now), Choice { catch_up, starting_deadline })
    }

    #[test]
    fn an_instant_is_due_when_it_has_come_and_once() {
        let early = choose("0 * * * *", "08:00:00", "08:59:59.999", CatchUp::Last, None);
        assert_eq!(early, Due::default());
        let now = choose("0 * * * *", "08:00:00", "09:00:00", CatchUp::Last, None);
        assert_eq!(now, Due { chosen: vec![at("09:00:00")], missed: 0, missed_until: None });
        assert_eq!(choose("0 * * * *", "09:00:00", "09:00:00.5", CatchUp::Last, None), Due::default());
        assert_eq!(
            choose("0 * * * *", "09:00:00", "08:00:00", CatchUp::All, None),
            Due::default(),
            "clock set back"
        );
    }

    #[test]
    fn of_many_missed_ones_the_last_or_all_or_none_are_made_up_for() {
        let last = choose("*/10 * * * *", "08:00:00", "08:35:00", CatchUp::Last, None);
        assert_eq!(last, Due { chosen: vec![at("08:30:00")], missed: 2, missed_until: Some(at("08:20:00")) });
        let all = choose("*/10 * * * *", "08:00:00", "08:35:00", CatchUp::All, None);
        assert_eq!((all.chosen.len(), all.missed, all.missed_until), (3, 0, None));
        let none = choose("*/10 * * * *", "08:00:00", "08:35:00", CatchUp::None, None);
        assert_eq!(none, Due { chosen: vec![], missed: 3, missed_until: Some(at("08:30:00")) });
        let on_time = choose("*/10 * * * *", "08:00:00", "08:30:20", CatchUp::None, None);
        assert_eq!(on_time.chosen, [at("08:30:00")], "a leader that changes doesn't make a run late");
    }

    #[test]
    fn a_run_that_is_too_late_is_missed() {
        let due = choose("*/10 * * * *", "08:00:00", "08:35:00", CatchUp::All, Some(900));
        assert_eq!(
            due,
            Due {
                chosen: vec![at("08:20:00"), at("08:30:00")],
                missed: 1,
                missed_until: Some(at("08:10:00"))
            }
        );
        let none = choose("*/10 * * * *", "08:00:00", "08:35:00", CatchUp::Last, Some(299));
        assert_eq!((none.chosen.len(), none.missed), (0, 3));
    }

    #[test]
    fn no_more_than_a_hundred_are_made_up_for() {
        let all = choose("* * * * * *", "08:00:00", "08:10:00", CatchUp::All, None);
        assert_eq!((all.chosen.len(), all.missed), (100, 500));
        assert_eq!((all.chosen.first(), all.missed_until), (Some(&at("08:08:21")), Some(at("08:08:20"))));
    }

    #[test]
    fn a_dense_schedule_that_rested_for_years_is_chosen_from_at_once() {
        let (until, now) = ("2020-01-01T00:00:00Z".parse().unwrap(), at("08:00:00"));
        let choice = Choice { catch_up: CatchUp::All, starting_deadline: None };
        for schedule in ["* * * * * *", "* * * * *", "0-59 * 0 1 1 *", "@every 1s"] {
            let started = std::time::Instant::now();
            let due = due(&timetable(schedule), until, now, choice);
            assert_eq!(due.chosen.len(), 100, "{schedule}");
            assert!(due.missed >= 9_900, "{schedule}: {}", due.missed);
            assert!(due.chosen.is_sorted() && due.chosen[99] <= now, "{schedule}");
            assert!(started.elapsed() < Duration::from_secs(2), "{schedule}: {:?}", started.elapsed());
        }
    }
}
