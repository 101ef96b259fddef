//! Durations as people write them in a Workspace: `30s`, `1m30s`, `500ms`.
//!
//! The grammar is that of Go's and Kubernetes' `metav1.Duration`: numbers with a unit, largest first or not, no sign.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration written as `1h2m3s4ms` in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDurationError(String);

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid duration {:?}: expected a number with a unit, such as 500ms, 30s, 15m or 1h30m",
            self.0
        )
    }
}

impl std::error::Error for ParseDurationError {}

/// Units, longest name first so that `ms` is not read as `m` followed by `s`.
const UNITS: [(&str, u64); 7] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

impl FromStr for WireDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_nanoseconds(text).map(|nanos| Self(Duration::from_nanos(nanos))).ok_or_else(|| {
            // A very long text would only bloat the message.
            ParseDurationError(text.chars().take(64).collect())
        })
    }
}

fn parse_nanoseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole_len = digits(rest);
        let (whole, tail) = rest.split_at(whole_len);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(digits(tail)),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, nanos) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total =
            total.checked_add(whole.checked_mul(*nanos)?)?.checked_add(fraction_nanos(fraction, *nanos))?;
        rest = &tail[unit.len()..];
    }
    Some(total)
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn fraction_nanos(fraction: &str, unit: u64) -> u64 {
    let mut scale = unit;
    let mut total = 0;
    for digit in fraction.bytes() {
        scale /= 10;
        total += u64::from(digit - b'0') * scale;
    }
    total
}

impl fmt::Display for WireDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, nanos) in [
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ] {
            let count = rest / nanos;
            rest %= nanos;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for WireDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WireDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for WireDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": "A length of time, such as `1500ms`, `30s`, `1h30m`.", "examples": ["30s"]})
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::WireDuration;

    #[test]
    fn durations_are_read_as_kubernetes_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
        ] {
            assert_eq!(text.parse::<WireDuration>().unwrap().0, Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_duration_is_refused_with_an_example() {
        for text in ["", "30", "s", "-1s", "1d", "99999999999999h", "1.", "."] {
            let error = text.parse::<WireDuration>().unwrap_err().to_string();
            assert!(error.contains("30s"), "{text}: {error}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "500ms", "1m30s", "2h1ns"] {
            assert_eq!(text.parse::<WireDuration>().unwrap().to_string(), text);
        }
    }
}
