//! The rendered objects as an API server would take them: fields that exist, selectors that select, pods that Pod Security
//! lets in.

use super::{every_rendering, object};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    scheduling::v1::PriorityClass,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeSet;

/// Kinds that the chart knows by others' custom resources.
const FOREIGN: [&str; 7] = [
    "BackendTLSPolicy",
    "Certificate",
    "HTTPRoute",
    "PodMonitor",
    "PrometheusRule",
    "ServiceMonitor",
    "TLSRoute",
];
/// Kinds without a namespace.
const CLUSTER_WIDE: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "PriorityClass"];

/// Whether Kubernetes' own type has every field of the object.
fn has_every_field<K: DeserializeOwned + Serialize>(object: &Value) -> Result<()> {
    let typed: K = serde_json::from_value(object.clone())?;
    contains("", object, &serde_json::to_value(typed)?)
}

/// Whether everything that is sent is kept.
fn contains(path: &str, sent: &Value, kept: &Value) -> Result<()> {
    match (sent, kept) {
        (Value::Object(sent), kept) => sent.iter().try_for_each(|(name, value)| {
            let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            let inner = kept.get(name).unwrap_or(&Value::Null);
            if is_empty && inner.is_null() {
                Ok(())
            } else {
                contains(&format!("{path}.{name}"), value, inner)
            }
        }),
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => sent
            .iter()
            .zip(kept)
            .enumerate()
            .try_for_each(|(index, (sent, kept))| contains(&format!("{path}[{index}]"), sent, kept)),
        _ if sent == kept => Ok(()),
        _ => bail!("{path} is {sent}, of which Kubernetes keeps {kept}"),
    }
}

fn checked(object: &Value) -> Result<()> {
    match object["kind"].as_str().context("a kind")? {
        "ClusterRole" => has_every_field::<ClusterRole>(object),
        "ClusterRoleBinding" => has_every_field::<ClusterRoleBinding>(object),
        "ConfigMap" => has_every_field::<ConfigMap>(object),
        "Deployment" => has_every_field::<Deployment>(object),
        "Ingress" => has_every_field::<Ingress>(object),
        "NetworkPolicy" => has_every_field::<NetworkPolicy>(object),
        "PodDisruptionBudget" => has_every_field::<PodDisruptionBudget>(object),
        "PriorityClass" => has_every_field::<PriorityClass>(object),
        "Role" => has_every_field::<Role>(object),
        "RoleBinding" => has_every_field::<RoleBinding>(object),
        "Service" => has_every_field::<Service>(object),
        "ServiceAccount" => has_every_field::<ServiceAccount>(object),
        kind if FOREIGN.contains(&kind) => Ok(()),
        kind => bail!("{kind} is no kind that this test knows"),
    }
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn every_object_has_only_fields_that_exist_and_a_place_of_its_own() -> Result<()> {
    for (values, objects) in every_rendering()? {
        let mut places = BTreeSet::new();
        for object in &objects {
            let (kind, metadata) = (&object["kind"], &object["metadata"]);
            let name = format!("{values}: {kind} {}", metadata["name"]);
            checked(object).with_context(|| name.clone())?;
            let is_cluster_wide = CLUSTER_WIDE.contains(&kind.as_str().context("a kind")?);
            assert_eq!(metadata["namespace"].is_null(), is_cluster_wide, "{name}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/part-of"], "lodge", "{name}");
            let place = format!("{kind}/{}/{}", metadata["namespace"], metadata["name"]);
            assert!(places.insert(place), "{name} is rendered twice");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn what_selects_pods_selects_those_of_a_deployment() -> Result<()> {
    for (values, objects) in every_rendering()? {
        let selectors = objects.iter().filter_map(|object| {
            let spec = &object["spec"];
            let selector = match object["kind"].as_str()? {
                "Service" => &spec["selector"],
                "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                "PodDisruptionBudget" | "Deployment" => &spec["selector"]["matchLabels"],
                _ => return None,
            };
            Some((format!("{values}: {} {}", object["kind"], object["metadata"]["name"]), selector))
        });
        let pods: Vec<_> = objects
            .iter()
            .filter(|object| object["kind"] == "Deployment")
            .map(|deployment| &deployment["spec"]["template"]["metadata"]["labels"])
            .collect();
        for (name, selector) in selectors {
            let selector = selector.as_object().with_context(|| name.clone())?;
            let selected =
                pods.iter().filter(|labels| selector.iter().all(|(key, value)| labels[key] == *value));
            assert_eq!(selected.count(), 1, "{name} selects the pods of one Deployment: {selector:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn pods_are_restricted_and_have_requests() -> Result<()> {
    for (values, objects) in every_rendering()? {
        for name in ["lodge-operator", "lodge-gateway"] {
            let pod = &object(&objects, "Deployment", name)?["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{values} {name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{values} {name}");
            assert!(pod["volumes"].is_null() && pod["hostNetwork"].is_null(), "{values} {name}");
            for container in pod["containers"].as_array().context("containers")? {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{values} {name}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{values} {name}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{values} {name}");
                assert!(!container["resources"]["requests"]["cpu"].is_null(), "{values} {name}");
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_defaults_are_two_replicas_apart_with_a_budget_and_policies_of_both_directions() -> Result<()> {
    let (_, objects) = every_rendering()?.into_iter().next().context("a rendering")?;
    for name in ["lodge-operator", "lodge-gateway"] {
        let deployment = &object(&objects, "Deployment", name)?["spec"];
        assert_eq!(deployment["replicas"], 2);
        let spread =
            deployment["template"]["spec"]["topologySpreadConstraints"].as_array().context("spread")?;
        let keys: Vec<_> = spread.iter().map(|constraint| &constraint["topologyKey"]).collect();
        assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
        let budget = object(&objects, "PodDisruptionBudget", name)?;
        assert_eq!(budget["spec"]["maxUnavailable"], 1);
        let policy = object(&objects, "NetworkPolicy", name)?;
        assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
        for rule in policy["spec"]["egress"].as_array().context("egress")? {
            assert!(!rule["ports"].is_null(), "{name} lets out to every port: {rule}");
        }
    }
    Ok(())
}
