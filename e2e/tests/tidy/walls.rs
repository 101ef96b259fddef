//! Rules that keep the parts of a VM apart, and the host away from its guests.

use super::{
    report,
    source::{Source, sources},
};
use std::collections::BTreeSet;

/// Files of `vm-runner` that may reach the host, each for the reason that it states itself.
const HOST_FACING: &[&str] = include!("host_facing.in");

fn in_folder<'a>(all: &'a [Source], folder: &'a str) -> impl Iterator<Item = &'a Source> {
    all.iter().filter(move |source| source.path.starts_with(folder) && source.is_production())
}

#[test]
fn the_list_of_host_facing_files_is_complete() {
    let all = sources();
    let found: BTreeSet<String> = in_folder(&all, "vm-runner")
        .filter(|source| source.production().contains("clippy::disallowed_methods"))
        .map(|source| source.path.display().to_string())
        .collect();
    let listed: BTreeSet<String> = HOST_FACING.iter().map(|name| (*name).to_owned()).collect();
    let difference: Vec<_> = found.symmetric_difference(&listed).cloned().collect();
    report("files that opt out of the wall equal tidy/host_facing.in", &difference);
}

#[test]
fn in_the_kernel_only_poll_waits() {
    let all = sources();
    let violations: Vec<_> = in_folder(&all, "vm-runner/kernel/src")
        .filter(|source| !source.path.ends_with("poll.rs") && source.production().contains("select!"))
        .map(|source| format!("{}: wait through poll::wait_ready", source.path.display()))
        .collect();
    report("select! stands in poll.rs only", &violations);
}

#[test]
fn drivers_reach_the_kernel_through_its_waist() {
    let all = sources();
    let allowed = ["syscall", "driver", "context"];
    let mut violations = Vec::new();
    for source in in_folder(&all, "vm-runner/wasm/src") {
        for (number, line) in source.production().lines().enumerate() {
            for part in line.split("vm_kernel::").skip(1) {
                let module: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_braced = part.starts_with('{');
                if !is_braced && !allowed.contains(&module.as_str()) {
                    violations.push(format!("{}:{}: vm_kernel::{module}", source.path.display(), number + 1));
                }
            }
        }
    }
    report("drivers use only syscall, driver and context of the kernel", &violations);
}

#[test]
fn a_crate_that_locks_writes_its_lock_order_down() {
    let all = sources();
    let mut violations = Vec::new();
    for library in all.iter().filter(|source| source.path.ends_with("src/lib.rs")) {
        let folder = library.path.parent().expect("src");
        let locks = all
            .iter()
            .filter(|source| source.path.starts_with(folder))
            .any(|source| source.production().contains("Mutex<") || source.production().contains("RwLock<"));
        if locks && !library.text.contains("Lock order") {
            violations.push(format!("{}: add a \"Lock order\" heading", library.path.display()));
        }
    }
    report("the lock order is written down", &violations);
}

#[test]
fn the_kernel_knows_no_wasm_no_http_no_kubernetes() {
    let all = sources();
    let foreign = ["wasmtime", "hyper::", "axum", "kube::", "k8s_openapi", "serde_json"];
    let mut violations = Vec::new();
    for folder in ["vm-runner/kernel/src", "vm-runner/vfs/src", "vm-runner/abi/src"] {
        for source in in_folder(&all, folder) {
            for word in foreign.iter().filter(|word| source.production().contains(**word)) {
                violations.push(format!("{}: {word}", source.path.display()));
            }
        }
    }
    report("the kernel, the vfs and the abi know nothing of what is above them", &violations);
}

#[test]
fn anyhow_stays_out_of_libraries() {
    let all = sources();
    let violations: Vec<_> = all
        .iter()
        .filter(|source| source.is_production() && !source.path.starts_with("e2e"))
        .filter(|source| !source.path.ends_with("main.rs") && !source.path.ends_with("args.rs"))
        .filter(|source| !source.path.to_string_lossy().contains("/bin/"))
        .filter(|source| source.production().contains("anyhow"))
        .map(|source| format!("{}: give it an error type", source.path.display()))
        .collect();
    report("anyhow is for main.rs, its args.rs, and tests", &violations);
}

#[test]
fn pure_steps_of_a_reconciler_take_no_client() {
    let all = sources();
    let violations: Vec<_> = in_folder(&all, "operator/src")
        .filter(|source| {
            let path = source.path.to_string_lossy();
            path.contains("/validate") || path.contains("/build")
        })
        .filter(|source| source.production().contains("Client") || source.production().contains("async fn"))
        .map(|source| format!("{}: validate and build are pure", source.path.display()))
        .collect();
    report("validate and build take no client and are not async", &violations);
}
