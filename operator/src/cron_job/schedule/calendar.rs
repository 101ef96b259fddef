//! Local dates and times that a schedule names, as if clocks were never set.

use super::{
    Invalid,
    field::{DAY, Field, HOUR, Kind, MINUTE, MONTH, SECOND, WEEKDAY, next_in},
};
use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time, date},
};

/// How far to look: every combination of a date and a weekday comes within forty years, even over a year like 2100.
const YEARS: i16 = 50;
/// A day to begin to look from when any will do.
pub(super) const ANY_MONDAY: DateTime = date(2024, 1, 1).at(0, 0, 0, 0);

/// What the fields of a schedule say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    /// Whether the last day of the month counts.
    has_last_day: bool,
    months: Field,
    weekdays: Field,
    /// By weekday, from Sunday: bit `n` for the `n`th of the month, [`LAST`] for the last one.
    ordinals: [u8; 7],
}

/// The bit of the last weekday of its kind in a month.
const LAST: u8 = 0;

impl Calendar {
    /// Reads five fields, or six.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<_> = text.split(' ').filter(|field| !field.is_empty()).collect();
        let (seconds, rest) = match fields.as_slice() {
            [seconds, rest @ ..] if rest.len() == 5 => (*seconds, rest),
            rest => ("0", rest),
        };
        let &[minutes, hours, days, months, weekdays] = rest else {
            let count = fields.len();
            return Err(Invalid(format!(
                "{count} fields: write five (minute hour day month weekday), or six with seconds in front"
            )));
        };
        let mut calendar = Self {
            seconds: list(seconds, SECOND)?,
            minutes: list(minutes, MINUTE)?,
            hours: list(hours, HOUR)?,
            days: Field::default(),
            has_last_day: false,
            months: list(months, MONTH)?,
            weekdays: Field::default(),
            ordinals: [0; 7],
        };
        for element in days.split(',') {
            if element.eq_ignore_ascii_case("L") {
                calendar.has_last_day = true;
            } else {
                calendar.days.add(element, DAY)?;
            }
        }
        for element in weekdays.split(',') {
            calendar.add_weekday(element)?;
        }
        Ok(calendar)
    }

    fn add_weekday(&mut self, element: &str) -> Result<(), Invalid> {
        let last = element.strip_suffix(['L', 'l']).filter(|day| !day.is_empty() && !day.ends_with('#'));
        let (day, ordinal) = match (element.split_once('#'), last) {
            (Some((day, "L" | "l")), _) => (day, LAST),
            (Some((day, ordinal)), _) => match ordinal.parse::<u8>() {
                Ok(ordinal @ 1..=5) if ordinal.to_string().len() == 1 => (day, ordinal),
                _ => {
                    return Err(Invalid(format!(
                        "weekday: {element:?}: write 1 to 5, or L for the last one, after '#'"
                    )));
                }
            },
            (None, Some(day)) => (day, LAST),
            (None, None) => {
                self.weekdays.add(element, WEEKDAY)?;
                // 7 is Sunday, too.
                let sunday = self.weekdays.bits >> 7 & 1;
                self.weekdays.bits = (self.weekdays.bits | sunday) & 0x7f;
                return Ok(());
            }
        };
        let day = usize::try_from(WEEKDAY.number(day)? % 7).unwrap_or_default();
        if let Some(ordinals) = self.ordinals.get_mut(day) {
            *ordinals |= 1 << ordinal;
        }
        Ok(())
    }

    /// Whether it names times of the day rather than intervals.
    pub(super) fn is_fixed(&self) -> bool {
        !(self.seconds.has_star || self.minutes.has_star || self.hours.has_star)
    }

    /// The first local time that isn't before `from`, whose fraction of a second doesn't count.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let last_year = from.year().saturating_add(YEARS).min(9998);
        let (mut day, mut time) = (from.date(), from.time());
        while day.year() <= last_year {
            if !has(self.months, day.month()) {
                day = day.first_of_month().checked_add(1.month()).ok()?;
            } else {
                if self.has_day(day)
                    && let Some(found) = self.next_time(time)
                {
                    return Some(day.to_datetime(found));
                }
                day = day.tomorrow().ok()?;
            }
            time = Time::midnight();
        }
        None
    }

    fn has_day(&self, day: Date) -> bool {
        let by_day = has(self.days, day.day()) || (self.has_last_day && day == day.last_of_month());
        let weekday = usize::try_from(day.weekday().to_sunday_zero_offset()).unwrap_or_default();
        let ordinals = self.ordinals.get(weekday).copied().unwrap_or_default();
        let by_weekday = self.weekdays.bits >> weekday & 1 == 1
            || ordinals >> ((day.day() - 1) / 7 + 1) & 1 == 1
            || (ordinals >> LAST & 1 == 1 && day.day() > day.days_in_month() - 7);
        if self.days.is_any || self.weekdays.is_any { by_day && by_weekday } else { by_day || by_weekday }
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        let [from_hour, from_minute, from_second] = [from.hour(), from.minute(), from.second()].map(unsigned);
        let mut hour = from_hour;
        while let Some(found_hour) = next_in(self.hours.bits, hour) {
            let is_first_hour = found_hour == from_hour;
            let mut minute = if is_first_hour { from_minute } else { 0 };
            while let Some(found_minute) = next_in(self.minutes.bits, minute) {
                let is_first_minute = is_first_hour && found_minute == from_minute;
                let second = if is_first_minute { from_second } else { 0 };
                if let Some(second) = next_in(self.seconds.bits, second) {
                    let [hour, minute, second] = [found_hour, found_minute, second].map(i8::try_from);
                    return Time::new(hour.ok()?, minute.ok()?, second.ok()?, 0).ok();
                }
                minute = found_minute + 1;
            }
            hour = found_hour + 1;
        }
        None
    }
}

fn list(text: &str, kind: Kind) -> Result<Field, Invalid> {
    let mut field = Field::default();
    for element in text.split(',') {
        field.add(element, kind)?;
    }
    Ok(field)
}

fn has(field: Field, number: i8) -> bool {
    field.bits >> unsigned(number) & 1 == 1
}

fn unsigned(number: i8) -> u32 {
    u32::try_from(number).unwrap_or_default()
}
