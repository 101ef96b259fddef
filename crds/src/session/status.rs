//! What was last seen of a Session. Written by the operator only; the whole record is the transcript, at the workspace's API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::ConditionsSchema,
    schema::{TimeSchema, at_least, list_map, max_length},
};

/// What was last seen of a Session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionStatus {
    /// The metadata.generation that the operator has acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub observed_generation: Option<i64>,
    /// A summary for people: Pending, Starting, Idle, Prompting, AwaitingPermission, Closed or Failed. Programs read the
    /// conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SessionState>,
    /// The id of the session at the workspace's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(128))]
    pub session_id: Option<String>,
    /// The last 100 turns, by prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("promptId", 100))]
    pub turns: Vec<TurnStatus>,
    /// Permission requests that nobody has answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("requestId", 16))]
    pub pending_permissions: Vec<PendingPermission>,
    /// The record of the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<TranscriptStatus>,
    /// What the session has used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<SessionUsage>,
    /// Succeeded, Reconciling, Stalled, AwaitingPermission, BudgetExhausted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "ConditionsSchema")]
    pub conditions: Vec<Condition>,
}

/// What a Session is doing, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// The operator hasn't told the runner yet.
    #[default]
    Pending,
    /// The agent starts.
    Starting,
    /// The agent waits for a prompt.
    Idle,
    /// The agent answers a prompt.
    Prompting,
    /// The agent waits for somebody to answer a permission request.
    AwaitingPermission,
    /// The agent was stopped.
    Closed,
    /// The agent failed.
    Failed,
}

/// From a prompt to its stop reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TurnStatus {
    /// The prompt's id.
    #[schemars(transform = max_length(128))]
    pub prompt_id: String,
    /// How far it is: Queued, Running, Finished, Failed or Interrupted.
    pub state: TurnState,
    /// Why the agent stopped: EndTurn, MaxTokens, MaxTurnRequests, Refusal or Cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(1024))]
    pub message: Option<String>,
    /// When the agent got the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub started_at: Option<Time>,
    /// When the agent stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub finished_at: Option<Time>,
    /// What the turn has used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<SessionUsage>,
}

/// How far a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TurnState {
    /// The agent hasn't got the prompt yet.
    Queued,
    /// The agent answers.
    Running,
    /// The agent stopped; the stop reason says why.
    Finished,
    /// The agent or the model failed.
    Failed,
    /// The agent was stopped in the middle, by a restart or by closing the session.
    Interrupted,
}

/// Why an agent stopped, in the words of the Agent Client Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StopReason {
    /// It had nothing more to say.
    EndTurn,
    /// The model's tokens were used up.
    MaxTokens,
    /// The requests of one turn were used up.
    MaxTurnRequests,
    /// It refused to go on.
    Refusal,
    /// Somebody cancelled the turn.
    Cancelled,
}

/// A permission request that nobody has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingPermission {
    /// The request's id, for answering it.
    #[schemars(transform = max_length(128))]
    pub request_id: String,
    /// What the agent wants to do.
    pub tool_call: ToolCall,
    /// The answers to choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("optionId", 8))]
    pub options: Vec<PermissionOption>,
    /// Since when it has been open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TimeSchema>")]
    pub since: Option<Time>,
}

/// What an agent wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    /// The tool call's id.
    #[schemars(transform = max_length(128))]
    pub id: String,
    /// What it is, in one line.
    #[schemars(transform = max_length(1024))]
    pub title: String,
    /// What kind of action it is, in the words of the Agent Client Protocol, such as read, edit or execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(63))]
    pub kind: Option<String>,
}

/// An answer to a permission request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    /// The option's id, for answering with it.
    #[schemars(transform = max_length(128))]
    pub option_id: String,
    /// What it says.
    #[schemars(transform = max_length(253))]
    pub name: String,
    /// What it means: AllowOnce, AllowAlways, RejectOnce or RejectAlways.
    pub kind: PermissionOptionKind,
}

/// What an answer to a permission request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PermissionOptionKind {
    /// This time.
    AllowOnce,
    /// This time and from now on.
    AllowAlways,
    /// Not this time.
    RejectOnce,
    /// Neither this time nor from now on.
    RejectAlways,
}

/// The record of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TranscriptStatus {
    /// How many entries it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub entries: Option<u64>,
    /// How many bytes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub bytes: Option<u64>,
    /// Where the gateway serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(2048))]
    pub url: Option<String>,
}

/// What a session or a turn has used up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionUsage {
    /// Tokens that the model read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub input_tokens: Option<u64>,
    /// Tokens that the model wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub output_tokens: Option<u64>,
    /// Tool calls that happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(0))]
    pub tool_calls: Option<u64>,
}
