//! Processes that run on their own, and a look at everything that runs.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use vm_api::{
    KillRequest, OutputMessage, OutputPage, ProcessInfo, ProcessList, ProcessRequest, ProcessState,
    SignalName, StdinMode, StdinResponse, StraceMessage,
};

use crate::runner::{Answer, Runner, Workspace};

fn command(command: &str) -> ProcessRequest {
    ProcessRequest { command: Some(command.to_owned()), ..ProcessRequest::default() }
}

async fn start(runner: &Runner, workspace: &Workspace<'_>, request: &ProcessRequest) -> ProcessInfo {
    let answer = runner.post(&workspace.routes.processes(), request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

async fn wait(runner: &Runner, workspace: &Workspace<'_>, pid: i32) -> ProcessInfo {
    runner.get(&format!("{}?timeout=30s", workspace.routes.process(pid, "wait"))).await.json()
}

async fn page(runner: &Runner, workspace: &Workspace<'_>, pid: i32, after: u64) -> OutputPage {
    runner.get(&format!("{}?after={after}", workspace.routes.process(pid, "output"))).await.json()
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) -> vm_api::Problem {
    let problem = answer.problem();
    assert_eq!((problem.status, problem.code.as_str()), (status, code), "{problem:?}");
    problem
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_process_outlives_its_request_and_tells_how_it_ended() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let info = start(&runner, &workspace, &command("echo out; sleep 0.5; echo err >&2; exit 4")).await;
    assert_eq!((info.state, info.parent, info.exit), (ProcessState::Running, 0, None));
    assert_eq!(info.argv[..2], ["/bin/sh", "-c"]);
    let now: ProcessInfo =
        runner.get(&format!("{}?timeout=0s", workspace.routes.process(info.pid, "wait"))).await.json();
    assert_eq!((now.state, now.exit), (ProcessState::Running, None));
    let ended = wait(&runner, &workspace, info.pid).await;
    let exit = ended.exit.unwrap();
    assert_eq!((ended.state, exit.exit_code), (ProcessState::Ended, Some(4)));
    assert!(exit.duration_ms.unwrap() >= 500.0);
    let page = page(&runner, &workspace, info.pid, 0).await;
    let [OutputMessage::Stdout(out), OutputMessage::Stderr(err), OutputMessage::Exited(_)] =
        &page.messages[..]
    else {
        panic!("{page:?}")
    };
    assert_eq!((out.as_bytes(), err.as_bytes()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!((page.next, page.has_more), (9, false));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_process_tells_its_cpu_time_while_it_runs_and_after_it_has_ended() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let busy = start(&runner, &workspace, &command("while :; do :; done")).await;
    let idle = start(&runner, &workspace, &command("exec sleep 1000")).await;
    let show = async |pid| -> ProcessInfo { runner.get(&workspace.routes.process(pid, "")).await.json() };
    let began = Instant::now();
    let used = loop {
        let now = show(busy.pid).await;
        assert!(now.memory_bytes > 0, "{now:?}");
        if now.cpu_ms > 100.0 {
            break now.cpu_ms;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(show(idle.pid).await.cpu_ms < 100.0, "who waits uses none");
    let kill = KillRequest { signal: Some(SignalName::Number(9)), group: true };
    runner.post(&workspace.routes.process(busy.pid, "kill"), &kill).await;
    let ended = wait(&runner, &workspace, busy.pid).await;
    assert!(ended.cpu_ms >= used, "{ended:?}");
    let later = show(busy.pid).await;
    assert_eq!((later.state, later.cpu_ms, later.memory_bytes), (ProcessState::Ended, ended.cpu_ms, 0));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn everything_that_runs_is_listed_as_a_tree() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let parent = start(&runner, &workspace, &command("sleep 1000 & sleep 1001 & wait")).await;
    let started = Instant::now();
    let tree = loop {
        let path = format!("{}?tree", workspace.routes.processes());
        let tree: ProcessList = runner.get(&path).await.json();
        if tree
            .items
            .iter()
            .filter(|info| info.argv.first().is_some_and(|name| name.ends_with("sleep")))
            .count()
            == 2
        {
            break tree.items;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{tree:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((tree[0].pid, tree[0].depth), (parent.pid, Some(0)));
    for child in &tree[1..] {
        assert_eq!((child.parent, child.depth, child.session), (parent.pid, Some(1), parent.session));
    }
    // Those that the guest has started can be waited for and killed, but have no streams.
    let child = tree[1].pid;
    check(&runner.get(&workspace.routes.process(child, "output")).await, 409, "process-without-streams");
    let kill = KillRequest { signal: Some(SignalName::Name("KILL".to_owned())), group: false };
    let route = workspace.routes.process(child, "kill");
    let killed = async {
        // Who comes to wait for a process that nobody asked the API for must come before it has ended.
        tokio::time::sleep(Duration::from_millis(300)).await;
        runner.post(&route, &kill).await
    };
    let (killed, ended) = tokio::join!(killed, wait(&runner, &workspace, child));
    assert_eq!(killed.status, StatusCode::NO_CONTENT);
    assert_eq!(ended.exit.unwrap().signal.as_deref(), Some("SIGKILL"));
    let group = KillRequest { signal: Some(SignalName::Number(9)), group: true };
    runner.post(&workspace.routes.process(parent.pid, "kill"), &group).await;
    assert_eq!(wait(&runner, &workspace, parent.pid).await.exit.unwrap().signal.as_deref(), Some("SIGKILL"));
    let answer = runner.send(Method::POST, &workspace.routes.process(parent.pid, "kill"), "").await;
    check(&answer, 409, "process-ended");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn standard_input_streams_with_pauses_until_it_is_closed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request = ProcessRequest {
        argv: Some(vec!["cat".to_owned()]),
        stdin: StdinMode::Pipe,
        ..ProcessRequest::default()
    };
    let pid = start(&runner, &workspace, &request).await.pid;
    let route = workspace.routes.process(pid, "stdin");
    let mut stream = runner.stream(Method::GET, &workspace.routes.process(pid, "output"), "").await;
    assert!(matches!(stream.output().await.1, OutputMessage::Started { .. }));
    for text in ["one\n", "two\n"] {
        let written: StdinResponse = runner.send(Method::POST, &route, text).await.json();
        assert_eq!(written.bytes, 4);
        let (_, message) = stream.output().await;
        assert!(matches!(message, OutputMessage::Stdout(data) if data.as_bytes() == text.as_bytes()));
    }
    // More than a pipe holds at once, while somebody reads.
    let much = vec![b'x'; 3 << 20];
    let last = format!("{route}?close");
    let (written, rest) = tokio::join!(runner.send(Method::POST, &last, much.clone()), stream.collect());
    assert_eq!(written.json::<StdinResponse>().bytes, much.len() as u64);
    assert!(rest.stdout == much, "{} bytes", rest.stdout.len());
    assert_eq!(rest.exit.unwrap().exit_code, Some(0));
    check(&runner.send(Method::POST, &route, "more").await, 409, "stdin-closed");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_writer_waits_until_the_process_reads() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request = ProcessRequest { stdin: StdinMode::Pipe, ..command("sleep 1; wc -c") };
    let started = Instant::now();
    let pid = start(&runner, &workspace, &request).await.pid;
    let route = workspace.routes.process(pid, "stdin");
    let much = vec![b'x'; 100 << 20];
    let last = format!("{route}?close");
    let (first, second) = tokio::join!(runner.send(Method::POST, &last, much.clone()), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        runner.send(Method::POST, &route, "meanwhile").await
    });
    assert!(started.elapsed() >= Duration::from_millis(900), "a pipe holds 64 MiB: {:?}", started.elapsed());
    assert_eq!(first.json::<StdinResponse>().bytes, much.len() as u64);
    check(&second, 409, "stdin-busy");
    wait(&runner, &workspace, pid).await;
    let page = page(&runner, &workspace, pid, 0).await;
    assert!(
        matches!(&page.messages[0], OutputMessage::Stdout(data) if data.text.as_deref().map(str::trim) == Some("104857600"))
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn nobody_reading_never_blocks_a_process_and_a_late_reader_is_told_what_it_missed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request = ProcessRequest { output_buffer: Some(16 << 10), ..command("seq 1 2000000; echo end") };
    let pid = start(&runner, &workspace, &request).await.pid;
    let ended = wait(&runner, &workspace, pid).await;
    assert_eq!(ended.exit.unwrap().exit_code, Some(0));
    let kept = ended.output.unwrap();
    let total: u64 = (1..=2_000_000_u64).map(|number| number.to_string().len() as u64 + 1).sum::<u64>() + 4;
    assert_eq!(kept.end, total);
    assert!(kept.first > 0 && kept.end - kept.first <= 16 << 10);
    let output =
        runner.stream(Method::GET, &workspace.routes.process(pid, "output"), "").await.collect().await;
    assert_eq!(output.lost, kept.first);
    assert!(output.stdout.ends_with(b"2000000\nend\n"));
    assert_eq!(output.stdout.len() as u64, kept.end - kept.first);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_signal_that_is_caught_does_not_end_a_process() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request =
        ProcessRequest { argv: Some(vec!["sleep".into(), "1000".into()]), ..ProcessRequest::default() };
    let pid = start(&runner, &workspace, &request).await.pid;
    let kill = workspace.routes.process(pid, "kill");
    // Ignored by default.
    let winch = KillRequest { signal: Some(SignalName::Name("SIGWINCH".to_owned())), group: false };
    assert_eq!(runner.post(&kill, &winch).await.status, StatusCode::NO_CONTENT);
    let info: ProcessInfo = runner.get(&workspace.routes.process(pid, "")).await.json();
    assert_eq!(info.state, ProcessState::Running);
    assert_eq!(runner.send(Method::POST, &kill, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(wait(&runner, &workspace, pid).await.exit.unwrap().signal.as_deref(), Some("SIGTERM"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn limits_and_mistakes_are_named() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.command_timeout_ms = 60_000).await;
    let routes = &workspace.routes;
    let post = async |body: serde_json::Value| runner.post(&routes.processes(), &body).await;
    let problem =
        check(&post(json!({"command": "true", "outputBuffer": 16777217})).await, 400, "invalid-request");
    assert_eq!(problem.limit.as_deref(), Some("outputBuffer"));
    let problem = check(&post(json!({"command": "true", "timeout": "61s"})).await, 400, "invalid-request");
    assert_eq!(problem.limit.as_deref(), Some("spec.limits.commandTimeout"));
    check(&post(json!({"command": "true", "stdin": "text"})).await, 400, "invalid-request");
    check(&post(json!({"argv": ["frobnicate"]})).await, 404, "command-not-found");
    let much = json!({"command": "x".repeat(5 << 20)});
    let problem = check(&post(much).await, 413, "body-too-large");
    assert_eq!(problem.limit.as_deref(), Some("request body limit"));
    check(&runner.get(&routes.process(4_000_000, "")).await, 404, "process-not-found");
    check(&runner.get(&routes.process(-1, "wait")).await, 404, "process-not-found");
    let pid = start(&runner, &workspace, &command("sleep 1000")).await.pid;
    check(&runner.send(Method::POST, &routes.process(pid, "stdin"), "x").await, 409, "stdin-closed");
    let after = format!("{}?after=1", routes.process(pid, "output"));
    let problem = check(&runner.get(&after).await, 400, "invalid-query");
    assert!(problem.detail.contains("ends at 0"), "{}", problem.detail);
    let kill = json!({"signal": "SIGNONE"});
    let problem = check(&runner.post(&routes.process(pid, "kill"), &kill).await, 400, "invalid-request");
    assert!(problem.detail.contains("SIGNONE"), "{}", problem.detail);
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(runner.stream(Method::GET, &routes.process(pid, "output"), "").await);
    }
    let headers = [("accept", "text/event-stream")];
    let answer = runner.send_with(Method::GET, &routes.process(pid, "output"), &headers, "").await;
    let problem = check(&answer, 429, "limit-streams");
    assert!(problem.limit.unwrap().contains("64"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn arguments_that_are_too_long_name_their_limit() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let argv: Vec<String> = std::iter::once("true".to_owned()).chain(vec!["x".repeat(1 << 20); 5]).collect();
    let answer = workspace.try_exec(&vm_api::ExecRequest::argv(argv)).await;
    let problem = check(&answer, 413, "limit-arguments");
    assert!(problem.limit.as_deref().is_some_and(|limit| limit.contains("arguments")), "{problem:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_process_ends_when_its_time_is_up() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.limits.command_timeout_ms = 500).await;
    let pid = start(&runner, &workspace, &command("sleep 1000 & sleep 1000")).await.pid;
    let exit = wait(&runner, &workspace, pid).await.exit.unwrap();
    assert!(exit.timed_out);
    assert_eq!(exit.signal.as_deref(), Some("SIGKILL"));
    let health: vm_api::Health = runner.get(&workspace.routes.health()).await.json();
    assert_eq!(health.usage.unwrap().processes, 0);
}

/// The calls of a trace, until its process has ended.
async fn calls(runner: &Runner, path: &str) -> Vec<(i32, String)> {
    let mut stream = runner.stream(Method::GET, path, "").await;
    let mut calls = Vec::new();
    while let Some((_, message)) = stream.next::<StraceMessage>().await {
        let StraceMessage::Call { pid, at, text } = message else { panic!("{message:?}") };
        assert!(at.ends_with('Z'), "{at}");
        calls.push((pid, text));
    }
    calls
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn strace_shows_what_a_real_program_does_and_what_it_starts() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let script = "while [ ! -e go ]; do sleep 0.05; done; cat secret > copy; cat nothing; echo done";
    workspace.put("/home/agent/secret", "the content").await;
    let pid = start(&runner, &workspace, &command(script)).await.pid;
    let path = format!("{}?follow", workspace.routes.process(pid, "strace"));
    let (calls, _) = tokio::join!(calls(&runner, &path), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        workspace.put("/home/agent/go", "").await
    });
    let all = calls.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    // The shell's own calls, and those of the programs that it started, under their own numbers.
    assert!(calls.iter().any(|(caller, _)| *caller == pid), "{all}");
    assert!(calls.iter().any(|(caller, _)| *caller != pid), "{all}");
    let has = |parts: &[&str]| calls.iter().any(|(_, text)| parts.iter().all(|part| text.contains(part)));
    assert!(has(&["open", "secret"]), "{all}");
    assert!(has(&["read(", "the content"]), "{all}");
    assert!(has(&["write(", "the content"]), "{all}");
    assert!(has(&["nothing", "ENOENT"]), "{all}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_process_that_is_not_there_cannot_be_traced() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let answer = runner.get(&workspace.routes.process(4000, "strace")).await;
    check(&answer, 404, "process-not-found");
}
