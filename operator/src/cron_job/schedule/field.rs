//! One field of a schedule: a set of numbers, as bits.

use super::Invalid;

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// How messages call it.
    pub(super) name: &'static str,
    /// The least number.
    pub(super) least: u32,
    /// The greatest number.
    pub(super) most: u32,
    /// Where `*` ends.
    pub(super) end: u32,
    /// Names of the numbers, the first for `least`.
    pub(super) names: &'static [&'static str],
    /// Whether `?` may stand for `*`.
    pub(super) takes_question: bool,
}

pub(super) const SECOND: Kind = plain("second", 0, 59);
pub(super) const MINUTE: Kind = plain("minute", 0, 59);
pub(super) const HOUR: Kind = plain("hour", 0, 23);
pub(super) const DAY: Kind = Kind { takes_question: true, ..plain("day of the month", 1, 31) };
pub(super) const MONTH: Kind = Kind {
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    ..plain("month", 1, 12)
};
pub(super) const WEEKDAY: Kind = Kind {
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    takes_question: true,
    end: 6,
    ..plain("weekday", 0, 7)
};

const fn plain(name: &'static str, least: u32, most: u32) -> Kind {
    Kind { name, least, most, end: most, names: &[], takes_question: false }
}

/// A set of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// Bit `n` for number `n`.
    pub(super) bits: u64,
    /// Whether it is `*` (not `*/2`), for which any day will do.
    pub(super) is_any: bool,
    /// Whether it begins with `*`, which makes a time an interval.
    pub(super) has_star: bool,
}

impl Field {
    /// Adds an element of a list: `*`, `5`, `1-5`, `*/10`, `10-40/5`, `5/15`.
    pub(super) fn add(&mut self, element: &str, kind: Kind) -> Result<(), Invalid> {
        let (range, step) = match element.split_once('/') {
            Some((range, step)) => (range, Some(parse_step(step, kind)?)),
            None => (element, None),
        };
        let (first, last) = if range == "*" || (kind.takes_question && range == "?") {
            self.is_any |= step.is_none_or(|step| step == 1);
            self.has_star = true;
            (kind.least, kind.end)
        } else if let Some((first, last)) = range.split_once('-') {
            (kind.number(first)?, kind.number(last)?)
        } else {
            let number = kind.number(range)?;
            (number, if step.is_some() { kind.end.max(number) } else { number })
        };
        // A week may end with its Sunday.
        let last = if last == 0 && first > 0 && kind.end < kind.most { kind.most } else { last };
        if first > last {
            let name = kind.name;
            return Err(Invalid(format!(
                "{name}: {range} ends before it begins: write two ranges, separated by a comma"
            )));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        for number in (first..=last).step_by(step) {
            self.bits |= 1 << number;
        }
        Ok(())
    }
}

impl Kind {
    /// A number of this field, or its name.
    pub(super) fn number(&self, text: &str) -> Result<u32, Invalid> {
        let Self { name, least, most, end: _, names, takes_question: _ } = self;
        let named = names.iter().zip(*least..).find(|(known, _)| known.eq_ignore_ascii_case(text));
        if let Some((_, number)) = named {
            return Ok(number);
        }
        let is_number = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(number) if is_number && (*least..=*most).contains(&number) => Ok(number),
            _ => {
                let or =
                    names.first().map_or_else(String::new, |first| format!(" or a name such as {first}"));
                Err(Invalid(format!("{name}: {text:?} is no number from {least} to {most}{or}")))
            }
        }
    }
}

fn parse_step(text: &str, kind: Kind) -> Result<u32, Invalid> {
    let is_number = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(step) if is_number && step > 0 && step <= kind.most => Ok(step),
        _ => Err(Invalid(format!(
            "{}: {text:?} is no step: write 1 to {} after the slash",
            kind.name, kind.most
        ))),
    }
}

/// The least number in the set that isn't below `from`.
pub(super) fn next_in(bits: u64, from: u32) -> Option<u32> {
    let rest = bits.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}
