//! The NetworkPolicy of runner pods: only Lodge's own namespace may talk to them, others that are named may scrape their metrics,
//! and they may talk to nobody.

use super::{metadata, selector};
use crate::runner::name::{API_PORT, METRICS_PORT, RUNNER};
use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use std::collections::BTreeMap;

pub(super) fn build_network_policy(namespace: &str, system: &str, scrape: &[String]) -> NetworkPolicy {
    let mut ingress = vec![rule(&[system.to_owned()], &[API_PORT, METRICS_PORT])];
    if !scrape.is_empty() {
        ingress.push(rule(scrape, &[METRICS_PORT]));
    }
    NetworkPolicy {
        metadata: metadata(namespace, RUNNER),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(selector()), match_expressions: None }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            // No rule: nothing is let out.
            egress: None,
        }),
    }
}

/// Lets the pods of these namespaces in, to these ports.
fn rule(namespaces: &[String], ports: &[u16]) -> NetworkPolicyIngressRule {
    let peer = |name: &String| NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.clone())])),
            match_expressions: None,
        }),
        ..NetworkPolicyPeer::default()
    };
    let port = |number: &u16| NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int((*number).into())),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        from: Some(namespaces.iter().map(peer).collect()),
        ports: Some(ports.iter().map(port).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_are_named_may_scrape_and_nothing_else() {
        let policy = build_network_policy("team-a", "lodge-system", &["monitoring".to_owned()]);
        let rules = serde_json::to_value(policy.spec.unwrap().ingress.unwrap()).unwrap();
        let names = |rule: &serde_json::Value| {
            rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"].clone()
        };
        assert_eq!((names(&rules[0]), names(&rules[1])), ("lodge-system".into(), "monitoring".into()));
        assert_eq!(rules[1]["ports"], serde_json::json!([{ "protocol": "TCP", "port": METRICS_PORT }]));
        let alone = build_network_policy("team-a", "lodge-system", &[]);
        assert_eq!(alone.spec.unwrap().ingress.unwrap().len(), 1);
    }
}
