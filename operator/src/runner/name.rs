//! Names of runners: which set a workspace belongs to, which pod of it, and what the pod is called on the network.
//!
//! A set is one StatefulSet. A namespace has at most one shared set, and one set for each dedicated workspace. All sets of a
//! namespace share one headless Service, one certificate and one NetworkPolicy.

use lodge_crds::{Isolation, Workspace};
use sha2::{Digest, Sha256};
use std::fmt;

/// Name of the Service, the NetworkPolicy and the shared StatefulSet of a namespace.
pub const RUNNER: &str = "lodge-runner";
/// Name of the Secret with the runners' certificate.
pub const TLS_SECRET: &str = "lodge-runner-tls";
/// Name of the volume claim template.
pub const DATA_VOLUME: &str = "data";
/// Port of a runner's API.
pub const API_PORT: u16 = 7443;
/// Port of a runner's health and metrics.
pub const METRICS_PORT: u16 = 9090;

/// The longest name of a StatefulSet: its pods bear it in a label, with a hash of ten characters and a dash.
const MAX_SET_NAME: usize = 52;

/// Name of a set of runners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerSetName(String);

impl RunnerSetName {
    /// The set that shared workspaces of a namespace belong to.
    pub fn shared() -> Self {
        Self(RUNNER.to_owned())
    }

    /// The set that a dedicated workspace has for itself.
    pub fn dedicated(workspace: &str) -> Self {
        let whole = format!("{RUNNER}-{workspace}");
        if whole.len() <= MAX_SET_NAME {
            return Self(whole);
        }
        // Cut, and told apart from others cut at the same place.
        let hash = Sha256::digest(workspace.as_bytes());
        let suffix: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let kept = whole.get(..MAX_SET_NAME - suffix.len() - 1).unwrap_or(RUNNER).trim_end_matches('-');
        Self(format!("{kept}-{suffix}"))
    }

    /// The set that this workspace belongs to.
    pub fn of(workspace: &Workspace) -> Self {
        match workspace.spec.isolation {
            Isolation::Shared => Self::shared(),
            Isolation::Dedicated => Self::dedicated(workspace.metadata.name.as_deref().unwrap_or_default()),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the pod with this ordinal.
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.0)
    }

    /// Name of the volume claim of the pod with this ordinal.
    pub fn claim(&self, ordinal: u32) -> String {
        format!("{DATA_VOLUME}-{}", self.pod(ordinal))
    }

    /// The ordinal of a pod, if it is one of this set.
    pub fn ordinal(&self, pod: &str) -> Option<u32> {
        let ordinal = pod.strip_prefix(&self.0)?.strip_prefix('-')?.parse().ok()?;
        // Not one that only looks like a number of ours, such as +1 or 01.
        (self.pod(ordinal) == pod).then_some(ordinal)
    }
}

/// Whether a volume claim of this name is that of a runner: it holds the files of every workspace there.
pub fn is_claim_of_runner(name: &str) -> bool {
    name.strip_prefix(DATA_VOLUME)
        .and_then(|pod| pod.strip_prefix('-')?.strip_prefix(RUNNER))
        .is_some_and(|rest| rest.starts_with('-'))
}

impl fmt::Display for RunnerSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One runner: a pod of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerId {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
}

impl RunnerId {
    /// A pod of a set.
    pub fn of_set(namespace: &str, set: &RunnerSetName, ordinal: u32) -> Self {
        Self { namespace: namespace.to_owned(), pod: set.pod(ordinal) }
    }

    /// The runner that has this workspace, as its status says. `None` if it says none, or one that can't be.
    pub fn recorded(workspace: &Workspace) -> Option<Self> {
        let binding = workspace.status.as_ref()?.runner.as_ref()?;
        RunnerSetName::of(workspace).ordinal(&binding.name)?;
        let namespace = workspace.metadata.namespace.clone().unwrap_or_default();
        Some(Self { namespace, pod: binding.name.clone() })
    }

    /// Name of the StatefulSet that a pod of this name belongs to.
    pub fn set(&self) -> &str {
        self.pod.rsplit_once('-').map_or("", |(set, _)| set)
    }

    /// The name that its certificate is valid for.
    pub fn server_name(&self) -> String {
        format!("{}.{RUNNER}.{}.svc", self.pod, self.namespace)
    }
}

impl fmt::Display for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod)
    }
}

/// The names that the certificate of a namespace's runners is valid for.
pub fn certificate_names(namespace: &str) -> Vec<String> {
    vec![format!("*.{RUNNER}.{namespace}.svc")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dedicated_set_has_a_name_of_its_own_that_a_stateful_set_can_bear() {
        assert_eq!(RunnerSetName::dedicated("ada").as_str(), "lodge-runner-ada");
        let (one, other) = ("a".repeat(62) + "1", "a".repeat(62) + "2");
        let (one, other) = (RunnerSetName::dedicated(&one), RunnerSetName::dedicated(&other));
        assert_ne!(one, other);
        assert!(one.as_str().len() <= MAX_SET_NAME);
        let dashes = RunnerSetName::dedicated(&format!("a{}b", "-".repeat(61)));
        assert!(!dashes.as_str().contains("---"), "{dashes}");
    }

    #[test]
    fn a_pod_belongs_to_a_set_by_its_ordinal() {
        let (shared, ada) = (RunnerSetName::shared(), RunnerSetName::dedicated("ada"));
        assert_eq!(
            (shared.ordinal("lodge-runner-12"), ada.ordinal("lodge-runner-ada-0")),
            (Some(12), Some(0))
        );
        for other in
            ["lodge-runner", "lodge-runner-", "lodge-runner-ada-0", "lodge-runner-01", "lodge-runner-+1"]
        {
            assert_eq!(shared.ordinal(other), None, "{other}");
        }
        assert_eq!(shared.claim(3), "data-lodge-runner-3");
    }

    #[test]
    fn a_runner_is_known_by_its_pod_in_the_headless_service() {
        let id = RunnerId { namespace: "team-a".to_owned(), pod: "lodge-runner-0".to_owned() };
        assert_eq!(id.server_name(), "lodge-runner-0.lodge-runner.team-a.svc");
    }
}
