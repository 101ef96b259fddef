//! What the supervisor says to a vm process on its control line, besides forwarded requests.

use serde::{Deserialize, Serialize};
use vm_api::WorkspaceConfig;

/// Body of `POST /boot`. Answered with 204 once the VM can serve.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BootRequest<'a> {
    /// UID of the workspace, which the vm process answers for from then on.
    pub(crate) uid: std::borrow::Cow<'a, str>,
    /// The workspace.
    pub(crate) config: std::borrow::Cow<'a, WorkspaceConfig>,
}

/// Route of `PUT /config`: a new configuration, of which the VM takes over what can change while it runs.
pub(crate) const CONFIG: &str = "/config";

/// Largest configuration of a workspace, with the files of its mounts.
pub(crate) const MAX_CONFIG_BYTES: usize = 32 << 20;
