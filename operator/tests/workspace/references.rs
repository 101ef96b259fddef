//! Secrets and ConfigMaps that a spec names.

use crate::fixture::{ADA_UID, Fixture};
use operator::{runner::name::RunnerId, workspace::Error};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const SECRET: &str = "/api/v1/namespaces/team-a/secrets/s";
const CONFIG_MAP: &str = "/api/v1/namespaces/team-a/configmaps/c";

fn with_secret() -> Fixture {
    let fixture = Fixture::with_ada(json!({
        "env": [
            {"name": "EDITOR", "value": "vi"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    }));
    fixture.connect_runner();
    fixture
}

fn put_secret(fixture: &Fixture, key: &str, base64: &str) {
    fixture.api.put(SECRET, json!({"metadata": {"name": "s", "namespace": "team-a"}, "data": {key: base64}}));
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_stalls_the_workspace_and_says_what_to_do() {
    let mut fixture = with_secret();
    let error = fixture.reconcile().await.unwrap_err();
    assert_eq!(error.retry(0), Some(Duration::from_secs(2)));
    assert_eq!(error.retry(9), Some(Duration::from_secs(30)));
    assert_eq!(
        fixture.condition("Ready").unwrap(),
        "False SecretMissing: spec.env[1].valueFrom.secretKeyRef: Secret \"s\" doesn't exist in this namespace: create \
         it, or set optional: true"
    );
    assert!(fixture.condition("Stalled").unwrap().starts_with("True SecretMissing"));
    fixture.reconcile().await.unwrap_err();
    assert_eq!(fixture.api.events().len(), 1, "once per transition");

    put_secret(&fixture, "other", "eA==");
    fixture.reconcile().await.unwrap_err();
    assert!(fixture.condition("Ready").unwrap().contains("Secret \"s\" has no key \"k\""));

    put_secret(&fixture, "k", "aHVudGVyMg==");
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().env[1].value, "hunter2");
    assert!(fixture.condition("Ready").unwrap().starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn an_edited_secret_is_read_again_and_told_without_a_write() {
    let mut fixture = with_secret();
    put_secret(&fixture, "k", "aHVudGVyMg==");
    let action = fixture.reconcile().await.unwrap();
    assert_eq!(action, kube::runtime::controller::Action::requeue(Duration::from_secs(60)));
    fixture.api.take_writes();
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.puts(), 1);
    put_secret(&fixture, "k", "aHVudGVyMw==");
    fixture.reconcile().await.unwrap();
    assert_eq!(fixture.runner.config(ADA_UID).unwrap().env[1].value, "hunter3");
    assert_eq!(fixture.api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_never_gets_into_the_status_or_an_event() {
    let mut fixture = with_secret();
    put_secret(&fixture, "k", "aHVudGVyMg==");
    fixture.reconcile().await.unwrap();
    let config = format!("{:?}", fixture.runner.config(ADA_UID).unwrap());
    for text in
        [fixture.api.get(crate::fixture::ADA).unwrap().to_string(), fixture.api.events().join(" "), config]
    {
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_optional_may_be_missing() {
    let mut fixture = Fixture::with_ada(json!({
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": true}}}],
        "mounts": [{"path": "/config", "configMap": {"name": "c", "optional": true}}],
    }));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap();
    let config = fixture.runner.config(ADA_UID).unwrap();
    assert!(config.env.is_empty());
    assert_eq!(config.mounts[0].source, vm_api::MountSource::Files(vm_api::FilesMount::default()));
}

#[tokio::test(start_paused = true)]
async fn a_config_map_becomes_files_and_its_missing_keys_are_named() {
    let mut fixture = Fixture::with_ada(json!({
        "mounts": [{"path": "/config", "configMap": {"name": "c", "items": [{"key": "a", "file": "b.txt"}, {"key": "z"}]}}],
    }));
    fixture.connect_runner();
    fixture.reconcile().await.unwrap_err();
    assert!(
        fixture
            .condition("Ready")
            .unwrap()
            .starts_with("False ConfigMapMissing: spec.mounts[0].configMap.name")
    );
    let metadata = json!({"name": "c", "namespace": "team-a"});
    fixture.api.put(CONFIG_MAP, json!({"metadata": metadata, "data": {"a": "text"}}));
    fixture.reconcile().await.unwrap_err();
    let ready = fixture.condition("Ready").unwrap();
    assert!(ready.contains("spec.mounts[0].configMap.items[1].key") && ready.contains("\"z\""), "{ready}");
    fixture
        .api
        .put(CONFIG_MAP, json!({"metadata": metadata, "data": {"a": "text"}, "binaryData": {"z": "/w=="}}));
    fixture.reconcile().await.unwrap();
    let config = fixture.runner.config(ADA_UID).unwrap();
    assert!(config.mounts[0].read_only);
    let vm_api::MountSource::Files(files) = &config.mounts[0].source else { panic!("{config:?}") };
    let entries: Vec<_> =
        files.entries.iter().map(|entry| (entry.path.as_str(), entry.content_base64.as_bytes())).collect();
    assert_eq!(entries, [("b.txt", b"text".as_slice()), ("z", b"\xff".as_slice())]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_text_cannot_be_a_variable() {
    let mut fixture = with_secret();
    put_secret(&fixture, "k", "/w==");
    let error = fixture.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::InvalidSpec { .. }), "{error}");
    assert!(fixture.condition("Stalled").unwrap().contains("mount it as a file instead"));
}

const CLAIM: &str = "/api/v1/namespaces/team-a/persistentvolumeclaims/data.v1";

#[tokio::test(start_paused = true)]
async fn a_volume_is_mounted_into_the_runner_and_handed_on_by_name() {
    let mounts = json!([
        {"path": "/data", "volume": {"claimName": "data.v1", "path": "/in/2027"}},
        {"path": "/all", "readOnly": true, "volume": {"claimName": "data.v1"}},
    ]);
    let mut fixture = Fixture::with_ada(json!({"isolation": "Dedicated", "mounts": mounts}));
    let runner = RunnerId { pod: "lodge-runner-ada-0".to_owned(), ..fixture.runner_id() };
    fixture.context.roster.connected(&runner, Arc::clone(&fixture.runner) as _, []);
    let error = fixture.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::ClaimMissing { .. }) && error.retry(0).is_some(), "{error}");
    let stalled = fixture.condition("Stalled").unwrap();
    assert!(
        stalled.starts_with(
            "True ClaimMissing: spec.mounts[0].volume.claimName: PersistentVolumeClaim \"data.v1\""
        ),
        "{stalled}"
    );
    fixture.api.put(CLAIM, json!({"metadata": {"name": "data.v1", "namespace": "team-a"}}));
    fixture.reconcile().await.unwrap();
    let config = fixture.runner.config(ADA_UID).unwrap();
    let volume = |index: usize| match &config.mounts[index].source {
        vm_api::MountSource::Volume(volume) => Some((volume.name.clone(), volume.sub_path.clone())),
        _ => None,
    };
    let (name, sub_path) = volume(0).unwrap();
    assert_eq!(sub_path.as_deref(), Some("in/2027"));
    assert_eq!(volume(1), Some((name.clone(), None)));
    assert_eq!((config.mounts[0].read_only, config.mounts[1].read_only), (false, true));
    fixture.reconcile_runners().await.unwrap();
    let set = fixture.api.get("/apis/apps/v1/namespaces/team-a/statefulsets/lodge-runner-ada").unwrap();
    let pod = &set["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].as_array().unwrap();
    assert!(
        arguments.contains(&json!(format!("--volume={name}=/var/lib/lodge-claims/{name}"))),
        "{arguments:?}"
    );
    let volumes = pod["volumes"].as_array().unwrap();
    let claim = volumes.iter().find(|volume| volume["name"] == json!(name)).unwrap();
    assert_eq!(claim["persistentVolumeClaim"]["claimName"], "data.v1");
}

/// Why a spec is refused.
async fn refusal(spec: serde_json::Value) -> String {
    let mut fixture = Fixture::with_ada(spec);
    fixture.connect_runner();
    for secret in ["lodge-ca", "lodge-gateway-tls", "lodge-runner-tls"] {
        let path = format!("/api/v1/namespaces/team-a/secrets/{secret}");
        let metadata = json!({"name": secret, "namespace": "team-a"});
        fixture.api.put(&path, json!({"metadata": metadata, "data": {"tls.key": "aHVudGVyMg=="}}));
    }
    let error = fixture.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::InvalidSpec { .. }), "{error}");
    assert_eq!(fixture.runner.config(ADA_UID).map(|_| ()), None, "nothing is told");
    fixture.condition("Stalled").unwrap()
}

#[tokio::test(start_paused = true)]
async fn lodges_own_keys_come_into_no_workspace() {
    for secret in ["lodge-ca", "lodge-gateway-tls", "lodge-runner-tls"] {
        let key = json!({"secretKeyRef": {"name": secret, "key": "tls.key"}});
        let by_env = refusal(json!({"env": [{"name": "A", "valueFrom": key}]})).await;
        assert!(by_env.contains("spec.env[0].valueFrom.secretKeyRef.name: Secret"), "{by_env}");
        let by_mount = refusal(json!({"mounts": [{"path": "/ca", "secret": {"name": secret}}]})).await;
        assert!(by_mount.contains("spec.mounts[0].secret.name: Secret"), "{by_mount}");
        assert!(by_mount.contains("is Lodge's own"), "{by_mount}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_volume_of_a_runner_is_mounted_into_no_other() {
    for claim in ["data-lodge-runner-0", "data-lodge-runner-bob-0"] {
        let mounts = json!([{"path": "/all", "volume": {"claimName": claim}}]);
        let mut fixture = Fixture::with_ada(json!({"isolation": "Dedicated", "mounts": mounts}));
        let path = format!("/api/v1/namespaces/team-a/persistentvolumeclaims/{claim}");
        fixture.api.put(&path, json!({"metadata": {"name": claim, "namespace": "team-a"}}));
        let error = fixture.reconcile().await.unwrap_err();
        assert!(matches!(error, Error::InvalidSpec { .. }), "{error}");
        let stalled = fixture.condition("Stalled").unwrap();
        assert!(stalled.contains("spec.mounts[0].volume.claimName"), "{stalled}");
        fixture.reconcile_runners().await.unwrap();
        let set = fixture.api.get("/apis/apps/v1/namespaces/team-a/statefulsets/lodge-runner-ada").unwrap();
        assert!(!set.to_string().contains(claim), "no pod mounts it either: {set}");
    }
}
