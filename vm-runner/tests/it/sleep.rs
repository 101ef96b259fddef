//! Sleep and wake: when a workspace goes to sleep, what wakes it, and what is answered while it sleeps.
#![expect(clippy::disallowed_methods, reason = "tests look at processes of the host")]

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::Full;
use vm_api::{
    ExecRequest, IdleConfig, Power, PowerIntent, SleepReason, StorageType, WakeCause, WorkspaceConfig,
    WorkspaceState, route,
};

use crate::runner::{Runner, Workspace, is_alive, signal};

fn sleepy(after: u64) -> impl FnOnce(&mut WorkspaceConfig) {
    move |config| config.idle = IdleConfig { sleep_after_ms: Some(after) }
}

async fn post(runner: &Runner, path: &str) -> WorkspaceState {
    let answer = runner.send(Method::POST, path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

async fn put_to_sleep(workspace: &Workspace<'_>) -> WorkspaceState {
    let state = post(workspace.runner, &workspace.routes.sleep()).await;
    assert_eq!(state.power, Power::Asleep, "{state:?}");
    state
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_idle_workspace_goes_to_sleep_and_the_next_action_wakes_it() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace_with("a", sleepy(200)).await;
    workspace.sh("echo kept > note").await;
    let state = workspace.wait_for(Power::Asleep).await;
    assert_eq!(state.sleep, Some(SleepReason::Idle));
    assert!(runner.vm_pids().is_empty());
    assert_eq!(workspace.sh("cat note").await.stdout, "kept\n");
    let wake = workspace.state().await.last_wake.unwrap();
    assert_eq!(wake.cause, WakeCause::Exec);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_process_in_the_background_keeps_a_workspace_awake_until_it_ends() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace_with("a", sleepy(100)).await;
    workspace.sh("sleep 1 > /dev/null 2>&1 &").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(workspace.state().await.power, Power::Awake);
    assert_eq!(workspace.wait_for(Power::Asleep).await.sleep, Some(SleepReason::Idle));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_the_specification_wants_awake_does_not_sleep() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let change = |config: &mut WorkspaceConfig| {
        sleepy(50)(config);
        config.power = PowerIntent::Awake;
    };
    let workspace = runner.workspace_with("a", change).await;
    workspace.wait_for(Power::Awake).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(workspace.state().await.power, Power::Awake);
    let problem = runner.send(Method::POST, &workspace.routes.sleep(), "").await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (409, "workspace-kept-awake"));
    assert_eq!(problem.field.as_deref(), Some("spec.power"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_workspace_is_woken_and_put_to_sleep_on_demand() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    let state = post(&runner, &workspace.routes.wake()).await;
    assert_eq!(state.power, Power::Awake);
    assert_eq!(state.last_wake.unwrap().cause, WakeCause::OnDemand);
    let pid = runner.vm_pids()[0];
    let state = put_to_sleep(&workspace).await;
    assert_eq!(state.sleep, Some(SleepReason::OnDemand));
    assert!(!is_alive(pid));
    put_to_sleep(&workspace).await;
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_runs_is_told_to_end_when_its_workspace_is_put_to_sleep() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let sleeper = ExecRequest::argv(["sleep", "100"]);
    let (answer, _) = tokio::join!(workspace.try_exec(&sleeper), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        put_to_sleep(&workspace).await;
    });
    let response: vm_api::ExecResponse = answer.json();
    assert_eq!(response.signal.as_deref(), Some("SIGTERM"), "{response:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn no_action_is_lost_that_comes_while_a_workspace_goes_to_sleep() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", sleepy(20)).await;
    let mut slept = 0;
    for round in 0..40 {
        let text = format!("{round}");
        let response = workspace.sh(&format!("echo {text}")).await;
        assert_eq!(response.stdout, format!("{text}\n"));
        // Around the moment at which it goes to sleep.
        tokio::time::sleep(Duration::from_millis(10 + round % 25)).await;
        slept += u32::from(workspace.state().await.power != Power::Awake);
    }
    assert!(slept > 0, "it never slept, so nothing was tested");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn many_actions_that_come_while_the_vm_stops_wait_and_wake_it_once() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    // The VM takes as long to stop as the host doesn't let it.
    let vm = runner.vm_pids()[0];
    signal(vm, "STOP");
    let sleep = workspace.routes.sleep();
    let actions = async {
        workspace.wait_for(Power::Stopping).await;
        let requests = (0..20).map(|_| workspace.sh("echo hi"));
        let resume = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            signal(vm, "CONT");
        };
        tokio::join!(futures::future::join_all(requests), resume).0
    };
    let (_, responses) = tokio::join!(runner.send(Method::POST, &sleep, ""), actions);
    for response in responses {
        assert_eq!(response.stdout, "hi\n");
    }
    let vms = runner.vm_pids();
    assert!(vms.len() == 1 && vms != [vm], "{vms:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn files_of_a_sleeping_workspace_are_read_without_waking_it() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("mkdir -p d; echo hello > d/file").await;
    let before = put_to_sleep(&workspace).await;
    let answer = workspace.get("/home/agent/d/file").await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello\n"[..]));
    let stat: vm_api::FileStat = runner.get(&workspace.routes.stat("/home/agent/d/file")).await.json();
    assert_eq!(stat.size, 6);
    let list: vm_api::ListResponse = runner.get(&workspace.routes.list("/home/agent", 2)).await.json();
    assert!(!list.entries.is_empty());
    let range = [("range", "bytes=1-3")];
    let path = workspace.routes.file("/home/agent/d/file");
    let answer = runner.send_with(Method::GET, &path, &range, "").await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::PARTIAL_CONTENT, &b"ell"[..]));
    assert_eq!(workspace.get("/nothing").await.problem().code, "path-not-found");
    let after = workspace.state().await;
    assert_eq!((after.power, after.sleep, after.last_wake), (before.power, before.sleep, before.last_wake));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_action_makes_the_vm_that_reads_the_vm() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("echo hello > file").await;
    put_to_sleep(&workspace).await;
    assert_eq!(workspace.get("/home/agent/file").await.status, StatusCode::OK);
    let pids = runner.vm_pids();
    assert_eq!(pids.len(), 1);
    assert_eq!(workspace.sh("cat file; echo more >> file").await.stdout, "hello\n");
    assert_eq!(runner.vm_pids(), pids);
    assert_eq!(workspace.state().await.power, Power::Awake);
    assert_eq!(&workspace.get("/home/agent/file").await.body[..], b"hello\nmore\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_vm_that_reads_ends_by_itself_and_leaves_everything_as_it_was() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("echo hello > file").await;
    put_to_sleep(&workspace).await;
    for _ in 0..3 {
        assert_eq!(workspace.get("/home/agent/file").await.status, StatusCode::OK);
    }
    crate::runner::eventually("the reader is gone", || runner.vm_pids().is_empty()).await;
    assert_eq!(workspace.get("/home/agent/file").await.status, StatusCode::OK);
    assert_eq!(workspace.state().await.power, Power::Asleep);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn files_are_read_even_if_the_specification_wants_the_workspace_asleep() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("echo hello > file").await;
    let mut config = WorkspaceConfig::new("test", "a");
    config.power = PowerIntent::Asleep;
    config.generation = 2;
    runner.put_workspace("a", &config).await;
    workspace.wait_for(Power::Asleep).await;
    assert_eq!(&workspace.get("/home/agent/file").await.body[..], b"hello\n");
    let problem = workspace.put("/home/agent/file", "x").await.problem();
    assert_eq!(problem.code, "workspace-asleep");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_workspace_that_has_been_idle_longest_sleeps_when_the_runner_is_short_of_memory() {
    let runner = Runner::start_with(&["--spares", "0", "--memory-limit", "1000000"]).await;
    let idle = runner.workspace("idle").await;
    let busy = runner.workspace("busy").await;
    idle.sh("true").await;
    busy.sh("sleep 100 > /dev/null 2>&1 &").await;
    assert_eq!(idle.wait_for(Power::Asleep).await.sleep, Some(SleepReason::MemoryPressure));
    assert_eq!(busy.state().await.power, Power::Awake, "a busy one within its limits is left alone");
    let metrics = String::from_utf8(runner.get(route::METRICS).await.body.to_vec()).unwrap();
    assert!(metrics.contains("vm_runner_sleeps_total{reason=\"memory-pressure\"} 1"), "{metrics}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_ephemeral_workspace_begins_without_files_and_says_so() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let change = |config: &mut WorkspaceConfig| config.storage.kind = StorageType::Ephemeral;
    let workspace = runner.workspace_with("a", change).await;
    let state = workspace.state().await;
    assert!(!state.storage.persistent && state.storage.reason.is_some());
    workspace.sh("echo lost > file").await;
    put_to_sleep(&workspace).await;
    assert_eq!(workspace.sh("cat file").await.exit_code, Some(1));
    let problem = runner.send(Method::POST, &workspace.routes.fsck(), "").await.problem();
    assert_eq!(problem.code, "storage-ephemeral");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_deletion_that_fails_says_so_and_can_be_tried_again() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let trash = runner.data().join(".trash");
    std::fs::write(&trash, "in the way").unwrap();
    let problem = runner.send(Method::DELETE, workspace.routes.base(), "").await.problem();
    assert_eq!(problem.code, "storage-unavailable");
    assert!(runner.data().join("a/epoch").exists());
    std::fs::remove_file(&trash).unwrap();
    let answer = runner.send(Method::DELETE, workspace.routes.base(), "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!runner.data().join("a").exists());
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn nothing_is_booted_while_the_epoch_cannot_be_kept() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let config = WorkspaceConfig { epoch: 2, ..WorkspaceConfig::new("test", "a") };
    // It listens before it makes its folder.
    runner.get(route::READYZ).await;
    // A file where the folder of the workspace has to be.
    std::fs::write(runner.data().join("a"), "in the way").unwrap();
    assert_eq!(runner.put_workspace("a", &config).await.problem().code, "storage-unavailable");
    let exec = route::Workspace::at_runner("a").exec();
    let problem = runner.post(&exec, &ExecRequest::command("true")).await.problem();
    assert_eq!(problem.code, "storage-unavailable");
    assert!(runner.vm_pids().is_empty());
    let earlier = WorkspaceConfig { epoch: 1, ..config.clone() };
    assert_eq!(runner.put_workspace("a", &earlier).await.problem().code, "stale-epoch");
    std::fs::remove_file(runner.data().join("a")).unwrap();
    assert_eq!(runner.put_workspace("a", &config).await.status, StatusCode::OK);
    assert_eq!(runner.post(&exec, &ExecRequest::command("true")).await.status, StatusCode::OK);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_volume_of_the_runner_is_mounted_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/from-outside"), "hello").unwrap();
    let volume = format!("data={}", folder.path().display());
    let runner = Runner::start_with(&["--volume", &volume]).await;
    let mount = |name: &str| {
        let name = name.to_owned();
        move |config: &mut WorkspaceConfig| {
            let volume = vm_api::VolumeMount { name, sub_path: Some("sub".to_owned()) };
            let source = vm_api::MountSource::Volume(volume);
            config.mounts.push(vm_api::MountConfig { path: "/data".to_owned(), read_only: false, source });
        }
    };
    let workspace = runner.workspace_with("a", mount("data")).await;
    assert_eq!(workspace.sh("cat /data/from-outside").await.stdout, "hello");
    workspace.sh("echo hi > /data/from-inside").await;
    assert_eq!(std::fs::read_to_string(folder.path().join("sub/from-inside")).unwrap(), "hi\n");
    let mut config = WorkspaceConfig::new("test", "b");
    mount("other")(&mut config);
    let problem = runner.put_workspace("b", &config).await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (422, "volume-unknown"));
    assert!(problem.detail.contains("data"), "{}", problem.detail);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_was_acknowledged_outlives_a_vm_process_that_is_killed() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    assert_eq!(workspace.put("/home/agent/by-api", "kept").await.status, StatusCode::CREATED);
    workspace.sh("echo kept > by-guest; sync").await;
    let pid = runner.vm_pids()[0];
    signal(pid, "KILL");
    // A process that is dying may still take a request; one that was waited for cannot.
    workspace.wait_for(Power::Asleep).await;
    assert_eq!(&workspace.get("/home/agent/by-api").await.body[..], b"kept");
    assert_eq!(workspace.sh("cat by-guest").await.stdout, "kept\n");
    assert_ne!(runner.vm_pids(), [pid]);
    let report: vm_api::FsckResponse = runner.send(Method::POST, &workspace.routes.fsck(), "").await.json();
    assert_eq!(report.problems, [] as [String; 0]);
    assert!(report.inodes > 0);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_was_acknowledged_outlives_a_supervisor_that_is_killed() {
    let mut runner = Runner::start_with(&["--spares", "0"]).await;
    {
        let workspace = runner.workspace("a").await;
        assert_eq!(workspace.put("/home/agent/by-api", "kept").await.status, StatusCode::CREATED);
    }
    runner.kill();
    runner.restart().await;
    let workspace = runner.workspace("a").await;
    assert_eq!(&workspace.get("/home/agent/by-api").await.body[..], b"kept");
    assert_eq!(workspace.sh("cat by-api").await.stdout, "kept");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_ordered_stop_keeps_what_was_never_synced() {
    let mut runner = Runner::start_with(&["--spares", "0"]).await;
    runner.workspace("a").await.sh("echo kept > file").await;
    runner.terminate();
    assert!(runner.data().join("a/files/fs.db").exists(), "the files are back in the workspace's folder");
    assert_eq!(std::fs::read_dir(runner.data().join(".slots")).unwrap().count(), 0);
    runner.restart().await;
    assert_eq!(runner.workspace("a").await.sh("cat file").await.stdout, "kept\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn limits_of_files_change_while_the_vm_runs() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let mut config = WorkspaceConfig::new("test", "a");
    (config.generation, config.storage.size_bytes) = (2, 1 << 20);
    let state: WorkspaceState = runner.put_workspace("a", &config).await.json();
    assert_eq!(state.restart_required, [] as [String; 0]);
    let problem = workspace.put("/home/agent/big", vec![7; 2 << 20]).await.problem();
    assert_eq!(
        (problem.code.as_str(), problem.limit.as_deref()),
        ("limit-storage", Some("spec.storage.size"))
    );
    (config.generation, config.storage.size_bytes) = (3, 8 << 20);
    runner.put_workspace("a", &config).await;
    assert_eq!(workspace.put("/home/agent/big", vec![7; 2 << 20]).await.status, StatusCode::CREATED);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn files_that_a_later_binding_wrote_are_refused() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace_with("a", |config| config.epoch = 5).await;
    workspace.sh("echo kept > file").await;
    put_to_sleep(&workspace).await;
    // As if another runner had written the same volume: this one only knows an older epoch.
    std::fs::create_dir_all(runner.data().join("b")).unwrap();
    std::fs::rename(runner.data().join("a/files"), runner.data().join("b/files")).unwrap();
    let stale = runner.workspace_with("b", |config| config.epoch = 4).await;
    let problem = stale.try_exec(&ExecRequest::command("true")).await.problem();
    assert_eq!((problem.status, problem.code.as_str()), (409, "stale-epoch"));
    let state = stale.state().await;
    assert_eq!(state.sleep, Some(SleepReason::BootFailed));
    assert!(state.message.is_some_and(|message| message.contains("epoch 5")));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn files_that_are_damaged_say_so_and_stay_where_they_are() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    put_to_sleep(&workspace).await;
    let database = runner.data().join("a/files/fs.db");
    std::fs::write(&database, vec![7; 64 << 10]).unwrap();
    for _ in 0..2 {
        let problem = workspace.try_exec(&ExecRequest::command("true")).await.problem();
        assert_eq!(problem.code, "storage-corrupt", "{problem}");
    }
    assert_eq!(workspace.get("/home/agent").await.problem().code, "storage-corrupt");
    assert_eq!(std::fs::read(&database).unwrap().len(), 64 << 10);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_shell_keeps_a_workspace_awake_as_long_as_somebody_is_attached() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let workspace = runner.workspace_with("a", sleepy(300)).await;
    let answer = runner.send(Method::POST, &workspace.routes.shells(), "{}").await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let shell: vm_api::ShellInfo = answer.json();
    let (mut sender, driver) = runner.connect_for_upgrades().await;
    let request = http::Request::get(workspace.routes.shell(&shell.id, "attach"))
        .header("host", "test")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Full::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let attached = hyper::upgrade::on(response).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(workspace.state().await.power, Power::Awake);
    drop((attached, sender, driver));
    // The shell is still there, alone and at its prompt: that is no reason to stay awake.
    assert_eq!(workspace.wait_for(Power::Asleep).await.sleep, Some(SleepReason::Idle));
}
