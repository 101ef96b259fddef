//! Session: one agent's conversation in a Workspace.
//!
//! ```yaml
//! apiVersion: lodge.dev/v1alpha1
//! kind: Session
//! metadata: {name: fix, namespace: team-a}
//! spec:
//!   workspaceRef: {name: ada}
//!   agent: {name: pi}
//!   model: {provider: anthropic, name: claude-sonnet, credentials: {secretRef: {name: llm}}}
//!   prompts: [{id: fix, text: Make the tests pass}]
//! ```
//!
//! ```
//! use lodge_crds::{Agent, Session, SessionSpec, WorkspaceRef};
//! # fn main() -> Result<(), lodge_crds::InvalidText> {
//! let spec = SessionSpec::new(WorkspaceRef { name: "ada".parse()? }, Agent::named("pi".parse()?));
//! let session = Session::new("fix", spec);
//! assert!(session.spec.prompts.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: prompts are append-only, each id is driven exactly once; keys of models stay outside the guest. Words are
//! those of the Agent Client Protocol.

use kube::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Duration, EnvVar, Permissions,
    env::HeadersSource,
    mount::GuestPath,
    name::{DataKey, HttpUrl, ItemName, ObjectName, PromptId, WorkspaceName},
    schema::{at_least, duration_between, list_atomic, list_map, max_length, range, rules, strings},
};

mod status;

pub use status::*;

/// How many prompts a Session may have.
const MAX_PROMPTS: usize = 100;

/// What a Session shall be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lodge.dev",
    version = "v1alpha1",
    kind = "Session",
    plural = "sessions",
    shortname = "wsess",
    category = "lodge",
    namespaced,
    status = "SessionStatus",
    derive = "PartialEq",
    doc = "A Session is a conversation with an agent inside a Workspace. Its transcript outlives sleep and restarts; deleting the Session deletes it.",
    annotation("helm.sh/resource-policy", "keep"),
    label("app.kubernetes.io/name", "lodge"),
    label("app.kubernetes.io/part-of", "lodge"),
    selectable = ".spec.workspaceRef.name",
    selectable = ".status.state",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("metadata.name: use at most 63 lower-case letters, digits and '-': the name becomes part of URLs and labels"),
    printcolumn(name = "Workspace", type_ = "string", json_path = ".spec.workspaceRef.name", description = "The workspace it runs in."),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "What it is doing."),
    printcolumn(name = "Succeeded", type_ = "string", json_path = ".status.conditions[?(@.type==\"Succeeded\")].status", description = "Whether every prompt is done."),
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.agent.name", description = "The agent.", priority = "1"),
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model.name", description = "The model.", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = prompts_are_append_only)]
pub struct SessionSpec {
    /// The Workspace, in the same namespace. It can't be changed later.
    #[schemars(transform = rules(&[(
        "self == oldSelf",
        "workspaceRef can't be changed: make a new session in the other workspace",
    )]))]
    pub workspace_ref: WorkspaceRef,
    /// The agent. It can't be changed later.
    #[schemars(transform = rules(&[(
        "self == oldSelf",
        "agent can't be changed, because it has a conversation: make a new session with the other agent",
    )]))]
    pub agent: Agent,
    /// The model that the agent talks to. Default: what the agent is set up with itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The directory in which the agent works. Default: the home directory of the workspace's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<GuestPath>,
    /// Environment of the agent, in addition to the workspace's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 128))]
    pub env: Vec<EnvVar>,
    /// What the agent shall always keep in mind, given to it before the first prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(65536))]
    pub instructions: Option<String>,
    /// Servers of the Model Context Protocol that the agent may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 16))]
    pub mcp_servers: Vec<McpServer>,
    /// What the agent is asked, one after the other. Items can be appended but never changed or removed; each id is driven
    /// exactly once. Without any, prompts come by the API only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("id", MAX_PROMPTS))]
    pub prompts: Vec<Prompt>,
    /// What the agent may do without asking. Default: what the workspace says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What may be used up before the agent is stopped. Default: no bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What happens when every prompt is done. Keep: the session waits for prompts by the API. Close: the agent is stopped.
    /// Default: Keep.
    #[serde(default)]
    pub on_finished: OnFinished,
}

/// Compares the prompts place by place, each with one comparison. CEL has no counting loop, so that the places are written
/// out; looking for each old prompt among the new ones would cost more than the server allows a rule.
fn prompts_are_append_only(schema: &mut Schema) {
    let places: Vec<_> = (0..MAX_PROMPTS).map(|place| place.to_string()).collect();
    let rule = format!(
        "!has(oldSelf.prompts) || (has(self.prompts) && [{}].all(i, i >= oldSelf.prompts.size() || \
         (i < self.prompts.size() && self.prompts[i].id == oldSelf.prompts[i].id && \
         self.prompts[i].text == oldSelf.prompts[i].text)))",
        places.join(",")
    );
    let message = "prompts can't be changed, removed or put before others, because they may have been asked already: \
                   append new ones, or make a new session";
    schema.insert("x-kubernetes-validations".to_owned(), json!([{ "rule": rule, "message": message }]));
}

impl SessionSpec {
    /// A session that waits for prompts.
    pub fn new(workspace_ref: WorkspaceRef, agent: Agent) -> Self {
        Self {
            workspace_ref,
            agent,
            model: None,
            cwd: None,
            env: Vec::new(),
            instructions: None,
            mcp_servers: Vec::new(),
            prompts: Vec::new(),
            permissions: None,
            budget: None,
            on_finished: OnFinished::default(),
        }
    }
}

/// A Workspace in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceRef {
    /// Name of the Workspace.
    pub name: WorkspaceName,
}

/// The agent of a Session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "has(self.name) != has(self.command)",
    "exactly one of agent.name and agent.command must be set: name an agent of the workspace's software, or write a command",
)]))]
pub struct Agent {
    /// Name of an agent that a package of the workspace's software brings along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ItemName>,
    /// A command of the guest that speaks the Agent Client Protocol on its standard input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), transform = strings(64, 4096))]
    pub command: Option<Vec<String>>,
}

impl Agent {
    /// The agent of this name.
    pub fn named(name: ItemName) -> Self {
        Self { name: Some(name), command: None }
    }
}

/// The model that an agent talks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Who offers the model, such as anthropic or openai.
    pub provider: ItemName,
    /// Name of the model, as the provider writes it.
    #[schemars(length(min = 1), transform = max_length(253))]
    pub name: String,
    /// URL of the provider's API. Default: the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// How requests to the provider are authenticated. The supervisor does that; the guest never sees a key. Default: not at
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<ModelCredentials>,
}

/// How requests to the provider of a model are authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelCredentials {
    /// The Secret that has the provider's key.
    pub secret_ref: ModelSecretRef,
}

/// The Secret that has a provider's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSecretRef {
    /// Name of the Secret.
    pub name: ObjectName,
    /// The key in its data. Default: api-key.
    #[serde(default = "default_secret_key")]
    pub key: DataKey,
}

fn default_secret_key() -> DataKey {
    DataKey::known("api-key")
}

/// A server of the Model Context Protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "[has(self.stdio), has(self.http), has(self.sse)].filter(set, set).size() == 1",
    "exactly one of stdio, http and sse must be set: remove the others, or add a server for each",
)]))]
pub struct McpServer {
    /// Name of the server.
    pub name: ItemName,
    /// A command of the guest that is the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdio: Option<McpStdio>,
    /// A server that is reached by streamable HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<McpHttp>,
    /// A server that is reached by HTTP with server-sent events, as older ones are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<McpHttp>,
}

/// A command of the guest that is a server of the Model Context Protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpStdio {
    /// The command and its arguments.
    #[schemars(length(min = 1), transform = strings(64, 4096))]
    pub command: Vec<String>,
    /// Environment of the server, in addition to the workspace's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 64))]
    pub env: Vec<EnvVar>,
}

/// A server of the Model Context Protocol that is reached by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpHttp {
    /// URL of the server. The supervisor connects to it, so it need not be in the guest's egress policy.
    pub url: HttpUrl,
    /// Secrets whose keys and values are sent as headers. The guest never sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_atomic(8))]
    pub headers_from: Vec<HeadersSource>,
}

/// Something that the agent is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// Which prompt this is, unique in the list. It is driven exactly once.
    pub id: PromptId,
    /// What the agent is asked. It can't be changed later.
    #[schemars(length(min = 1), transform = max_length(32768))]
    pub text: String,
}

/// What may be used up before an agent is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Tokens of the model, input and output together. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = at_least(1))]
    pub tokens: Option<u64>,
    /// Tool calls. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(1, i32::MAX.into()))]
    pub tool_calls: Option<u32>,
    /// Time in turns; time in which the agent waits for a prompt or a permission doesn't count. From 1s to 8760h. Default: no
    /// bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration_between("1s", "8760h"))]
    pub duration: Option<Duration>,
}

/// What happens when every prompt is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnFinished {
    /// The session waits for prompts by the API.
    #[default]
    Keep,
    /// The agent is stopped.
    Close,
}
