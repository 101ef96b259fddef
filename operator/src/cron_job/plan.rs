//! What to do about what is due, by `concurrencyPolicy`. Pure.

use super::due::{Due, ON_TIME};
use jiff::Timestamp;
use lodge_crds::ConcurrencyPolicy;
use vm_api::run::MAX_ACTIVE;

/// What to do. What is in neither list waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan<T> {
    /// To begin, oldest first.
    pub begin: Vec<T>,
    /// Not to begin, after those that begin.
    pub skip: Vec<T>,
    /// Whether the runs that go on are to be stopped; what is due waits for their end.
    pub stops_others: bool,
}

/// Plans what a schedule brings, while `active` runs go on. Both `now` and what is due are without jitter.
///
/// Under `Forbid` a run that is on time is skipped. One that is late was missed and is made up for, so it waits its turn, and
/// so do those after it.
pub fn by_schedule(due: &Due, now: Timestamp, policy: ConcurrencyPolicy, active: usize) -> Plan<Timestamp> {
    let mut chosen = due.chosen.iter().copied();
    let mut plan = Plan { begin: Vec::new(), skip: Vec::new(), stops_others: false };
    match policy {
        ConcurrencyPolicy::Allow => plan.begin.extend(chosen.take(room(active))),
        ConcurrencyPolicy::Forbid => {
            plan.begin.extend(chosen.by_ref().take(usize::from(active == 0)));
            plan.skip.extend(chosen.take_while(|instant| now.duration_since(*instant) <= ON_TIME));
        }
        ConcurrencyPolicy::Replace if active == 0 => plan.begin.extend(chosen.take(1)),
        ConcurrencyPolicy::Replace => plan.stops_others = chosen.next().is_some(),
    }
    plan
}

/// Plans a run that somebody asked for, while `active` runs go on.
pub fn on_request<T>(run: T, policy: ConcurrencyPolicy, active: usize) -> Plan<T> {
    let mut plan = Plan { begin: Vec::new(), skip: Vec::new(), stops_others: false };
    match policy {
        ConcurrencyPolicy::Allow if room(active) > 0 => plan.begin.push(run),
        ConcurrencyPolicy::Forbid | ConcurrencyPolicy::Replace if active == 0 => plan.begin.push(run),
        ConcurrencyPolicy::Allow | ConcurrencyPolicy::Forbid => plan.skip.push(run),
        ConcurrencyPolicy::Replace => plan.stops_others = true,
    }
    plan
}

/// How many more runs a runner takes for a workspace.
fn room(active: usize) -> usize {
    MAX_ACTIVE.saturating_sub(active)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn plan(
        chosen: &[i64],
        now: i64,
        policy: ConcurrencyPolicy,
        active: usize,
    ) -> (Vec<i64>, Vec<i64>, bool) {
        let chosen = chosen.iter().copied().map(second).collect();
        let due = Due { chosen, ..Due::default() };
        let Plan { begin, skip, stops_others } = by_schedule(&due, second(now), policy, active);
        let seconds = |instants: Vec<Timestamp>| instants.iter().map(|instant| instant.as_second()).collect();
        (seconds(begin), seconds(skip), stops_others)
    }

    #[test]
    fn all_go_on_side_by_side_up_to_what_a_runner_takes() {
        assert_eq!(plan(&[10, 20], 20, ConcurrencyPolicy::Allow, 1), (vec![10, 20], vec![], false));
        let many: Vec<_> = (0..100).collect();
        let room = MAX_ACTIVE - 60;
        assert_eq!(plan(&many, 100, ConcurrencyPolicy::Allow, 60).0.len(), room);
    }

    #[test]
    fn one_that_is_on_time_is_skipped_and_one_that_is_late_waits() {
        let forbid = ConcurrencyPolicy::Forbid;
        assert_eq!(plan(&[100], 100, forbid, 0), (vec![100], vec![], false));
        assert_eq!(plan(&[100], 100, forbid, 1), (vec![], vec![100], false));
        assert_eq!(plan(&[100], 200, forbid, 1), (vec![], vec![], false));
        assert_eq!(plan(&[10, 20, 190], 200, forbid, 0), (vec![10], vec![], false));
        assert_eq!(plan(&[150, 190], 200, forbid, 0), (vec![150], vec![190], false));
    }

    #[test]
    fn a_new_one_waits_for_the_end_of_the_one_that_it_replaces() {
        let replace = ConcurrencyPolicy::Replace;
        assert_eq!(plan(&[100], 100, replace, 1), (vec![], vec![], true));
        assert_eq!(plan(&[100], 101, replace, 0), (vec![100], vec![], false));
        assert_eq!(plan(&[], 101, replace, 1), (vec![], vec![], false));
    }

    #[test]
    fn somebody_who_asks_keeps_to_the_policy_too() {
        let policies = [ConcurrencyPolicy::Allow, ConcurrencyPolicy::Forbid, ConcurrencyPolicy::Replace];
        assert!(policies.iter().all(|policy| on_request((), *policy, 0).begin.len() == 1));
        let [allow, forbid, replace] = policies.map(|policy| on_request((), policy, 1));
        assert_eq!((allow.begin.len(), forbid.skip.len(), replace.stops_others), (1, 1, true));
    }
}
