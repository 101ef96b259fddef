//! Why a CronJob doesn't do what it shall: each variant with its condition and what to do about it.

use super::schedule::Invalid;
use crate::{
    runner_client,
    workspace::{self, Verdict, backoff},
};
use lodge_crds::condition::reason;
use std::time::Duration;

/// Why a CronJob doesn't do what it shall. Variants are steps; [`Error::label`] makes them metric labels.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The schedule makes no sense, or never comes.
    #[error("spec.schedule: {0}")]
    ScheduleInvalid(Invalid),
    /// There is no such time zone.
    #[error(
        "spec.timeZone: {name:?} is not in the time zone database (release {}): write a name such as Europe/Paris, or upgrade the operator",
        super::schedule::zone::version()
    )]
    TimeZoneUnknown {
        /// Its name.
        name: String,
    },
    /// The spec asks for something that the schema can't refuse.
    #[error("{path}: {detail}")]
    InvalidSpec {
        /// Which part of the spec.
        path: &'static str,
        /// What is wrong, and the way out.
        detail: &'static str,
    },
    /// The spec asks for something that this version doesn't do yet.
    #[error(
        "{path}: {what} are not implemented in this version of Lodge: use spec.action.exec until they are"
    )]
    NotImplemented {
        /// Which part of the spec.
        path: &'static str,
        /// What it asks for.
        what: &'static str,
    },
    /// There is no such Workspace.
    #[error(
        "spec.workspaceRef: Workspace {name:?} doesn't exist in this namespace: create it, or correct the name"
    )]
    WorkspaceMissing {
        /// Its name.
        name: String,
    },
    /// The Workspace can't be used.
    #[error("Workspace {name:?} isn't ready: {message}")]
    WorkspaceNotReady {
        /// Its name.
        name: String,
        /// Why not.
        message: String,
    },
    /// A variable's value can't be had.
    #[error("{0}")]
    Environment(#[source] workspace::Error),
    /// A run is due, and the runner isn't connected or doesn't know the Workspace yet.
    #[error("the runner of Workspace {name:?} is away")]
    RunnerAway {
        /// Name of the Workspace.
        name: String,
    },
    /// The runner didn't do what it was asked for.
    #[error("the runner of Workspace {name:?}: {source}")]
    Runner {
        /// Name of the Workspace.
        name: String,
        /// How.
        source: runner_client::Error,
    },
    /// The status could not be written.
    #[error("could not write the status: {0}")]
    UpdateStatus(#[source] kube::Error),
}

impl Error {
    /// What the conditions say.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::ScheduleInvalid(_) => Verdict::Stalled(reason::SCHEDULE_INVALID),
            Self::TimeZoneUnknown { .. } => Verdict::Stalled(reason::TIME_ZONE_UNKNOWN),
            Self::InvalidSpec { .. } => Verdict::Stalled(reason::INVALID_SPEC),
            Self::NotImplemented { .. } => Verdict::Stalled(workspace::NOT_IMPLEMENTED),
            Self::WorkspaceMissing { .. } => Verdict::Stalled(reason::WORKSPACE_MISSING),
            Self::WorkspaceNotReady { .. } => Verdict::Waiting(reason::WORKSPACE_NOT_READY),
            // Whether the API server answers is not the CronJob's condition.
            Self::Environment(workspace::Error::ReadReference { .. }) => Verdict::Unchanged,
            Self::Environment(source) => source.verdict(),
            // The Workspace says so, if it lasts.
            Self::RunnerAway { .. } | Self::Runner { .. } | Self::UpdateStatus(_) => Verdict::Unchanged,
        }
    }

    /// When to try again, after so many failures in a row. `None`: when something changes.
    pub fn retry(&self, failures: u32) -> Option<Duration> {
        let (milliseconds, seconds) = (Duration::from_millis, Duration::from_secs);
        match self {
            Self::ScheduleInvalid(_)
            | Self::TimeZoneUnknown { .. }
            | Self::InvalidSpec { .. }
            | Self::NotImplemented { .. } => None,
            // Workspaces are watched.
            Self::WorkspaceMissing { .. } | Self::WorkspaceNotReady { .. } => None,
            Self::Environment(source) => source.retry(failures),
            // A connection asks for a reconcile at once; so does a push that succeeded.
            Self::RunnerAway { .. } | Self::Runner { .. } => {
                Some(backoff(failures, milliseconds(250), seconds(10)))
            }
            Self::UpdateStatus(_) => Some(backoff(failures, milliseconds(200), seconds(60))),
        }
    }

    /// Name of the variant, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::ScheduleInvalid(_) => "schedule_invalid",
            Self::TimeZoneUnknown { .. } => "time_zone_unknown",
            Self::InvalidSpec { .. } => "invalid_spec",
            Self::NotImplemented { .. } => "not_implemented",
            Self::WorkspaceMissing { .. } => "workspace_missing",
            Self::WorkspaceNotReady { .. } => "workspace_not_ready",
            Self::Environment(source) => source.label(),
            Self::RunnerAway { .. } => "runner_away",
            Self::Runner { .. } => "runner",
            Self::UpdateStatus(_) => "update_status",
        }
    }
}
