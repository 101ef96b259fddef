//! `vm-runner run` and `vm-runner software`: the program as a person uses it.
#![expect(clippy::disallowed_methods, reason = "tests start the real program")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::runner::{PROGRAM, software};

fn run(flags: &[&str], command: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(["run", "--software"])
        .arg(software())
        .args(flags)
        .arg("--")
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn streams_and_exit_code_are_passed_on() {
    let output = run(&["--env", "A=x"], &["sh", "-c", "cat; echo $A >&2; exit 7"], "in");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "x\n");
}

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn a_signal_becomes_an_exit_code_as_in_a_shell() {
    let output = run(&[], &["sh", "-c", "kill -9 $$"], "");
    assert_eq!(output.status.code(), Some(137), "{output:?}");
}

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn what_cannot_run_is_named_on_standard_error() {
    let output = run(&[], &["frobnicate"], "");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(127) && text.contains("frobnicate"), "{text}");
    let output = run(&["--package", "emacs"], &["true"], "");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("\"emacs\"") && text.contains("common"), "{text}");
}

#[test]
fn a_supervisor_without_software_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["serve", "--dev", "--listen", &format!("unix:{}/socket", folder.path().display()), "--data"])
        .arg(folder.path().join("data"))
        .arg("--software")
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("vm-runner software build"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn the_software_can_be_listed() {
    let output =
        Command::new(PROGRAM).args(["software", "list", "--software"]).arg(software()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("common ") && text.contains(" grep "), "{text}");
}
