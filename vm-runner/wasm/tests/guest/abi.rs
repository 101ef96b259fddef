//! Rules of the host interface, one small program each. A program that checks itself exits with 0, or with the number
//! of the step that failed.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use vm_abi::Signal;
use vm_kernel::{Command, ExitStatus, Limits, Stdio};
use vm_wasm::EngineOptions;

use crate::machine::{Finished, Machine, Programs, programs_folder, user_command};

/// Every program that a test below runs.
const PROGRAMS: &[&str] = &[
    "accounts",
    "attributes",
    "bad_pointers",
    "datagrams",
    "descriptors",
    "exec",
    "extents",
    "fdstat",
    "grow",
    "hello",
    "mask_child",
    "mask_parent",
    "no_network",
    "pipe_full",
    "poll",
    "preopen_root",
    "preopens",
    "preview1_rest",
    "readdir",
    "signal",
    "socket",
    "spawn",
    "spin",
    "trap",
    "unknown_imports",
];

fn machine(programs: &[&'static str]) -> Machine {
    let programs = programs.iter().fold(Programs::new(), |all, name| all.with(name));
    programs.boot(&EngineOptions::default(), Limits::default())
}

async fn run(program: &'static str) -> Finished {
    machine(&[program]).run(user_command(program)).await
}

/// Runs a program that checks itself.
async fn passes(program: &'static str) {
    assert_eq!(run(program).await.status, ExitStatus::Exited(0), "the exit code is the step that failed");
}

#[test]
fn no_program_is_without_a_test() {
    let files: BTreeSet<_> = std::fs::read_dir(programs_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wat"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, PROGRAMS.iter().map(|name| (*name).to_owned()).collect());
}

#[tokio::test]
async fn a_program_writes_and_exits_with_its_code() {
    let finished = run("hello").await;
    assert_eq!(finished.stdout, "hello\n");
    assert_eq!(finished.status, ExitStatus::Exited(7));
}

#[tokio::test]
async fn bad_pointers_fault_before_anything_happens() {
    let machine = machine(&["bad_pointers"]);
    let finished = machine.run(user_command("bad_pointers")).await;
    assert_eq!(finished.status, ExitStatus::Exited(0), "the exit code is the step that failed");
    assert_eq!(finished.stdout, "");
}

#[tokio::test]
async fn preopened_directories_have_numbers_of_their_own() {
    passes("preopens").await;
}

#[tokio::test]
async fn in_the_root_there_is_one_preopened_directory() {
    let machine = machine(&["preopen_root"]);
    assert_eq!(machine.run(user_command("preopen_root")).await.status, ExitStatus::Exited(0));
    assert_eq!(machine.run(Command::new("preopen_root")).await.status, ExitStatus::Exited(8));
}

#[tokio::test]
async fn unknown_imports_answer_that_there_is_no_such_call() {
    passes("unknown_imports").await;
}

#[tokio::test]
async fn traps_end_a_program_as_signals_do() {
    let machine = machine(&["trap"]);
    let end = async |how: &str| machine.run(user_command("trap").arg(how)).await.status;
    assert_eq!(end("a").await, ExitStatus::Signaled(Signal::SIGABRT));
    assert_eq!(end("m").await, ExitStatus::Signaled(Signal::SIGSEGV));
    assert_eq!(end("s").await, ExitStatus::Signaled(Signal::SIGSEGV));
    assert_eq!(end("d").await, ExitStatus::Signaled(Signal::SIGFPE));
    assert_eq!(end("i").await, ExitStatus::Signaled(Signal::SIGILL));
    assert_eq!(end("e").await, ExitStatus::Exited(3));
    assert_eq!(end("none").await, ExitStatus::Exited(0));
}

#[tokio::test]
async fn memory_grows_to_the_limit_of_the_vm_and_is_given_back() {
    let limits = Limits { max_memory_bytes: 100 << 20, ..Limits::default() };
    let machine = Programs::new().with("grow").boot(&EngineOptions::default(), limits);
    for _ in 0..3 {
        assert_eq!(machine.run(user_command("grow")).await.status, ExitStatus::Exited(6));
    }
}

#[tokio::test]
async fn a_program_that_computes_lets_others_run_and_can_be_killed() {
    let machine = machine(&["spin", "hello"]);
    let spinning = machine.kernel.spawn(user_command("spin")).unwrap();
    let finished = machine.run(user_command("hello")).await;
    assert_eq!(finished.status, ExitStatus::Exited(7));
    machine.kernel.kill(spinning.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(spinning.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
}

#[tokio::test]
async fn signal_handlers_run_at_the_exit_of_calls() {
    let machine = machine(&["signal"]);
    let command = user_command("signal").stdin(Stdio::Piped).stdout(Stdio::Piped);
    let mut process = machine.kernel.spawn(command).unwrap();
    let mut stdout = process.stdout.take().unwrap();
    let ended = process.wait();
    tokio::select! {
        ready = stdout.read() => assert_eq!(ready.as_deref(), Some(&b"ready\n"[..])),
        status = ended => panic!("ended early: {status:?} is the step that failed"),
    }
    machine.kernel.kill(process.pid(), Signal::SIGUSR1).unwrap();
    // The handler runs while the program reads on; then there is something to read.
    tokio::time::sleep(Duration::from_millis(5)).await;
    process.stdin.as_mut().unwrap().write(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGTERM));
}

#[tokio::test]
async fn a_program_spawns_another_and_waits_for_it() {
    let machine = machine(&["spawn", "hello"]);
    let finished = machine.run(user_command("spawn")).await;
    assert_eq!(finished.status, ExitStatus::Exited(0), "the exit code is the step that failed");
}

#[tokio::test]
async fn more_programs_than_the_pool_has_slots_run_all_the_same() {
    let options = EngineOptions { pooled_instances: 1, ..EngineOptions::default() };
    let machine = Programs::new().with("spawn").with("hello").boot(&options, Limits::default());
    let finished = machine.run(user_command("spawn")).await;
    assert_eq!(finished.status, ExitStatus::Exited(0), "the exit code is the step that failed");
}

#[tokio::test]
async fn exec_replaces_the_program_unless_it_fails() {
    let machine = machine(&["exec", "hello"]);
    let finished = machine.run(user_command("exec")).await;
    assert_eq!(finished.stdout, "hello\n");
    assert_eq!(finished.status, ExitStatus::Exited(7));
}

#[tokio::test]
async fn a_program_is_told_which_signals_are_blocked_before_it_starts() {
    let machine = machine(&["mask_parent", "mask_child"]);
    assert_eq!(machine.run(user_command("mask_parent")).await.status, ExitStatus::Exited(2));
}

#[tokio::test]
async fn a_directory_is_listed_through_a_small_buffer() {
    let machine = machine(&["readdir", "hello", "spin"]);
    // `.`, `..` and three programs
    assert_eq!(machine.run(user_command("readdir")).await.status, ExitStatus::Exited(5));
}

#[tokio::test]
async fn libraries_learn_types_and_access_modes_from_fdstat() {
    passes("fdstat").await;
}

#[tokio::test]
async fn polling_waits_for_clocks_and_fds() {
    passes("poll").await;
}

#[tokio::test]
async fn a_pipe_without_readers_kills_and_one_without_writers_is_a_deadlock() {
    assert_eq!(run("pipe_full").await.status, ExitStatus::Signaled(Signal::SIGPIPE));
}

#[tokio::test]
async fn sockets_connect_within_the_vm() {
    passes("socket").await;
}

#[tokio::test]
async fn extents_of_a_file_are_listed_and_punched() {
    passes("extents").await;
}

#[tokio::test]
async fn a_program_that_wants_out_gets_errors_at_once() {
    passes("no_network").await;
}

#[tokio::test]
async fn files_have_modes_owners_and_extended_attributes() {
    passes("attributes").await;
}

#[tokio::test]
async fn accounts_are_the_same_by_every_call() {
    passes("accounts").await;
}

#[tokio::test]
async fn descriptors_are_copied_locked_and_limited() {
    passes("descriptors").await;
}

#[tokio::test]
async fn datagrams_arrive_with_their_sender() {
    passes("datagrams").await;
}

#[tokio::test]
async fn the_rest_of_preview_1_answers_and_the_last_call_kills() {
    assert_eq!(run("preview1_rest").await.status, ExitStatus::Signaled(Signal::SIGTERM));
}
