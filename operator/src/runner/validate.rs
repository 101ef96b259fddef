//! Which sets of runners a namespace needs. Pure.

use super::{
    build::{Claim, RunnerSet, Volume},
    name::{RunnerSetName, is_claim_of_runner},
};
use crate::args::RunnerConfig;
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;
use lodge_crds::{Isolation, MountSource, Workspace};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// The sets that these workspaces of one namespace need. `live` is what there is: a set that exists keeps its volume, because
/// a StatefulSet can't change that; and the shared set, if it exists, is kept for as long as the namespace has any Workspace.
/// `replicas` is how many pods the shared set shall have.
pub fn validate(
    workspaces: &[&Workspace],
    live: &[Arc<StatefulSet>],
    replicas: u32,
    config: &RunnerConfig,
) -> Vec<RunnerSet> {
    let mut sets = BTreeMap::new();
    let find = |name: &RunnerSetName| live.iter().find(|live| live.name_any() == name.as_str());
    if !workspaces.is_empty() && find(&RunnerSetName::shared()).is_some() {
        sets.insert(RunnerSetName::shared(), shared_set(replicas, config));
    }
    for workspace in workspaces {
        let name = RunnerSetName::of(workspace);
        sets.entry(name.clone()).or_insert_with(|| match workspace.spec.isolation {
            Isolation::Shared => shared_set(replicas, config),
            Isolation::Dedicated => dedicated_set(name, workspace, config),
        });
    }
    for set in sets.values_mut() {
        if let Some(volume) = find(&set.name).and_then(|live| volume_of(live)) {
            set.volume = volume;
        }
    }
    sets.into_values().collect()
}

/// The shared set, as the installation configures it.
pub(crate) fn shared_set(replicas: u32, config: &RunnerConfig) -> RunnerSet {
    RunnerSet {
        name: RunnerSetName::shared(),
        isolation: Isolation::Shared,
        replicas,
        resources: resources(config),
        node_selector: config.node_selector.clone(),
        tolerations: config.tolerations.clone(),
        runtime_class: config.runtime_class.clone(),
        volume: Volume { size: (&config.storage_size).into(), storage_class: config.storage_class.clone() },
        claims: BTreeMap::new(),
    }
}

fn dedicated_set(name: RunnerSetName, workspace: &Workspace, config: &RunnerConfig) -> RunnerSet {
    let wishes = workspace.spec.runner.clone().unwrap_or_default();
    let text = |name: &Option<lodge_crds::ObjectName>| name.as_ref().map(ToString::to_string);
    RunnerSet {
        name,
        isolation: Isolation::Dedicated,
        replicas: 1,
        resources: wishes.resources.as_ref().map_or_else(|| resources(config), Into::into),
        node_selector: wishes.node_selector,
        tolerations: wishes.tolerations.iter().map(Into::into).collect(),
        runtime_class: text(&wishes.runtime_class_name).or_else(|| config.runtime_class.clone()),
        volume: Volume {
            size: (&workspace.spec.storage.size).into(),
            storage_class: text(&wishes.storage_class_name).or_else(|| config.storage_class.clone()),
        },
        claims: claims(workspace),
    }
}

/// The claims that a workspace mounts. One that is mounted several times is written to if any of the mounts may be.
fn claims(workspace: &Workspace) -> BTreeMap<String, Claim> {
    let mut claims = BTreeMap::new();
    for mount in &workspace.spec.mounts {
        if let Some(MountSource::Volume(source)) = mount.source()
            && !is_claim_of_runner(&source.claim_name)
        {
            let (name, volume) = (source.claim_name.to_string(), claim_volume(&source.claim_name));
            let claim = claims.entry(name).or_insert(Claim { volume, read_only: true });
            claim.read_only &= mount.read_only;
        }
    }
    claims
}

/// The name by which a runner knows a claim: a function of the claim's name, which may have characters and a length that the
/// names of volumes may not.
pub(crate) fn claim_volume(claim: &str) -> String {
    let hash = Sha256::digest(claim.as_bytes());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("claim-{hash}")
}

fn resources(config: &RunnerConfig) -> ResourceRequirements {
    let quantities = |cpu: Option<&lodge_crds::Quantity>, memory: Option<&lodge_crds::Quantity>| {
        let all = [("cpu", cpu), ("memory", memory)];
        let given =
            all.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), Quantity::from(amount?))));
        Some(given.collect::<BTreeMap<_, _>>()).filter(|map| !map.is_empty())
    };
    ResourceRequirements {
        claims: None,
        requests: quantities(Some(&config.cpu_request), Some(&config.memory_request)),
        limits: quantities(config.cpu_limit.as_ref(), config.memory_limit.as_ref()),
    }
}

/// The volume that the pods of a set have.
pub(crate) fn volume_of(live: &StatefulSet) -> Option<Volume> {
    let claim = live.spec.as_ref()?.volume_claim_templates.as_ref()?.first()?.spec.as_ref()?;
    Some(Volume {
        size: claim.resources.as_ref()?.requests.as_ref()?.get("storage")?.clone(),
        storage_class: claim.storage_class_name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Config};
    use clap::Parser;
    use lodge_crds::{DedicatedRunner, WorkspaceSpec};

    fn config() -> RunnerConfig {
        Config::from(Args::parse_from(["operator", "--runner-image=i", "--runner-memory-limit=2Gi"])).runner
    }

    fn workspace(name: &str, isolation: Isolation) -> Workspace {
        Workspace::new(name, WorkspaceSpec { isolation, ..WorkspaceSpec::default() })
    }

    fn live(set: RunnerSet) -> Arc<StatefulSet> {
        let leaf = crate::certificate::Leaf {
            certificate: String::new(),
            key: String::new(),
            bundle: String::new(),
        };
        Arc::new(super::super::build::build("a", &[set], &leaf, &config(), "s").stateful_sets.remove(0))
    }

    #[test]
    fn shared_workspaces_share_and_dedicated_ones_do_not() {
        let workspaces = [
            workspace("a", Isolation::Shared),
            workspace("b", Isolation::Shared),
            workspace("c", Isolation::Dedicated),
        ];
        let workspaces: Vec<_> = workspaces.iter().collect();
        let sets = validate(&workspaces, &[], 3, &config());
        let sets: Vec<_> = sets.iter().map(|set| (set.name.as_str(), set.replicas)).collect();
        assert_eq!(sets, [("lodge-runner", 3), ("lodge-runner-c", 1)]);
        assert!(validate(&[], &[], 1, &config()).is_empty());
    }

    #[test]
    fn a_shared_set_that_exists_stays_as_long_as_there_are_workspaces() {
        let live = live(shared_set(2, &config()));
        let sets = validate(&[&workspace("c", Isolation::Dedicated)], &[live], 1, &config());
        let sets: Vec<_> = sets.iter().map(|set| (set.name.as_str(), set.replicas)).collect();
        assert_eq!(sets, [("lodge-runner", 1), ("lodge-runner-c", 1)]);
    }

    #[test]
    fn a_dedicated_runner_is_made_as_its_workspace_says() {
        let mut workspace = workspace("c", Isolation::Dedicated);
        workspace.spec.runner = Some(DedicatedRunner {
            runtime_class_name: Some("gvisor".parse().unwrap()),
            ..DedicatedRunner::default()
        });
        let sets = validate(&[&workspace], &[], 1, &config());
        assert_eq!(sets[0].runtime_class.as_deref(), Some("gvisor"));
        assert_eq!(sets[0].resources.limits.as_ref().unwrap()["memory"].0, "2Gi");
        assert_eq!(sets[0].volume.size.0, "10Gi");
    }

    #[test]
    fn a_claim_that_is_mounted_twice_is_there_once_and_written_to_if_one_mount_is() {
        let mut workspace = workspace("c", Isolation::Dedicated);
        let mount = |path: &str, claim: &str, read_only| {
            let json =
                serde_json::json!({"path": path, "readOnly": read_only, "volume": {"claimName": claim}});
            serde_json::from_value(json).unwrap()
        };
        workspace.spec.mounts =
            vec![mount("/a", "data.v1", true), mount("/b", "data.v1", false), mount("/c", "models", true)];
        let sets = validate(&[&workspace], &[], 1, &config());
        let claims: Vec<_> = sets[0].claims.iter().map(|(name, claim)| (&**name, claim.read_only)).collect();
        assert_eq!(claims, [("data.v1", false), ("models", true)]);
        assert_ne!(sets[0].claims["data.v1"].volume, sets[0].claims["models"].volume);
        let name = claim_volume(&"x.".repeat(120));
        assert!(
            name.len() <= 63
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
    }

    #[test]
    fn a_set_that_exists_keeps_its_volume() {
        let old = live(shared_set(1, &config()));
        let larger = RunnerConfig { storage_size: "20Gi".parse().unwrap(), ..config() };
        let sets = validate(&[&workspace("a", Isolation::Shared)], &[old], 1, &larger);
        assert_eq!(sets[0].volume.size.0, "10Gi");
    }
}
