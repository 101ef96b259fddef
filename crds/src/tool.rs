//! Host tools: programs of the guest that are answered outside, by HTTP endpoints that the guest can't reach itself.
//!
//! Each toolkit becomes the command `agentos-<name>` in the guest. Invariants: toolkits have unique names, and so have the
//! tools of one. What a tool takes is a JSON Schema, which this crate doesn't look into.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Duration,
    env::HeadersSource,
    name::{HttpUrl, ItemName},
    schema::{AnyObjectSchema, duration_between, list_atomic, list_map, max_length},
};

/// A group of tools, which the guest calls as subcommands of one command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toolkit {
    /// Name of the toolkit; the command in the guest is agentos- and this name.
    pub name: ItemName,
    /// What the toolkit is for, as agents and the command's help shall read it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(transform = max_length(1024))]
    pub description: String,
    /// The tools.
    #[schemars(length(min = 1), transform = list_map("name", 32))]
    pub tools: Vec<Tool>,
}

/// A tool of a toolkit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// Name of the tool; in the guest it is a subcommand.
    pub name: ItemName,
    /// What the tool does, as agents and the command's help shall read it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(transform = max_length(1024))]
    pub description: String,
    /// JSON Schema of the tool's input, which must be an object. The guest's arguments are checked against it. Default:
    /// any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<AnyObjectSchema>")]
    pub input_schema: Option<Map<String, Value>>,
    /// How long an answer may take. From 1s to 10m. Default: 30s.
    #[serde(default = "default_timeout")]
    #[schemars(transform = duration_between("1s", "10m"))]
    pub timeout: Duration,
    /// The HTTP endpoint that answers.
    pub http: HttpTool,
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

/// An HTTP endpoint that answers a tool. It gets the input as JSON by POST; its body is the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpTool {
    /// URL of the endpoint. The supervisor calls it, so it need not be in the guest's egress policy.
    pub url: HttpUrl,
    /// Secrets whose keys and values are sent as headers. The guest never sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_atomic(8))]
    pub headers_from: Vec<HeadersSource>,
}
