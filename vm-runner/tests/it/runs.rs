//! Runs: commands that begin at most once.
#![expect(clippy::disallowed_methods, reason = "tests look at the data folder")]

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use vm_api::{
    ExecRequest, LoggedEvent, Power, PowerIntent, Run, RunEnd, RunList, RunRequest, VmEvent, WakeCause,
    WireDuration, WorkspaceChange, WorkspaceConfig, route,
};

use crate::runner::{Answer, Runner, Workspace, eventually};

fn command(command: &str) -> ExecRequest {
    ExecRequest::command(command)
}

async fn put(workspace: &Workspace<'_>, name: &str, exec: ExecRequest) -> Answer {
    let epoch = workspace.state().await.epoch;
    let body = serde_json::to_vec(&RunRequest { epoch, exec }).unwrap();
    workspace.runner.send(Method::PUT, &workspace.routes.run(name, ""), body).await
}

async fn begin(workspace: &Workspace<'_>, name: &str, exec: ExecRequest) {
    let answer = put(workspace, name, exec).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}

async fn get(workspace: &Workspace<'_>, name: &str) -> Run {
    workspace.runner.get(&workspace.routes.run(name, "")).await.json()
}

async fn end_of(workspace: &Workspace<'_>, name: &str) -> Run {
    let started = Instant::now();
    loop {
        let run = get(workspace, name).await;
        if run.is_finished() {
            return run;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "still {run:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_it_wrote(workspace: &Workspace<'_>, name: &str, text: &str) {
    let started = Instant::now();
    while get(workspace, name).await.output_tail != text {
        assert!(started.elapsed() < Duration::from_secs(20), "{name} did not write {text:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_run_wakes_its_workspace_and_tells_how_it_ended() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let exec = ExecRequest {
        stdin: Some("from stdin\n".to_owned()),
        env: vec![vm_api::EnvVar::new("WORD", "hush-hush")],
        ..command("cat; echo ${#WORD} >&2; exit 3")
    };
    begin(&workspace, "r", exec.clone()).await;
    let run = end_of(&workspace, "r").await;
    assert_eq!((run.end, run.exit_code), (Some(RunEnd::Exited), Some(3)));
    assert_eq!(run.output_tail, "from stdin\n9\n");
    assert!(run.finished_at.as_ref().unwrap() > &run.started_at);
    assert_eq!(workspace.state().await.last_wake.unwrap().cause, WakeCause::Cron);
    // It is known: asking again changes nothing.
    let again = put(&workspace, "r", command("echo again")).await;
    assert_eq!((again.status, again.json::<Run>()), (StatusCode::OK, run.clone()));
    assert_eq!(runner.get(&workspace.routes.runs()).await.json::<RunList>().items, [run]);
    assert_eq!(runner.get(&workspace.routes.run("none", "")).await.problem().code, "run-not-found");
    // Nothing of what it was given is kept.
    for entry in std::fs::read_dir(runner.data().join("a")).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("hush-hush"), "{:?}", entry.path());
        }
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_run_may_take_longer_than_other_commands_and_ends_when_its_time_is_up() {
    let runner = Runner::start().await;
    let workspace = runner
        .workspace_with("a", |config| {
            config.limits.command_timeout_ms = 200;
            config.idle.sleep_after_ms = Some(100);
        })
        .await;
    let lasting = |command: &str, ms| ExecRequest {
        timeout: Some(WireDuration(Duration::from_millis(ms))),
        ..ExecRequest::command(command)
    };
    begin(&workspace, "long", lasting("sleep 1; echo done", 60_000)).await;
    begin(&workspace, "short", lasting("echo begun; sleep 1000", 400)).await;
    begin(&workspace, "usual", command("sleep 1000")).await;
    let run = end_of(&workspace, "long").await;
    assert_eq!((run.end, run.output_tail.as_str()), (Some(RunEnd::Exited), "done\n"));
    for name in ["short", "usual"] {
        let run = end_of(&workspace, name).await;
        assert_eq!((run.end, run.exit_code), (Some(RunEnd::TimedOut), Some(137)), "{name}");
    }
    assert_eq!(get(&workspace, "short").await.output_tail, "begun\n");
    workspace.wait_for(Power::Asleep).await;
    // Whoever only looks does not wake it.
    assert_eq!(runner.get(&workspace.routes.runs()).await.json::<RunList>().items.len(), 3);
    assert_eq!(workspace.state().await.power, Power::Asleep);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_run_is_stopped_by_whoever_asks_for_it() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    begin(
        &workspace,
        "gentle",
        command("trap 'echo bye; exit 5' TERM; echo begun; while :; do sleep 0.05; done"),
    )
    .await;
    begin(&workspace, "stubborn", command("trap '' TERM; echo begun; while :; do sleep 0.05; done")).await;
    for name in ["gentle", "stubborn"] {
        until_it_wrote(&workspace, name, "begun\n").await;
        let answer = runner.send(Method::POST, &workspace.routes.run(name, "stop"), "").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let run = end_of(&workspace, name).await;
        assert_eq!(run.end, Some(RunEnd::Stopped), "{run:?}");
    }
    // Whether a shell can ignore SIGTERM is its own affair.
    assert!(matches!(get(&workspace, "stubborn").await.exit_code, Some(137 | 143)));
    let processes = workspace.sh("ps").await.stdout;
    assert!(!processes.contains("sleep"), "{processes}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_run_whose_workspace_is_put_to_sleep_is_stopped_and_whose_vm_dies_is_lost() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    begin(&workspace, "slept", command("echo begun; sleep 1000")).await;
    until_it_wrote(&workspace, "slept", "begun\n").await;
    runner.send(Method::POST, &workspace.routes.sleep(), "").await;
    let run = end_of(&workspace, "slept").await;
    assert_eq!((run.end, run.output_tail.as_str()), (Some(RunEnd::Stopped), "begun\n"));
    begin(&workspace, "lost", command("echo begun; sleep 1000")).await;
    until_it_wrote(&workspace, "lost", "begun\n").await;
    crate::runner::signal(runner.vm_pids()[0], "KILL");
    let run = end_of(&workspace, "lost").await;
    assert_eq!((run.end, run.output_tail.as_str()), (Some(RunEnd::Lost), "begun\n"));
    let asleep =
        WorkspaceConfig { power: PowerIntent::Asleep, generation: 2, ..WorkspaceConfig::new("test", "a") };
    runner.put_workspace("a", &asleep).await;
    begin(&workspace, "refused", command("true")).await;
    let run = end_of(&workspace, "refused").await;
    assert_eq!(run.end, Some(RunEnd::NotStarted));
    assert!(run.output_tail.contains("spec.power"), "{}", run.output_tail);
    let awake = WorkspaceConfig { generation: 3, ..WorkspaceConfig::new("test", "a") };
    runner.put_workspace("a", &awake).await;
    begin(&workspace, "nothing", ExecRequest::argv(["no-such-program"])).await;
    let run = end_of(&workspace, "nothing").await;
    assert_eq!(run.end, Some(RunEnd::NotStarted));
    assert!(run.output_tail.contains("no-such-program"), "{}", run.output_tail);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn runs_of_a_supervisor_that_is_gone_are_lost_and_told_to_whoever_watches() {
    let mut runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    begin(&workspace, "killed", command("echo begun; sleep 1000")).await;
    until_it_wrote(&workspace, "killed", "begun\n").await;
    runner.kill();
    runner.restart().await;
    let watch = async |runner: &Runner| {
        let mut stream = runner.stream(Method::GET, route::WATCH, "").await;
        let mut runs = Vec::new();
        loop {
            match stream.next::<WorkspaceChange>().await.unwrap().1 {
                WorkspaceChange::Run { uid, run } => runs.push((uid, *run)),
                WorkspaceChange::Synced => return runs,
                _ => {}
            }
        }
    };
    let told = watch(&runner).await;
    assert_eq!((told.len(), told[0].0.as_str(), told[0].1.end), (1, "a", Some(RunEnd::Lost)));
    let workspace = runner.workspace("a").await;
    let again = put(&workspace, "killed", command("true")).await;
    assert_eq!((again.status, again.json::<Run>()), (StatusCode::OK, told[0].1.clone()));
    begin(&workspace, "stopped", command("echo begun; sleep 1000")).await;
    until_it_wrote(&workspace, "stopped", "begun\n").await;
    assert!(watch(&runner).await.iter().any(|(_, run)| run.name == "stopped" && !run.is_finished()));
    runner.terminate();
    runner.restart().await;
    let workspace = runner.workspace("a").await;
    let run = get(&workspace, "stopped").await;
    assert_eq!((run.end, run.output_tail.as_str()), (Some(RunEnd::Lost), "begun\n"));
    assert!(watch(&runner).await.is_empty(), "the last one knew how its runs ended");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn runs_are_among_the_events_and_go_with_their_workspace() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    begin(&workspace, "r", command("true")).await;
    end_of(&workspace, "r").await;
    let mut events = runner.stream(Method::GET, &workspace.routes.events(), "").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let VmEvent::CronRun { name, end, exit_code } = events.next::<LoggedEvent>().await.unwrap().1.event
        {
            seen.push((name, end, exit_code));
        }
    }
    assert_eq!(seen, [("r".to_owned(), None, None), ("r".to_owned(), Some(RunEnd::Exited), Some(0))]);
    begin(&workspace, "last", command("sleep 1000")).await;
    assert_eq!(runner.send(Method::DELETE, workspace.routes.base(), "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(runner.get(&workspace.routes.run("r", "")).await.problem().code, "workspace-not-found");
    eventually("its marks go", || std::fs::read_dir(runner.data().join(".runs")).unwrap().count() == 0).await;
    assert!(!runner.data().join("a").exists());
    let anew = runner.workspace("a").await;
    begin(&anew, "r", command("true")).await;
    assert_eq!(end_of(&anew, "r").await.end, Some(RunEnd::Exited));
}
