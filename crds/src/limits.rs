//! What a Workspace may use. Every number has a default and a range, and hitting one names its path in the spec.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration, Quantity,
    schema::{duration_between, quantity_between, range},
};

/// What a Workspace may use at most. Changes take effect at once, except that nothing running is stopped by a smaller
/// number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Memory of the VM, programs and tmpfs mounts included; beyond it allocations fail with ENOMEM. From 64Mi to 64Gi.
    /// Default: 512Mi.
    #[schemars(transform = quantity_between("64Mi", "64Gi"))]
    pub memory: Quantity,
    /// Processors; what runs beyond it waits. From 50m to 64. Default: 1.
    #[schemars(transform = quantity_between("50m", "64"))]
    pub cpu: Quantity,
    /// Processes at the same time; beyond it spawning fails with EAGAIN. From 1 to 32768. Default: 256.
    #[schemars(transform = range(1, 32768))]
    pub processes: u32,
    /// Open files of one process; beyond it opening fails with EMFILE. From 16 to 65536. Default: 1024.
    #[schemars(transform = range(16, 65536))]
    pub open_files: u32,
    /// Sockets of the VM; beyond it opening one fails with ENFILE. From 0 to 65536. Default: 256.
    #[schemars(transform = range(0, 65536))]
    pub sockets: u32,
    /// Files and directories in the root's writable layer; beyond it creating fails with ENOSPC. From 1000 to 100000000.
    /// Default: 1000000.
    #[schemars(transform = range(1000, 100_000_000))]
    pub storage_inodes: u64,
    /// How long a command of the exec API may run if the request says nothing; it is also the most that a request may
    /// ask for. From 1s to 168h. Default: 15m.
    #[schemars(transform = duration_between("1s", "168h"))]
    pub command_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Quantity::from_bytes(512 << 20),
            cpu: Quantity::from_millis(1000),
            processes: 256,
            open_files: 1024,
            sockets: 256,
            storage_inodes: 1_000_000,
            command_timeout: Duration::from_mins(15),
        }
    }
}
