//! Workspaces and their VMs: boot, death, sleep, deletion, restart of the supervisor.
#![expect(clippy::disallowed_methods, reason = "tests look at processes of the host")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use vm_api::{
    EnvVar, ExecRequest, Power, PowerIntent, SleepReason, WorkspaceChange, WorkspaceConfig, route, sse,
};

use crate::runner::{Runner, eventually, is_alive, signal};

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_workspace_boots_with_its_first_action_only() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let state = workspace.state().await;
    assert_eq!((state.power, state.sleep), (Power::Asleep, Some(SleepReason::NotStarted)));
    assert!(state.storage.persistent && state.storage.reason.is_none());
    let health: vm_api::Health = runner.get(&workspace.routes.health()).await.json();
    assert_eq!(health.status, "asleep");
    assert_eq!(workspace.sh("echo hi").await.stdout, "hi\n");
    assert_eq!(workspace.state().await.power, Power::Awake);
    let started = Instant::now();
    while workspace.state().await.usage.is_none() {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing is told of what it uses");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn many_first_actions_boot_one_vm() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    let requests = (0..20).map(|_| workspace.sh("echo hi"));
    for response in futures::future::join_all(requests).await {
        assert_eq!(response.stdout, "hi\n");
    }
    assert_eq!(runner.vm_pids().len(), 1);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn two_workspaces_share_nothing() {
    let runner = Runner::start().await;
    let (a, b) = (runner.workspace("a").await, runner.workspace("b").await);
    a.sh("echo secret > /tmp/file; sleep 100 &").await;
    assert_eq!(b.sh("cat /tmp/file").await.exit_code, Some(1));
    let processes = b.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await.stdout;
    assert!(processes.contains("cat") && !processes.contains("sleep"), "{processes}");
    let answer = runner.post(&route::Workspace::at_runner("c").exec(), &ExecRequest::command("true")).await;
    assert_eq!(answer.problem().code, "workspace-not-found");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_vm_that_is_killed_is_booted_again_by_the_next_action() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let pids = runner.vm_pids();
    assert_eq!(pids.len(), 1);
    signal(pids[0], "KILL");
    // A process that is dying may still take a request; one that was waited for cannot.
    eventually("the vm process is gone", || !Path::new(&format!("/proc/{}", pids[0])).exists()).await;
    assert_eq!(workspace.sh("echo again").await.stdout, "again\n");
    assert_ne!(runner.vm_pids(), pids);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_state_says_how_a_vm_ended() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    signal(runner.vm_pids()[0], "KILL");
    let state = workspace.wait_for(Power::Asleep).await;
    assert_eq!(state.sleep, Some(SleepReason::VmDied));
    assert!(state.message.as_deref().is_some_and(|message| message.contains("SIGKILL")), "{state:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_request_in_a_vm_that_dies_is_told_so() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let pid = runner.vm_pids()[0];
    let sleeper = ExecRequest::command("sleep 100");
    let (answer, ()) = tokio::join!(workspace.try_exec(&sleeper), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        signal(pid, "KILL");
    });
    assert_eq!(answer.problem().code, "vm-died");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn power_asleep_stops_the_vm_and_refuses_actions() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let mut config = WorkspaceConfig::new("test", "a");
    config.power = PowerIntent::Asleep;
    config.generation = 2;
    assert_eq!(runner.put_workspace("a", &config).await.status, StatusCode::OK);
    let state = workspace.wait_for(Power::Asleep).await;
    assert_eq!((state.sleep, state.generation), (Some(SleepReason::Requested), 2));
    assert!(runner.vm_pids().is_empty());
    let problem = workspace.try_exec(&ExecRequest::command("true")).await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (409, "workspace-asleep"));
    assert!(problem.detail.contains("spec.power"), "{}", problem.detail);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn power_awake_boots_without_an_action_and_again_after_a_death() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace_with("a", |config| config.power = PowerIntent::Awake).await;
    workspace.wait_for(Power::Awake).await;
    let pid = runner.vm_pids()[0];
    signal(pid, "KILL");
    eventually("the vm process is gone", || !is_alive(pid)).await;
    workspace.wait_for(Power::Awake).await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn deleting_a_workspace_leaves_no_process_and_no_file() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("sleep 100 &").await;
    let pid = runner.vm_pids()[0];
    assert!(runner.data().join("a").exists());
    let path = workspace.routes.base_with_epoch(1);
    assert_eq!(runner.send(Method::DELETE, &path, "").await.status, StatusCode::NO_CONTENT);
    assert!(!is_alive(pid));
    assert!(!runner.data().join("a").exists());
    assert_eq!(runner.get(workspace.routes.base()).await.problem().code, "workspace-not-found");
    assert_eq!(
        runner.send(Method::DELETE, &path, "").await.status,
        StatusCode::NO_CONTENT,
        "deleted is deleted"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn who_was_bound_before_may_not_write_any_more() {
    let mut runner = Runner::start().await;
    let mut config = WorkspaceConfig::new("test", "a");
    config.epoch = 4;
    assert_eq!(runner.put_workspace("a", &config).await.status, StatusCode::OK);
    config.epoch = 3;
    let problem = runner.put_workspace("a", &config).await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (409, "stale-epoch"));
    assert!(problem.detail.contains("epoch 3") && problem.detail.contains("epoch 4"), "{}", problem.detail);
    let path = route::Workspace::at_runner("a").base_with_epoch(3);
    assert_eq!(runner.send(Method::DELETE, &path, "").await.problem().code, "stale-epoch");
    runner.terminate();
    runner.restart().await;
    assert_eq!(
        runner.put_workspace("a", &config).await.problem().code,
        "stale-epoch",
        "also after a restart"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn after_a_restart_a_workspace_waits_to_be_bound() {
    let mut runner = Runner::start().await;
    runner.workspace("a").await.sh("true").await;
    runner.terminate();
    runner.restart().await;
    let routes = route::Workspace::at_runner("a");
    let answer = runner.post(&routes.exec(), &ExecRequest::command("true")).await;
    assert_eq!(
        (answer.status, answer.problem().code.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "workspace-not-bound")
    );
    assert_eq!(runner.workspace("a").await.sh("echo back").await.stdout, "back\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_supervisor_that_is_told_to_stop_leaves_no_process() {
    let mut runner = Runner::start().await;
    runner.workspace("a").await.sh("sleep 100 &").await;
    runner.workspace("b").await.sh("true").await;
    let pids = runner.vm_pids();
    assert!(pids.len() >= 2, "{pids:?}");
    runner.terminate();
    for pid in pids {
        assert!(!is_alive(pid), "{pid}");
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_supervisor_that_is_killed_takes_its_vms_along() {
    let runner = Runner::start().await;
    runner.workspace("a").await.sh("sleep 100 &").await;
    let pids = runner.vm_pids();
    signal(runner.pid(), "KILL");
    eventually("the vm processes are gone", || !pids.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_change_takes_effect_at_once_or_says_that_it_waits() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let mut config = WorkspaceConfig::new("test", "a");
    config.generation = 2;
    config.env.push(EnvVar::new("NEW", "value"));
    config.limits.processes = 7;
    let state: vm_api::WorkspaceState = runner.put_workspace("a", &config).await.json();
    assert_eq!(state.restart_required, ["spec.limits.processes"]);
    assert_eq!(workspace.sh("echo $NEW").await.stdout, "value\n");
    config.generation = 1;
    config.env.clear();
    let state: vm_api::WorkspaceState = runner.put_workspace("a", &config).await.json();
    assert_eq!(state.generation, 2, "an older write does not undo a newer one");
    assert_eq!(workspace.sh("echo $NEW").await.stdout, "value\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_change_that_comes_while_the_vm_boots_takes_effect_too() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    for number in 0..8 {
        let uid = format!("a{number}");
        let workspace = runner.workspace(&uid).await;
        let mut config = WorkspaceConfig::new("test", &uid);
        config.generation = 2;
        config.env.push(EnvVar::new("NEW", "value"));
        let wake = workspace.routes.wake();
        let (woken, configured) = tokio::join!(runner.send(Method::POST, &wake, ""), async {
            tokio::time::sleep(Duration::from_millis(number)).await;
            runner.put_workspace(&uid, &config).await
        });
        assert_eq!((woken.status, configured.status), (StatusCode::OK, StatusCode::OK));
        assert_eq!(workspace.sh("echo $NEW").await.stdout, "value\n", "changed {number} ms after the wake");
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_watcher_sees_the_list_and_then_every_change() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let (mut sender, _driver) = runner.connect().await;
    let request = http::Request::get(route::WATCH).header("host", "test").body(Full::default()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    let mut decoder = sse::Decoder::default();
    let mut seen = Vec::new();
    let act = async {
        workspace.sh("true").await;
        runner.send(Method::DELETE, workspace.routes.base(), "").await;
    };
    let watch = async {
        while !matches!(seen.last(), Some(WorkspaceChange::Deleted { .. })) {
            let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
            for message in decoder.push(&chunk).unwrap() {
                seen.push(serde_json::from_str::<WorkspaceChange>(&message.data).unwrap());
            }
        }
    };
    let both = async { tokio::join!(watch, act) };
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert!(matches!(&seen[0], WorkspaceChange::State { state } if state.uid == "a"));
    assert_eq!(seen[1], WorkspaceChange::Synced);
    let powers: Vec<_> = seen
        .iter()
        .filter_map(|change| match change {
            WorkspaceChange::State { state } => Some(state.power),
            _ => None,
        })
        .collect();
    for power in [Power::Asleep, Power::Waking, Power::Awake, Power::Stopping] {
        assert!(powers.contains(&power), "{power:?} in {powers:?}");
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn health_metrics_and_software_are_told() {
    let runner = Runner::start().await;
    runner.workspace("a").await.sh("true").await;
    assert_eq!(runner.get(route::HEALTHZ).await.status, StatusCode::OK);
    assert_eq!(runner.get(route::READYZ).await.status, StatusCode::OK);
    let metrics = String::from_utf8(runner.get(route::METRICS).await.body.to_vec()).unwrap();
    for line in [
        "vm_runner_requests_total{area=\"exec\",status=\"2xx\"} 1",
        "vm_runner_workspaces{power=\"awake\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let software: vm_api::SoftwareList = runner.get(route::SOFTWARE).await.json();
    let common = software.items.iter().find(|package| package.name == "common").unwrap();
    assert!(common.commands.iter().any(|command| command == "grep"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_vm_process_holds_nothing_of_its_supervisor_and_cannot_gain_more() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    runner.workspace("a").await.sh("true").await;
    let proc = PathBuf::from(format!("/proc/{}", runner.vm_pids()[0]));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // Not even the owner of a vm process may look into it; root may.
    let Ok(environment) = std::fs::read(proc.join("environ")) else { return };
    assert_eq!(environment, b"");
    let slots = std::fs::read_dir(runner.data().join(".slots")).unwrap().flatten();
    let files = slots.map(|slot| slot.path().join("a")).find(|files| files.exists()).unwrap();
    for entry in std::fs::read_dir(proc.join("fd")).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let is_foreign = target.starts_with(runner.data()) && !target.starts_with(&files);
        assert!(!is_foreign, "{target:?} is open in the vm process");
    }
}
