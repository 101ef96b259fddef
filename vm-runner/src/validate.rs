//! Checks a workspace's configuration before anything is done with it.
//!
//! The Workspace's schema has checked most of this already; a runner does not rely on it. Every problem names the field
//! of the specification.

use std::collections::HashSet;

use vm_api::{
    EnvVar, FileEntry, LimitsConfig, MountConfig, MountSource, Problem, ProblemCode, UserConfig, VolumeMount,
    WorkspaceConfig,
};

use crate::software::Catalog;

/// Most variables in `spec.env`.
const MAX_ENV: usize = 1024;
/// Most bytes of names and values in `spec.env`.
const MAX_ENV_BYTES: usize = 1 << 20;
/// Most entries of `spec.mounts`.
const MAX_MOUNTS: usize = 64;
/// Most files in one mount.
const MAX_MOUNT_FILES: usize = 10_000;
/// Longest path.
const MAX_PATH_BYTES: usize = 4096;
/// Mount points that a VM cannot do without.
const RESERVED: [&str; 4] = ["/", "/dev", "/proc", "/opt/agentos"];

/// Checks everything.
///
/// # Errors
/// The first problem.
pub(crate) fn validate(config: &WorkspaceConfig, catalog: &Catalog) -> Result<(), Problem> {
    // Without `..`, so that a new field has to be thought about.
    let WorkspaceConfig {
        namespace: _,
        name: _,
        generation: _,
        epoch,
        power: _,
        software,
        env,
        user,
        storage,
        mounts,
        limits,
        idle: _,
    } = config;
    if *epoch == 0 {
        return Err(invalid("epoch", "epoch must be at least 1"));
    }
    catalog.resolve(software)?;
    check_env(env, "spec.env")?;
    check_user(user)?;
    if storage.size_bytes == 0 {
        return Err(invalid("spec.storage.size", "spec.storage.size must be more than 0"));
    }
    check_mounts(mounts)?;
    check_limits(limits)
}

/// Checks environment variables; `field` is what the list is called.
pub(crate) fn check_env(env: &[EnvVar], field: &str) -> Result<(), Problem> {
    if env.len() > MAX_ENV {
        return Err(invalid_env(field, format!("{field} has {} entries; the most is {MAX_ENV}", env.len())));
    }
    let bytes: usize = env.iter().map(|var| var.name.len() + var.value.len()).sum();
    if bytes > MAX_ENV_BYTES {
        return Err(invalid_env(field, format!("{field} has {bytes} bytes; the most is {MAX_ENV_BYTES}")));
    }
    for (index, EnvVar { name, value }) in env.iter().enumerate() {
        let (name_field, value_field) = (format!("{field}[{index}].name"), format!("{field}[{index}].value"));
        if name.is_empty() {
            return Err(invalid_env(&name_field, format!("{name_field} is empty")));
        }
        if name.contains(['=', '\0']) {
            return Err(invalid_env(&name_field, format!("{name_field} {name:?} contains '=' or NUL")));
        }
        if value.contains('\0') {
            // The value may be secret: only its variable is named.
            return Err(invalid_env(
                &value_field,
                format!("{value_field}, the value of {name}, contains NUL"),
            ));
        }
    }
    Ok(())
}

fn check_user(user: &UserConfig) -> Result<(), Problem> {
    let UserConfig { name, uid, gid, home } = user;
    let is_name = name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    if !is_name {
        let detail = format!(
            "spec.user.name {name:?}: up to 32 of a-z, 0-9, '-' and '_', beginning with a letter or '_'"
        );
        return Err(invalid("spec.user.name", detail));
    }
    if name == "root" && *uid != 0 {
        return Err(invalid("spec.user.uid", "the user root has uid 0"));
    }
    for (field, id) in [("spec.user.uid", uid), ("spec.user.gid", gid)] {
        if *id > i32::MAX as u32 {
            return Err(invalid(field, format!("{field} {id} is too large; the most is {}", i32::MAX)));
        }
    }
    check_path(home, "spec.user.home")?;
    if home.contains([':', '\n']) {
        return Err(invalid("spec.user.home", "spec.user.home contains ':' or a line break"));
    }
    Ok(())
}

fn check_path(path: &str, field: &str) -> Result<(), Problem> {
    let reason = if !path.starts_with('/') {
        "is not absolute"
    } else if path.contains('\0') {
        "contains NUL"
    } else if path.len() > MAX_PATH_BYTES || path.split('/').any(|name| name.len() > 255) {
        "is too long"
    } else if path.split('/').any(|name| name == ".." || name == ".") {
        "contains '.' or '..'"
    } else {
        return Ok(());
    };
    Err(invalid(field, format!("{field} {path:?} {reason}")))
}

fn check_mounts(mounts: &[MountConfig]) -> Result<(), Problem> {
    if mounts.len() > MAX_MOUNTS {
        let detail = format!("spec.mounts has {} entries; the most is {MAX_MOUNTS}", mounts.len());
        return Err(invalid("spec.mounts", detail));
    }
    let mut seen = HashSet::new();
    for (index, MountConfig { path, read_only: _, source }) in mounts.iter().enumerate() {
        let field = format!("spec.mounts[{index}].path");
        check_path(path, &field)?;
        let normal = path.trim_end_matches('/');
        let is_reserved = RESERVED.iter().any(|reserved| normal == reserved.trim_end_matches('/'))
            || ["/dev/", "/proc/", "/opt/agentos/"].iter().any(|folder| normal.starts_with(folder));
        if is_reserved {
            return Err(invalid(&field, format!("{field} {path:?}: nothing can be mounted there")));
        }
        if !seen.insert(normal) {
            return Err(invalid(
                &field,
                format!("{field} {path:?}: something else is mounted there already"),
            ));
        }
        match source {
            MountSource::Tmpfs(tmpfs) if tmpfs.size_bytes == 0 => {
                let field = format!("spec.mounts[{index}].tmpfs.size");
                return Err(invalid(&field, format!("{field} must be more than 0")));
            }
            MountSource::Tmpfs(_) => {}
            MountSource::Files(files) => check_files(&files.entries, &format!("spec.mounts[{index}]"))?,
            MountSource::Volume(volume) => check_volume(volume, &format!("spec.mounts[{index}].volume"))?,
        }
    }
    Ok(())
}

fn check_volume(volume: &VolumeMount, field: &str) -> Result<(), Problem> {
    let VolumeMount { name, sub_path } = volume;
    if name.is_empty() {
        return Err(invalid(field, format!("{field}.name is empty")));
    }
    match sub_path {
        None => Ok(()),
        Some(path) if path.is_empty() || path.split('/').any(str::is_empty) => {
            Err(invalid(field, format!("{field}.subPath {path:?} is not a relative path")))
        }
        Some(path) => check_path(&format!("/{path}"), &format!("{field}.subPath")),
    }
}

fn check_files(entries: &[FileEntry], field: &str) -> Result<(), Problem> {
    if entries.len() > MAX_MOUNT_FILES {
        return Err(invalid(
            field,
            format!("{field} has {} files; the most is {MAX_MOUNT_FILES}", entries.len()),
        ));
    }
    for FileEntry { path, mode, content_base64: _ } in entries {
        check_path(&format!("/{path}"), field)?;
        if path.is_empty() || path.split('/').any(str::is_empty) {
            return Err(invalid(field, format!("{field}: {path:?} is not a relative path")));
        }
        if *mode > 0o7777 {
            return Err(invalid(field, format!("{field}: the mode {mode:o} of {path:?} is not one")));
        }
    }
    Ok(())
}

fn check_limits(limits: &LimitsConfig) -> Result<(), Problem> {
    let LimitsConfig {
        memory_bytes,
        cpu_millis,
        processes,
        open_files,
        sockets: _,
        inodes,
        command_timeout_ms,
    } = limits;
    let least = [
        ("spec.limits.memory", *memory_bytes, 16 << 20),
        ("spec.limits.cpu", *cpu_millis, 1),
        ("spec.limits.processes", u64::from(*processes), 1),
        ("spec.limits.openFiles", u64::from(*open_files), 8),
        ("spec.limits.storageInodes", *inodes, 64),
        ("spec.limits.commandTimeout", *command_timeout_ms, 1),
    ];
    match least.into_iter().find(|(_, number, least)| number < least) {
        None => Ok(()),
        Some((field, number, least)) => {
            Err(invalid(field, format!("{field} is {number}; the least is {least}")).with_limit(field))
        }
    }
}

fn invalid(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::InvalidConfig, detail).with_field(field)
}

fn invalid_env(field: &str, detail: String) -> Problem {
    Problem::new(ProblemCode::InvalidEnv, detail).with_field(field)
}

#[cfg(test)]
mod tests {
    use vm_api::{Base64, FilesMount, TmpfsMount};

    use super::*;
    use crate::software::tests::package;

    fn problem(change: impl FnOnce(&mut WorkspaceConfig)) -> Problem {
        let catalog = Catalog::for_tests(vec![package("common", &[])]);
        let mut config = WorkspaceConfig::new("a", "b");
        validate(&config, &catalog).unwrap();
        change(&mut config);
        validate(&config, &catalog).unwrap_err()
    }

    fn tmpfs(path: &str) -> MountConfig {
        let source = MountSource::Tmpfs(TmpfsMount { size_bytes: 1 });
        MountConfig { path: path.to_owned(), read_only: false, source }
    }

    #[test]
    fn a_variable_that_cannot_be_one_is_named_by_its_place() {
        for name in ["", "A=B", "A\0"] {
            let problem = problem(|config| config.env.push(EnvVar::new(name, "x")));
            assert!(problem.is(ProblemCode::InvalidEnv), "{name:?}");
            assert_eq!(problem.field.as_deref(), Some("spec.env[0].name"));
        }
    }

    #[test]
    fn a_problem_with_a_value_never_shows_it() {
        let problem = problem(|config| config.env.push(EnvVar::new("TOKEN", "hunter2\0")));
        assert!(
            problem.detail.contains("TOKEN") && !problem.detail.contains("hunter2"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn mount_points_are_absolute_free_and_not_the_systems_own() {
        for path in ["data", "/a/../b", "/dev/x", "/proc", "/", "/opt/agentos/bin"] {
            let problem = problem(|config| config.mounts.push(tmpfs(path)));
            assert_eq!(problem.field.as_deref(), Some("spec.mounts[0].path"), "{path}");
        }
        let problem = problem(|config| config.mounts.extend([tmpfs("/a"), tmpfs("/a/")]));
        assert!(problem.detail.contains("mounted there already"), "{}", problem.detail);
    }

    #[test]
    fn a_file_of_a_mount_never_leads_out_of_it() {
        for path in ["../x", "/x", "", "a//b"] {
            let entries =
                vec![FileEntry { path: path.to_owned(), mode: 0o644, content_base64: Base64::default() }];
            let source = MountSource::Files(FilesMount { entries });
            let mount = MountConfig { path: "/config".to_owned(), read_only: true, source };
            let problem = problem(|config| config.mounts.push(mount));
            assert!(problem.is(ProblemCode::InvalidConfig), "{path}");
        }
    }

    #[test]
    fn a_folder_of_a_volume_never_leads_out_of_it() {
        for path in ["../x", "/x", "", "a//b", "a/../../b", "."] {
            let volume = VolumeMount { name: "v".to_owned(), sub_path: Some(path.to_owned()) };
            let source = MountSource::Volume(volume);
            let mount = MountConfig { path: "/data".to_owned(), read_only: true, source };
            let problem = problem(|config| config.mounts.push(mount));
            assert!(problem.is(ProblemCode::InvalidConfig), "{path}");
        }
    }

    #[test]
    fn limits_that_nothing_could_run_with_are_refused_by_their_spec_path() {
        let problem = problem(|config| config.limits.processes = 0);
        assert_eq!(problem.limit.as_deref(), Some("spec.limits.processes"));
    }

    #[test]
    fn user_names_are_unix_names() {
        for name in ["", "Ada", "a b", "1a", "root"] {
            let problem = problem(|config| config.user.name = name.to_owned());
            assert!(problem.is(ProblemCode::InvalidConfig), "{name}");
        }
    }
}
