//! Environment variables and references to the Secrets and ConfigMaps of the namespace.
//!
//! Invariant: a value comes from exactly one place. Values of Secrets never appear in any type of this crate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    name::{DataKey, EnvName, ObjectName},
    schema::{max_length, rules},
};

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "has(self.value) != has(self.valueFrom)",
    "set exactly one of value and valueFrom; write value: \"\" for an empty variable",
)]))]
pub struct EnvVar {
    /// Name of the variable: letters, digits and underscores, not beginning with a digit.
    pub name: EnvName,
    /// The value, as it is: nothing is expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(32768))]
    pub value: Option<String>,
    /// Where the value comes from, if it isn't written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

impl EnvVar {
    /// A variable with its value written out.
    pub fn literal(name: EnvName, value: impl Into<String>) -> Self {
        Self { name, value: Some(value.into()), value_from: None }
    }
}

/// Where the value of an environment variable comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "set exactly one of secretKeyRef and configMapKeyRef",
)]))]
pub struct EnvVarSource {
    /// A key of a Secret in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or a ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    pub name: ObjectName,
    /// The key in its data.
    pub key: DataKey,
    /// Whether the object or the key may be missing; the variable is then not set. Default: false.
    #[serde(default)]
    pub optional: bool,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: ObjectName,
}

/// Headers of HTTP requests, taken from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadersSource {
    /// The Secret. Each of its keys is the name of a header, its value the header's value. The guest never sees them.
    pub secret_ref: SecretRef,
}
