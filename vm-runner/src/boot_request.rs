//! What the supervisor says to a vm process on its control line, besides forwarded requests.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use vm_api::{Usage, WorkspaceConfig};

/// Body of `POST /boot`. Answered with 204 once the VM can serve.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BootRequest<'a> {
    /// UID of the workspace, which the vm process answers for from then on. Its files, if it keeps any, are the folder of
    /// this name in the slot.
    pub(crate) uid: Cow<'a, str>,
    /// The workspace.
    pub(crate) config: Cow<'a, WorkspaceConfig>,
    /// What the VM is booted for.
    pub(crate) access: Access,
}

/// What a VM may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Access {
    /// Everything.
    Full,
    /// Reading files of a workspace that sleeps. `POST /promote` makes it [`Access::Full`].
    Files,
}

/// Answer of `GET /activity`: whether anything in the VM keeps it awake, and what it uses. Requests are not in it: who
/// forwards them counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Activity {
    /// Processes that keep the VM awake: all that live, but a shell that nobody is attached to and that is alone.
    pub(crate) processes: u64,
    /// Shells that somebody is attached to.
    pub(crate) attached: u64,
    /// Other streams that somebody follows.
    pub(crate) streams: u64,
    /// What it uses.
    pub(crate) usage: Usage,
    /// What is wrong with the kept files, if anything was found to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

impl Activity {
    /// Whether nothing keeps the VM awake.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { processes, attached, streams, usage: _, fault: _ } = self;
        *processes == 0 && *attached == 0 && *streams == 0
    }
}

/// Route of `PUT /config`: a new configuration, of which the VM takes over what can change while it runs.
pub(crate) const CONFIG: &str = "/config";
/// Route of `GET /activity`.
pub(crate) const ACTIVITY: &str = "/activity";
/// Route of `POST /promote`: a VM that was booted to read files may be used for everything.
pub(crate) const PROMOTE: &str = "/promote";
/// Route of `POST /run`: a command whose output is streamed, as of `POST exec`; its `timeout` is not bounded by
/// `spec.limits.commandTimeout`. No client reaches it.
pub(crate) const RUN: &str = "/run";

/// Largest configuration of a workspace, with the files of its mounts.
pub(crate) const MAX_CONFIG_BYTES: usize = 32 << 20;
