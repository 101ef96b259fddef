//! Which changes of a configuration wait for the next boot.

use vm_api::{LimitsConfig, StorageType, WorkspaceConfig};

/// The spec paths whose new value a running VM does not have.
pub(crate) fn restart_required(booted: &WorkspaceConfig, wanted: &WorkspaceConfig) -> Vec<String> {
    // Without `..`, so that a new field has to be thought about.
    let WorkspaceConfig {
        namespace: _,
        name: _,
        generation: _,
        epoch: _,
        power: _,
        // Taken over by the running VM.
        env: _,
        idle: _,
        software,
        user,
        storage,
        mounts,
        limits,
    } = wanted;
    let LimitsConfig {
        // Taken over by the running VM.
        command_timeout_ms: _,
        cpu_millis: _,
        memory_bytes,
        processes,
        open_files,
        sockets,
        inodes,
    } = limits;
    let old = &booted.limits;
    // Files that are kept have limits that can change; those in memory have not.
    let is_kept = booted.storage.kind == StorageType::Persistent;
    let has_new_size = storage.size_bytes != booted.storage.size_bytes;
    let changes = [
        ("spec.software", *software != booted.software),
        ("spec.user", *user != booted.user),
        ("spec.storage", storage.kind != booted.storage.kind || (has_new_size && !is_kept)),
        ("spec.mounts", *mounts != booted.mounts),
        ("spec.limits.memory", *memory_bytes != old.memory_bytes),
        ("spec.limits.processes", *processes != old.processes),
        ("spec.limits.openFiles", *open_files != old.open_files),
        ("spec.limits.sockets", *sockets != old.sockets),
        ("spec.limits.storageInodes", *inodes != old.inodes && !is_kept),
    ];
    changes.into_iter().filter(|(_, has_changed)| *has_changed).map(|(path, _)| path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use vm_api::EnvVar;

    use super::*;

    #[test]
    fn what_takes_effect_at_once_needs_no_restart() {
        let booted = WorkspaceConfig::new("a", "b");
        let mut wanted = booted.clone();
        wanted.env.push(EnvVar::new("A", "b"));
        wanted.limits.command_timeout_ms = 1;
        wanted.limits.cpu_millis = 1;
        wanted.limits.inodes = 100;
        wanted.storage.size_bytes = 1 << 20;
        wanted.generation = 2;
        assert_eq!(restart_required(&booted, &wanted), Vec::<String>::new());
    }

    #[test]
    fn limits_of_files_in_memory_wait_for_the_next_boot() {
        let mut booted = WorkspaceConfig::new("a", "b");
        booted.storage.kind = StorageType::Ephemeral;
        let mut wanted = booted.clone();
        wanted.limits.inodes = 100;
        wanted.storage.size_bytes = 1 << 20;
        assert_eq!(restart_required(&booted, &wanted), ["spec.storage", "spec.limits.storageInodes"]);
    }

    #[test]
    fn what_waits_for_the_next_boot_is_named_by_its_spec_path() {
        let booted = WorkspaceConfig::new("a", "b");
        let mut wanted = booted.clone();
        wanted.software.clear();
        wanted.limits.processes = 1;
        assert_eq!(restart_required(&booted, &wanted), ["spec.software", "spec.limits.processes"]);
    }
}
