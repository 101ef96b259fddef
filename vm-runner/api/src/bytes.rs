//! Bytes inside JSON: [`Base64`], standard alphabet with padding.
//!
//! Never prints what it holds: the bytes may be a mounted Secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that are written as a base64 string in JSON.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Base64 {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(text.as_bytes())
            .map_err(|error| de::Error::custom(format!("invalid base64: {error}")))?;
        Ok(Self(bytes))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Base64 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64", "description": "Bytes in base64, standard alphabet with padding."})
    }
}

#[cfg(test)]
mod tests {
    use super::Base64;

    #[test]
    fn bytes_survive_the_way_through_json() {
        let bytes = Base64((0..=255).collect());
        let json = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Base64>(&json).unwrap(), bytes);
    }

    #[test]
    fn debug_output_never_shows_the_bytes() {
        assert_eq!(format!("{:?}", Base64(b"hunter2".to_vec())), "Base64(7 bytes)");
    }

    #[test]
    fn text_that_is_not_base64_is_refused_by_name() {
        let error = serde_json::from_str::<Base64>("\"%%%\"").unwrap_err();
        assert!(error.to_string().contains("invalid base64"), "{error}");
    }
}
