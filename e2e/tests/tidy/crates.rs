//! Rules about manifests: directions between crates, versions and lints only in the root.

use super::{report, source::root};
use serde_json::Value;
use std::collections::BTreeMap;

/// Which of our crates a crate may depend on. Anything else is an error.
fn directions() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("lodge-crds", &[] as &[_]),
        ("vm-api", &[]),
        ("vm-abi", &[]),
        ("vm-vfs", &["vm-abi"]),
        ("vm-kernel", &["vm-vfs", "vm-abi"]),
        ("vm-wasm", &["vm-kernel", "vm-abi"]),
        ("vm-js", &["vm-kernel", "vm-abi"]),
        ("vm-session", &["vm-api"]),
        ("vm-runner", &["vm-api", "vm-abi", "vm-vfs", "vm-kernel", "vm-wasm", "vm-js", "vm-session"]),
        ("vm-fuzz", &["vm-api", "vm-abi", "vm-vfs", "vm-kernel"]),
        ("operator", &["lodge-crds", "vm-api"]),
        ("gateway", &["lodge-crds", "vm-api"]),
        ("kubectl-lodge", &["lodge-crds", "vm-api"]),
        ("e2e", &["lodge-crds", "vm-api"]),
    ])
}

/// Crates that may pull in wasmtime.
const WASMTIME_CRATES: [&str; 2] = ["vm-wasm", "vm-runner"];

/// Our packages, as cargo knows them.
fn packages() -> Vec<Value> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The normal and build dependencies' names of a package.
fn dependencies(package: &Value) -> Vec<&str> {
    let all = package["dependencies"].as_array().expect("dependencies");
    all.iter().filter(|d| d["kind"] != "dev").filter_map(|d| d["name"].as_str()).collect()
}

#[test]
fn crates_depend_only_in_the_allowed_direction() {
    let directions = directions();
    let mut violations = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let Some(allowed) = directions.get(name) else {
            violations.push(format!("{name}: an unknown crate; give it a place in ARCHITECTURE.md and here"));
            continue;
        };
        for dependency in dependencies(&package) {
            if directions.contains_key(dependency) && !allowed.contains(&dependency) {
                violations.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    report("crate directions (ARCHITECTURE.md)", &violations);
}

#[test]
fn wasmtime_stays_in_leaf_crates() {
    let violations: Vec<_> = packages()
        .iter()
        .filter(|package| dependencies(package).contains(&"wasmtime"))
        .filter_map(|package| package["name"].as_str())
        .filter(|name| !WASMTIME_CRATES.contains(name))
        .map(|name| format!("{name} depends on wasmtime"))
        .collect();
    report("only vm-wasm and vm-runner know wasmtime", &violations);
}

#[test]
fn versions_and_lints_live_in_the_root_manifest_only() {
    let mut violations = Vec::new();
    for package in packages() {
        let path = package["manifest_path"].as_str().expect("a path");
        let manifest = std::fs::read_to_string(path).expect("a manifest");
        if !manifest.contains("[lints]\nworkspace = true") {
            violations.push(format!("{path}: add `[lints]` with `workspace = true`"));
        }
        let mut section = "";
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if section.contains("dependencies")
                && !line.is_empty()
                && !line.starts_with('#')
                && (line.contains("version") || line.contains("= \""))
            {
                violations.push(format!("{path}: `{line}`: put the version into the root manifest"));
            }
        }
    }
    report("versions and lints are inherited", &violations);
}
