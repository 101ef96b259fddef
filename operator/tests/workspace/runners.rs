//! The runners of a namespace: made with its first Workspace, repaired, removed after its last.

use crate::fixture::{ADA, Fixture, STATEFUL_SET};
use http::{Method, StatusCode};
use kube::runtime::controller::Action;
use operator::runner::name::RunnerId;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const SERVICE: &str = "/api/v1/namespaces/team-a/services/lodge-runner";
const SECRET: &str = "/api/v1/namespaces/team-a/secrets/lodge-runner-tls";
const POLICY: &str = "/apis/networking.k8s.io/v1/namespaces/team-a/networkpolicies/lodge-runner";
const CLAIM: &str = "/api/v1/namespaces/team-a/persistentvolumeclaims/data-lodge-runner-0";

#[tokio::test(start_paused = true)]
async fn the_first_workspace_makes_its_namespace_a_runner() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.reconcile().await.unwrap_err();
    for path in [SECRET, SERVICE, POLICY, STATEFUL_SET] {
        let object = fixture.api.get(path).unwrap();
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "lodge-operator", "{path}");
    }
    assert_eq!(
        fixture.condition("Ready").unwrap(),
        "False RunnerNotReady: the runner's pod lodge-runner-0 is being made"
    );
    assert!(fixture.condition("Reconciling").is_some());
    assert_eq!(fixture.ada().metadata.finalizers.unwrap(), ["lodge.dev/workspace"]);
    assert!(fixture.api.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn runners_that_are_as_they_shall_be_are_not_written_again() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.api.take_writes();
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.api.take_writes();
    let mut set = fixture.api.get(STATEFUL_SET).unwrap();
    set["spec"]["replicas"] = json!(0);
    fixture.api.put(STATEFUL_SET, set);
    fixture.api.remove(POLICY);
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(fixture.api.take_writes(), [format!("PATCH {POLICY}"), format!("PATCH {STATEFUL_SET}")]);
    assert_eq!(fixture.api.get(STATEFUL_SET).unwrap()["spec"]["replicas"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_else_is_left_alone_and_the_workspace_says_so() {
    let mut fixture = Fixture::with_ada(json!({}));
    let theirs = json!({"metadata": {"name": "lodge-runner", "namespace": "team-a"}, "spec": {"clusterIP": "10.9.9.9"}});
    fixture.api.put(SERVICE, theirs);
    fixture.reconcile_runners().await.unwrap_err();
    assert_eq!(fixture.api.get(SERVICE).unwrap()["spec"], json!({"clusterIP": "10.9.9.9"}));
    fixture.reconcile().await.unwrap_err();
    let ready = fixture.condition("Ready").unwrap();
    assert!(ready.starts_with("False ApplyRefused"), "{ready}");
    assert!(
        ready.contains("Service lodge-runner exists and isn't managed by Lodge: rename or delete it"),
        "{ready}"
    );
    assert!(fixture.condition("Stalled").is_some());
    fixture.api.remove(SERVICE);
    fixture.reconcile_runners().await.unwrap();
    assert!(!fixture.context.workspaces_due.try_take().is_empty(), "the workspaces are looked at again");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_api_server_is_passed_on_in_its_words() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.api.fail(Method::PATCH, "statefulsets", StatusCode::FORBIDDEN, 1);
    fixture.reconcile_runners().await.unwrap_err();
    fixture.reconcile().await.unwrap_err();
    let ready = fixture.condition("Ready").unwrap();
    assert!(
        ready.contains("could not apply StatefulSet lodge-runner") && ready.contains("injected"),
        "{ready}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_workspace_takes_the_runner_along_after_a_while() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    let labels = fixture.api.get(STATEFUL_SET).unwrap()["metadata"]["labels"].clone();
    fixture.api.put(
        CLAIM,
        json!({"metadata": {"name": "data-lodge-runner-0", "namespace": "team-a", "labels": labels}}),
    );
    fixture.api.remove(ADA);
    assert_eq!(fixture.reconcile_runners().await.unwrap(), Action::requeue(Duration::from_secs(60)));
    assert!(fixture.api.get(STATEFUL_SET).is_some());
    fixture.pass(Duration::from_secs(61)).await;
    fixture.reconcile_runners().await.unwrap();
    for path in [SECRET, SERVICE, POLICY, STATEFUL_SET, CLAIM] {
        assert!(fixture.api.get(path).is_none(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_comes_in_time_keeps_the_runner() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.api.remove(ADA);
    fixture.reconcile_runners().await.unwrap();
    fixture.pass(Duration::from_secs(50)).await;
    fixture.put_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.api.remove(ADA);
    fixture.pass(Duration::from_secs(50)).await;
    fixture.reconcile_runners().await.unwrap();
    assert!(fixture.api.get(STATEFUL_SET).is_some(), "the time begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_cannot_be_read_keeps_the_runner_and_its_data() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    fixture.put_ada(json!({"idle": {"sleepAfter": "a while"}}));
    fixture.pass(Duration::from_secs(3600)).await;
    fixture.reconcile_runners().await.unwrap();
    assert!(fixture.api.get(STATEFUL_SET).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_workspace_has_a_runner_of_its_own_and_takes_it_along() {
    let mut fixture = Fixture::with_ada(json!({"isolation": "Dedicated"}));
    let bob = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/bob";
    fixture.api.put(bob, json!({"metadata": {"name": "bob", "namespace": "team-a"}, "spec": {}}));
    fixture.reconcile_runners().await.unwrap();
    let dedicated = "/apis/apps/v1/namespaces/team-a/statefulsets/lodge-runner-ada";
    let set = fixture.api.get(dedicated).unwrap();
    assert_eq!(set["metadata"]["labels"]["lodge.dev/isolation"], "Dedicated");
    assert!(fixture.api.get(STATEFUL_SET).is_some());
    fixture.api.remove(ADA);
    fixture.reconcile_runners().await.unwrap();
    assert!(fixture.api.get(dedicated).is_none());
    assert!(fixture.api.get(STATEFUL_SET).is_some(), "the shared runner stays for bob");
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_workspace_that_cannot_be_read_keeps_its_runner_and_its_data() {
    let mut fixture = Fixture::with_ada(json!({"isolation": "Dedicated"}));
    let bob = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces/bob";
    fixture.api.put(bob, json!({"metadata": {"name": "bob", "namespace": "team-a"}, "spec": {}}));
    fixture.reconcile_runners().await.unwrap();
    let dedicated = "/apis/apps/v1/namespaces/team-a/statefulsets/lodge-runner-ada";
    let claim = "/api/v1/namespaces/team-a/persistentvolumeclaims/data-lodge-runner-ada-0";
    let labels = fixture.api.get(dedicated).unwrap()["metadata"]["labels"].clone();
    let metadata = json!({"name": "data-lodge-runner-ada-0", "namespace": "team-a", "labels": labels});
    fixture.api.put(claim, json!({ "metadata": metadata }));
    for unreadable in [json!({"isolation": "Dedicated", "idle": {"sleepAfter": "a while"}}), json!(7)] {
        fixture.put_ada(unreadable);
        fixture.api.take_writes();
        fixture.reconcile_runners().await.unwrap();
        assert_eq!(fixture.api.take_writes(), [""; 0]);
    }
    assert!(fixture.api.get(dedicated).is_some() && fixture.api.get(claim).is_some());
    fixture.api.remove(ADA);
    fixture.reconcile_runners().await.unwrap();
    assert!(fixture.api.get(dedicated).is_none() && fixture.api.get(claim).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_kept_until_it_is_old_and_then_renewed() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    let first = fixture.api.get(SECRET).unwrap()["data"].clone();
    fixture.pass(Duration::from_secs(50 * 86_400)).await;
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(fixture.api.get(SECRET).unwrap()["data"], first);
    fixture.pass(Duration::from_secs(20 * 86_400)).await;
    fixture.reconcile_runners().await.unwrap();
    assert_ne!(fixture.api.get(SECRET).unwrap()["data"]["tls.crt"], first["tls.crt"]);
}

#[tokio::test(start_paused = true)]
async fn one_more_shared_workspace_is_no_reason_to_look_at_the_runners() {
    let mut fixture = Fixture::with_ada(json!({}));
    let look = |fixture: &Fixture| {
        for watched in fixture.context.stores.workspaces.state() {
            operator::runner::look_if_concerned(&watched, &fixture.context);
        }
        fixture.context.namespaces_due.try_take().len()
    };
    assert_eq!(look(&fixture), 1, "there is no runner yet");
    fixture.reconcile_runners().await.unwrap();
    assert_eq!(look(&fixture), 0);
    fixture.put_ada(json!({"isolation": "Dedicated"}));
    assert_eq!(look(&fixture), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_volume_keeps_its_size_and_the_workspace_says_so_when_it_wants_more() {
    let mut fixture = Fixture::with_ada(json!({"isolation": "Dedicated", "storage": {"size": "10Gi"}}));
    fixture.reconcile_runners().await.unwrap();
    let runner = RunnerId { pod: "lodge-runner-ada-0".to_owned(), ..fixture.runner_id() };
    fixture.context.roster.connected(&runner, Arc::clone(&fixture.runner) as _, []);
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.condition("Ready").unwrap(), "True Bound: bound to lodge-runner-ada-0");
    fixture.put_ada(json!({"isolation": "Dedicated", "storage": {"size": "20Gi"}}));
    fixture.reconcile_runners().await.unwrap();
    fixture.reconcile().await.unwrap();
    let ready = fixture.condition("Ready").unwrap();
    assert!(ready.contains("made with 10Gi") && ready.contains("data-lodge-runner-ada-0"), "{ready}");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_bound_while_the_last_runner_is_about_to_go_keeps_it() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    let ada = fixture.api.get(ADA).unwrap();
    fixture.api.remove(ADA);
    fixture.reconcile_runners().await.unwrap();
    fixture.pass(Duration::from_secs(61)).await;
    // The watch that the runners' reconcile looks at lags behind the one that binds.
    fixture.api.put(ADA, ada.clone());
    fixture.sync();
    fixture.reconcile().await.unwrap_err();
    fixture.api.remove(ADA);
    assert_eq!(fixture.reconcile_runners().await.unwrap(), Action::requeue(Duration::from_secs(1)));
    assert!(fixture.api.get(STATEFUL_SET).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_half_way_does_not_keep_anybody_out_for_ever() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    let ada = fixture.api.get(ADA).unwrap();
    fixture.api.remove(ADA);
    fixture.reconcile_runners().await.unwrap();
    fixture.pass(Duration::from_secs(61)).await;
    fixture.api.fail(Method::DELETE, "statefulsets", StatusCode::INTERNAL_SERVER_ERROR, 1);
    fixture.reconcile_runners().await.unwrap_err();
    fixture.api.put(ADA, ada);
    fixture.sync();
    fixture.reconcile().await.unwrap_err();
    assert!(
        fixture.condition("Ready").unwrap().contains("waiting until runners that nobody needed are gone")
    );
    fixture.reconcile_runners().await.unwrap();
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
}
