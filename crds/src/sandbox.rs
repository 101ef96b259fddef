//! Docker sandboxes: where native programs run that the VM can't.
//!
//! A sandbox belongs to one Workspace and ends with it. Knows nothing of how one is started.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Quantity,
    env::{EnvVar, SecretRef},
    mount::GuestPath,
    name::ItemName,
    schema::{list_map, strings},
    text::text,
};

text! {
    /// A reference to a container image.
    ImageRef: "image reference", max 512,
    rule "self.matches(r'^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$')",
    else "write an image reference such as debian:bookworm or registry.example.com/team/image@sha256:…",
    if |image| image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/@".contains(&b))
}

/// A machine beside the VM that runs native programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// Name of the sandbox, for mounts and for commands that shall run in it.
    pub name: ItemName,
    /// A container of a Docker engine.
    pub docker: DockerSandbox,
}

/// A container of a Docker engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DockerSandbox {
    /// The image.
    pub image: ImageRef,
    /// When the image is pulled: IfNotPresent, Always or Never. Default: IfNotPresent.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// A Secret of type kubernetes.io/dockerconfigjson for the image's registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<SecretRef>,
    /// What keeps running in the container. Default: something that only waits for commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = strings(64, 4096))]
    pub command: Vec<String>,
    /// Environment of everything that runs in the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map("name", 128))]
    pub env: Vec<EnvVar>,
    /// Directory in which commands begin. Default: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<GuestPath>,
    /// What the container may use.
    #[serde(default)]
    pub resources: SandboxResources,
    /// None: no network. Bridge: that of the Docker engine, to which spec.network.egress does not apply. Default: None.
    #[serde(default)]
    pub network: SandboxNetwork,
}

/// What a sandbox may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxResources {
    /// Processors. Default: 1.
    pub cpu: Quantity,
    /// Memory. Default: 1Gi.
    pub memory: Quantity,
}

impl Default for SandboxResources {
    fn default() -> Self {
        Self { cpu: Quantity::from_millis(1000), memory: Quantity::from_bytes(1 << 30) }
    }
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// If the engine hasn't got it.
    #[default]
    IfNotPresent,
    /// Whenever a container is made.
    Always,
    /// Never: the engine must have it.
    Never,
}

/// The network of a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SandboxNetwork {
    /// None but loopback.
    #[default]
    None,
    /// That of the Docker engine.
    Bridge,
}
