//! Which runner a Workspace belongs to, and with which epoch. Pure.
//!
//! The epoch grows with every binding, so that of two runners that both believe to own a workspace the older one can be
//! told. It is never written before it is used, which saves a write on the way to Ready; so it must be chosen in such a way
//! that choosing again after a crash can't give another runner the same one: it is at least the generation of the spec,
//! because a binding that was not written down can only change with the spec.

use crate::runner::name::RunnerId;
use lodge_crds::{RunnerBinding, Workspace};

/// A runner and an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The runner.
    pub runner: RunnerId,
    /// The epoch.
    pub epoch: u64,
}

impl Binding {
    /// As the status says it.
    pub fn recorded(&self) -> RunnerBinding {
        RunnerBinding { name: self.runner.pod.clone(), epoch: self.epoch }
    }
}

/// Binds a Workspace. `known` is the epoch by which its runner knows it, if it does.
pub fn bind(workspace: &Workspace, known: Option<u64>) -> Binding {
    let runner = RunnerId::of(workspace);
    let recorded = workspace.status.as_ref().and_then(|status| status.runner.as_ref());
    let epoch = match recorded {
        Some(binding) if binding.name == runner.pod => binding.epoch,
        Some(binding) => binding.epoch.saturating_add(1).max(generation(workspace)),
        None => generation(workspace),
    };
    // A runner may know a higher one if a status was lost, as in a restored backup.
    Binding { runner, epoch: epoch.max(known.unwrap_or(0)) }
}

fn generation(workspace: &Workspace) -> u64 {
    workspace.metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodge_crds::{WorkspaceSpec, WorkspaceStatus};

    fn workspace(generation: i64, recorded: Option<(&str, u64)>) -> Workspace {
        let mut workspace = Workspace::new("ada", WorkspaceSpec::default());
        workspace.metadata.namespace = Some("team-a".to_owned());
        workspace.metadata.generation = Some(generation);
        let runner = recorded.map(|(name, epoch)| RunnerBinding { name: name.to_owned(), epoch });
        workspace.status = Some(WorkspaceStatus { runner, ..WorkspaceStatus::default() });
        workspace
    }

    #[test]
    fn a_first_binding_begins_with_the_generation() {
        let binding = bind(&workspace(1, None), None);
        assert_eq!(binding.recorded(), RunnerBinding { name: "lodge-runner-0".to_owned(), epoch: 1 });
        assert_eq!(bind(&workspace(3, None), None).epoch, 3);
    }

    #[test]
    fn the_epoch_stays_as_long_as_the_runner_does() {
        assert_eq!(bind(&workspace(9, Some(("lodge-runner-0", 2))), Some(2)).epoch, 2);
    }

    #[test]
    fn the_epoch_grows_with_another_runner() {
        assert_eq!(bind(&workspace(2, Some(("lodge-runner-1", 7))), None).epoch, 8);
        assert_eq!(bind(&workspace(9, Some(("lodge-runner-1", 7))), None).epoch, 9);
    }

    #[test]
    fn an_epoch_never_falls_behind_what_the_runner_knows() {
        assert_eq!(bind(&workspace(1, None), Some(5)).epoch, 5);
    }
}
