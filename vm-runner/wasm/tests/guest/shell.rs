//! Shell scripts on the published software. `tests/programs/<case>.sh` must print what `<case>.out` holds, which was
//! recorded on Linux: output, errors where they are part of the case, and exit codes by `echo $?`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::machine::{Software, programs_folder};

/// Cases that run at the same time, each in a VM of its own.
const AT_ONCE: usize = 4;

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = std::fs::read_dir(programs_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_script_has_an_expected_output() {
    let stems = |wanted: &str| -> BTreeSet<String> {
        std::fs::read_dir(programs_folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == wanted))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(stems("sh"), stems("out"));
    assert!(stems("sh").len() >= 250);
}

/// Commands that cannot be compared with Linux, and why.
const WITHOUT_CASE: [(&str, &str); 7] = [
    ("groups", "a stub: vm-runner brings its own, with a test of its own"),
    ("install", "a stub: vm-runner brings its own, with a test of its own"),
    ("tty", "a stub: vm-runner brings its own, with a test of its own"),
    ("uptime", "a stub: vm-runner brings its own, with a test of its own"),
    ("pinky", "a stub: there are no login records"),
    ("runas", "not a command of Linux"),
    ("chacl", "not in Debian; getfacl and setfacl have a case"),
];

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn every_command_of_the_packages_is_used_by_a_case() {
    let scripts: String = cases().iter().map(|case| std::fs::read_to_string(case).unwrap()).collect();
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.[".contains(c);
    let words: BTreeSet<&str> = scripts.split(|c| !is_part(c)).collect();
    let manifest = vm_wasm::software::Manifest::read(&Software::open().folder).unwrap();
    let untested: BTreeSet<_> = manifest
        .packages
        .iter()
        .flat_map(|package| &package.commands)
        .map(String::as_str)
        .filter(|command| !words.contains(command))
        .filter(|command| WITHOUT_CASE.iter().all(|(known, _)| known != command))
        // The same file under a second name.
        .filter(|command| *command != "git-remote-http" && *command != "git-remote-https")
        .filter(|command| *command != "git-upload-archive")
        .collect();
    assert!(untested.is_empty(), "commands that no case uses: {untested:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the guest software: make test runs it"]
async fn scripts_print_what_they_print_on_linux() {
    let software = Arc::new(Software::open());
    let only = std::env::var("LODGE_CASE").ok();
    let mut waiting: Vec<_> = cases();
    waiting.retain(|case| {
        only.as_ref().is_none_or(|only| case.file_stem().unwrap().to_string_lossy().contains(only))
    });
    waiting.reverse();
    let (mut running, mut failures, mut passed) = (JoinSet::new(), String::new(), 0);
    loop {
        while running.len() < AT_ONCE
            && let Some(case) = waiting.pop()
        {
            let software = Arc::clone(&software);
            running.spawn(async move { run(&software, case).await });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(None)) => passed += 1,
            Some(Ok(Some(failure))) => failures.push_str(&failure),
            Some(Err(panic)) => write!(failures, "\n--- {panic}\n").unwrap(),
        }
    }
    assert!(failures.is_empty(), "{passed} passed; these did not:\n{failures}");
}

/// Runs one case; what differs, if anything does.
async fn run(software: &Software, case: PathBuf) -> Option<String> {
    let name = case.file_stem().unwrap().to_string_lossy().into_owned();
    let script = std::fs::read_to_string(&case).unwrap();
    let expected = std::fs::read_to_string(case.with_extension("out")).unwrap();
    let machine = software.boot(&packages(&name));
    let started = std::time::Instant::now();
    let finished = tokio::time::timeout(std::time::Duration::from_secs(60), machine.sh(&script)).await;
    let Ok(finished) = finished else {
        return Some(format!("\n--- {name}: no end after {:?}\n", started.elapsed()));
    };
    if finished.stdout == expected {
        return None;
    }
    Some(format!(
        "\n--- {name} ({:?}), expected:\n{expected}--- got:\n{}--- stderr:\n{}",
        finished.status, finished.stdout, finished.stderr
    ))
}

/// What a case needs besides the usual software: the package that its name begins with.
fn packages(case: &str) -> Vec<&str> {
    let own = ["git", "curl", "ssh", "xattr"];
    let prefix = case.split_once('_').map_or(case, |(prefix, _)| prefix);
    ["common"].into_iter().chain(own.into_iter().find(|package| *package == prefix)).collect()
}
