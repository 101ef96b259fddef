//! Following runners: what a connection, its end, and what it tells lead to.

use crate::{
    fixture::{ADA, ADA_UID, Fixture},
    in_memory_runner::InMemoryRunner,
    workspace_state::never_used,
};
use async_trait::async_trait;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{reflector::ObjectRef, watcher};
use operator::{
    follow,
    runner_client::{Error, RunnerAddress, RunnerClient, RunnerConnection},
    spawn::{Task, spawn},
    workspace,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use vm_api::{WorkspaceChange, WorkspaceConfig};

const POD: &str = "/api/v1/namespaces/team-a/pods/lodge-runner-0";

/// Always reaches the same runner.
#[derive(Debug)]
struct OneRunner(Arc<InMemoryRunner>);

#[async_trait]
impl RunnerClient for OneRunner {
    async fn connect(&self, address: &RunnerAddress) -> Result<Arc<dyn RunnerConnection>, Error> {
        assert_eq!(address.server_name, "lodge-runner-0.lodge-runner.team-a.svc");
        assert_eq!(address.socket.to_string(), "10.0.0.9:7443");
        Ok(Arc::clone(&self.0) as _)
    }
}

struct Following {
    fixture: Fixture,
    pods: mpsc::Sender<Result<watcher::Event<Pod>, watcher::Error>>,
    _task: Task<()>,
}

impl Following {
    fn start(fixture: Fixture) -> Self {
        let (pods, events) = mpsc::channel(8);
        let client = Arc::new(OneRunner(Arc::clone(&fixture.runner)));
        let task = spawn(follow::run(Arc::clone(&fixture.context), client, events));
        Self { fixture, pods, _task: task }
    }

    /// The pod is up, or gone.
    async fn pod(&mut self, uid: Option<&str>) {
        let pod = self.make_pod(uid.unwrap_or_default());
        if uid.is_none() {
            self.fixture.api.remove(POD);
            self.fixture.sync();
        }
        self.show(pod).await;
    }

    fn make_pod(&mut self, uid: &str) -> Pod {
        let metadata = json!({"name": "lodge-runner-0", "namespace": "team-a", "uid": uid});
        let pod = json!({"metadata": metadata, "status": {"podIP": "10.0.0.9", "phase": "Running"}});
        self.fixture.api.put(POD, pod.clone());
        self.fixture.sync();
        serde_json::from_value(pod).unwrap()
    }

    /// The watch of pods shows a change of this one.
    async fn show(&mut self, pod: Pod) {
        self.pods.try_send(Ok(watcher::Event::Apply(pod))).unwrap();
        self.settle().await;
    }

    /// Lets tasks run until they all wait.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn due(&self) -> Vec<String> {
        let mut due: Vec<_> = self
            .fixture
            .context
            .workspaces_due
            .try_take()
            .into_iter()
            .map(|object: ObjectRef<_>| object.name)
            .collect();
        due.sort();
        due
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_up_is_connected_and_its_workspaces_are_looked_at() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    assert_eq!(following.due(), ["ada"]);
    following.fixture.reconcile().await.unwrap();
    assert!(following.fixture.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn pods_that_were_there_before_are_connected_once_they_are_all_known() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.make_pod("pod-1");
    following.pods.try_send(Ok(watcher::Event::InitDone)).unwrap();
    following.settle().await;
    assert_eq!(following.due(), ["ada"]);
    following.fixture.api.remove(POD);
    following.fixture.sync();
    following.pods.try_send(Ok(watcher::Event::InitDone)).unwrap();
    following.settle().await;
    assert!(!following.fixture.context.roster.is_connected(&following.fixture.runner_id()));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_restarts_has_everything_pushed_again_within_three_seconds() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    following.due();
    following.fixture.runner.restart();
    following.settle().await;
    following.fixture.pass(Duration::from_secs(1)).await;
    following.settle().await;
    assert_eq!(following.due(), ["ada"]);
    following.fixture.reconcile().await.unwrap();
    assert_eq!(following.fixture.runner.config(ADA_UID).unwrap().name, "ada");
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_of_the_same_name_is_a_new_runner() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    following.due();
    following.pod(Some("pod-2")).await;
    assert_eq!(following.due(), ["ada"]);
    following.fixture.reconcile().await.unwrap();
    assert_eq!(following.fixture.runner.puts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_stays_away_is_noticed_after_the_time_of_grace() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    following.due();
    following.pod(None).await;
    following.fixture.pass(Duration::from_secs(9)).await;
    following.settle().await;
    assert!(following.due().is_empty());
    following.fixture.pass(Duration::from_secs(2)).await;
    following.settle().await;
    assert_eq!(following.due(), ["ada"]);
    following.fixture.reconcile().await.unwrap_err();
    assert!(following.fixture.condition("Ready").unwrap().starts_with("False RunnerNotReady"));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_nobody_needs_any_more_is_forgotten() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.pod(None).await;
    following.fixture.api.remove(ADA);
    following.fixture.sync();
    following.fixture.pass(Duration::from_secs(11)).await;
    following.settle().await;
    assert_eq!(following.fixture.context.roster.failure(&following.fixture.runner_id()), None);
    let later = following.fixture.context.roster.overdue(Duration::ZERO);
    assert!(later.is_empty(), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_runner_tells_leads_to_a_reconcile_only_if_it_is_news() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    following.due();
    let mut told = never_used(ADA_UID, &following.fixture.runner.config(ADA_UID).unwrap());
    following.fixture.runner.tell(WorkspaceChange::State { state: Box::new(told.clone()) });
    following.settle().await;
    assert!(following.due().is_empty());
    told.power = vm_api::Power::Awake;
    following.fixture.runner.tell(WorkspaceChange::State { state: Box::new(told) });
    following.settle().await;
    assert_eq!(following.due(), ["ada"]);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_the_cluster_does_not_have_is_removed_from_the_runner() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    let stray = WorkspaceConfig { epoch: 4, ..WorkspaceConfig::new("team-a", "gone") };
    following.fixture.runner.put("uid-of-gone", &stray).await.unwrap();
    following.pod(Some("pod-1")).await;
    assert_eq!(following.fixture.runner.deletes(), [("uid-of-gone".to_owned(), 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_only_the_watch_does_not_show_yet_is_kept() {
    let mut following = Following::start(Fixture::new(&[]));
    let config = WorkspaceConfig::new("team-a", "ada");
    following.fixture.runner.put(ADA_UID, &config).await.unwrap();
    let pod = following.make_pod("pod-1");
    let metadata = json!({"name": "ada", "namespace": "team-a", "uid": ADA_UID});
    following.fixture.api.put(ADA, json!({"metadata": metadata, "spec": {}}));
    following.show(pod).await;
    assert!(following.fixture.runner.deletes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_goes_without_a_cleanup_is_removed_from_its_runner() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    let watched = following.fixture.context.stores.workspaces.state().remove(0);
    // Somebody took the finalizer away.
    following.fixture.api.remove(ADA);
    following.fixture.sync();
    workspace::forget(&watched, &following.fixture.context);
    following.settle().await;
    assert_eq!(following.fixture.runner.deletes(), [(ADA_UID.to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_only_the_watch_shows_removes_nothing() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    let watched = following.fixture.context.stores.workspaces.state().remove(0);
    workspace::forget(&watched, &following.fixture.context);
    following.settle().await;
    assert!(following.fixture.runner.deletes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_runner_whose_process_began_anew_is_bound_anew() {
    let mut following = Following::start(Fixture::with_ada(json!({})));
    following.pod(Some("pod-1")).await;
    following.fixture.reconcile().await.unwrap();
    following.fixture.runner.restart();
    following.settle().await;
    following.fixture.pass(Duration::from_secs(1)).await;
    following.settle().await;
    following.fixture.reconcile().await.unwrap();
    assert_eq!(following.fixture.ada().status.unwrap().runner.unwrap().epoch, 2);
}
