//! Why a runner isn't connected, in words that lead somewhere. Reads what is watched; asks nobody.

use super::error::RunnerMissing;
use crate::{
    context::Context,
    runner::{
        name::{DATA_VOLUME, RunnerId},
        outlook::Obstacle,
        roll,
    },
};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::SignedDuration,
};
use kube::runtime::reflector::ObjectRef;
use lodge_crds::condition::reason;
use std::time::Duration;

/// A pod that isn't there after this time is kept from being made, by a quota for instance.
const LONG: SignedDuration = SignedDuration::from_secs(30);

/// Says why a runner isn't connected.
pub(super) fn diagnose(runner: &RunnerId, away: Duration, context: &Context) -> RunnerMissing {
    let pod = context.stores.pod(&runner.namespace, &runner.pod);
    let obstacle = context.outlook.obstacle(&runner.namespace);
    let (reason, mut message) =
        explain(&runner.pod, obstacle, pod.as_deref(), context.roster.failure(runner));
    let set = context.stores.stateful_sets.get(&ObjectRef::new(runner.set()).within(&runner.namespace));
    if let Some((done, all)) = set.as_deref().and_then(roll::progress) {
        message.push_str(&format!("; the set's runners are being replaced, {done} of {all} are"));
    }
    if pod.is_none() && is_overdue(runner, context) {
        let namespace = &runner.namespace;
        message.push_str(&format!(
            "; it should be there by now, see: kubectl describe statefulset -n {namespace}"
        ));
    }
    RunnerMissing { reason, message, grace_left: context.config.timing.runner_grace.checked_sub(away) }
}

/// Whether the pod's StatefulSet has been there for so long that the pod should be, too.
fn is_overdue(runner: &RunnerId, context: &Context) -> bool {
    let set = context.stores.stateful_sets.get(&ObjectRef::new(runner.set()).within(&runner.namespace));
    let made = set.as_ref().and_then(|set| set.metadata.creation_timestamp.as_ref());
    made.is_some_and(|made| context.clock.time().0.duration_since(made.0) > LONG)
}

fn explain(
    name: &str,
    obstacle: Option<Obstacle>,
    pod: Option<&Pod>,
    failure: Option<String>,
) -> (&'static str, String) {
    if let Some(obstacle) = obstacle {
        let reason = if obstacle.is_refusal { reason::APPLY_REFUSED } else { reason::RUNNER_NOT_READY };
        return (reason, format!("the runner can't be made: {}", obstacle.message));
    }
    let Some(pod) = pod else {
        return (reason::RUNNER_NOT_READY, format!("the runner's pod {name} is being made"));
    };
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let unscheduled =
        conditions.clone().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        let why = condition.message.as_deref().unwrap_or_default();
        let mut message = format!("the runner's pod {name} can't be scheduled: {why}");
        if why.contains("volume") {
            let claim = format!("{DATA_VOLUME}-{name}");
            message.push_str(&format!(
                "; if its volume is gone for good: kubectl delete pvc/{claim} pod/{name}, after which its workspaces begin empty"
            ));
        }
        return (reason::RUNNER_UNSCHEDULABLE, message);
    }
    let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    if let Some(why) = containers.filter_map(waiting).next() {
        return (reason::RUNNER_NOT_READY, format!("the runner's pod {name} doesn't start: {why}"));
    }
    match (status.and_then(|status| status.pod_ip.as_ref()), failure) {
        (Some(_), Some(failure)) => (reason::RUNNER_UNREACHABLE, failure),
        _ => (reason::RUNNER_NOT_READY, format!("the runner's pod {name} is starting")),
    }
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"))?;
    Some(match &waiting.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn explained(status: serde_json::Value, failure: Option<&str>) -> (&'static str, String) {
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap();
        explain("lodge-runner-0", None, Some(&pod), failure.map(str::to_owned))
    }

    #[test]
    fn what_stands_in_the_way_of_a_runner_is_said() {
        let quota = Obstacle { is_refusal: true, message: "quota".to_owned() };
        let (reason, message) = explain("lodge-runner-0", Some(quota), None, None);
        assert_eq!((reason, message.as_str()), (reason::APPLY_REFUSED, "the runner can't be made: quota"));
        assert_eq!(explain("lodge-runner-0", None, None, None).0, reason::RUNNER_NOT_READY);
        let unscheduled =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
        let (reason, message) = explained(unscheduled, None);
        assert_eq!(reason, reason::RUNNER_UNSCHEDULABLE);
        assert!(message.contains("0/1 nodes") && !message.contains("kubectl"), "{message}");
        let lost = "0/2 nodes: 1 node(s) had volume node affinity conflict";
        let unscheduled =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": lost}]});
        let (_, message) = explained(unscheduled, None);
        assert!(message.contains("kubectl delete pvc/data-lodge-runner-0 pod/lodge-runner-0"), "{message}");
        let pulling = json!({"containerStatuses": [{"name": "vm-runner", "ready": false, "restartCount": 0, "image": "i",
            "imageID": "", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]});
        let (reason, message) = explained(pulling, None);
        assert_eq!(reason, reason::RUNNER_NOT_READY);
        assert!(message.contains("ImagePullBackOff: no such image"), "{message}");
        let (reason, message) = explained(json!({"podIP": "10.0.0.1"}), Some("could not connect"));
        assert_eq!((reason, message.as_str()), (reason::RUNNER_UNREACHABLE, "could not connect"));
    }
}
