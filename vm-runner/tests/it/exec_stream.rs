//! Commands whose output streams.

use std::time::{Duration, Instant};

use http::Method;
use vm_api::{Base64, ExecRequest, OutputMessage, ProcessInfo, ProcessState, WireDuration};

use crate::process_stream::Stream;
use crate::runner::{Runner, Workspace};

async fn exec(runner: &Runner, workspace: &Workspace<'_>, request: &ExecRequest) -> Stream {
    runner.stream(Method::POST, &workspace.routes.exec(), serde_json::to_vec(request).unwrap()).await
}

fn pid_of((_, message): (u64, OutputMessage)) -> i32 {
    match message {
        OutputMessage::Started { pid } => pid,
        other => panic!("{other:?}"),
    }
}

fn text(message: &OutputMessage) -> &str {
    match message {
        OutputMessage::Stdout(data) | OutputMessage::Stderr(data) => data.text.as_deref().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_first_output_comes_before_the_end() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let started = Instant::now();
    let request = ExecRequest::command("echo a; sleep 1; echo b; sleep 0.2; echo c >&2; exit 3");
    let mut stream = exec(&runner, &workspace, &request).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert!(pid_of(stream.output().await) > 1);
    let (seq, first) = stream.output().await;
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    assert_eq!((seq, text(&first)), (2, "a\n"));
    let (seq, second) = stream.output().await;
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!((seq, text(&second)), (4, "b\n"));
    let (seq, third) = stream.output().await;
    assert!(matches!(&third, OutputMessage::Stderr(_)), "{third:?}");
    assert_eq!((seq, text(&third)), (6, "c\n"));
    let (seq, exited) = stream.output().await;
    let OutputMessage::Exited(exit) = exited else { panic!("{exited:?}") };
    assert_eq!((seq, exit.exit_code, exit.signal, exit.timed_out), (7, Some(3), None, false));
    assert!(exit.duration_ms.unwrap() >= 1000.0);
    assert!(stream.next::<OutputMessage>().await.is_none());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_stream_that_was_cut_is_taken_up_again() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request = ExecRequest::command("for i in 1 2 3 4; do echo $i; sleep 0.3; done");
    let mut stream = exec(&runner, &workspace, &request).await;
    let pid = pid_of(stream.output().await);
    let (seq, first) = stream.output().await;
    assert_eq!((seq, text(&first)), (2, "1\n"));
    drop(stream);
    let path = format!("{}?after={seq}", workspace.routes.process(pid, "output"));
    let rest = runner.stream(Method::GET, &path, "").await.collect().await;
    assert_eq!((rest.stdout.as_slice(), rest.lost), (&b"2\n3\n4\n"[..], 0));
    assert_eq!(rest.exit.unwrap().exit_code, Some(0));
    // An ended one is still there.
    let all = runner.stream(Method::GET, &workspace.routes.process(pid, "output"), "").await.collect().await;
    assert_eq!(all.stdout, b"1\n2\n3\n4\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_nobody_follows_any_more_is_killed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let mut stream = exec(&runner, &workspace, &ExecRequest::command("sleep 1000 & sleep 1000")).await;
    let pid = pid_of(stream.output().await);
    drop(stream);
    let started = Instant::now();
    let wait = format!("{}?timeout=30s", workspace.routes.process(pid, "wait"));
    let info: ProcessInfo = runner.get(&wait).await.json();
    assert_eq!(info.exit.unwrap().signal.as_deref(), Some("SIGKILL"));
    let elapsed = started.elapsed();
    assert!(elapsed > Duration::from_secs(3) && elapsed < Duration::from_secs(10), "{elapsed:?}");
    let health: vm_api::Health = runner.get(&workspace.routes.health()).await.json();
    assert_eq!(health.usage.unwrap().processes, 0);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn every_byte_of_the_output_arrives() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|index| (index * 7 % 251) as u8).collect();
    let request = ExecRequest { stdin_base64: Some(Base64(bytes.clone())), ..ExecRequest::argv(["cat"]) };
    let output = exec(&runner, &workspace, &request).await.collect().await;
    assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
    let text = ExecRequest::command("i=0; while [ $i -lt 2000 ]; do echo 'ä€😀 line'; i=$((i+1)); done");
    let output = exec(&runner, &workspace, &text).await.collect().await;
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "ä€😀 line\n".repeat(2000));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn output_larger_than_the_ring_arrives_whole_at_a_reader_that_gets_on() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let output = exec(&runner, &workspace, &ExecRequest::command("seq 1 800000")).await.collect().await;
    let expected: String = (1..=800_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(output.lost, 0);
    assert!(output.stdout == expected.as_bytes(), "{} bytes", output.stdout.len());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_streamed_command_that_takes_too_long_is_killed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let timeout = Some(WireDuration(Duration::from_millis(300)));
    let request = ExecRequest { timeout, ..ExecRequest::command("echo before; sleep 1000") };
    let output = exec(&runner, &workspace, &request).await.collect().await;
    let exit = output.exit.unwrap();
    assert!(exit.timed_out);
    assert_eq!((output.stdout.as_slice(), exit.signal.as_deref()), (&b"before\n"[..], Some("SIGKILL")));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_a_streamed_command_leaves_in_the_background_goes_on() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let started = Instant::now();
    let request = ExecRequest::command("(sleep 2; echo done > done; sleep 1000) & echo started");
    let output = exec(&runner, &workspace, &request).await.collect().await;
    assert_eq!(output.stdout, b"started\n");
    assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
    while workspace.sh("cat done 2>/dev/null").await.stdout != "done\n" {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn hundreds_of_streams_run_at_once() {
    let flags = ["--max-requests-per-workspace", "1000", "--max-requests", "2000"];
    let runner = Runner::start_with(&flags).await;
    let workspace = runner.workspace_with("a", |config| config.limits.processes = 1000).await;
    let streams = (0..300).map(|number| {
        let (runner, workspace) = (&runner, &workspace);
        async move {
            let request = ExecRequest::argv(["sh", "-c", &format!("echo {number}; cat; echo end")]);
            exec(runner, workspace, &request).await.collect().await
        }
    });
    for (number, output) in futures::future::join_all(streams).await.into_iter().enumerate() {
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{number}\nend\n"));
        assert_eq!(output.exit.unwrap().exit_code, Some(0));
    }
    let list: vm_api::ProcessList = runner.get(&workspace.routes.processes()).await.json();
    assert!(list.items.iter().all(|info| info.state == ProcessState::Ended));
    assert!(list.items.len() <= 128, "{} are kept", list.items.len());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn output_that_finds_no_memory_is_cut_by_the_limits_name() {
    let runner = Runner::start().await;
    // A quarter of the memory limit, and 32 MiB at least, is for requests in flight.
    let workspace = runner.workspace_with("a", |config| config.limits.memory_bytes = 64 << 20).await;
    let command = ExecRequest::command("head -c 50000000 /dev/zero | tr '\\0' a");
    let request = ExecRequest { output_limit: Some(60 << 20), ..command };
    let response = workspace.exec(&request).await;
    assert!(response.stdout_truncated && !response.stderr_truncated);
    assert_eq!(response.limit.as_deref(), Some("spec.limits.memory"));
    assert!(response.stdout.len() <= 32 << 20 && response.stdout.len() > 30 << 20);
    let response = workspace.exec(&ExecRequest::command("echo fine")).await;
    assert_eq!((response.stdout.as_str(), response.limit), ("fine\n", None));
}
