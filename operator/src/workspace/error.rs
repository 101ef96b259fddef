//! Why a Workspace is not as it shall be: each variant with its condition and what to do about it.

use super::backoff;
use crate::runner_client;
use lodge_crds::condition::reason;
use std::time::Duration;
use vm_api::{Problem, ProblemCode};

/// Stalled: the spec asks for something that this version doesn't do yet.
pub(crate) const NOT_IMPLEMENTED: &str = "NotImplemented";

/// Why a Workspace is not as it shall be. Variants are steps; [`Error::label`] makes them metric labels.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The finalizer could not be added or removed.
    #[error("could not write the finalizer: {0}")]
    Finalizer(#[source] kube::Error),
    /// A Secret or ConfigMap could not be read.
    #[error("could not read the {kind} {name}: {source}")]
    ReadReference {
        /// Secret or ConfigMap.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        source: kube::Error,
    },
    /// A Secret, or a key in it, is missing.
    #[error("{0}")]
    SecretMissing(Missing),
    /// A ConfigMap, or a key in it, is missing.
    #[error("{0}")]
    ConfigMapMissing(Missing),
    /// A claim is missing.
    #[error(
        "{path}: PersistentVolumeClaim {name:?} doesn't exist in this namespace: create it, or remove the mount"
    )]
    ClaimMissing {
        /// Which part of the spec names it.
        path: String,
        /// Its name.
        name: String,
    },
    /// The spec asks for something that the schema can't refuse.
    #[error("{path}: {detail}")]
    InvalidSpec {
        /// Which part of the spec.
        path: String,
        /// What is wrong, and the way out.
        detail: String,
    },
    /// The spec asks for something that this version doesn't do yet.
    #[error("{path}: {what} are not implemented in this version of Lodge: remove them until they are")]
    NotImplemented {
        /// Which part of the spec.
        path: String,
        /// What it asks for.
        what: &'static str,
    },
    /// Every runner that there may be is full.
    #[error(
        "each of the {runners} runners that a namespace may have is full: delete workspaces, or raise the operator's --runner-max-replicas or --runner-max-workspaces"
    )]
    RunnersFull {
        /// How many there may be.
        runners: u32,
    },
    /// The others are full, and the last ones are being removed.
    #[error("waiting until runners that nobody needed are gone, then one more is made")]
    RunnersClosing,
    /// The runner isn't connected.
    #[error("{}", .0.message)]
    RunnerMissing(RunnerMissing),
    /// The runner broke off.
    #[error("runner {runner}: {source}")]
    RunnerUnreachable {
        /// Which.
        runner: String,
        /// How.
        source: runner_client::Error,
    },
    /// The runner has too much to do, or hangs.
    #[error("runner {runner} has not answered earlier requests yet")]
    RunnerBusy {
        /// Which.
        runner: String,
    },
    /// The runner refused the configuration.
    #[error("{0}")]
    RunnerRefused(Box<Problem>),
    /// The status could not be written.
    #[error("could not write the status: {0}")]
    UpdateStatus(#[source] kube::Error),
    /// A Workspace whose time has come could not be deleted.
    #[error("could not delete the workspace, which nobody used for spec.idle.deleteAfter: {0}")]
    Expire(#[source] kube::Error),
    /// Being deleted: the runner has not confirmed yet.
    #[error("{message}")]
    CleanupPending {
        /// Why not.
        message: String,
        /// When it is abandoned.
        left: Duration,
    },
    /// The operator is stopping.
    #[error("a watch ended")]
    Stopping,
}

/// Something that a spec names and that isn't there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {}", self.detail())]
pub struct Missing {
    /// Which part of the spec names it.
    pub path: String,
    /// Secret or ConfigMap.
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// The key, if the object is there.
    pub key: Option<String>,
}

impl Missing {
    fn detail(&self) -> String {
        let Self { path: _, kind, name, key } = self;
        match key {
            None => {
                format!("{kind} {name:?} doesn't exist in this namespace: create it, or set optional: true")
            }
            Some(key) => {
                format!(
                    "{kind} {name:?} has no key {key:?}: add the key, correct its name, or set optional: true"
                )
            }
        }
    }
}

/// A runner that isn't connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerMissing {
    /// Why, for machines.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
    /// For how long a Workspace that was Ready stays so.
    pub grace_left: Option<Duration>,
}

/// How a condition is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The operator goes on by itself.
    Waiting(&'static str),
    /// Somebody has to change something.
    Stalled(&'static str),
    /// What was said before still stands.
    Unchanged,
}

impl Error {
    /// What the conditions say.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::SecretMissing(_) => Verdict::Stalled(reason::SECRET_MISSING),
            Self::ConfigMapMissing(_) => Verdict::Stalled(reason::CONFIG_MAP_MISSING),
            Self::ClaimMissing { .. } => Verdict::Stalled(reason::CLAIM_MISSING),
            Self::InvalidSpec { .. } => Verdict::Stalled(reason::INVALID_SPEC),
            Self::NotImplemented { .. } => Verdict::Stalled(NOT_IMPLEMENTED),
            Self::ReadReference { .. } => Verdict::Waiting(reason::BINDING),
            Self::RunnerMissing(missing) if missing.reason == reason::APPLY_REFUSED => {
                Verdict::Stalled(missing.reason)
            }
            Self::RunnerMissing(missing) => Verdict::Waiting(missing.reason),
            Self::RunnersFull { .. } => Verdict::Waiting(reason::RUNNERS_FULL),
            Self::RunnerUnreachable { .. } => Verdict::Waiting(reason::RUNNER_UNREACHABLE),
            Self::RunnerBusy { .. } | Self::RunnersClosing => Verdict::Waiting(reason::BINDING),
            Self::RunnerRefused(problem) => refusal(problem),
            Self::CleanupPending { .. } => Verdict::Waiting(reason::DELETING),
            Self::Finalizer(_) | Self::UpdateStatus(_) | Self::Expire(_) | Self::Stopping => {
                Verdict::Unchanged
            }
        }
    }

    /// For how long a Workspace that was Ready stays so in spite of this.
    pub fn grace_left(&self) -> Option<Duration> {
        match self {
            Self::RunnerMissing(missing) => missing.grace_left,
            // The connection is about to be taken for lost, which starts the time of grace.
            Self::RunnerUnreachable { source: runner_client::Error::Broken(_), .. } => Some(Duration::ZERO),
            Self::RunnerBusy { .. } => Some(Duration::ZERO),
            _ => None,
        }
    }

    /// When to try again, after so many failures in a row. `None`: when something changes.
    pub fn retry(&self, failures: u32) -> Option<Duration> {
        let (milliseconds, seconds) = (Duration::from_millis, Duration::from_secs);
        match self {
            Self::InvalidSpec { .. } | Self::NotImplemented { .. } | Self::Stopping => None,
            // Secrets aren't watched, so that the operator need not be able to read all of them at once.
            Self::SecretMissing(_) | Self::ConfigMapMissing(_) | Self::ClaimMissing { .. } => {
                Some(backoff(failures, seconds(2), seconds(30)))
            }
            // The next attempt is with another epoch.
            Self::RunnerRefused(problem) if problem.is(ProblemCode::StaleEpoch) => {
                Some(backoff(failures, milliseconds(250), seconds(10)))
            }
            Self::RunnerRefused(_) => Some(backoff(failures, seconds(5), seconds(60))),
            Self::RunnersFull { .. } => Some(backoff(failures, seconds(1), seconds(15))),
            // The connection triggers a reconcile at once; this only keeps the message up to date.
            Self::RunnerMissing(missing) => {
                let pause = backoff(failures, seconds(1), seconds(10));
                Some(missing.grace_left.map_or(pause, |left| pause.min(left + milliseconds(50))))
            }
            Self::RunnerUnreachable { .. } | Self::RunnerBusy { .. } | Self::RunnersClosing => {
                Some(backoff(failures, milliseconds(250), seconds(10)))
            }
            Self::CleanupPending { left, .. } => Some(backoff(failures, seconds(1), seconds(10)).min(*left)),
            Self::Finalizer(_) | Self::UpdateStatus(_) | Self::Expire(_) | Self::ReadReference { .. } => {
                Some(backoff(failures, milliseconds(200), seconds(60)))
            }
        }
    }

    /// Name of the variant, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Finalizer(_) => "finalizer",
            Self::ReadReference { .. } => "read_reference",
            Self::SecretMissing(_) => "secret_missing",
            Self::ConfigMapMissing(_) => "config_map_missing",
            Self::ClaimMissing { .. } => "claim_missing",
            Self::InvalidSpec { .. } => "invalid_spec",
            Self::NotImplemented { .. } => "not_implemented",
            Self::RunnersFull { .. } => "runners_full",
            Self::RunnersClosing => "runners_closing",
            Self::RunnerMissing(_) => "runner_missing",
            Self::RunnerUnreachable { .. } => "runner_unreachable",
            Self::RunnerBusy { .. } => "runner_busy",
            Self::RunnerRefused(_) => "runner_refused",
            Self::UpdateStatus(_) => "update_status",
            Self::Expire(_) => "expire",
            Self::CleanupPending { .. } => "cleanup_pending",
            Self::Stopping => "stopping",
        }
    }

    /// The message of the condition.
    pub fn message(&self) -> String {
        match self {
            Self::RunnerRefused(problem) => match &problem.field {
                Some(field) if !problem.detail.contains(&**field) => {
                    format!("{field}: {}", problem.detail)
                }
                _ => problem.detail.clone(),
            },
            other => other.to_string(),
        }
    }
}

/// What a runner's refusal means for the Workspace.
fn refusal(problem: &Problem) -> Verdict {
    match problem.known_code() {
        Some(ProblemCode::SoftwareUnknown) => Verdict::Stalled(reason::SOFTWARE_UNKNOWN),
        // Its pod is about to be replaced by one that mounts it.
        _ if problem.field.as_deref().is_some_and(|field| field.ends_with(".volume.name")) => {
            Verdict::Waiting(reason::RUNNER_NOT_READY)
        }
        Some(ProblemCode::LimitWorkspaces) => Verdict::Waiting(reason::RUNNERS_FULL),
        Some(ProblemCode::BootFailed) => Verdict::Stalled(reason::BOOT_FAILED),
        Some(ProblemCode::ShuttingDown | ProblemCode::StaleEpoch | ProblemCode::WorkspaceDeleting) => {
            Verdict::Waiting(reason::BINDING)
        }
        // What is wrong with the request is wrong with the spec it was made from.
        _ if (400..500).contains(&problem.status) => Verdict::Stalled(reason::INVALID_SPEC),
        _ => Verdict::Waiting(reason::RUNNER_NOT_READY),
    }
}
