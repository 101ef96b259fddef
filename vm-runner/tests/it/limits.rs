//! Each limit of the specification, hit, and what is said of it.
#![expect(clippy::disallowed_methods, reason = "tests look at processes of the host")]

use std::time::{Duration, Instant};

use http::StatusCode;
use vm_api::{ExecRequest, Health, Power, Problem, ProcessInfo, ProcessRequest, WireDuration};

use crate::runner::{Answer, Runner};

/// Runs `argv` so often at once that some are refused; answers the first refusal.
async fn crowd(runner: &Runner, routes: &vm_api::route::Workspace, count: usize) -> Problem {
    let timeout = Some(WireDuration(Duration::from_secs(2)));
    let request = ExecRequest { timeout, ..ExecRequest::argv(["sleep", "1000"]) };
    let (exec, request) = (routes.exec(), &request);
    let answers = (0..count).map(|_| runner.post(&exec, request));
    let answers: Vec<Answer> = futures::future::join_all(answers).await;
    let refused = answers.iter().find(|answer| !answer.status.is_success());
    refused.unwrap_or_else(|| panic!("none of {count} was refused")).problem()
}

#[track_caller]
fn check(problem: &Problem, code: &str, limit: &str) {
    assert_eq!((problem.code.as_str(), problem.limit.as_deref()), (code, Some(limit)), "{problem:?}");
    assert!(problem.detail.contains(limit), "{problem:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn more_processes_than_allowed_are_refused_by_name() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.processes = 8).await;
    check(&crowd(&runner, &workspace.routes, 12).await, "limit-processes", "spec.limits.processes");
    let response = workspace.sh("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; wait").await;
    assert!(!response.stderr.is_empty(), "a guest sees EAGAIN: {response:?}");
    let failed = workspace.sh("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; wait; exit 1").await;
    assert_eq!(failed.limit.as_deref(), Some("spec.limits.processes"), "{failed:?}");
    assert_eq!(workspace.sh("echo fine").await.stdout, "fine\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn programs_that_find_no_memory_are_killed_and_the_others_run_on() {
    let runner = Runner::start().await;
    let small = |config: &mut vm_api::WorkspaceConfig| {
        config.limits.memory_bytes = 24 << 20;
        config.limits.processes = 1000;
    };
    let workspace = runner.workspace_with("a", small).await;
    let timeout = Some(WireDuration(Duration::from_secs(2)));
    let request = ExecRequest { timeout, ..ExecRequest::argv(["sleep", "1000"]) };
    let crowd = (0..60).map(|_| workspace.exec(&request));
    let crowd = futures::future::join_all(crowd).await;
    let slept = crowd.iter().filter(|response| response.timed_out).count();
    assert!((5..40).contains(&slept), "{slept} of 60 had the memory that a program needs");
    assert!(crowd.iter().all(|response| response.signal.as_deref() == Some("SIGKILL")), "{crowd:?}");
    for response in &crowd {
        let limit = (!response.timed_out).then_some("spec.limits.memory");
        assert_eq!(response.limit.as_deref(), limit, "{response:?}");
    }
    let response =
        workspace.sh("head -c 100000000 /dev/zero | sort > /dev/null; echo status $?; exit 1").await;
    assert!(!response.stdout.contains("status 0"), "a guest gets no more either: {response:?}");
    assert_eq!(response.limit.as_deref(), Some("spec.limits.memory"), "{response:?}");
    let response = workspace.sh("echo fine; exit 1").await;
    assert_eq!(
        (response.stdout.as_str(), response.limit),
        ("fine\n", None),
        "what others ran into is not its own"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_program_that_asks_for_more_memory_than_allowed_says_so_however_it_was_started() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.memory_bytes = 32 << 20).await;
    let program = wat::parse_str(GROWS_UNTIL_REFUSED).unwrap();
    assert!(workspace.put("/home/agent/grow", program).await.status.is_success());
    let ended = workspace.sh("chmod +x grow; ./grow").await;
    let mib = ended.exit_code.unwrap();
    assert!((4..32).contains(&mib), "it got {mib} MiB of 32: {ended:?}");
    assert_eq!(ended.limit.as_deref(), Some("spec.limits.memory"), "{ended:?}");
    let argv = vec!["/home/agent/grow".to_owned()];
    let request = ProcessRequest { argv: Some(argv), ..ProcessRequest::default() };
    let started: ProcessInfo = runner.post(&workspace.routes.processes(), &request).await.json();
    let wait = format!("{}?timeout=30s", workspace.routes.process(started.pid, "wait"));
    let exit = runner.get(&wait).await.json::<ProcessInfo>().exit.unwrap();
    assert_eq!(exit.limit.as_deref(), Some("spec.limits.memory"), "{exit:?}");
    let state = workspace.state().await;
    assert_eq!((state.power, state.sleep), (Power::Awake, None), "the VM goes on");
    assert_eq!(workspace.sh("echo fine").await.stdout, "fine\n");
}

/// Takes memory until it gets no more; its exit code is how many MiB it got.
const GROWS_UNTIL_REFUSED: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $mib i32)
    (loop $again
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1))
        (then (call $exit (local.get $mib))))
      (local.set $mib (i32.add (local.get $mib) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $mib) (i32.const 200))))
    (call $exit (i32.const 255))))"#;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn more_open_files_than_allowed_are_refused() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.open_files = 16).await;
    let script =
        "i=3; while [ $i -lt 40 ]; do eval \"exec $i</dev/null\" || break; i=$((i+1)); done; echo at $i";
    let response = workspace.sh(script).await;
    let text = format!("{}{}", response.stdout, response.stderr);
    assert!(!text.contains("at 40"), "{text}");
    if response.exit_code != Some(0) {
        assert_eq!(response.limit.as_deref(), Some("spec.limits.openFiles"), "{response:?}");
    }
    assert_eq!(workspace.sh("echo fine").await.stdout, "fine\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn more_sockets_than_allowed_are_refused() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.sockets = 8).await;
    let program = wat::parse_str(SOCKETS_UNTIL_REFUSED).unwrap();
    assert!(workspace.put("/home/agent/sockets", program).await.status.is_success());
    let response = workspace.sh("chmod +x sockets; ./sockets; echo $?; ./sockets; echo $?; exit 1").await;
    assert_eq!(response.limit.as_deref(), Some("spec.limits.sockets"), "{response:?}");
    // All are closed with the process, and can be had again.
    assert_eq!(response.stdout, "8\n8\n", "{}", response.stderr);
}

/// Opens sockets until it gets no more; its exit code is how many it got.
const SOCKETS_UNTIL_REFUSED: &str = r#"(module
  (import "host_net" "net_socket" (func $socket (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $count i32)
    (loop $again
      (if (call $socket (i32.const 1) (i32.const 6) (i32.const 0) (i32.const 128))
        (then (call $exit (local.get $count))))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $count) (i32.const 100))))
    (call $exit (i32.const 100))))"#;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn more_files_than_allowed_are_refused_by_name() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.inodes = 100).await;
    let mut last = None;
    for number in 0..150 {
        let answer = workspace.put(&format!("/home/agent/file-{number}"), "x").await;
        if !answer.status.is_success() {
            last = Some(answer);
            break;
        }
    }
    let answer = last.unwrap();
    assert_eq!(answer.status, StatusCode::INSUFFICIENT_STORAGE);
    check(&answer.problem(), "limit-inodes", "spec.limits.storageInodes");
    let response = workspace.sh("touch another; rm file-1; touch another && echo made").await;
    assert!(response.stderr.to_lowercase().contains("no space"), "{response:?}");
    assert_eq!(response.stdout, "made\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn more_bytes_than_allowed_are_refused_by_name() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.storage.size_bytes = 8 << 20).await;
    let mut problems = Vec::new();
    for name in ["one", "two", "three"] {
        let answer = workspace.put(&format!("/home/agent/{name}"), vec![b'x'; 4 << 20]).await;
        if !answer.status.is_success() {
            problems.push(answer.problem());
        }
    }
    let problem = problems.first().unwrap();
    assert_eq!(problem.limit.as_deref(), Some("spec.storage.size"), "{problem:?}");
    let response = workspace.sh("rm -f one two three; head -c 20000000 /dev/zero > big; ls big").await;
    assert!(response.stderr.to_lowercase().contains("no space"), "{response:?}");
    assert_eq!(workspace.sh("rm big; echo fine > file; cat file").await.stdout, "fine\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_takes_longer_than_allowed_is_killed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.command_timeout_ms = 300).await;
    let response = workspace.sh("echo before; sleep 1000").await;
    assert!(response.timed_out);
    assert_eq!((response.stdout.as_str(), response.signal.as_deref()), ("before\n", Some("SIGKILL")));
    let timeout = Some(WireDuration(Duration::from_secs(1)));
    let answer = workspace.try_exec(&ExecRequest { timeout, ..ExecRequest::command("true") }).await;
    check(&answer.problem(), "invalid-request", "spec.limits.commandTimeout");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_gets_no_more_processor_than_allowed() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace_with("a", |config| config.limits.cpu_millis = 200).await;
    workspace.sh("true").await;
    let pid = runner.vm_pids()[0];
    let before = (processor_time(pid), Instant::now());
    let timeout = Some(WireDuration(Duration::from_secs(3)));
    let script = "while :; do :; done & while :; do :; done & while :; do :; done";
    let response = workspace.exec(&ExecRequest { timeout, ..ExecRequest::command(script) }).await;
    assert!(response.timed_out);
    let share = (processor_time(pid) - before.0).as_secs_f64() / before.1.elapsed().as_secs_f64();
    // Of one processor: 0.2 and what serving costs. On an unlimited one it would be 2.
    assert!(share < 0.4, "{share}");
    assert!(share > 0.1, "{share}");
}

/// What a process has used of processors.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_vm_at_its_limits_still_tells_how_it_is() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.processes = 4).await;
    let timeout = Some(WireDuration(Duration::from_millis(500)));
    let request =
        ExecRequest { timeout, ..ExecRequest::command("sleep 10 & sleep 10 & sleep 10 & sleep 10") };
    let (_, health) = tokio::join!(workspace.try_exec(&request), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        runner.get(&workspace.routes.health()).await.json::<Health>()
    });
    assert_eq!(health.status, "ok");
}
