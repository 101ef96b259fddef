//! Whether the VM runs, since when it doesn't, and how it last woke: what changes often and matters little. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use lodge_crds::{ObservedPower, Wake, WorkspaceStatus, WorkspaceUsage, condition::reason};
use vm_api::{Power, SleepReason, Usage, WorkspaceState};

/// What is smaller is no change of usage worth a write.
const NEAR_BYTES: u64 = 16 << 20;
/// Likewise, for what is counted.
const NEAR_COUNT: u64 = 16;

pub(super) fn observed(power: Power) -> ObservedPower {
    match power {
        Power::Asleep => ObservedPower::Asleep,
        Power::Waking => ObservedPower::Waking,
        Power::Awake | Power::Stopping => ObservedPower::Awake,
    }
}

/// The condition Sleeping: whether it holds, why, and in words. `old` is what it said before.
pub(super) fn sleeping(state: &WorkspaceState, old: Option<&Condition>) -> (bool, String, String) {
    if state.power != Power::Asleep {
        return (false, reason::AWAKE.to_owned(), "the VM runs".to_owned());
    }
    let (why, words) = match state.sleep {
        None | Some(SleepReason::NotStarted) => match old {
            // A runner that began anew doesn't know why it sleeps, but that is known.
            Some(old) if old.status == "True" && still_holds(&old.reason) => {
                return (true, old.reason.clone(), old.message.clone());
            }
            Some(old) if old.status == "False" => {
                (reason::RUNNER_RESTARTED, "the runner began anew; the next action boots it again")
            }
            _ => (reason::NEVER_WOKEN, "not used yet; the first action wakes it"),
        },
        Some(SleepReason::Requested) => {
            (reason::POWER_ASLEEP, "spec.power is Asleep; set it to Auto to use the workspace")
        }
        Some(SleepReason::Idle) => (reason::IDLE, "idle for spec.idle.sleepAfter; the next action wakes it"),
        Some(SleepReason::OnDemand) => {
            (reason::ON_DEMAND, "put to sleep on demand; the next action wakes it")
        }
        Some(SleepReason::MemoryPressure) => {
            (reason::MEMORY_PRESSURE, "the runner was short of memory; the next action wakes it")
        }
        Some(SleepReason::MemoryLimit) => {
            (reason::MEMORY_LIMIT, "the VM went over spec.limits.memory; the next action boots it again")
        }
        Some(SleepReason::VmDied) => {
            (reason::VM_DIED, "the VM ended by itself; the next action boots it again")
        }
        Some(SleepReason::BootFailed) => {
            (reason::BOOT_FAILED, "the VM doesn't boot; the next action tries again")
        }
    };
    let message = state.message.as_ref().map_or_else(|| words.to_owned(), |more| format!("{words}: {more}"));
    (true, why.to_owned(), message)
}

/// Whether a reason to sleep is one even though the runner has forgotten it.
fn still_holds(why: &str) -> bool {
    [
        reason::NEVER_WOKEN,
        reason::IDLE,
        reason::ON_DEMAND,
        reason::MEMORY_PRESSURE,
        reason::MEMORY_LIMIT,
        reason::VM_DIED,
        reason::RUNNER_RESTARTED,
    ]
    .contains(&why)
}

/// When a wake was asked for, if the runner tells it in a way that can be understood.
pub(in super::super) fn woke_at(wake: &vm_api::Wake) -> Option<Time> {
    let at: Timestamp = wake.at.parse().ok()?;
    // A status holds whole seconds: with more, it would differ from what was written for ever, and be written again and again.
    Some(Time(Timestamp::from_second(at.as_second()).unwrap_or(at)))
}

pub(super) fn last_wake(wake: &vm_api::Wake) -> Option<Wake> {
    let milliseconds = |count: u64| Some(u32::try_from(count).unwrap_or(u32::MAX));
    Some(Wake {
        at: woke_at(wake)?,
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

/// Since when nobody has used it: what the status said, unless it was used since; then since this operator saw it asleep. One
/// that was never used is idle since it was bound.
pub(super) fn idle_since(
    old: &WorkspaceStatus,
    state: &WorkspaceState,
    last_wake: Option<&Wake>,
    asleep_since: Option<&Time>,
) -> Option<Time> {
    if state.power != Power::Asleep {
        return None;
    }
    let was_awake = matches!(old.power, Some(ObservedPower::Awake | ObservedPower::Waking));
    let was_used = |since: &Time| was_awake || last_wake.is_some_and(|wake| wake.at > *since);
    match &old.idle_since {
        Some(since) if !was_used(since) => Some(since.clone()),
        _ => asleep_since.cloned(),
    }
}

/// The generation that the running VM has. One that needs a restart has an older one.
pub(super) fn booted_generation(old: Option<i64>, state: &WorkspaceState) -> Option<i64> {
    match state.power {
        Power::Asleep | Power::Waking => None,
        Power::Awake | Power::Stopping if state.restart_required.is_empty() => Some(state.generation),
        Power::Awake | Power::Stopping => old,
    }
}

pub(super) fn usage(old: Option<WorkspaceUsage>, fresh: Option<Usage>) -> Option<WorkspaceUsage> {
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
