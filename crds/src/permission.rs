//! The policy that answers an agent's permission requests beforehand.
//!
//! Rules are ordered and the first match decides. What a pattern is matched against is the Session's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{list_atomic, max_length};

/// What agents may do without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Permissions {
    /// What happens to tool calls that no rule matches: Allow, Ask or Deny. Default: Ask.
    #[serde(rename = "default")]
    pub fallback: Decision,
    /// Rules for single tools, in order: the first that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_atomic(128))]
    pub rules: Vec<PermissionRule>,
}

/// A rule of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionRule {
    /// Name of the tool as the agent calls it, such as read, edit or bash; * matches any part.
    #[schemars(length(min = 1), transform = max_length(128))]
    pub tool: String,
    /// What the tool call is about, such as the command or the path; * matches any part. Default: anything.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(1024))]
    pub pattern: Option<String>,
    /// Allow: it happens. Ask: a person is asked. Deny: the agent is told that it may not.
    pub decision: Decision,
}

/// The answer to a permission request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Decision {
    /// It happens.
    Allow,
    /// A person is asked.
    #[default]
    Ask,
    /// The agent is told that it may not.
    Deny,
}
