//! The certificates of Lodge's own namespace.

use crate::fixture::Fixture;
use operator::{certificate::system, runner_client::HttpRunnerClient};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

const AUTHORITY: &str = "/api/v1/namespaces/lodge-system/secrets/lodge-ca";
const GATEWAY: &str = "/api/v1/namespaces/lodge-system/secrets/lodge-gateway-tls";
const CONFIG_MAP: &str = "/api/v1/namespaces/lodge-system/configmaps/lodge-gateway";

#[tokio::test(start_paused = true)]
async fn a_new_installation_gets_an_authority_and_what_the_gateway_needs() {
    let fixture = Fixture::new(&["--gateway-address=https://lodge.example.com"]);
    let client = HttpRunnerClient::default();
    let first = system::prepare(&fixture.context, &client).await;
    for path in [AUTHORITY, GATEWAY] {
        assert_eq!(fixture.api.get(path).unwrap()["type"], "kubernetes.io/tls", "{path}");
    }
    let config_map = fixture.api.get(CONFIG_MAP).unwrap();
    assert_eq!(config_map["data"]["address"], "https://lodge.example.com");
    assert_eq!(config_map["data"]["ca.crt"], json!(first.bundle));
    fixture.api.take_writes();
    let second = system::prepare(&fixture.context, &client).await;
    assert_eq!(fixture.api.take_writes(), [""; 0], "a second look changes nothing");
    assert_eq!(first.bundle, second.bundle);
    assert_ne!(first.certificate, second.certificate, "the operator's own is in memory only");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_authority_is_never_replaced_behind_anybodys_back() {
    let fixture = Fixture::new(&[]);
    let damaged =
        json!({"metadata": {"name": "lodge-ca", "namespace": "lodge-system"}, "data": {"tls.crt": "eA=="}});
    fixture.api.put(AUTHORITY, damaged);
    let client = HttpRunnerClient::default();
    let prepare = system::prepare(&fixture.context, &client);
    timeout(Duration::from_secs(600), prepare).await.unwrap_err();
    assert_eq!(fixture.api.get(AUTHORITY).unwrap()["data"], json!({"tls.crt": "eA=="}));
    assert_eq!(fixture.api.take_writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn another_authority_reaches_every_namespace() {
    let mut fixture = Fixture::with_ada(json!({}));
    fixture.reconcile_runners().await.unwrap();
    let secret = "/api/v1/namespaces/team-a/secrets/lodge-runner-tls";
    let before = fixture.api.get(secret).unwrap()["data"].clone();
    let leaf = system::prepare(&fixture.context, &HttpRunnerClient::default()).await;
    assert_eq!(fixture.context.namespaces_due.try_take().len(), 1);
    fixture.reconcile_runners().await.unwrap();
    let after = fixture.api.get(secret).unwrap()["data"].clone();
    assert_ne!(after["tls.crt"], before["tls.crt"]);
    assert_ne!(after["ca.crt"], before["ca.crt"]);
    assert!(leaf.bundle.contains("BEGIN CERTIFICATE"));
}
