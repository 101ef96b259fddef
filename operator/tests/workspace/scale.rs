//! Several runners in one set: who goes where, when one more is made, and when the last one goes.

use crate::fixture::{Fixture, STATEFUL_SET};
use kube::runtime::controller::Action;
use operator::{runner::name::RunnerId, workspace};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const WORKSPACES: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces";

/// A namespace whose runners hold two workspaces each, and of which there may be two.
fn small() -> Fixture {
    Fixture::new(&["--runner-max-workspaces=2", "--runner-max-replicas=2"])
}

fn put(fixture: &mut Fixture, name: &str, spec: Value) {
    let metadata = json!({"name": name, "namespace": "team-a"});
    fixture.api.put(&format!("{WORKSPACES}/{name}"), json!({"metadata": metadata, "spec": spec}));
    fixture.sync();
}

fn remove(fixture: &mut Fixture, name: &str) {
    let watched = fixture
        .context
        .stores
        .workspaces
        .find(|watched| kube::Resource::meta(watched).name.as_deref() == Some(name));
    fixture.api.remove(&format!("{WORKSPACES}/{name}"));
    fixture.sync();
    workspace::forget(&watched.unwrap(), &fixture.context);
}

fn connect(fixture: &Fixture, ordinal: u32) {
    let runner = RunnerId { namespace: "team-a".to_owned(), pod: format!("lodge-runner-{ordinal}") };
    let connection = Arc::clone(&fixture.runner) as Arc<dyn operator::runner_client::RunnerConnection>;
    fixture.context.roster.connected(&runner, connection, []);
}

fn runner(fixture: &Fixture, name: &str) -> Value {
    fixture.api.get(&format!("{WORKSPACES}/{name}")).unwrap()["status"]["runner"]["name"].clone()
}

fn ready(fixture: &Fixture, name: &str) -> String {
    let object = fixture.api.get(&format!("{WORKSPACES}/{name}")).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap().clone();
    let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap();
    format!("{} {}", ready["status"].as_str().unwrap(), ready["reason"].as_str().unwrap())
}

fn replicas(fixture: &Fixture) -> Value {
    fixture.api.get(STATEFUL_SET).unwrap()["spec"]["replicas"].clone()
}

fn claim(ordinal: u32) -> String {
    format!("/api/v1/namespaces/team-a/persistentvolumeclaims/data-lodge-runner-{ordinal}")
}

/// Three workspaces on two runners, both connected, with their volumes.
async fn three_on_two() -> Fixture {
    let mut fixture = small();
    for name in ["a", "b", "c"] {
        put(&mut fixture, name, json!({}));
    }
    fixture.reconcile_runners().await.unwrap();
    connect(&fixture, 0);
    for name in ["a", "b"] {
        fixture.reconcile_one(name).await.unwrap();
    }
    fixture.reconcile_one("c").await.unwrap_err();
    fixture.reconcile_runners().await.unwrap();
    connect(&fixture, 1);
    fixture.reconcile_one("c").await.unwrap();
    let labels = fixture.api.get(STATEFUL_SET).unwrap()["metadata"]["labels"].clone();
    for ordinal in [0, 1] {
        let name = format!("data-lodge-runner-{ordinal}");
        let metadata = json!({"name": name, "namespace": "team-a", "labels": labels});
        fixture.api.put(&claim(ordinal), json!({"metadata": metadata}));
    }
    fixture
}

#[tokio::test(start_paused = true)]
async fn when_a_runner_is_full_one_more_is_made_and_nobody_moves() {
    let mut fixture = three_on_two().await;
    assert_eq!(replicas(&fixture), 2);
    let runners = ["a", "b", "c"].map(|name| runner(&fixture, name));
    assert_eq!(runners, ["lodge-runner-0", "lodge-runner-0", "lodge-runner-1"]);
    remove(&mut fixture, "a");
    fixture.reconcile_one("c").await.unwrap();
    assert_eq!(runner(&fixture, "c"), "lodge-runner-1", "its files are there");
    put(&mut fixture, "d", json!({}));
    fixture.reconcile_one("d").await.unwrap();
    assert_eq!(runner(&fixture, "d"), "lodge-runner-0", "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_runner_is_asked_for_as_soon_as_somebody_needs_it() {
    let mut fixture = small();
    fixture.reconcile_runners().await.unwrap();
    for name in ["a", "b", "c"] {
        put(&mut fixture, name, json!({}));
    }
    fixture.reconcile_runners().await.unwrap();
    connect(&fixture, 0);
    for name in ["a", "b"] {
        fixture.reconcile_one(name).await.unwrap();
    }
    fixture.context.namespaces_due.try_take();
    fixture.reconcile_one("c").await.unwrap_err();
    assert_eq!(fixture.context.namespaces_due.try_take().len(), 1);
    assert_eq!(ready(&fixture, "c"), "False RunnerNotReady");
}

#[tokio::test(start_paused = true)]
async fn when_all_runners_are_full_a_workspace_waits_and_says_so() {
    let mut fixture = three_on_two().await;
    for name in ["d", "e"] {
        put(&mut fixture, name, json!({}));
    }
    fixture.reconcile_one("d").await.unwrap();
    let error = fixture.reconcile_one("e").await.unwrap_err();
    assert!(error.retry(30).is_some_and(|pause| pause <= Duration::from_secs(15)));
    assert_eq!(ready(&fixture, "e"), "False RunnersFull");
    assert!(fixture.api.events().iter().any(|event| event.starts_with("RunnersFull: each of the 2 runners")));
    remove(&mut fixture, "b");
    fixture.reconcile_one("e").await.unwrap();
    assert_eq!(runner(&fixture, "e"), "lodge-runner-0");
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_was_decided_but_not_written_yet_counts() {
    let mut fixture = small();
    for name in ["a", "b", "c", "d"] {
        put(&mut fixture, name, json!({}));
    }
    // No runner is connected, so that nothing gets on record.
    for name in ["a", "b", "c", "d", "a"] {
        fixture.reconcile_one(name).await.unwrap_err();
    }
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(replicas(&fixture), 2);
    [0, 1].into_iter().for_each(|ordinal| connect(&fixture, ordinal));
    for name in ["d", "c", "b", "a"] {
        fixture.reconcile_one(name).await.unwrap();
    }
    let runners = ["a", "b", "c", "d"].map(|name| runner(&fixture, name));
    assert_eq!(runners, ["lodge-runner-0", "lodge-runner-0", "lodge-runner-1", "lodge-runner-1"]);
}

#[tokio::test(start_paused = true)]
async fn sizes_count_as_far_as_a_volume_may_be_overcommitted() {
    let mut fixture = Fixture::new(&["--runner-storage-overcommit=2", "--runner-storage-size=10Gi"]);
    let sized = |size: &str| json!({"storage": {"size": size}});
    for (name, spec) in [
        ("a", sized("15Gi")),
        ("b", sized("10Gi")),
        ("c", sized("5Gi")),
        ("d", json!({"storage": {"type": "Ephemeral", "size": "1Ti"}})),
    ] {
        put(&mut fixture, name, spec);
        fixture.reconcile_one(name).await.unwrap_err();
    }
    [0, 1].into_iter().for_each(|ordinal| connect(&fixture, ordinal));
    for name in ["a", "b", "c", "d"] {
        fixture.reconcile_one(name).await.unwrap();
    }
    let runners = ["a", "b", "c", "d"].map(|name| runner(&fixture, name));
    assert_eq!(runners, ["lodge-runner-0", "lodge-runner-1", "lodge-runner-0", "lodge-runner-0"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_last_runner_goes_after_a_while_with_its_volume() {
    let mut fixture = three_on_two().await;
    remove(&mut fixture, "c");
    assert_eq!(fixture.reconcile_runners().await.unwrap(), Action::requeue(Duration::from_secs(60)));
    assert_eq!(replicas(&fixture), 2);
    fixture.pass(Duration::from_secs(61)).await;
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(replicas(&fixture), 1);
    assert!(fixture.api.get(&claim(1)).is_none() && fixture.api.get(&claim(0)).is_some());
    put(&mut fixture, "d", json!({}));
    fixture.reconcile_one("d").await.unwrap_err();
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(replicas(&fixture), 2, "one more can be made again");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_somebody_is_bound_to_never_goes() {
    let mut fixture = three_on_two().await;
    for name in ["a", "b"] {
        remove(&mut fixture, name);
    }
    fixture.reconcile_runners().await.unwrap();
    fixture.pass(Duration::from_secs(3600)).await;
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(replicas(&fixture), 2, "c is on the last one, though the first is empty");
    assert!(fixture.api.get(&claim(1)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_new_operator_finds_everybody_where_they_are() {
    let old = three_on_two().await;
    let mut fixture = small();
    for name in ["a", "b", "c"] {
        let path = format!("{WORKSPACES}/{name}");
        fixture.api.put(&path, old.api.get(&path).unwrap());
    }
    fixture.api.put(STATEFUL_SET, old.api.get(STATEFUL_SET).unwrap());
    fixture.sync();
    fixture.reconcile_runners().await.unwrap();
    fixture.pass(Duration::from_secs(3600)).await;
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(replicas(&fixture), 2);
    put(&mut fixture, "d", json!({}));
    connect(&fixture, 1);
    fixture.reconcile_one("d").await.unwrap();
    assert_eq!(runner(&fixture, "d"), "lodge-runner-1", "the first one is full");
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_cannot_be_read_may_be_anywhere_so_no_runner_goes() {
    let mut fixture = three_on_two().await;
    remove(&mut fixture, "c");
    put(&mut fixture, "x", json!({"idle": {"sleepAfter": "a while"}}));
    for _ in 0..3 {
        fixture.reconcile_runners().await.unwrap();
        fixture.pass(Duration::from_secs(3600)).await;
    }
    assert_eq!(replicas(&fixture), 2);
    assert!(fixture.api.get(&claim(1)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_new_form_of_pods_waits_while_too_many_namespaces_are_being_replaced() {
    let mut fixture = Fixture::new(&["--runner-max-rolling=1", "--runner-linger=0s"]);
    put(&mut fixture, "a", json!({}));
    fixture.reconcile_runners().await.unwrap();
    let mut old = fixture.api.get(STATEFUL_SET).unwrap();
    old["spec"]["template"]["spec"]["containers"][0]["image"] = json!("lodge/vm-runner:0");
    fixture.api.put(STATEFUL_SET, old.clone());
    let mut other = old;
    other["metadata"]["namespace"] = json!("team-b");
    let status = json!({"replicas": 2, "updatedReplicas": 1, "currentRevision": "x", "updateRevision": "y",
        "observedGeneration": 9});
    other["status"] = status;
    let path = "/apis/apps/v1/namespaces/team-b/statefulsets/lodge-runner";
    fixture.api.put(path, other.clone());
    let image = |fixture: &Fixture| {
        fixture.api.get(STATEFUL_SET).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(fixture.reconcile_runners().await.unwrap(), Action::requeue(Duration::from_secs(5)));
    assert_eq!(image(&fixture), "lodge/vm-runner:0");
    other["status"]["currentRevision"] = json!("y");
    fixture.api.put(path, other);
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(image(&fixture), "lodge/vm-runner:1");
}

#[tokio::test(start_paused = true)]
async fn many_reconciles_at_once_bind_nobody_twice_and_fill_no_runner_too_much() {
    let mut fixture = Fixture::new(&["--runner-max-workspaces=3"]);
    let names: Vec<_> = (0..12).map(|index| format!("w{index}")).collect();
    for name in &names {
        put(&mut fixture, name, json!({}));
    }
    (0..4).for_each(|ordinal| connect(&fixture, ordinal));
    fixture.api.delay(http::Method::PATCH, Duration::from_millis(10));
    let context = &fixture.context;
    let all = fixture.context.stores.workspaces.state();
    // Each of them twice at the same time, which the controller would not do.
    let reconciles =
        all.iter().chain(&all).map(|watched| workspace::reconcile(Arc::clone(watched), Arc::clone(context)));
    futures::future::join_all(reconciles).await;
    let mut loads = std::collections::BTreeMap::<String, u32>::new();
    for name in &names {
        *loads.entry(runner(&fixture, name).to_string()).or_default() += 1;
    }
    assert_eq!(loads.values().copied().collect::<Vec<_>>(), [3, 3, 3, 3], "{loads:?}");
}
