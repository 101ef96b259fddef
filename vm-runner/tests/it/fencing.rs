//! Two supervisors on one folder: the one that was replaced still lives, and does no harm.
#![expect(clippy::disallowed_methods, reason = "tests look at the data folder")]

use std::time::Duration;

use http::{Method, StatusCode};
use vm_api::{ExecRequest, RunRequest, WorkspaceConfig, route};

use crate::runner::Runner;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_supervisor_that_was_replaced_is_refused_everything() {
    let old = Runner::start_with(&["--spares", "0"]).await;
    let a = old.workspace("a").await;
    a.sh("echo first > file; sync").await;
    assert_eq!(old.send(Method::POST, &a.routes.sleep(), "").await.status, StatusCode::OK);
    // As if its lock did not reach the next one.
    std::fs::remove_file(old.data().join(".lock")).unwrap();
    let new = Runner::start_beside(&old).await;
    let config = WorkspaceConfig { epoch: 1, generation: 1, ..WorkspaceConfig::new("test", "a") };
    let later = WorkspaceConfig { epoch: config.epoch + 1, ..config.clone() };
    assert_eq!(new.put_workspace("a", &later).await.status, StatusCode::OK);
    let routes = route::Workspace::at_runner("a");
    // It neither boots at its epoch, nor reads, nor begins a run, nor deletes.
    let exec = ExecRequest::command("echo late > file");
    assert_eq!(old.post(&routes.exec(), &exec).await.problem().code, "stale-epoch");
    assert_eq!(old.get(&routes.file("/home/agent/file")).await.problem().code, "stale-epoch");
    let run = serde_json::to_vec(&RunRequest { epoch: 1, exec }).unwrap();
    let refused = old.send(Method::PUT, &routes.run("late", ""), run).await;
    assert_eq!(refused.problem().code, "stale-epoch");
    assert_eq!(old.send(Method::DELETE, routes.base(), "").await.problem().code, "stale-epoch");
    let answer = new.post(&routes.exec(), &ExecRequest::command("cat file; echo second > file")).await;
    assert_eq!(answer.json::<vm_api::ExecResponse>().stdout, "first\n");
    assert_eq!(new.get(&routes.file("/home/agent/file")).await.body, "second\n");
    assert_eq!(new.get(&routes.run("late", "")).await.problem().code, "run-not-found");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn files_that_a_vm_of_a_replaced_supervisor_has_open_are_not_opened_twice() {
    let mut old = Runner::start_with(&["--spares", "0"]).await;
    old.workspace("a").await.sh("echo first > file; sync").await;
    std::fs::remove_file(old.data().join(".lock")).unwrap();
    // It takes the folder away under the VM, which goes on with what it has open.
    let new = Runner::start_beside(&old).await;
    let later = WorkspaceConfig { epoch: 2, ..WorkspaceConfig::new("test", "a") };
    assert_eq!(new.put_workspace("a", &later).await.status, StatusCode::OK);
    let routes = route::Workspace::at_runner("a");
    let command = ExecRequest::command("cat file");
    let problem = new.post(&routes.exec(), &command).await.problem();
    assert_eq!(problem.code, "storage-busy", "{problem:?}");
    old.kill();
    let started = std::time::Instant::now();
    let answer = loop {
        let answer = new.post(&routes.exec(), &command).await;
        if answer.status == StatusCode::OK {
            break answer.json::<vm_api::ExecResponse>();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{answer:?}");
    };
    assert_eq!(answer.stdout, "first\n", "all that the last VM was told to keep is there");
}
