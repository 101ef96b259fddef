//! What a namespace's runners are made of, as Kubernetes objects. Pure: no client, no clock, and it cannot fail.
//!
//! Every object satisfies the Pod Security level `restricted`, carries no Kubernetes credentials, and bears the label by which
//! the operator knows it for its own.

mod network_policy;
mod secret;
mod service;
mod stateful_set;

use crate::{args::RunnerConfig, certificate::Leaf, runner::name::RunnerSetName};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{ResourceRequirements, Secret, Service, Toleration},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use lodge_crds::{Isolation, label};
use std::collections::BTreeMap;

/// The value of `app.kubernetes.io/name` on everything here.
pub const APP_NAME: &str = "lodge-runner";

/// A set of runners as it shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerSet {
    /// Its name.
    pub name: RunnerSetName,
    /// Whether it is shared.
    pub isolation: Isolation,
    /// How many pods it has.
    pub replicas: u32,
    /// How its pods are scheduled and what they may use.
    pub resources: ResourceRequirements,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that don't matter.
    pub tolerations: Vec<Toleration>,
    /// Runtime class.
    pub runtime_class: Option<String>,
    /// The volume of each pod.
    pub volume: Volume,
    /// Claims of the namespace that its pods mount besides, by name.
    pub claims: BTreeMap<String, Claim>,
}

/// A claim of the namespace that workspaces mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name by which the runner knows it, which is the volume's in the pod, too.
    pub volume: String,
    /// Whether nobody writes to it.
    pub read_only: bool,
}

/// The volume of a runner pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Its size.
    pub size: Quantity,
    /// Its class; the cluster's default if none.
    pub storage_class: Option<String>,
}

/// Everything that a namespace's runners need, ready to be applied.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The certificate, before any pod that mounts it.
    pub secret: Secret,
    /// Gives pods their names.
    pub service: Service,
    /// Who may talk to the pods.
    pub network_policy: NetworkPolicy,
    /// The pods.
    pub stateful_sets: Vec<StatefulSet>,
}

/// Prepares everything that these sets of runners need in this namespace.
pub fn build(
    namespace: &str,
    sets: &[RunnerSet],
    leaf: &Leaf,
    config: &RunnerConfig,
    system: &str,
) -> Prepared {
    Prepared {
        secret: secret::build_secret(namespace, leaf),
        service: service::build_service(namespace),
        network_policy: network_policy::build_network_policy(namespace, system, &config.scrape_namespaces),
        stateful_sets: sets
            .iter()
            .map(|set| stateful_set::build_stateful_set(namespace, set, config))
            .collect(),
    }
}

/// Labels of everything that belongs to the runners of a namespace.
fn labels() -> BTreeMap<String, String> {
    let mut labels = selector();
    labels.insert(label::APP_COMPONENT.to_owned(), label::COMPONENT_RUNNER.to_owned());
    labels.insert(label::APP_PART_OF.to_owned(), label::APPLICATION.to_owned());
    labels
}

/// What selects all runner pods of a namespace.
fn selector() -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::APP_NAME.to_owned(), APP_NAME.to_owned()),
        (label::APP_MANAGED_BY.to_owned(), label::FIELD_MANAGER.to_owned()),
    ])
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(labels()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Config};
    use clap::Parser;

    fn prepared() -> Prepared {
        let config = Config::from(Args::parse_from(["operator", "--runner-image=lodge/vm-runner:1"]));
        let leaf = Leaf { certificate: "CERTIFICATE".into(), key: "KEY".into(), bundle: "BUNDLE".into() };
        let shared = crate::runner::validate::shared_set(1, &config.runner);
        build("team-a", &[shared], &leaf, &config.runner, "lodge-system")
    }

    fn prepared_dedicated() -> Prepared {
        let mut args = Args::parse_from(["operator", "--runner-image=lodge/vm-runner:1"]);
        args.runner.runner_image_pull_secret = vec!["registry".to_owned()];
        args.runner.runner_priority_class = Some("agents".to_owned());
        args.runner.runner_arg = vec!["--isolation=strict".to_owned()];
        let config = Config::from(args);
        let leaf = Leaf { certificate: "CERTIFICATE".into(), key: "KEY".into(), bundle: "BUNDLE".into() };
        let workspace = serde_json::json!({
            "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace",
            "metadata": {"name": "ada", "namespace": "team-a"},
            "spec": {
                "isolation": "Dedicated",
                "storage": {"size": "20Gi"},
                "mounts": [
                    {"path": "/data", "volume": {"claimName": "data.v1", "path": "/in"}},
                    {"path": "/models", "readOnly": true, "volume": {"claimName": "models"}},
                ],
                "runner": {
                    "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
                    "nodeSelector": {"pool": "agents"},
                    "tolerations": [{"key": "agents", "operator": "Exists", "effect": "NoSchedule"}],
                    "runtimeClassName": "gvisor",
                    "storageClassName": "fast",
                },
            },
        });
        let workspace = serde_json::from_value(workspace).unwrap();
        let sets = crate::runner::validate::validate(&[&workspace], &[], 1, &config.runner);
        build("team-a", &sets, &leaf, &config.runner, "lodge-system")
    }

    fn check_against_record(name: &str, objects: &serde_json::Value) {
        let text = serde_json::to_string_pretty(objects).unwrap() + "\n";
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, golden, "if that is intended: UPDATE_GOLDEN=1 cargo test -p operator");
    }

    #[test]
    fn the_objects_of_a_shared_runner_are_those_on_record() {
        let Prepared { secret, service, network_policy, stateful_sets } = prepared();
        let objects = serde_json::json!([secret, service, network_policy, stateful_sets]);
        check_against_record("runner.json", &objects);
    }

    #[test]
    fn the_set_of_a_dedicated_runner_is_the_one_on_record() {
        let objects = serde_json::json!(prepared_dedicated().stateful_sets);
        check_against_record("dedicated_runner.json", &objects);
    }

    #[test]
    fn a_form_that_only_leaves_something_out_is_another_form() {
        let (with, mut set) =
            (prepared_dedicated().stateful_sets.remove(0), prepared().stateful_sets.remove(0));
        set.metadata = with.metadata.clone();
        let annotation = |set: &StatefulSet| {
            let metadata = set.spec.clone().unwrap().template.metadata.unwrap();
            metadata.annotations.unwrap()[label::CONFIG_HASH].clone()
        };
        assert_ne!(annotation(&with), annotation(&set));
    }

    #[test]
    fn runners_are_replaced_one_by_one_with_time_to_put_workspaces_to_sleep() {
        for set in prepared().stateful_sets {
            let spec = set.spec.unwrap();
            let strategy = spec.update_strategy.unwrap();
            assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"));
            assert!(strategy.rolling_update.is_none(), "no partition, and one unavailable at most");
            assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
            assert!(spec.min_ready_seconds.is_some_and(|seconds| seconds > 0));
            // The supervisor gives requests 5 s (--stop-grace) and the guests of all VMs as long, then kills them.
            assert!(
                spec.template.spec.unwrap().termination_grace_period_seconds.is_some_and(|most| most >= 30)
            );
        }
    }

    #[test]
    fn runner_pods_satisfy_the_restricted_level_and_carry_no_credentials() {
        for set in [prepared(), prepared_dedicated()].into_iter().flat_map(|prepared| prepared.stateful_sets)
        {
            let pod = set.spec.unwrap().template.spec.unwrap();
            assert_eq!(pod.automount_service_account_token, Some(false));
            assert_eq!(pod.enable_service_links, Some(false));
            let context = pod.security_context.unwrap();
            assert_eq!(context.run_as_non_root, Some(true));
            assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
            for volume in pod.volumes.unwrap() {
                assert!(volume.host_path.is_none(), "{}", volume.name);
            }
            for container in pod.containers {
                let context = container.security_context.unwrap();
                assert_eq!(context.allow_privilege_escalation, Some(false));
                assert_eq!(context.read_only_root_filesystem, Some(true));
                assert_eq!(context.capabilities.unwrap().drop.unwrap(), ["ALL"]);
            }
        }
    }
}
