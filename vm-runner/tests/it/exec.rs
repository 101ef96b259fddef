//! Commands in a real VM.

use std::time::{Duration, Instant};

use vm_api::{Base64, EnvVar, ExecRequest, FileStat, WireDuration};

use crate::runner::Runner;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_pipeline_runs_and_its_output_comes_back() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let response = workspace.sh("echo hello | tr a-z A-Z; echo oops >&2; exit 3").await;
    assert_eq!((response.exit_code, response.signal.as_deref()), (Some(3), None));
    assert_eq!((response.stdout.as_str(), response.stderr.as_str()), ("HELLO\n", "oops\n"));
    assert!(response.duration_ms > 0.0);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_answer_tells_the_phases_of_its_time() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let first = workspace.try_exec(&ExecRequest::command("true")).await;
    let phases = first.headers["server-timing"].to_str().unwrap().to_owned();
    assert!(
        phases.contains("queue;dur=") && phases.contains("boot;dur=") && phases.contains("run;dur="),
        "{phases}"
    );
    let second = workspace.try_exec(&ExecRequest::command("true")).await;
    let phases = second.headers["server-timing"].to_str().unwrap().to_owned();
    assert!(!phases.contains("boot"), "{phases}");
    let state = workspace.state().await;
    assert!(state.last_wake.is_some_and(|wake| wake.first_byte_ms.is_some()));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn commands_run_as_the_workspaces_user_at_home() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let response = workspace.sh("whoami; id -u; pwd; echo $HOME $USER; touch here").await;
    assert_eq!(response.stdout, "agent\n1000\n/home/agent\n/home/agent agent\n", "{}", response.stderr);
    let stat: FileStat = runner.get(&workspace.routes.stat("/home/agent/here")).await.json();
    assert_eq!((stat.uid, stat.gid), (1000, 1000));
    let as_root = ExecRequest { user: Some("root".to_owned()), ..ExecRequest::command("id -u; pwd") };
    assert_eq!(workspace.exec(&as_root).await.stdout, "0\n/root\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_requests_environment_wins_over_the_workspaces() {
    let runner = Runner::start().await;
    let workspace = runner
        .workspace_with("a", |config| config.env = vec![EnvVar::new("A", "spec"), EnvVar::new("B", "spec")])
        .await;
    let mut request = ExecRequest::command("echo $A $B $LANG");
    request.env = vec![EnvVar::new("B", "request")];
    assert_eq!(workspace.exec(&request).await.stdout, "spec request C.UTF-8\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_argv_runs_without_a_shell() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let response = workspace.exec(&ExecRequest::argv(["printf", "%s|", "$HOME", "a b"])).await;
    assert_eq!(response.stdout, "$HOME|a b|");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn standard_input_arrives_and_ends() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let text = ExecRequest { stdin: Some("b\na\n".to_owned()), ..ExecRequest::argv(["sort"]) };
    assert_eq!(workspace.exec(&text).await.stdout, "a\nb\n");
    let none = workspace.exec(&ExecRequest::argv(["cat"])).await;
    assert_eq!((none.exit_code, none.stdout.as_str()), (Some(0), ""));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn bytes_that_are_no_text_survive() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let bytes: Vec<u8> = (0..=255).collect();
    let request = ExecRequest { stdin_base64: Some(Base64(bytes.clone())), ..ExecRequest::argv(["cat"]) };
    assert_eq!(workspace.exec(&request).await.stdout_bytes(), bytes);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn output_beyond_the_limit_is_cut_and_flagged() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let request =
        ExecRequest { output_limit: Some(10), ..ExecRequest::command("seq 1 100000; echo end >&2") };
    let response = workspace.exec(&request).await;
    assert_eq!((response.exit_code, response.stdout.as_str()), (Some(0), "1\n2\n3\n4\n5\n"));
    assert!(response.stdout_truncated && !response.stderr_truncated);
    let all = workspace.sh("seq 1 100000").await;
    assert!(!all.stdout_truncated);
    assert_eq!(all.stdout.lines().count(), 100_000);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let timeout = Some(WireDuration(Duration::from_millis(300)));
    let request = ExecRequest { timeout, ..ExecRequest::command("echo before; sleep 1000 & sleep 1000") };
    let started = Instant::now();
    let response = workspace.exec(&request).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(response.timed_out);
    assert_eq!((response.exit_code, response.signal.as_deref()), (None, Some("SIGKILL")));
    assert_eq!(response.stdout, "before\n");
    let health: vm_api::Health = runner.get(&workspace.routes.health()).await.json();
    assert_eq!(health.usage.unwrap().processes, 0);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_computes_for_ever_is_killed_too() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let timeout = Some(WireDuration(Duration::from_millis(300)));
    let request = ExecRequest { timeout, ..ExecRequest::command("while true; do :; done") };
    assert!(workspace.exec(&request).await.timed_out);
    assert_eq!(workspace.sh("echo fine").await.stdout, "fine\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_whose_client_goes_away_is_killed() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let sleeper = ExecRequest::command("sleep 1000");
    let request = workspace.try_exec(&sleeper);
    assert!(tokio::time::timeout(Duration::from_millis(200), request).await.is_err());
    let started = Instant::now();
    loop {
        let health: vm_api::Health = runner.get(&workspace.routes.health()).await.json();
        if health.usage.unwrap().processes == 0 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "still running");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_a_command_leaves_in_the_background_goes_on() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let started = Instant::now();
    let response = workspace.sh("(sleep 1; echo done > done) & echo started").await;
    assert_eq!(response.stdout, "started\n");
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    let started = Instant::now();
    while workspace.sh("cat done 2>/dev/null").await.stdout != "done\n" {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn many_commands_run_at_once() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let requests = (0..50).map(|number| {
        let workspace = &workspace;
        async move { workspace.sh(&format!("echo {number} | cat")).await.stdout }
    });
    let outputs = futures::future::join_all(requests).await;
    for (number, output) in outputs.into_iter().enumerate() {
        assert_eq!(output, format!("{number}\n"));
    }
}
