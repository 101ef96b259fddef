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
    assert!(stems("sh").len() >= 60);
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
    let packages: &[&str] = if name.starts_with("git") { &["common", "git"] } else { &["common"] };
    let machine = software.boot(packages);
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
