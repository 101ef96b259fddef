//! Amounts as Kubernetes writes them: `512Mi`, `10Gi`, `500m`, `1`.
//!
//! A [`Quantity`] keeps what was written, so that writing back what was read changes nothing, and its value exactly (no
//! floating point). Neighbours: [`crate::limits`] says what is allowed where.

use k8s_openapi::apimachinery::pkg::api::resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

use crate::InvalidText;

const MAX_LENGTH: usize = 32;
const WAY_OUT: &str =
    "write a number that isn't negative, with a suffix if need be, such as 512Mi, 10Gi, 500m or 2";
/// As the API server does: what is larger counts as this much.
const MAX_MILLIS: u128 = i64::MAX as u128 * 1000;

/// An amount of bytes or processors in the notation of Kubernetes; never negative.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Quantity {
    written: Written,
    millis: u128,
}

/// An integer or a string, as `x-kubernetes-int-or-string` allows. Kubernetes' own type of this name holds 32 bits only,
/// too few for bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Integer(i64),
    Text(String),
}

impl Quantity {
    /// In whole units, rounded up: bytes, for memory and storage.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.millis.div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// In thousandths, rounded up: millicores, for processors.
    pub fn millis(&self) -> u64 {
        u64::try_from(self.millis).unwrap_or(u64::MAX)
    }

    /// So many bytes, written with the largest binary suffix that loses nothing.
    pub fn from_bytes(bytes: u64) -> Self {
        let (mut count, mut suffix) = (bytes, "");
        for larger in ["Ki", "Mi", "Gi", "Ti"] {
            if count == 0 || !count.is_multiple_of(1024) {
                break;
            }
            (count, suffix) = (count / 1024, larger);
        }
        Self { written: Written::Text(format!("{count}{suffix}")), millis: u128::from(bytes) * 1000 }
    }

    /// So many thousandths, `500m` for half a processor.
    pub fn from_millis(millis: u64) -> Self {
        let text =
            if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") };
        Self { written: Written::Text(text), millis: millis.into() }
    }
}

impl FromStr for Quantity {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Written::Text(text.to_owned()).try_into()
    }
}

impl TryFrom<Written> for Quantity {
    type Error = InvalidText;
    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let millis = match &written {
            Written::Integer(count) => u128::try_from(*count).ok().map(|count| count * 1000),
            Written::Text(text) => parse(text),
        };
        match millis {
            Some(millis) => Ok(Self { written, millis }),
            None => Err(InvalidText::new("quantity", &as_text(&written), WAY_OUT)),
        }
    }
}

impl From<Quantity> for Written {
    fn from(quantity: Quantity) -> Self {
        quantity.written
    }
}

impl From<&Quantity> for resource::Quantity {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&as_text(&self.written))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.millis == other.millis
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.millis.cmp(&other.millis)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": MAX_LENGTH,
            "minimum": 0,
            "maximum": 1_i64 << 53,
            "pattern": r"^[+]?[0-9]{1,18}([.][0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        })
    }
}

fn as_text(written: &Written) -> Cow<'_, str> {
    match written {
        Written::Integer(count) => count.to_string().into(),
        Written::Text(text) => text.into(),
    }
}

/// Reads digits, a fraction and a suffix; the value in thousandths, rounded up and capped like the API server does.
fn parse(text: &str) -> Option<u128> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let (number, suffix) =
        unsigned.split_at(unsigned.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(unsigned.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa = format!("{whole}{fraction}").parse::<u128>().ok()?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (numerator, denominator) = worth(suffix)?;
    let millis = mantissa.saturating_mul(numerator).saturating_mul(1000);
    Some(millis.div_ceil(divisor.checked_mul(denominator)?).min(MAX_MILLIS))
}

/// What one unit of the suffix is worth, as a fraction.
fn worth(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("0.1m", 1),
            (".5", 500),
            ("5.", 5000),
            ("+2", 2000),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("100u", 1),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().millis, millis, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_the_way_out() {
        for wrong in ["", "-1", ".", "1.2.3", "1 Gi", "Gi", "1gi", "1KB", "NaN", &"1".repeat(33)] {
            let error = wrong.parse::<Quantity>().unwrap_err().to_string();
            assert!(error.contains("such as 512Mi"), "{error}");
        }
        assert!(serde_json::from_str::<Quantity>("-1").is_err());
        assert!(serde_json::from_str::<Quantity>("1.5").is_err());
    }

    #[test]
    fn an_enormous_quantity_is_capped_and_never_overflows() {
        for text in ["999999999999999999Ei", "99999999999999999999999999999Ei", "9223372036854775807"] {
            assert_eq!(text.parse::<Quantity>().unwrap().bytes(), i64::MAX as u64, "{text}");
        }
    }

    #[test]
    fn integers_and_text_keep_their_form() {
        for json in ["1", "\"1\"", "\"1024Mi\"", "1099511627776"] {
            let quantity: Quantity = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&quantity).unwrap(), json);
        }
        assert_eq!("1024Mi".parse::<Quantity>().unwrap(), "1Gi".parse().unwrap());
    }

    #[test]
    fn a_computed_quantity_has_the_largest_suffix_that_loses_nothing() {
        assert_eq!(Quantity::from_bytes(10 << 30).to_string(), "10Gi");
        assert_eq!(Quantity::from_bytes(1025).to_string(), "1025");
        assert_eq!(Quantity::from_bytes(0).to_string(), "0");
        assert_eq!(Quantity::from_millis(1000).to_string(), "1");
        assert_eq!(Quantity::from_millis(250).to_string(), "250m");
    }
}
