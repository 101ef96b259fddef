//! The pod of a dedicated runner: the few things about it that a user may want to say.
//!
//! The words are those of Kubernetes, with bounds, and turn into its types.

use k8s_openapi::api::core::v1 as core;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{
    Quantity,
    name::ObjectName,
    schema::{list_atomic, map, max_length, range, rules},
};

/// The pod of a dedicated runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DedicatedRunner {
    /// Requests and limits of the pod. Default: those that the installation gives to runners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ComputeResources>,
    /// Labels that the pod's node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = map(32, 63))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pod tolerates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_atomic(32))]
    pub tolerations: Vec<Toleration>,
    /// The RuntimeClass of the pod, such as gvisor or kata. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<ObjectName>,
    /// The StorageClass of the runner's volume. It can't be changed later. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<ObjectName>,
}

/// Requests and limits of a pod, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputeResources {
    /// What is set aside for the pod, by name: cpu, memory, ephemeral-storage, ….
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = map(16, 32))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the pod may use at most, by name: cpu, memory, ephemeral-storage, ….
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = map(16, 32))]
    pub limits: BTreeMap<String, Quantity>,
}

impl From<&ComputeResources> for core::ResourceRequirements {
    fn from(resources: &ComputeResources) -> Self {
        let ComputeResources { requests, limits } = resources;
        let convert = |map: &BTreeMap<String, Quantity>| {
            (!map.is_empty())
                .then(|| map.iter().map(|(name, amount)| (name.clone(), amount.into())).collect())
        };
        Self { claims: None, requests: convert(requests), limits: convert(limits) }
    }
}

/// Taints of nodes that a pod tolerates, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules(&[(
    "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
    "tolerations: the operator Exists matches any value: remove value, or use the operator Equal",
)]))]
pub struct Toleration {
    /// Key of the taint. Default: any, which needs the operator Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(316))]
    pub key: Option<String>,
    /// How value is compared: Equal or Exists. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = max_length(63))]
    pub value: Option<String>,
    /// Which effect is tolerated: NoSchedule, PreferNoSchedule or NoExecute. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For how many seconds NoExecute is tolerated. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = range(0, 31_536_000))]
    pub toleration_seconds: Option<i64>,
}

impl From<&Toleration> for core::Toleration {
    fn from(toleration: &Toleration) -> Self {
        let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
        Self {
            key: key.clone(),
            operator: operator.map(|operator| format!("{operator:?}")),
            value: value.clone(),
            effect: effect.map(|effect| format!("{effect:?}")),
            toleration_seconds: *toleration_seconds,
        }
    }
}

/// How the value of a taint is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// With the toleration's value.
    #[default]
    Equal,
    /// Not at all.
    Exists,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Pods aren't scheduled.
    NoSchedule,
    /// Pods are scheduled elsewhere if possible.
    PreferNoSchedule,
    /// Pods are evicted.
    NoExecute,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_become_those_of_kubernetes() {
        let json = serde_json::json!({ "requests": { "cpu": 1, "memory": "1Gi" } });
        let resources: ComputeResources = serde_json::from_value(json.clone()).unwrap();
        let theirs = core::ResourceRequirements::from(&resources);
        assert_eq!(theirs.limits, None);
        assert_eq!(
            serde_json::to_value(theirs).unwrap()["requests"],
            serde_json::json!({ "cpu": "1", "memory": "1Gi" })
        );
    }

    #[test]
    fn tolerations_become_those_of_kubernetes() {
        let json = serde_json::json!({ "key": "agents", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60 });
        let toleration: Toleration = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(core::Toleration::from(&toleration)).unwrap(), json);
    }
}
