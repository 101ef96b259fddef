//! The operator's way to a runner: HTTP/2 over mutual TLS, against a real server on this machine.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../support/runner_server.rs"]
mod runner_server;
#[path = "../support/workspace_state.rs"]
mod workspace_state;

use futures::StreamExt;
use operator::{
    certificate::{Authority, Leaf, Purpose, leaf::OPERATOR_NAME},
    runner::name::certificate_names,
    runner_client::{Error, HttpRunnerClient, RunnerAddress, RunnerClient},
};
use runner_server::RunnerServer;
use std::time::{Duration, SystemTime};
use vm_api::{ExecRequest, ProblemCode, RunEnd, RunRequest, WorkspaceChange, WorkspaceConfig};

struct Fixture {
    client: HttpRunnerClient,
    server: RunnerServer,
    address: RunnerAddress,
}

async fn fixture(trusted: &Authority, served_by: &Authority) -> Fixture {
    let now = SystemTime::now();
    let operator = Leaf::issue(trusted, &[OPERATOR_NAME.to_owned()], Purpose::Client, now).unwrap();
    let client = HttpRunnerClient::default();
    client.set_certificate(&operator).unwrap();
    let leaf = Leaf::issue(served_by, &certificate_names("team-a"), Purpose::Server, now).unwrap();
    let server = RunnerServer::start("127.0.0.1:0", &leaf).await;
    let server_name = "lodge-runner-0.lodge-runner.team-a.svc".to_owned();
    let address = RunnerAddress { socket: server.address, server_name };
    Fixture { client, server, address }
}

async fn good() -> Fixture {
    let authority = Authority::generate(SystemTime::now()).unwrap();
    fixture(&authority, &authority).await
}

#[tokio::test]
async fn workspaces_are_put_watched_and_deleted_over_one_connection() {
    let Fixture { client, server, address } = good().await;
    let connection = client.connect(&address).await.unwrap();
    let mut changes = connection.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), WorkspaceChange::Synced);
    let config = WorkspaceConfig { epoch: 3, ..WorkspaceConfig::new("team-a", "ada") };
    let state = connection.put("u-1", &config).await.unwrap();
    assert_eq!((state.uid.as_str(), state.epoch), ("u-1", 3));
    assert_eq!(connection.get("u-1").await.unwrap(), state);
    let missing = connection.get("u-2").await.unwrap_err();
    assert!(missing.problem().unwrap().is(ProblemCode::WorkspaceNotFound), "{missing}");
    assert_eq!(changes.next().await.unwrap().unwrap(), WorkspaceChange::State { state: Box::new(state) });
    assert_eq!(server.runner.workspaces.lock().unwrap()["u-1"], config);
    let stale = connection.delete("u-1", 2).await.unwrap_err();
    assert!(stale.problem().unwrap().is(ProblemCode::StaleEpoch), "{stale}");
    connection.delete("u-1", 3).await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), WorkspaceChange::Deleted { uid: "u-1".to_owned() });
}

#[tokio::test]
async fn a_run_is_begun_shown_and_stopped_by_its_name() {
    let Fixture { client, server, address } = good().await;
    let connection = client.connect(&address).await.unwrap();
    let mut changes = connection.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), WorkspaceChange::Synced);
    let request = RunRequest { epoch: 1, exec: ExecRequest::command("make nightly") };
    let run = connection.put_run("u-1", "cron-1", &request).await.unwrap();
    assert_eq!(run.end, None);
    let again = connection.put_run("u-1", "cron-1", &RunRequest::default()).await.unwrap();
    assert_eq!(again, run, "a name that is known begins nothing");
    assert_eq!(server.runner.runs.lock().unwrap()["cron-1"].1, request);
    let told = WorkspaceChange::Run { uid: "u-1".to_owned(), run: Box::new(run.clone()) };
    assert_eq!(changes.next().await.unwrap().unwrap(), told);
    assert_eq!(connection.get_run("u-1", "cron-1").await.unwrap(), run);
    assert_eq!(connection.list_runs("u-1").await.unwrap().items, [run]);
    assert_eq!(connection.stop_run("u-1", "cron-1").await.unwrap().end, Some(RunEnd::Stopped));
    let unknown = connection.get_run("u-1", "cron-2").await.unwrap_err();
    assert!(unknown.problem().unwrap().is(ProblemCode::RunNotFound), "{unknown}");
}

#[tokio::test]
async fn a_refusal_comes_with_the_runners_own_words() {
    let Fixture { client, server: _server, address } = good().await;
    let connection = client.connect(&address).await.unwrap();
    let mut config = WorkspaceConfig::new("team-a", "ada");
    config.software[0].name = "nope".to_owned();
    let error = connection.put("u-1", &config).await.unwrap_err();
    assert_eq!(error.problem().unwrap().detail, "there is no package \"nope\"");
}

#[tokio::test]
async fn the_end_of_a_runner_ends_its_stream_and_its_requests() {
    let Fixture { client, server, address } = good().await;
    let connection = client.connect(&address).await.unwrap();
    let mut changes = connection.watch().await.unwrap();
    changes.next().await.unwrap().unwrap();
    drop(server);
    let end = tokio::time::timeout(Duration::from_secs(5), changes.next()).await.unwrap();
    assert!(end.is_none_or(|change| change.is_err()));
    let error = connection.put("u-1", &WorkspaceConfig::new("team-a", "ada")).await.unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error}");
    assert!(matches!(client.connect(&address).await.unwrap_err(), Error::Connect { .. }));
}

#[tokio::test]
async fn a_runner_of_another_namespace_or_authority_is_not_talked_to() {
    let authority = Authority::generate(SystemTime::now()).unwrap();
    let Fixture { client, server: _server, mut address } = fixture(&authority, &authority).await;
    address.server_name = "lodge-runner-0.lodge-runner.team-b.svc".to_owned();
    assert!(matches!(client.connect(&address).await.unwrap_err(), Error::Connect { .. }));
    let stranger = Authority::generate(SystemTime::now()).unwrap();
    let Fixture { client, server: _server, address } = fixture(&authority, &stranger).await;
    assert!(matches!(client.connect(&address).await.unwrap_err(), Error::Connect { .. }));
}

#[tokio::test]
async fn without_a_certificate_nobody_is_called() {
    let Fixture { client: _, server: _server, address } = good().await;
    let error = HttpRunnerClient::default().connect(&address).await.unwrap_err();
    assert!(matches!(error, Error::NoCertificate), "{error}");
}
