//! Durations as people write them: `15m`, `720h`, `1h30m`.
//!
//! A [`Duration`] keeps its text, so that writing back what was read changes nothing, and its value, so that nobody parses
//! twice. Two durations are equal when they last equally long.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, hash, str::FromStr};

use crate::InvalidText;

/// The shape of a duration, as a regular expression in CEL. Its groups keep every sum far below what 64 bits hold.
pub(crate) const SHAPE: &str = "self.matches(r'^([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$')";
const MAX_LENGTH: usize = 40;
const WAY_OUT: &str = "write whole hours, minutes, seconds and milliseconds in this order, such as 720h, 1h30m, 15m, 10s or 500ms";

/// A span of time, written as whole hours, minutes, seconds and milliseconds in this order: `1h30m`, `15m`, `500ms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    value: std::time::Duration,
}

impl Duration {
    /// How long it lasts.
    pub fn get(&self) -> std::time::Duration {
        self.value
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// So many milliseconds.
    pub fn from_millis(millis: u64) -> Self {
        std::time::Duration::from_millis(millis).into()
    }

    /// So many seconds.
    pub fn from_secs(seconds: u64) -> Self {
        std::time::Duration::from_secs(seconds).into()
    }

    /// So many minutes.
    pub fn from_mins(minutes: u64) -> Self {
        Self::from_secs(minutes.saturating_mul(60))
    }

    /// So many hours.
    pub fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours.saturating_mul(60))
    }
}

/// Writes whole milliseconds in the shortest form; what is finer is cut off.
impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        let (seconds, millis) = (value.as_secs(), value.subsec_millis());
        let mut text = String::new();
        for (count, unit) in
            [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (u64::from(millis), "ms")]
        {
            if count > 0 {
                text.push_str(&format!("{count}{unit}"));
            }
        }
        if text.is_empty() {
            text.push_str("0s");
        }
        Self {
            text,
            value: std::time::Duration::from_secs(seconds) + std::time::Duration::from_millis(millis.into()),
        }
    }
}

impl FromStr for Duration {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for Duration {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match parse(&text) {
            Some(value) => Ok(Self { text, value }),
            None => Err(InvalidText::new("duration", &text, WAY_OUT)),
        }
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.text
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.value
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Duration {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Duration {}

impl PartialOrd for Duration {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Duration {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

impl hash::Hash for Duration {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": MAX_LENGTH,
            "x-kubernetes-validations": [{ "rule": SHAPE, "message": WAY_OUT }],
        })
    }
}

/// Reads each unit at most once and in order. `None` if anything else is there, or nothing.
fn parse(text: &str) -> Option<std::time::Duration> {
    const UNITS: [(&str, usize, u64); 4] =
        [("h", 6, 3_600_000), ("m", 7, 60_000), ("s", 9, 1000), ("ms", 9, 1)];
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut millis = 0_u64;
    if text.is_empty() || text.len() > MAX_LENGTH {
        return None;
    }
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, max_digits, worth) = units.find(|(name, ..)| *name == unit)?;
        if digits.len() > *max_digits {
            return None;
        }
        millis = millis.checked_add(digits.parse::<u64>().ok()?.checked_mul(*worth)?)?;
        rest = after;
    }
    Some(std::time::Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("15m", 900_000),
            ("720h", 2_592_000_000),
            ("1h30m", 5_400_000),
            ("90m", 5_400_000),
            ("0s", 0),
            ("1s500ms", 1500),
            ("1h1m1s1ms", 3_661_001),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.get().as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_way_out() {
        for wrong in
            ["", "15", "m", "1.5h", "-1s", "1d", "1m1h", "1s1s", "1h 30m", "1µs", "9999999h", "+1s", "１s"]
        {
            let error = wrong.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains("such as 720h, 1h30m"), "{error}");
        }
    }

    #[test]
    fn equal_spans_are_equal_however_they_are_written_and_keep_their_text() {
        let (minutes, hours): (Duration, Duration) = ("60m".parse().unwrap(), "1h".parse().unwrap());
        assert_eq!(minutes, hours);
        assert_eq!(serde_json::to_string(&minutes).unwrap(), "\"60m\"");
    }

    #[test]
    fn a_computed_duration_is_written_in_the_shortest_form() {
        assert_eq!(Duration::from_millis(5_400_500).as_str(), "1h30m500ms");
        assert_eq!(Duration::from_secs(0).as_str(), "0s");
        assert_eq!(Duration::from_hours(720).as_str(), "720h");
        assert_eq!(Duration::from_mins(15).as_str(), "15m");
    }
}
