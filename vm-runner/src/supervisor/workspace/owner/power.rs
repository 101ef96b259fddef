//! Booting and stopping the VM, and looking whether it is still needed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tokio::sync::oneshot;
use tokio::time::sleep;
use vm_api::{Power, PowerIntent, Problem, ProblemCode, SleepReason, VmEvent, Wake, WorkspaceState};

use super::{Owner, Running};
use crate::boot_request::{Access, Activity};
use crate::supervisor::memory;
use crate::supervisor::workspace::attend::{self, has_changed_much};
use crate::supervisor::workspace::boot::{Boot, Booted, Order};
use crate::supervisor::workspace::idle::Idleness;
use crate::supervisor::workspace::machine::{Input, Refusal, Stage};
use crate::supervisor::workspace::report::whole_ms;
use crate::supervisor::workspace::{Awake, WakeTiming};
use crate::task;

/// The pause after the first failure of a VM that should be awake; doubles up to [`MAX_RETRY_PAUSE`].
pub(super) const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(500);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);
/// Longest report of a fault: a vm process is not trusted.
const MAX_FAULT_CHARS: usize = 300;
/// How long a VM that ran before its next failure counts as healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

impl Owner {
    pub(super) fn start_boot(&mut self) {
        self.retry = None;
        if let Some(problem) = &self.unbound {
            // At the old epoch it would write what is not its own.
            self.boot = Some(Boot::refused(problem.clone()));
            return;
        }
        let order = self.order(Access::Full);
        self.boot = Some(Boot::start(order, self.reader.take()));
    }

    pub(super) fn order(&self, access: Access) -> Order {
        Order {
            fleet: Arc::clone(&self.fleet),
            uid: self.uid.clone(),
            config: Arc::clone(&self.config),
            access,
        }
    }

    pub(super) async fn boot_ended(&mut self, result: Result<Booted, Problem>) {
        match result {
            Ok(booted) => {
                self.last_wake = Some(Wake {
                    at: jiff::Timestamp::now().to_string(),
                    cause: self.wake_cause,
                    queued_ms: whole_ms(booted.queued),
                    booted_ms: whole_ms(booted.duration),
                    first_byte_ms: None,
                });
                self.booted = booted.duration;
                self.message = None;
                // Configurations may have come while it booted.
                let is_outdated = *booted.config != *self.config;
                let running = self.running(booted);
                self.vm = Some(running);
                if is_outdated {
                    self.tell_vm().await;
                }
                // Published before those who wait go on, so that the next request needs no question.
                self.publish_vm();
                self.step(Input::Booted).await;
            }
            Err(problem) => {
                self.message = Some(problem.detail.clone());
                self.boot_problem = Some(problem);
                self.step(Input::BootFailed).await;
            }
        }
    }

    fn running(&mut self, booted: Booted) -> Running {
        let Booted { process, config, queued, duration, _place: _ } = booted;
        let event = VmEvent::VmBooted {
            cause: self.wake_cause,
            queued_ms: whole_ms(queued),
            booted_ms: whole_ms(duration),
        };
        let before = self.collected.take();
        let events = &self.fleet.events;
        let (collector, collected) = events.collect(&self.uid, self.epoch, process.client(), event, before);
        self.collected = Some(collected);
        let pause = Idleness::first_pause(self.sleep_after());
        let attending = task::spawn(attend::ask_after(pause, Arc::clone(process.client())));
        let now = Instant::now();
        let resident = process.pid().map(|pid| {
            let allowed_bytes = memory::allowed_bytes(&config);
            self.fleet.residents.enter(self.uid.clone(), pid, allowed_bytes, self.requests.clone())
        });
        Running {
            process,
            config,
            since: now,
            usage: None,
            idle: Idleness::new(now),
            attending: Some(attending),
            collector,
            _resident: resident,
        }
    }

    pub(super) async fn vm_exited(&mut self, how: String) {
        let Some(running) = self.vm.take() else { return };
        // Nobody new is sent to it.
        self.publish_vm();
        let lifetime = running.since.elapsed();
        let Running { process, collector, .. } = running;
        process.release().await;
        if lifetime > HEALTHY_AFTER {
            self.retry_pause = FIRST_RETRY_PAUSE;
        }
        let (reason, message) = self.verdict.take().unwrap_or((SleepReason::VmDied, how));
        tracing::warn!(workspace = %self.uid, ?lifetime, ?reason, "{message}");
        self.fleet.metrics.count_vm_death();
        let event = VmEvent::VmShutdown { reason: Some(reason), message: Some(message.clone()) };
        collector.end(event);
        self.message = Some(message);
        self.step(Input::VmExited(reason)).await;
    }

    pub(super) async fn attended(&mut self, activity: Option<Activity>) {
        let (sleep_after, now) = (self.sleep_after(), Instant::now());
        let (is_empty, last_ended) = (self.traffic.is_empty(), self.traffic.last_ended());
        let Some(running) = &mut self.vm else { return };
        if let Some(activity) = activity {
            running.idle.observe(now, !is_empty || !activity.is_idle(), last_ended);
            if has_changed_much(running.usage, activity.usage) {
                running.usage = Some(activity.usage);
            }
            if let Some(fault) = activity.fault {
                let fault: String = fault.chars().take(MAX_FAULT_CHARS).collect();
                self.message =
                    Some(format!("the files of the workspace: {fault}; POST files:fsck tells more"));
            }
            if let Some(resident) = &running._resident {
                resident.set_idle_since(running.idle.since());
            }
        }
        match sleep_after {
            Some(after) if running.idle.is_due(now, after) => self.sleep_if_idle(SleepReason::Idle).await,
            _ => {}
        }
        self.attend_anew();
    }

    /// Looks at the VM when it is due.
    pub(super) fn attend_anew(&mut self) {
        let sleep_after = self.sleep_after();
        if let Some(running) = &mut self.vm {
            let pause = running.idle.pause(Instant::now(), sleep_after);
            let vm = Arc::clone(running.process.client());
            running.attending = Some(task::spawn(attend::ask_after(pause, vm)));
        }
    }

    fn sleep_after(&self) -> Option<Duration> {
        match self.config.power {
            PowerIntent::Awake => None,
            PowerIntent::Auto | PowerIntent::Asleep => {
                self.config.idle.sleep_after_ms.map(Duration::from_millis)
            }
        }
    }

    /// Stops the VM unless somebody needs it. First nobody gets it any more, then it is asked for the last time: who
    /// comes in between waits in the inbox, and keeps it awake.
    pub(super) async fn sleep_if_idle(&mut self, reason: SleepReason) {
        let Some(running) = &self.vm else { return };
        if self.machine.stage() != Stage::Awake || self.config.power == PowerIntent::Awake {
            return;
        }
        let vm = Arc::clone(running.process.client());
        self.withdraw();
        let is_idle = self.traffic.is_empty()
            && attend::ask(&vm).await.is_some_and(|activity| activity.is_idle())
            && self.inbox.is_empty()
            && self.traffic.is_empty();
        if is_idle {
            tracing::info!(workspace = %self.uid, ?reason, "going to sleep");
            self.step(Input::Sleep(reason)).await;
        } else {
            self.publish_vm();
        }
    }

    pub(super) async fn sleep_on_demand(
        &mut self,
        reply: oneshot::Sender<Result<Arc<WorkspaceState>, Problem>>,
    ) {
        if self.config.power == PowerIntent::Awake {
            let detail = "spec.power is Awake: the workspace stays so; set it to Auto to let it sleep";
            let problem = Problem::new(ProblemCode::WorkspaceKeptAwake, detail).with_field("spec.power");
            let _ = reply.send(Err(problem));
            return;
        }
        self.sleepers.push(reply);
        self.withdraw();
        self.step(Input::Sleep(SleepReason::OnDemand)).await;
    }

    /// Tells those who asked for sleep that the VM has stopped, or that somebody needed it again.
    pub(super) fn answer_sleepers(&mut self) {
        let state = Arc::clone(&self.view.borrow().state);
        if state.power != Power::Stopping {
            for reply in self.sleepers.drain(..) {
                let _ = reply.send(Ok(Arc::clone(&state)));
            }
        }
    }

    /// Ends a VM that uses more than it may. Its exit says the rest.
    pub(super) fn end_over_memory(&mut self, used_bytes: u64, allowed_bytes: u64) {
        let Some(pid) = self.vm.as_ref().and_then(|running| running.process.pid()) else { return };
        let message = memory::verdict(used_bytes, allowed_bytes, self.config.limits.memory_bytes);
        self.verdict = Some((SleepReason::MemoryLimit, message));
        self.fleet.metrics.count_over_memory();
        // It was not waited for yet, so the pid is still its own.
        if let Err(error) = kill_process(pid, Signal::KILL) {
            tracing::warn!(workspace = %self.uid, %error, "a VM over its memory limit could not be killed");
        }
    }

    pub(super) fn stop(&mut self) {
        let (boot, vm) = (self.boot.take(), self.vm.take());
        let (fleet, started) = (Arc::clone(&self.fleet), Instant::now());
        let event = VmEvent::VmShutdown { reason: Some(self.machine.stop_reason()), message: None };
        self.stopping = Some(task::spawn(async move {
            if let Some(boot) = boot {
                boot.cancel(fleet.stop_grace).await;
            }
            if let Some(Running { process, collector, .. }) = vm {
                collector.listening().await;
                process.stop(fleet.stop_grace).await;
                fleet.metrics.observe_stop(started.elapsed());
                collector.end(event);
            }
        }));
    }

    pub(super) fn admit(&mut self) {
        let Some(running) = &self.vm else { return };
        let vm = running.process.client();
        for waiter in self.waiters.drain(..) {
            let waited = waiter.asked.elapsed();
            let booted = self.booted.min(waited);
            let wake = Some(WakeTiming { queued: waited.saturating_sub(booted), booted });
            let _ = waiter.reply.send(Ok(Awake { vm: Arc::clone(vm), wake }));
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let problem = match refusal {
            Refusal::PowerAsleep => Problem::new(
                ProblemCode::WorkspaceAsleep,
                "the workspace sleeps because spec.power is Asleep; set it to Auto or Awake",
            )
            .with_field("spec.power"),
            Refusal::Deleting => self.deleting(),
            Refusal::BootFailed => self.boot_problem.take().unwrap_or_else(|| {
                Problem::new(ProblemCode::BootFailed, "the VM could not be started; see the runner's log")
            }),
        };
        for waiter in self.waiters.drain(..) {
            let _ = waiter.reply.send(Err(problem.clone()));
        }
    }

    pub(super) fn retry_later(&mut self) {
        self.retry = Some(Box::pin(sleep(self.retry_pause)));
        self.retry_pause = (self.retry_pause * 2).min(MAX_RETRY_PAUSE);
    }
}
