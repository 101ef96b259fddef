//! When a schedule fires: a text and a time zone become a [`Timetable`], which knows the next instant after any other.
//!
//! | | |
//! |---|---|
//! | fields | `minute hour day month weekday`, or six with seconds in front |
//! | values | `*`, `5`, `1-5`, `*/10`, `10-40/5`, `5/15` (from 5 on), lists with `,`; `JAN`…`DEC`, `SUN`…`SAT`, weekday 7 is Sunday |
//! | days | `?` is `*`; day `L` is the month's last; weekday `FRI#2` the second, `FRI#L` or `FRIL` the last of the month |
//! | both day and weekday given | either is enough, as in `batch/v1` and every cron |
//! | macros | `@yearly` `@annually` `@monthly` `@weekly` `@daily` `@midnight` `@hourly`, `@every 1h30m` counted from the creation |
//!
//! When clocks are set, it goes as in vixie cron. A schedule whose hour, minute and second name times (no `*` in front) is
//! **fixed**: a time that clocks skip in spring fires once, at the instant they are set; one that comes twice in autumn fires
//! the first time only. A schedule with `*` there goes **by elapsed time**: skipped times don't fire, repeated ones fire twice,
//! so that `*/30 * * * *` fires every half hour of that day, however many hours it has.
//!
//! Written here because no library has all of it: `cron` and `jiff-cron` want seconds and Quartz' weekdays, `croner` takes
//! lists such as `0 2,14 * * *` for intervals and so skips them in spring. The time zones are bundled ([`zone`]).
//!
//! Pure: knows no clock, no CronJob, nothing of runs.

mod calendar;
mod field;
pub mod zone;

use calendar::Calendar;
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use std::fmt;

/// A clock is set a few times a year; a schedule comes at least every fifty years.
const MAX_TRANSITIONS: usize = 400;
/// The most seconds that come twice when a clock is set back, with room.
const MAX_REPEATED: usize = 100_000;
/// More often makes no sense.
const LEAST_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// Why a text is no schedule: names the field and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// The instants of a schedule, in whole seconds.
#[derive(Clone, Debug)]
pub struct Timetable(Times);

#[derive(Clone, Debug)]
enum Times {
    /// By the calendar and clocks of a place.
    Calendar { calendar: Calendar, zone: TimeZone },
    /// By a fixed interval.
    Every { interval: SignedDuration, anchor: Timestamp },
}

impl Timetable {
    /// Reads a schedule. `anchor` is what `@every` counts from.
    ///
    /// # Errors
    /// If the text is no schedule, or a time that never comes.
    pub fn parse(text: &str, zone: TimeZone, anchor: Timestamp) -> Result<Self, Invalid> {
        if let Some(interval) = text.strip_prefix("@every ") {
            return Ok(Self(Times::Every { interval: parse_interval(interval)?, anchor: whole(anchor) }));
        }
        let calendar = Calendar::parse(expand(text)?)?;
        if calendar.next(calendar::ANY_MONDAY).is_none() {
            return Err(Invalid(format!(
                "{text:?} never comes: no month of its months has such a day; correct day, month or weekday"
            )));
        }
        Ok(Self(Times::Calendar { calendar, zone }))
    }

    /// The first instant after this one. `None` only past the year 9999.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = whole(after);
        let from = after.checked_add(1.second()).ok()?;
        match &self.0 {
            Times::Every { interval, anchor } => next_interval(*interval, *anchor, from),
            Times::Calendar { calendar, zone } if calendar.is_fixed() => next_fixed(calendar, zone, after),
            Times::Calendar { calendar, zone } => next_elapsed(calendar, zone, from),
        }
    }
}

/// Cut off to the second, towards the past.
fn whole(instant: Timestamp) -> Timestamp {
    let floor = instant.as_nanosecond().div_euclid(1_000_000_000);
    i64::try_from(floor).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(instant)
}

fn expand(text: &str) -> Result<&str, Invalid> {
    match text {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        other if other.starts_with('@') => Err(Invalid(format!(
            "{other:?} is no macro: write @yearly, @monthly, @weekly, @daily, @hourly or '@every 5m'"
        ))),
        fields => Ok(fields),
    }
}

fn parse_interval(text: &str) -> Result<SignedDuration, Invalid> {
    let interval: lodge_crds::Duration = text.parse().map_err(|error| Invalid(format!("@every: {error}")))?;
    let interval = SignedDuration::try_from(interval.get()).unwrap_or(SignedDuration::MAX);
    if interval < LEAST_INTERVAL || interval.subsec_nanos() != 0 {
        return Err(Invalid(format!("@every {text}: write whole seconds, at least one, such as @every 5m")));
    }
    Ok(interval)
}

fn next_interval(interval: SignedDuration, anchor: Timestamp, from: Timestamp) -> Option<Timestamp> {
    let (interval, passed) = (interval.as_secs(), from.as_second().checked_sub(anchor.as_second())?);
    // The anchor itself is no instant: the first is an interval after it.
    let count = if passed <= 0 { 1 } else { passed.checked_add(interval - 1)?.checked_div(interval)?.max(1) };
    Timestamp::from_second(anchor.as_second().checked_add(count.checked_mul(interval)?)?).ok()
}

/// Each time of the calendar fires once: when it comes, when it first comes, or when clocks have skipped it.
fn next_fixed(calendar: &Calendar, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    // The second after by the clock, which may be one that clocks are about to skip.
    let mut civil = zone.to_datetime(after).checked_add(1.second()).ok()?;
    for _ in 0..MAX_REPEATED {
        let found = calendar.next(civil)?;
        let instant = place(found, zone)?;
        if instant > after {
            return Some(instant);
        }
        // Clocks were set back: this one fired when it came first.
        civil = found.checked_add(1.second()).ok()?;
    }
    None
}

/// The instant of a local time: the first if it comes twice, the end of the gap if it doesn't come.
fn place(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
        AmbiguousOffset::Fold { before, after: _ } => before.to_timestamp(civil).ok(),
        AmbiguousOffset::Gap { before, after: _ } => {
            // As if clocks had not been set: at or after the instant at which they were.
            let unset = before.to_timestamp(civil).ok()?;
            let set = zone.preceding(unset.checked_add(1.second()).ok()?).next();
            Some(set.map_or(unset, |transition| transition.timestamp()))
        }
    }
}

/// Local times fire as often as they come. Looks from one setting of the clocks to the next.
fn next_elapsed(calendar: &Calendar, zone: &TimeZone, mut from: Timestamp) -> Option<Timestamp> {
    for _ in 0..MAX_TRANSITIONS {
        let offset = zone.to_offset(from);
        let instant = offset.to_timestamp(calendar.next(offset.to_datetime(from))?).ok()?;
        match zone.following(from).next().map(|transition| transition.timestamp()) {
            Some(set) if set <= instant => from = set,
            Some(_) | None => return Some(instant),
        }
    }
    None
}

#[cfg(test)]
mod tests;
