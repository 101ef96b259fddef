//! Definitions as YAML, the same text on every machine: what `crdgen` writes and the chart holds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Writes a definition as YAML, keys in the order of the alphabet.
///
/// # Errors
/// None that a definition of [`crate::definitions`] could cause; they are the serializer's.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let value =
        serde_json::to_value(definition).map_err(<serde_saphyr::ser::Error as serde::ser::Error>::custom)?;
    serde_saphyr::to_string(&Sorted::from(value))
}

/// JSON whose maps are sorted, whatever features `serde_json` is built with.
#[derive(Serialize)]
#[serde(untagged)]
enum Sorted {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Sorted>),
    Object(BTreeMap<String, Sorted>),
}

impl From<Value> for Sorted {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(value) => Self::Number(whole(value)),
            Value::String(value) => Self::String(value),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

/// Writes `1.0` as `1`: the bounds of integers are floating-point numbers in Kubernetes' type of a schema. None of them
/// is larger than 2^53, so that nothing is lost.
fn whole(number: Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() <= EXACT => {
            Number::from(value as i64)
        }
        _ => number,
    }
}
