//! The status of a Workspace, as a function of what was observed. Pure.
//!
//! Conditions follow kstatus: `Ready` is the summary, `Reconciling` and `Stalled` are there only while they are true. The time of
//! a transition changes only with the status of its condition. Power and usage are coarse: [`urgency`] tells the writer how
//! long a change may wait.

mod power;

pub(super) use power::woke_at;

use super::{Bound, Error, error::Verdict};
use crate::event::News;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::EventType;
use lodge_crds::{
    ObservedPower, StorageType, Workspace, WorkspaceStatus,
    condition::{self, reason},
};
use vm_api::{Power, SleepReason, WorkspaceState};

/// The longest message of a condition.
const MAX_MESSAGE_BYTES: usize = 4096;
/// Conditions that stay as they are while nothing newer is known.
const KEPT: [&str; 4] =
    [condition::SLEEPING, condition::RESTART_REQUIRED, condition::STORAGE_PERSISTENT, condition::DATA_LOST];

/// How soon a change of the status has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    High,
    /// Power and usage: when they have settled, and seldom.
    Low,
    /// When it last woke and since when it is idle, of one that sleeps as before: it was awake for a moment in between. Very
    /// seldom.
    Lowest,
}

/// Computes the status after a reconcile that had this outcome. `asleep_since` is when this operator first saw the VM asleep.
pub fn build_status(
    workspace: &Workspace,
    outcome: &Result<Bound, Error>,
    url: &str,
    now: &Time,
    asleep_since: Option<&Time>,
) -> WorkspaceStatus {
    let old = workspace.status.clone().unwrap_or_default();
    let generation = workspace.metadata.generation;
    match outcome {
        Ok(bound) => {
            let status = bound_status(workspace, &old, bound, now);
            let last_wake = bound.state.last_wake.as_ref().and_then(power::last_wake);
            let last_wake = last_wake.or_else(|| old.last_wake.clone());
            WorkspaceStatus {
                url: Some(url.to_owned()),
                idle_since: power::idle_since(&old, &bound.state, last_wake.as_ref(), asleep_since),
                last_wake,
                usage: power::usage(old.usage, bound.state.usage),
                ..status
            }
        }
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

fn bound_status(workspace: &Workspace, old: &WorkspaceStatus, bound: &Bound, now: &Time) -> WorkspaceStatus {
    let Bound { binding, state, notes, has_lost_files, has_references: _ } = bound;
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
    let (sleeps, why, message) = power::sleeping(state, find(&old.conditions, condition::SLEEPING));
    conditions.set(condition::SLEEPING, sleeps, &why, &message);
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
    if *has_lost_files && was_used(old) {
        let pod = &binding.runner.pod;
        let message = format!(
            "the runner {pod} came back at {} with a volume that has nothing of this workspace: its files are gone, and it begins empty",
            now.0
        );
        conditions.set(condition::DATA_LOST, true, reason::VOLUME_LOST, &message);
    } else if find(&old.conditions, condition::DATA_LOST)
        .is_some_and(|lost| lost.observed_generation == generation)
    {
        conditions.keep(condition::DATA_LOST);
    }
    let conditions = conditions.new;
    WorkspaceStatus {
        observed_generation: generation,
        power: Some(power::observed(state.power)),
        runner: Some(binding.recorded()),
        software: Some(software(workspace)),
        booted_generation: power::booted_generation(old.booted_generation, state),
        conditions,
        ..WorkspaceStatus::default()
    }
}

/// Whether there may have been files.
fn was_used(status: &WorkspaceStatus) -> bool {
    let sleeping = find(&status.conditions, condition::SLEEPING);
    status.last_wake.is_some() || sleeping.is_some_and(|sleeping| sleeping.reason != reason::NEVER_WOKEN)
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
    KEPT.into_iter().for_each(|kept| conditions.keep(kept));
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
    KEPT.into_iter().for_each(|kept| conditions.keep(kept));
    conditions.new
}

/// Collects conditions, with the times of their transitions.
pub(crate) struct Conditions<'a> {
    pub(crate) old: &'a [Condition],
    pub(crate) new: Vec<Condition>,
    pub(crate) generation: Option<i64>,
    pub(crate) now: &'a Time,
}

impl Conditions<'_> {
    pub(crate) fn set(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
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

    pub(crate) fn keep(&mut self, kind: &str) {
        self.new.extend(find(self.old, kind).cloned());
    }
}

pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

fn has_failed_to_boot(conditions: &[Condition]) -> bool {
    find(conditions, condition::READY).is_some_and(|ready| ready.reason == reason::BOOT_FAILED)
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

/// How soon the new status has to be written in place of the old one; not at all if they are equal.
pub fn urgency(old: &WorkspaceStatus, new: &WorkspaceStatus) -> Option<Urgency> {
    if old == new {
        return None;
    }
    let without_trace = |status: &WorkspaceStatus| {
        let mut status = status.clone();
        (status.last_wake, status.idle_since) = (None, None);
        status
    };
    let without_power = |status: &WorkspaceStatus| {
        let mut status = without_trace(status);
        (status.power, status.usage, status.booted_generation) = (None, None, None);
        status.conditions.retain(|condition| condition.type_ != condition::SLEEPING);
        status
    };
    if without_trace(old) == without_trace(new) {
        return Some(Urgency::Lowest);
    }
    // From unbound to bound is more than power.
    let is_bound = |status: &WorkspaceStatus| !matches!(status.power, None | Some(ObservedPower::Unbound));
    let is_low = is_bound(old) == is_bound(new) && without_power(old) == without_power(new);
    Some(if is_low { Urgency::Low } else { Urgency::High })
}

/// What is worth an Event in going from one status to another.
pub fn news(old: &WorkspaceStatus, new: &WorkspaceStatus) -> Vec<News> {
    transition(old, new).into_iter().chain(loss(old, new)).collect()
}

/// Files that are gone.
fn loss(old: &WorkspaceStatus, new: &WorkspaceStatus) -> Option<News> {
    let lost = find(&new.conditions, condition::DATA_LOST)?;
    let is_new =
        find(&old.conditions, condition::DATA_LOST).is_none_or(|before| before.message != lost.message);
    let note = lost.message.clone();
    is_new.then_some(News {
        severity: EventType::Warning,
        reason: condition::DATA_LOST,
        action: "Bind",
        note,
    })
}

/// Another answer to whether it is Ready, or why not.
fn transition(old: &WorkspaceStatus, new: &WorkspaceStatus) -> Option<News> {
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
        reason::CLAIM_MISSING,
        reason::INVALID_SPEC,
        reason::APPLY_REFUSED,
        reason::BOOT_FAILED,
        reason::DELETING,
        super::error::NOT_IMPLEMENTED,
    ];
    ALL.iter().copied().find(|known| *known == text)
}
