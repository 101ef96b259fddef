//! Hostile guests through the real API, each beside a neighbour who notices nothing but a busy machine.
//!
//! The guests are the scripts in `hostile/`; `benches/neighbour.rs` measures the neighbours.

mod guest;

use std::path::Path;
use std::time::Duration;

use vm_api::{ExecRequest, ExecResponse};

use self::guest::Guest;
use crate::runner::{Runner, Workspace, is_alive};

/// How long a guest may try.
const PATIENCE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the guest software: make test runs it"]
async fn no_hostile_guest_harms_its_neighbour_its_supervisor_or_its_own_workspace() {
    let runner = Runner::start_with(&["--spares", "0"]).await;
    let neighbour = runner.workspace("neighbour").await;
    neighbour.sh("echo mine > file").await;
    let neighbour_pid = runner.vm_pids()[0];
    for guest in Guest::all() {
        eprintln!("{}", guest.name);
        let workspace = runner.workspace_with(&guest.name, |config| guest.configure(config)).await;
        let attack = async {
            let answer = workspace.try_exec(&guest.request(PATIENCE)).await;
            assert!(answer.status.is_success(), "{}: {answer:?}", guest.name);
            answer.json::<ExecResponse>()
        };
        let (response, answers) = tokio::join!(attack, go_on(&neighbour));
        guest.check(&response);
        assert!(answers > 0);
        still_useful(&guest.name, &workspace).await;
        assert!(is_alive(runner.pid()), "{}: the supervisor is dead", guest.name);
        assert!(runner.vm_pids().contains(&neighbour_pid), "{}: the neighbour's VM is another", guest.name);
        runner.send(http::Method::DELETE, workspace.routes.base(), "").await;
    }
}

/// The neighbour's work goes on; answers how often it was done.
async fn go_on(neighbour: &Workspace<'_>) -> usize {
    let started = std::time::Instant::now();
    let mut answers = 0;
    while started.elapsed() < Duration::from_millis(300) {
        assert_eq!(neighbour.sh("cat file; echo done").await.stdout, "mine\ndone\n");
        answers += 1;
    }
    answers
}

/// The workspace of a hostile guest can be used again, once it was told to stop what is still running.
async fn still_useful(name: &str, workspace: &Workspace<'_>) {
    let started = std::time::Instant::now();
    loop {
        let request = ExecRequest { user: Some("root".to_owned()), ..ExecRequest::argv(["echo", "useful"]) };
        let answer = workspace.try_exec(&request).await;
        if answer.status.is_success() && answer.json::<ExecResponse>().stdout == "useful\n" {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{name}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn no_path_of_the_api_leads_out_of_a_workspace() {
    let runner = Runner::start().await;
    let (workspace, neighbour) = (runner.workspace("a").await, runner.workspace("neighbour").await);
    neighbour.put("/home/agent/secret", "known to the neighbour").await;
    workspace
        .sh("ln -s /../../../../../../../.. up; ln -s ../../../../../../../../../proc/1/environ environ")
        .await;
    let base = workspace.routes.base();
    let data = runner.data().display().to_string();
    let up = "../".repeat(30);
    let encoded = "%2e%2e%2f".repeat(30);
    let paths = [
        format!("{base}/files/{up}etc/shadow"),
        format!("{base}/files/{encoded}etc/shadow"),
        format!("{base}/files/home/agent/{up}{data}/neighbour/epoch"),
        format!("{base}/files/{data}/neighbour/epoch"),
        format!("{base}/files/home/agent/up/etc/shadow"),
        format!("{base}/files/home/agent/up/{data}/neighbour/epoch"),
        format!("{base}/files/home/agent/environ"),
        format!("{base}/files/proc/self/root/root/.bashrc"),
        format!("{base}/files/proc/1/mem"),
        format!("{base}/../neighbour/files/home/agent/secret"),
        format!("{base}/%2e%2e/neighbour/files/home/agent/secret"),
        format!("{base}%2f..%2fneighbour/files/home/agent/secret"),
    ];
    for path in paths {
        let answer = runner.get(&path).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!answer.status.is_success(), "{path}: {answer:?}");
        assert!(!body.contains("root:") && !body.contains("known to"), "{path}: {body}");
    }
    let answer = runner.send(http::Method::PUT, &format!("{base}/files/{encoded}tmp/planted"), "x").await;
    // In the guest's /tmp, if anywhere.
    assert!(!Path::new("/tmp/planted").exists(), "{answer:?}");
}
