//! Which sets of runners a namespace needs. Pure.

use super::{
    build::{RunnerSet, Volume},
    name::RunnerSetName,
};
use crate::args::RunnerConfig;
use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use lodge_crds::{Isolation, Workspace};
use std::{collections::BTreeMap, sync::Arc};

/// The sets that these workspaces of one namespace need. `live` is what there is: a set that exists keeps its volume, because
/// a StatefulSet can't change that.
pub fn validate(
    workspaces: &[Arc<Workspace>],
    live: &[Arc<StatefulSet>],
    config: &RunnerConfig,
) -> Vec<RunnerSet> {
    let mut sets = BTreeMap::new();
    for workspace in workspaces {
        let name = RunnerSetName::of(workspace);
        sets.entry(name.clone()).or_insert_with(|| match workspace.spec.isolation {
            Isolation::Shared => shared_set(config),
            Isolation::Dedicated => dedicated_set(name, workspace, config),
        });
    }
    for set in sets.values_mut() {
        let existing = live.iter().find(|live| live.metadata.name.as_deref() == Some(set.name.as_str()));
        if let Some(volume) = existing.and_then(|live| volume_of(live)) {
            set.volume = volume;
        }
    }
    sets.into_values().collect()
}

/// The shared set, as the installation configures it.
pub(crate) fn shared_set(config: &RunnerConfig) -> RunnerSet {
    RunnerSet {
        name: RunnerSetName::shared(),
        isolation: Isolation::Shared,
        resources: resources(config),
        node_selector: config.node_selector.clone(),
        tolerations: config.tolerations.clone(),
        runtime_class: config.runtime_class.clone(),
        volume: Volume { size: (&config.storage_size).into(), storage_class: config.storage_class.clone() },
    }
}

fn dedicated_set(name: RunnerSetName, workspace: &Workspace, config: &RunnerConfig) -> RunnerSet {
    let wishes = workspace.spec.runner.clone().unwrap_or_default();
    let text = |name: &Option<lodge_crds::ObjectName>| name.as_ref().map(ToString::to_string);
    RunnerSet {
        name,
        isolation: Isolation::Dedicated,
        resources: wishes.resources.as_ref().map_or_else(|| resources(config), Into::into),
        node_selector: wishes.node_selector,
        tolerations: wishes.tolerations.iter().map(Into::into).collect(),
        runtime_class: text(&wishes.runtime_class_name).or_else(|| config.runtime_class.clone()),
        volume: Volume {
            size: (&workspace.spec.storage.size).into(),
            storage_class: text(&wishes.storage_class_name).or_else(|| config.storage_class.clone()),
        },
    }
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

fn volume_of(live: &StatefulSet) -> Option<Volume> {
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

    fn workspace(name: &str, isolation: Isolation) -> Arc<Workspace> {
        Arc::new(Workspace::new(name, WorkspaceSpec { isolation, ..WorkspaceSpec::default() }))
    }

    #[test]
    fn shared_workspaces_share_and_dedicated_ones_do_not() {
        let workspaces = [
            workspace("a", Isolation::Shared),
            workspace("b", Isolation::Shared),
            workspace("c", Isolation::Dedicated),
        ];
        let names: Vec<_> =
            validate(&workspaces, &[], &config()).iter().map(|set| set.name.to_string()).collect();
        assert_eq!(names, ["lodge-runner", "lodge-runner-c"]);
        assert!(validate(&[], &[], &config()).is_empty());
    }

    #[test]
    fn a_dedicated_runner_is_made_as_its_workspace_says() {
        let mut workspace = Workspace::clone(&workspace("c", Isolation::Dedicated));
        workspace.spec.runner = Some(DedicatedRunner {
            runtime_class_name: Some("gvisor".parse().unwrap()),
            ..DedicatedRunner::default()
        });
        let sets = validate(&[Arc::new(workspace)], &[], &config());
        assert_eq!(sets[0].runtime_class.as_deref(), Some("gvisor"));
        assert_eq!(sets[0].resources.limits.as_ref().unwrap()["memory"].0, "2Gi");
        assert_eq!(sets[0].volume.size.0, "10Gi");
    }

    #[test]
    fn a_set_that_exists_keeps_its_volume() {
        let leaf = crate::certificate::Leaf {
            certificate: String::new(),
            key: String::new(),
            bundle: String::new(),
        };
        let config = config();
        let old = super::super::build::build("a", &[shared_set(&config)], &leaf, &config, "s")
            .stateful_sets
            .remove(0);
        let larger = RunnerConfig { storage_size: "20Gi".parse().unwrap(), ..config };
        let sets = validate(&[workspace("a", Isolation::Shared)], &[Arc::new(old)], &larger);
        assert_eq!(sets[0].volume.size.0, "10Gi");
    }
}
