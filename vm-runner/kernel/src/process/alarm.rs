//! The real-time interval timer of a process. It is waited for by the run loop, in `poll.rs`.

use std::time::Duration;

use crate::mutex::Mutex;

/// An interval timer: when it rings next, and how often after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Itimer {
    /// Time until it rings; zero if it does not.
    pub remaining: Duration,
    /// Time between later rings; zero if it rings once.
    pub interval: Duration,
}

/// A process's timer, as instants of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    deadline: Option<Duration>,
    interval: Duration,
}

/// A timer rings at most this often, or a guest could keep the run loop busy.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

impl Alarm {
    /// When it rings next.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.state.lock().deadline
    }

    /// What remains, seen from now.
    pub(crate) fn get(&self, now: Duration) -> Itimer {
        let State { deadline, interval } = *self.state.lock();
        // A timer that is set never reads as unset.
        let remaining = deadline.map(|deadline| deadline.saturating_sub(now).max(Duration::from_micros(1)));
        Itimer { remaining: remaining.unwrap_or_default(), interval }
    }

    /// Sets it. The run loop must be woken.
    pub(crate) fn set(&self, now: Duration, timer: Itimer) {
        let deadline = (!timer.remaining.is_zero()).then(|| now.saturating_add(timer.remaining));
        *self.state.lock() = State { deadline, interval: timer.interval };
    }

    /// It rang: sets the next time.
    pub(crate) fn advance(&self, now: Duration) {
        let mut state = self.state.lock();
        state.deadline =
            (!state.interval.is_zero()).then(|| now.saturating_add(state.interval.max(MIN_INTERVAL)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Alarm, Itimer};

    #[test]
    fn a_timer_with_an_interval_rings_again() {
        let alarm = Alarm::default();
        let second = Duration::from_secs(1);
        alarm.set(second, Itimer { remaining: second, interval: 3 * second });
        assert_eq!(alarm.deadline(), Some(2 * second));
        alarm.advance(2 * second);
        assert_eq!(alarm.get(4 * second), Itimer { remaining: second, interval: 3 * second });
        alarm.set(second, Itimer::default());
        assert_eq!(alarm.deadline(), None);
    }
}
