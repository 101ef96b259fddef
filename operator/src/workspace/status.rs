//! The status of a Workspace, as a function of what was observed. Pure.
//!
//! Conditions follow kstatus: `Ready` is the summary, `Reconciling` and `Stalled` are there only while they are true. The time of
//! a transition changes only with the status of its condition. Power and usage are coarse: [`is_only_power`] tells the
//! writer that a change may wait.

use super::{Bound, Error, error::Verdict};
use crate::event::News;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::EventType;
use lodge_crds::{
    ObservedPower, StorageType, Wake, Workspace, WorkspaceStatus, WorkspaceUsage,
    condition::{self, reason},
};
use vm_api::{Power, SleepReason, Usage, WorkspaceState};

/// Sleeping: the VM ended by itself; the next action boots it again.
const VM_DIED: &str = "VmDied";
const ON_DEMAND: &str = "OnDemand";
const MEMORY_PRESSURE: &str = "MemoryPressure";
const MEMORY_LIMIT: &str = "MemoryLimit";
/// The longest message of a condition.
const MAX_MESSAGE_BYTES: usize = 4096;
/// What is smaller is no change of usage worth a write.
const NEAR_BYTES: u64 = 16 << 20;
/// Likewise, for what is counted.
const NEAR_COUNT: u64 = 16;

/// Computes the status after a reconcile that had this outcome.
pub fn build_status(
    workspace: &Workspace,
    outcome: &Result<Bound, Error>,
    url: &str,
    now: &Time,
) -> WorkspaceStatus {
    let old = workspace.status.clone().unwrap_or_default();
    let generation = workspace.metadata.generation;
    match outcome {
        Ok(bound) => bound_status(workspace, old, bound, url, now),
        Err(error) => {
            let was_ready =
                is_true(&old.conditions, condition::READY) && old.observed_generation == generation;
            let is_spared = was_ready && error.grace_left().is_some();
            match error.verdict() {
                Verdict::Unchanged => old,
                _ if is_spared => old,
                Verdict::Waiting(reason) => {
                    failed_status(generation, old, reason, condition::RECONCILING, error, now)
                }
                Verdict::Stalled(reason) => {
                    failed_status(generation, old, reason, condition::STALLED, error, now)
                }
            }
        }
    }
}

fn bound_status(
    workspace: &Workspace,
    old: WorkspaceStatus,
    bound: &Bound,
    url: &str,
    now: &Time,
) -> WorkspaceStatus {
    let Bound { binding, state, notes, has_references: _ } = bound;
    let generation = workspace.metadata.generation;
    let mut conditions = Conditions { old: &old.conditions, new: Vec::new(), generation, now };
    if state.sleep == Some(SleepReason::BootFailed) {
        let words = state.message.as_deref().unwrap_or("no reason was given");
        let message = format!("the VM doesn't boot: {words}; the next action tries again");
        conditions.set(condition::READY, false, reason::BOOT_FAILED, &message);
        conditions.set(condition::STALLED, true, reason::BOOT_FAILED, &message);
    } else if state.power == Power::Waking && has_failed_to_boot(&old.conditions) {
        // It tries again; until that has an end, what is known is that it doesn't boot.
        conditions.keep(condition::READY);
        conditions.keep(condition::STALLED);
    } else {
        let mut message = format!("bound to {}", binding.runner.pod);
        for note in notes {
            message.push_str("; ");
            message.push_str(note);
        }
        conditions.set(condition::READY, true, reason::BOUND, &message);
    }
    let (sleeps, why, message) = sleeping(state);
    conditions.set(condition::SLEEPING, sleeps, why, &message);
    match state.restart_required.as_slice() {
        [] => conditions.set(
            condition::RESTART_REQUIRED,
            false,
            reason::UP_TO_DATE,
            "the VM runs what the spec says",
        ),
        paths => {
            let message = format!("takes effect at the next boot: {}", paths.join(", "));
            conditions.set(condition::RESTART_REQUIRED, true, reason::SPEC_CHANGED, &message);
        }
    }
    let (persists, why, message) = storage(workspace, state);
    conditions.set(condition::STORAGE_PERSISTENT, persists, why, &message);
    let conditions = conditions.new;
    WorkspaceStatus {
        observed_generation: generation,
        power: Some(observed_power(state.power)),
        runner: Some(binding.recorded()),
        url: Some(url.to_owned()),
        software: Some(software(workspace)),
        booted_generation: None,
        last_wake: state.last_wake.as_ref().and_then(last_wake).or(old.last_wake),
        idle_since: idle_since(old.power, old.idle_since, state, now),
        usage: usage(old.usage, state.usage),
        sandboxes: Vec::new(),
        conditions,
    }
}

fn failed_status(
    generation: Option<i64>,
    old: WorkspaceStatus,
    reason: &'static str,
    kind: &'static str,
    error: &Error,
    now: &Time,
) -> WorkspaceStatus {
    let message = error.message();
    let mut conditions = Conditions { old: &old.conditions, new: Vec::new(), generation, now };
    conditions.set(condition::READY, false, reason, &message);
    conditions.set(kind, true, reason, &message);
    for kept in [condition::SLEEPING, condition::RESTART_REQUIRED, condition::STORAGE_PERSISTENT] {
        conditions.keep(kept);
    }
    let conditions = conditions.new;
    let power = old.power.or(Some(ObservedPower::Unbound));
    WorkspaceStatus { observed_generation: generation, power, conditions, ..old }
}

/// The conditions of an object that this version can't read.
pub fn unreadable_conditions(
    old: &[Condition],
    generation: Option<i64>,
    message: &str,
    now: &Time,
) -> Vec<Condition> {
    let mut conditions = Conditions { old, new: Vec::new(), generation, now };
    conditions.set(condition::READY, false, reason::INVALID_SPEC, message);
    conditions.set(condition::STALLED, true, reason::INVALID_SPEC, message);
    for kept in [condition::SLEEPING, condition::RESTART_REQUIRED, condition::STORAGE_PERSISTENT] {
        conditions.keep(kept);
    }
    conditions.new
}

/// Collects conditions, with the times of their transitions.
struct Conditions<'a> {
    old: &'a [Condition],
    new: Vec<Condition>,
    generation: Option<i64>,
    now: &'a Time,
}

impl Conditions<'_> {
    fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let status = if holds { "True" } else { "False" };
        let before = find(self.old, kind).filter(|before| before.status == status);
        self.new.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message
                .get(..message.floor_char_boundary(MAX_MESSAGE_BYTES))
                .unwrap_or(message)
                .to_owned(),
            observed_generation: self.generation,
            last_transition_time: before
                .map_or_else(|| self.now.clone(), |before| before.last_transition_time.clone()),
        });
    }

    fn keep(&mut self, kind: &str) {
        self.new.extend(find(self.old, kind).cloned());
    }
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

fn has_failed_to_boot(conditions: &[Condition]) -> bool {
    find(conditions, condition::READY).is_some_and(|ready| ready.reason == reason::BOOT_FAILED)
}

fn observed_power(power: Power) -> ObservedPower {
    match power {
        Power::Asleep => ObservedPower::Asleep,
        Power::Waking => ObservedPower::Waking,
        Power::Awake | Power::Stopping => ObservedPower::Awake,
    }
}

fn sleeping(state: &WorkspaceState) -> (bool, &'static str, String) {
    if state.power != Power::Asleep {
        return (false, reason::AWAKE, "the VM runs".to_owned());
    }
    let (why, words) = match state.sleep {
        None | Some(SleepReason::NotStarted) => {
            (reason::NEVER_WOKEN, "not used yet; the first action wakes it")
        }
        Some(SleepReason::Requested) => {
            (reason::POWER_ASLEEP, "spec.power is Asleep; set it to Auto to use the workspace")
        }
        Some(SleepReason::Idle) => (reason::IDLE, "idle for spec.idle.sleepAfter; the next action wakes it"),
        Some(SleepReason::OnDemand) => (ON_DEMAND, "put to sleep on demand; the next action wakes it"),
        Some(SleepReason::MemoryPressure) => {
            (MEMORY_PRESSURE, "the runner was short of memory; the next action wakes it")
        }
        Some(SleepReason::MemoryLimit) => {
            (MEMORY_LIMIT, "the VM went over spec.limits.memory; the next action boots it again")
        }
        Some(SleepReason::VmDied) => (VM_DIED, "the VM ended by itself; the next action boots it again"),
        Some(SleepReason::BootFailed) => {
            (reason::BOOT_FAILED, "the VM doesn't boot; the next action tries again")
        }
    };
    let message = state.message.as_ref().map_or_else(|| words.to_owned(), |more| format!("{words}: {more}"));
    (true, why, message)
}

fn storage(workspace: &Workspace, state: &WorkspaceState) -> (bool, &'static str, String) {
    const MEMORY_ONLY: &str = "this runner keeps files in the memory of the VM only: they are lost when the VM process \
                               ends (sleep, restart of the runner), even with spec.storage.type Persistent";
    if workspace.spec.storage.kind == StorageType::Ephemeral {
        return (
            false,
            reason::EPHEMERAL,
            "spec.storage.type is Ephemeral: every boot begins without files".to_owned(),
        );
    }
    if state.storage.persistent {
        return (true, reason::ON_VOLUME, "files are on the runner's volume".to_owned());
    }
    (false, reason::MEMORY_ONLY, state.storage.reason.clone().unwrap_or_else(|| MEMORY_ONLY.to_owned()))
}

fn software(workspace: &Workspace) -> String {
    let names: Vec<_> = workspace.spec.software.iter().map(|package| package.name.as_str()).collect();
    names.join(",")
}

fn last_wake(wake: &vm_api::Wake) -> Option<Wake> {
    let milliseconds = |count: u64| Some(u32::try_from(count).unwrap_or(u32::MAX));
    Some(Wake {
        at: Time(wake.at.parse().ok()?),
        cause: match wake.cause {
            vm_api::WakeCause::Exec | vm_api::WakeCause::File | vm_api::WakeCause::OnDemand => {
                lodge_crds::WakeCause::Exec
            }
            vm_api::WakeCause::Preview => lodge_crds::WakeCause::Preview,
            vm_api::WakeCause::Cron => lodge_crds::WakeCause::Cron,
            vm_api::WakeCause::Session => lodge_crds::WakeCause::Session,
            vm_api::WakeCause::Spec => lodge_crds::WakeCause::Spec,
        },
        queued_ms: milliseconds(wake.queued_ms),
        booted_ms: milliseconds(wake.booted_ms),
        first_byte_ms: wake.first_byte_ms.and_then(milliseconds),
    })
}

fn idle_since(
    was: Option<ObservedPower>,
    old: Option<Time>,
    state: &WorkspaceState,
    now: &Time,
) -> Option<Time> {
    match (state.power, was) {
        (Power::Asleep, Some(ObservedPower::Awake | ObservedPower::Waking)) => Some(now.clone()),
        (Power::Asleep, _) => old,
        (Power::Awake | Power::Waking | Power::Stopping, _) => None,
    }
}

fn usage(old: Option<WorkspaceUsage>, fresh: Option<Usage>) -> Option<WorkspaceUsage> {
    let Usage { storage_bytes, files, processes, memory_bytes } = fresh?;
    let fresh = WorkspaceUsage {
        storage_bytes: Some(storage_bytes),
        files: Some(files),
        sessions: None,
        processes: Some(u32::try_from(processes).unwrap_or(u32::MAX)),
        memory_bytes: Some(memory_bytes),
    };
    let Some(old) = old else { return Some(fresh) };
    let is_near = |old: Option<u64>, new: Option<u64>, least: u64| match (old, new) {
        (Some(old), Some(new)) => old.abs_diff(new) <= least.max(old / 4),
        (old, new) => old == new,
    };
    let same = is_near(old.storage_bytes, fresh.storage_bytes, NEAR_BYTES)
        && is_near(old.memory_bytes, fresh.memory_bytes, NEAR_BYTES)
        && is_near(old.files, fresh.files, NEAR_COUNT)
        && is_near(old.processes.map(Into::into), fresh.processes.map(Into::into), NEAR_COUNT);
    Some(if same { old } else { fresh })
}

/// Whether two statuses differ in nothing but power and usage, which change often and matter little.
pub fn is_only_power(old: &WorkspaceStatus, new: &WorkspaceStatus) -> bool {
    let coarse = |status: &WorkspaceStatus| {
        let mut status = status.clone();
        status.power = None;
        status.last_wake = None;
        status.idle_since = None;
        status.usage = None;
        status.conditions.retain(|condition| condition.type_ != condition::SLEEPING);
        status
    };
    // From unbound to bound is more than power.
    let is_bound = |status: &WorkspaceStatus| !matches!(status.power, None | Some(ObservedPower::Unbound));
    is_bound(old) == is_bound(new) && coarse(old) == coarse(new)
}

/// What is worth an Event in going from one status to another.
pub fn news(old: &WorkspaceStatus, new: &WorkspaceStatus) -> Option<News> {
    let summary = |status: &WorkspaceStatus| {
        find(&status.conditions, condition::READY).map(|ready| (ready.status.clone(), ready.reason.clone()))
    };
    let ready = find(&new.conditions, condition::READY)?;
    if summary(old) == summary(new) {
        return None;
    }
    let was_ready = is_true(&old.conditions, condition::READY);
    let is_ready = ready.status == "True";
    let reason = known_reason(&ready.reason)?;
    let is_normal_wait = matches!(reason, reason::BINDING | reason::RUNNER_NOT_READY | reason::DELETING);
    if !is_ready && !was_ready && is_normal_wait {
        return None;
    }
    Some(News {
        severity: if is_ready { EventType::Normal } else { EventType::Warning },
        reason,
        action: "Reconcile",
        note: ready.message.clone(),
    })
}

/// Reasons are a closed set, so that they can be labels of metrics.
fn known_reason(text: &str) -> Option<&'static str> {
    const ALL: &[&str] = &[
        reason::BOUND,
        reason::BINDING,
        reason::RUNNER_NOT_READY,
        reason::RUNNER_UNSCHEDULABLE,
        reason::RUNNER_UNREACHABLE,
        reason::RUNNERS_FULL,
        reason::SOFTWARE_UNKNOWN,
        reason::SECRET_MISSING,
        reason::CONFIG_MAP_MISSING,
        reason::INVALID_SPEC,
        reason::APPLY_REFUSED,
        reason::BOOT_FAILED,
        reason::DELETING,
        super::error::NOT_IMPLEMENTED,
    ];
    ALL.iter().copied().find(|known| *known == text)
}
