//! A point in time or a span of it, to the nanosecond.

use std::time::Duration;

/// Seconds since the epoch and nanoseconds, as POSIX has it. `nsec` is below a thousand million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timespec {
    /// Whole seconds; negative before 1970.
    pub sec: i64,
    /// Nanoseconds on top of them.
    pub nsec: u32,
}

const NANOS_PER_SECOND: u32 = 1_000_000_000;

impl Timespec {
    /// The epoch.
    pub const EPOCH: Self = Self { sec: 0, nsec: 0 };

    /// This time; `None` if `nsec` is a second or more.
    #[must_use]
    pub const fn new(sec: i64, nsec: u32) -> Option<Self> {
        if nsec < NANOS_PER_SECOND { Some(Self { sec, nsec }) } else { None }
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn from_secs(sec: i64) -> Self {
        Self { sec, nsec: 0 }
    }

    /// Nanoseconds since the epoch, as WASI counts time.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        let second = NANOS_PER_SECOND as u64;
        Self { sec: (nanos / second) as i64, nsec: (nanos % second) as u32 }
    }

    /// Nanoseconds since the epoch; times before it give 0, times too late for the type give its largest value.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        if self.sec < 0 {
            return 0;
        }
        (self.sec as u64).saturating_mul(NANOS_PER_SECOND as u64).saturating_add(self.nsec as u64)
    }

    /// The time this long after the epoch.
    #[must_use]
    pub const fn since_epoch(duration: Duration) -> Self {
        let sec = duration.as_secs();
        let sec = if sec > i64::MAX as u64 { i64::MAX } else { sec as i64 };
        Self { sec, nsec: duration.subsec_nanos() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Timespec;

    #[test]
    fn nanoseconds_survive_the_way_there_and_back() {
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 1_700_000_000_123_456_789, u64::MAX] {
            assert_eq!(Timespec::from_nanos(nanos).as_nanos(), nanos);
        }
    }

    #[test]
    fn times_out_of_reach_are_clamped() {
        assert_eq!(Timespec::from_secs(-1).as_nanos(), 0);
        assert_eq!(Timespec::from_secs(i64::MAX).as_nanos(), u64::MAX);
        assert_eq!(Timespec::since_epoch(Duration::MAX).sec, i64::MAX);
    }

    #[test]
    fn a_full_second_of_nanoseconds_is_no_time() {
        assert_eq!(Timespec::new(1, 1_000_000_000), None);
        assert!(Timespec::new(1, 2) > Timespec::new(0, 999_999_999));
    }
}
