//! Labels, annotations, finalizers and field managers: every key that Lodge puts on an object.

/// The API group.
pub const GROUP: &str = "lodge.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";

/// Field manager of everything that the operator applies. There is no other.
pub const FIELD_MANAGER: &str = "lodge-operator";

/// Keeps a Workspace until its VM is stopped and its data is gone.
pub const WORKSPACE_FINALIZER: &str = "lodge.dev/workspace";
/// Keeps a Session until its agent is stopped and its transcript is gone.
pub const SESSION_FINALIZER: &str = "lodge.dev/session";

/// Label on everything made for one Workspace: its name.
pub const WORKSPACE: &str = "lodge.dev/workspace";
/// Label on everything made for one Workspace: its UID, which never comes back.
pub const WORKSPACE_UID: &str = "lodge.dev/workspace-uid";
/// Label on Sessions made by a CronJob: its name.
pub const CRON_JOB: &str = "lodge.dev/cron-job";
/// Label on Sessions made by a CronJob: its UID.
pub const CRON_JOB_UID: &str = "lodge.dev/cron-job-uid";
/// Label on Sessions made by a CronJob: the name of the run.
pub const RUN: &str = "lodge.dev/run";
/// Label on runners: the name of the set of runners that they belong to.
pub const RUNNER: &str = "lodge.dev/runner";
/// Label on runners: `Shared` or `Dedicated`.
pub const ISOLATION: &str = "lodge.dev/isolation";

/// Annotation on runner pods: a hash of what they were made from, so that a change rolls them.
pub const CONFIG_HASH: &str = "lodge.dev/config-hash";
/// Annotation on a Workspace: set by a person to let a deletion finish although the data can't be removed.
pub const ABANDON_DATA: &str = "lodge.dev/abandon-data";
/// Annotation on a CronJob: the instant (RFC 3339) at which somebody asked for a run outside the schedule.
pub const RUN_NOW: &str = "lodge.dev/run-now";
/// Annotation on Sessions made by a CronJob: the instant (RFC 3339) for which the run was scheduled.
pub const SCHEDULED_FOR: &str = "lodge.dev/scheduled-for";

/// The recommended label for the name of the application: [`APPLICATION`].
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// The recommended label for the instance of the application: the set of runners.
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
/// The recommended label for the part of the application: [`COMPONENT_RUNNER`] and the like.
pub const APP_COMPONENT: &str = "app.kubernetes.io/component";
/// The recommended label for the whole that the application is part of: [`APPLICATION`].
pub const APP_PART_OF: &str = "app.kubernetes.io/part-of";
/// The recommended label for the version of the application.
pub const APP_VERSION: &str = "app.kubernetes.io/version";
/// The recommended label for what made an object: [`FIELD_MANAGER`].
pub const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The application, as a value of [`APP_PART_OF`] and of the operator's and gateway's [`APP_NAME`].
pub const APPLICATION: &str = "lodge";
/// Runners, as a value of [`APP_NAME`].
pub const RUNNER_APPLICATION: &str = "lodge-runner";
/// The component of runner pods.
pub const COMPONENT_RUNNER: &str = "runner";
/// The component of the operator's pods.
pub const COMPONENT_OPERATOR: &str = "operator";
/// The component of the gateway's pods.
pub const COMPONENT_GATEWAY: &str = "gateway";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_ours_is_in_our_group() {
        let ours = [
            WORKSPACE_FINALIZER,
            SESSION_FINALIZER,
            WORKSPACE,
            WORKSPACE_UID,
            CRON_JOB,
            CRON_JOB_UID,
            RUN,
            RUNNER,
            ISOLATION,
            CONFIG_HASH,
            ABANDON_DATA,
            RUN_NOW,
            SCHEDULED_FOR,
        ];
        for key in ours {
            let (prefix, name) = key.split_once('/').unwrap();
            assert_eq!(prefix, GROUP, "{key}");
            assert!(name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{key}");
        }
    }
}
