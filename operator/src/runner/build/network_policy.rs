//! The NetworkPolicy of runner pods: only Lodge's own namespace may talk to them, and they may talk to nobody.
//!
//! Policies add up: who wants to scrape metrics from another namespace adds a policy of their own.

use super::{metadata, selector};
use crate::runner::name::{API_PORT, METRICS_PORT, RUNNER};
use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use std::collections::BTreeMap;

pub(super) fn build_network_policy(namespace: &str, system: &str) -> NetworkPolicy {
    let lodge = LabelSelector {
        match_labels: Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), system.to_owned())])),
        match_expressions: None,
    };
    let port = |number: u16| NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(number.into())),
        end_port: None,
    };
    NetworkPolicy {
        metadata: metadata(namespace, RUNNER),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(selector()), match_expressions: None }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![NetworkPolicyPeer {
                    namespace_selector: Some(lodge),
                    ..NetworkPolicyPeer::default()
                }]),
                ports: Some(vec![port(API_PORT), port(METRICS_PORT)]),
            }]),
            // No rule: nothing is let out.
            egress: None,
        }),
    }
}
