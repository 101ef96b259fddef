//! With which epoch a Workspace belongs to its runner. Pure. Which runner that is, is decided in [`super::place`].
//!
//! The epoch grows with every binding, so that of two runners that both believe to own a workspace the older one can be
//! told. A Workspace is bound anew whenever its runner has forgotten it: the pod was replaced, or its supervisor began anew.
//! What is left of the former one, a pod on a lost node or a process that didn't end, has the smaller epoch and is refused.
//!
//! The epoch is never written before it is used, which saves a write on the way to Ready; so it must be chosen in such a way
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
    /// Whether the runner had the workspace before and has forgotten it.
    pub is_anew: bool,
}

impl Binding {
    /// As the status says it.
    pub fn recorded(&self) -> RunnerBinding {
        RunnerBinding { name: self.runner.pod.clone(), epoch: self.epoch }
    }
}

/// What a runner knows about a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// It isn't connected.
    Away,
    /// It has told everything that it knows, and this workspace is not among it.
    Stranger,
    /// It has it, with this epoch.
    Known(u64),
}

/// Binds a Workspace to its runner. `refused` is an epoch that the runner refused for being over.
pub fn bind(
    workspace: &Workspace,
    runner: RunnerId,
    acquaintance: Acquaintance,
    refused: Option<u64>,
) -> Binding {
    let recorded = workspace.status.as_ref().and_then(|status| status.runner.as_ref());
    let is_recorded = recorded.is_some_and(|binding| binding.name == runner.pod);
    let is_anew = is_recorded && acquaintance == Acquaintance::Stranger;
    let epoch = match recorded {
        Some(binding) if is_anew => binding.epoch.saturating_add(1),
        Some(binding) if is_recorded => binding.epoch,
        Some(binding) => binding.epoch.saturating_add(1).max(generation(workspace)),
        None => generation(workspace),
    };
    // A runner may know a higher one if a status was lost, as in a restored backup.
    let known = match acquaintance {
        Acquaintance::Known(epoch) => epoch,
        Acquaintance::Away | Acquaintance::Stranger => 0,
    };
    let above = refused.map_or(0, |epoch| epoch.saturating_add(1));
    Binding { runner, epoch: epoch.max(known).max(above), is_anew }
}

fn generation(workspace: &Workspace) -> u64 {
    workspace.metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Acquaintance::{Away, Known, Stranger};
    use lodge_crds::{WorkspaceSpec, WorkspaceStatus};

    fn workspace(generation: i64, recorded: Option<(&str, u64)>) -> Workspace {
        let mut workspace = Workspace::new("ada", WorkspaceSpec::default());
        workspace.metadata.namespace = Some("team-a".to_owned());
        workspace.metadata.generation = Some(generation);
        let runner = recorded.map(|(name, epoch)| RunnerBinding { name: name.to_owned(), epoch });
        workspace.status = Some(WorkspaceStatus { runner, ..WorkspaceStatus::default() });
        workspace
    }

    fn bound(workspace: &Workspace, acquaintance: Acquaintance) -> Binding {
        let runner = RunnerId { namespace: "team-a".to_owned(), pod: "lodge-runner-0".to_owned() };
        bind(workspace, runner, acquaintance, None)
    }

    #[test]
    fn a_first_binding_begins_with_the_generation() {
        let binding = bound(&workspace(1, None), Stranger);
        assert_eq!(binding.recorded(), RunnerBinding { name: "lodge-runner-0".to_owned(), epoch: 1 });
        assert!(!binding.is_anew);
        assert_eq!(bound(&workspace(3, None), Stranger).epoch, 3);
    }

    #[test]
    fn the_epoch_stays_as_long_as_the_runner_remembers() {
        let workspace = workspace(9, Some(("lodge-runner-0", 2)));
        assert_eq!(bound(&workspace, Known(2)).epoch, 2);
        assert_eq!(bound(&workspace, Away).epoch, 2);
    }

    #[test]
    fn a_runner_that_has_forgotten_is_bound_anew() {
        let binding = bound(&workspace(9, Some(("lodge-runner-0", 2))), Stranger);
        assert_eq!((binding.epoch, binding.is_anew), (3, true));
    }

    #[test]
    fn the_epoch_grows_with_another_runner() {
        assert_eq!(bound(&workspace(2, Some(("lodge-runner-1", 7))), Stranger).epoch, 8);
        assert_eq!(bound(&workspace(9, Some(("lodge-runner-1", 7))), Away).epoch, 9);
    }

    #[test]
    fn an_epoch_never_falls_behind_what_the_runner_knows_or_refused() {
        let workspace = workspace(1, None);
        assert_eq!(bound(&workspace, Known(5)).epoch, 5);
        let runner = bound(&workspace, Known(5)).runner;
        assert_eq!(bind(&workspace, runner, Stranger, Some(8)).epoch, 9);
    }
}
