//! The WebAssembly project's own tests of preview 1, from a folder: `WebAssembly/wasi-testsuite`, branch
//! `prod/testsuite-base`. Nothing of it is in this repository; `make wasi-testsuite FOLDER=...` names the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vm_kernel::{Command, ExitStatus, Limits};
use vm_wasm::EngineOptions;

use crate::machine::{Finished, Programs};

/// Names the folder.
const FOLDER: &str = "LODGE_WASI_TESTSUITE";
/// What the tests are of; those for preview 3 are components.
const TARGET: &str = "wasm32-wasip1";
/// Tests that fail, by folder and name; `README.md` of this crate explains each.
const KNOWN_FAILURES: &[&str] = &[];

/// The part of a test's specification that tests of preview 1 use.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Specification {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    root: Option<PathBuf>,
    exit_code: u8,
    stdout: Option<String>,
}

/// Every module of a suite's folder: `tests/<language>/testsuite/wasm32-wasip1/<test>.wasm`.
fn tests(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for language in std::fs::read_dir(folder.join("tests")).unwrap() {
        let folder = language.unwrap().path().join("testsuite").join(TARGET);
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let files = entries.map(|entry| entry.unwrap().path());
        found.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")));
    }
    found.sort();
    found
}

async fn run(test: &Path) -> Result<(), String> {
    let specification = match std::fs::read(test.with_extension("json")) {
        Ok(json) => serde_json::from_slice(&json).map_err(|error| error.to_string())?,
        Err(_) => Specification::default(),
    };
    let Specification { args, env, root, exit_code, stdout } = specification;
    let machine = Programs::new().boot(&EngineOptions::default(), Limits::default());
    machine.install("/tmp/test.wasm", &std::fs::read(test).unwrap());
    if let Some(root) = root {
        machine.import(&test.with_file_name(root), "");
    }
    // The suite's runners have a file system of their own, so that the test owns all of it.
    let mut command = Command::new("/tmp/test.wasm").args(args);
    for (name, value) in env {
        command = command.env(name, value);
    }
    let Finished { status, stdout: printed, stderr } = machine.run(command).await;
    if status != ExitStatus::Exited(exit_code) {
        return Err(format!("{status:?} instead of {exit_code}: {}", stderr.trim().replace('\n', " | ")));
    }
    match stdout {
        Some(expected) if expected != printed => Err(format!("printed {printed:?} instead of {expected:?}")),
        _ => Ok(()),
    }
}

#[tokio::test]
#[ignore = "needs the folder that LODGE_WASI_TESTSUITE names: make wasi-testsuite"]
async fn the_wasi_testsuite_passes() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let tests = tests(&folder);
    assert!(!tests.is_empty(), "{} has no tests/*/testsuite/{TARGET}/*.wasm", folder.display());
    let mut failed = BTreeSet::new();
    for test in &tests {
        let language = test.ancestors().nth(3).and_then(Path::file_name).unwrap().to_string_lossy();
        let name = format!("{language}/{}", test.file_stem().unwrap().to_string_lossy());
        match run(test).await {
            Ok(()) => println!("pass  {name}"),
            Err(reason) => {
                println!("FAIL  {name}: {reason}");
                failed.insert(name);
            }
        }
    }
    println!("{} of {} tests pass", tests.len() - failed.len(), tests.len());
    assert_eq!(failed, KNOWN_FAILURES.iter().map(|name| (*name).to_owned()).collect());
}
