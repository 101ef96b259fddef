//! The life of one workspace as a state machine. Pure: it decides, its owner acts.
//!
//! ```text
//!                 Wake, or power Awake                  Booted
//!      ┌────────┐ ─────────────────────▶ ┌────────┐ ────────────────▶ ┌───────┐
//!      │ Asleep │                        │ Waking │                   │ Awake │
//!      └────────┘ ◀───────────────────── └────────┘                   └───────┘
//!        ▲    ▲         BootFailed           │                          │   │
//!        │    │                              │ power Asleep, Delete     │   │ VmExited
//!        │    │   Stopped                    ▼                          │   │
//!        │    └──────────────────────── ┌──────────┐ ◀──────────────────┘   │
//!        │        (or Waking again)     │ Stopping │  power Asleep, Delete, │
//!        │                              └──────────┘  Sleep (idle, asked,   │
//!        │                                  │         short of memory)      │
//!        └──────────────────────────────────┼───────────────────────────────┘
//!                                           │ Stopped after Delete
//!             Asleep + Delete ──────────▶ Gone ──RemoveFailed──▶ Asleep, until the next Delete
//! ```
//! Somebody who needs the VM while it stops waits, and it is booted again as soon as it has stopped. Reading files of a
//! workspace that sleeps is no business of this machine: the stage stays `Asleep` (`owner/read`).
//!
//! Invariants: at most one VM exists; a boot is in flight exactly in `Waking`; only a failed removal leaves `Gone`. The stage is
//! assigned in this file only. Must never know a process, a socket or a clock.

use vm_api::{Power, PowerIntent, SleepReason};

/// Where a workspace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Asleep(SleepReason),
    Waking,
    Awake,
    Stopping,
    Gone,
}

/// What happens to a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The specification says this about power.
    Configured(PowerIntent),
    /// Somebody needs the VM.
    Wake,
    /// There is a reason to stop the VM for now.
    Sleep(SleepReason),
    /// The boot has succeeded.
    Booted,
    /// The boot has failed.
    BootFailed,
    /// The VM ended without being asked to, for this reason.
    VmExited(SleepReason),
    /// The VM that was told to stop is gone.
    Stopped,
    /// The pause after a failure is over.
    RetryDue,
    /// The workspace is deleted.
    Delete,
    /// What it left could not be removed.
    RemoveFailed,
}

/// What the owner has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Boot a VM and report `Booted` or `BootFailed`.
    Boot,
    /// Stop the VM, or the boot in flight, and report `Stopped`.
    Stop,
    /// Tell those who wait that the VM is there.
    Admit,
    /// Tell those who wait that there will be no VM.
    Refuse(Refusal),
    /// Report `RetryDue` after a pause.
    RetryLater,
    /// Remove everything that the workspace left, and end.
    Remove,
}

/// Why there will be no VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `spec.power` is `Asleep`.
    PowerAsleep,
    /// The workspace is being deleted.
    Deleting,
    /// The boot failed; the owner knows why.
    BootFailed,
}

/// The state of one workspace.
#[derive(Debug)]
pub(crate) struct Machine {
    stage: Stage,
    power: PowerIntent,
    /// Why the VM is being stopped; means something in `Stopping`.
    reason: SleepReason,
    /// Somebody waits for the VM.
    is_wanted: bool,
    is_deleting: bool,
}

impl Machine {
    /// A workspace that has not run yet.
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Asleep(SleepReason::NotStarted),
            power: PowerIntent::Auto,
            reason: SleepReason::Requested,
            is_wanted: false,
            is_deleting: false,
        }
    }

    /// A workspace that sleeps, for this reason.
    pub(crate) fn asleep(reason: SleepReason, power: PowerIntent) -> Self {
        Self { stage: Stage::Asleep(reason), power, ..Self::new() }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Why the VM is being stopped; means something in `Stopping`.
    pub(crate) fn stop_reason(&self) -> SleepReason {
        self.reason
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.is_deleting
    }

    /// Takes what happened and says what to do, in order.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Configured(power) => self.configured(power),
            Input::Wake => self.wake(),
            Input::Sleep(reason) => self.sleep(reason),
            Input::Delete => self.delete(),
            Input::Booted => self.booted(),
            Input::BootFailed => self.boot_failed(),
            Input::VmExited(reason) => self.vm_exited(reason),
            Input::Stopped => self.stopped(),
            Input::RetryDue => self.retry(),
            Input::RemoveFailed => self.remove_failed(),
        }
    }

    fn configured(&mut self, power: PowerIntent) -> Vec<Effect> {
        self.power = power;
        match (self.stage, power) {
            (Stage::Asleep(_), PowerIntent::Awake) if !self.is_deleting => self.boot(),
            (Stage::Asleep(_), PowerIntent::Asleep) => {
                self.stage = Stage::Asleep(SleepReason::Requested);
                Vec::new()
            }
            (Stage::Waking | Stage::Awake, PowerIntent::Asleep) => {
                self.stop(SleepReason::Requested, Refusal::PowerAsleep)
            }
            (Stage::Stopping, PowerIntent::Asleep) => {
                self.reason = SleepReason::Requested;
                self.refuse(Refusal::PowerAsleep)
            }
            (Stage::Asleep(_) | Stage::Waking | Stage::Awake | Stage::Stopping | Stage::Gone, _) => {
                Vec::new()
            }
        }
    }

    fn wake(&mut self) -> Vec<Effect> {
        if self.is_deleting || self.stage == Stage::Gone {
            return vec![Effect::Refuse(Refusal::Deleting)];
        }
        if self.power == PowerIntent::Asleep {
            return vec![Effect::Refuse(Refusal::PowerAsleep)];
        }
        match self.stage {
            Stage::Asleep(_) => {
                self.is_wanted = true;
                self.boot()
            }
            Stage::Awake => vec![Effect::Admit],
            Stage::Waking | Stage::Stopping => {
                self.is_wanted = true;
                Vec::new()
            }
            Stage::Gone => Vec::new(),
        }
    }

    /// A VM that the specification wants awake stays; one that is booting is wanted by somebody.
    fn sleep(&mut self, reason: SleepReason) -> Vec<Effect> {
        match (self.stage, self.power) {
            (Stage::Awake, PowerIntent::Auto | PowerIntent::Asleep) => {
                self.stage = Stage::Stopping;
                self.reason = reason;
                self.is_wanted = false;
                vec![Effect::Stop]
            }
            (Stage::Awake, PowerIntent::Awake)
            | (Stage::Asleep(_) | Stage::Waking | Stage::Stopping | Stage::Gone, _) => Vec::new(),
        }
    }

    fn delete(&mut self) -> Vec<Effect> {
        self.is_deleting = true;
        match self.stage {
            Stage::Asleep(_) => {
                self.stage = Stage::Gone;
                vec![Effect::Remove]
            }
            Stage::Waking | Stage::Awake => self.stop(SleepReason::Requested, Refusal::Deleting),
            Stage::Stopping => self.refuse(Refusal::Deleting),
            Stage::Gone => Vec::new(),
        }
    }

    fn booted(&mut self) -> Vec<Effect> {
        match self.stage {
            Stage::Waking => {
                self.stage = Stage::Awake;
                self.is_wanted = false;
                vec![Effect::Admit]
            }
            Stage::Asleep(_) | Stage::Awake | Stage::Stopping | Stage::Gone => Vec::new(),
        }
    }

    fn boot_failed(&mut self) -> Vec<Effect> {
        if self.stage != Stage::Waking {
            return Vec::new();
        }
        self.stage = Stage::Asleep(SleepReason::BootFailed);
        let mut effects = self.refuse(Refusal::BootFailed);
        effects.extend(self.retry_later());
        effects
    }

    fn vm_exited(&mut self, reason: SleepReason) -> Vec<Effect> {
        if self.stage != Stage::Awake {
            return Vec::new();
        }
        self.stage = Stage::Asleep(reason);
        self.retry_later()
    }

    fn stopped(&mut self) -> Vec<Effect> {
        if self.stage != Stage::Stopping {
            return Vec::new();
        }
        if self.is_deleting {
            self.stage = Stage::Gone;
            return vec![Effect::Remove];
        }
        if self.power == PowerIntent::Awake || self.is_wanted {
            return self.boot();
        }
        self.stage = Stage::Asleep(self.reason);
        Vec::new()
    }

    fn remove_failed(&mut self) -> Vec<Effect> {
        if self.stage == Stage::Gone {
            self.stage = Stage::Asleep(SleepReason::Requested);
        }
        Vec::new()
    }

    fn retry(&mut self) -> Vec<Effect> {
        match (self.stage, self.power) {
            (Stage::Asleep(_), PowerIntent::Awake) if !self.is_deleting => self.boot(),
            (Stage::Asleep(_) | Stage::Waking | Stage::Awake | Stage::Stopping | Stage::Gone, _) => {
                Vec::new()
            }
        }
    }

    fn boot(&mut self) -> Vec<Effect> {
        self.stage = Stage::Waking;
        vec![Effect::Boot]
    }

    fn stop(&mut self, reason: SleepReason, refusal: Refusal) -> Vec<Effect> {
        self.stage = Stage::Stopping;
        self.reason = reason;
        let mut effects = vec![Effect::Stop];
        effects.extend(self.refuse(refusal));
        effects
    }

    fn refuse(&mut self, refusal: Refusal) -> Vec<Effect> {
        self.is_wanted = false;
        vec![Effect::Refuse(refusal)]
    }

    /// A VM that the specification wants awake is booted again, after a pause.
    fn retry_later(&self) -> Vec<Effect> {
        match self.power {
            PowerIntent::Awake => vec![Effect::RetryLater],
            PowerIntent::Auto | PowerIntent::Asleep => Vec::new(),
        }
    }
}

impl Stage {
    /// As the API says it.
    pub(crate) fn power(self) -> Power {
        match self {
            Self::Asleep(_) | Self::Gone => Power::Asleep,
            Self::Waking => Power::Waking,
            Self::Awake => Power::Awake,
            Self::Stopping => Power::Stopping,
        }
    }

    pub(crate) fn sleep_reason(self) -> Option<SleepReason> {
        match self {
            Self::Asleep(reason) => Some(reason),
            Self::Waking | Self::Awake | Self::Stopping | Self::Gone => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(inputs: &[Input]) -> Machine {
        let mut machine = Machine::new();
        for input in inputs {
            machine.step(*input);
        }
        machine
    }

    const VM_DIED: Input = Input::VmExited(SleepReason::VmDied);
    const IDLE: Input = Input::Sleep(SleepReason::Idle);
    const AWAKE: [Input; 2] = [Input::Wake, Input::Booted];

    #[test]
    fn many_actions_at_once_boot_one_vm() {
        let mut machine = Machine::new();
        assert_eq!(machine.step(Input::Wake), [Effect::Boot]);
        assert_eq!(machine.step(Input::Wake), []);
        assert_eq!(machine.step(Input::Booted), [Effect::Admit]);
        assert_eq!(machine.step(Input::Wake), [Effect::Admit]);
        assert_eq!(machine.stage(), Stage::Awake);
    }

    #[test]
    fn a_vm_that_died_is_booted_again_by_the_next_action() {
        let mut machine = after(&AWAKE);
        assert_eq!(machine.step(VM_DIED), []);
        assert_eq!(machine.stage(), Stage::Asleep(SleepReason::VmDied));
        assert_eq!(machine.step(Input::Wake), [Effect::Boot]);
    }

    #[test]
    fn a_failed_boot_refuses_those_who_wait_and_is_tried_again_by_the_next_action() {
        let mut machine = after(&[Input::Wake]);
        assert_eq!(machine.step(Input::BootFailed), [Effect::Refuse(Refusal::BootFailed)]);
        assert_eq!(machine.stage(), Stage::Asleep(SleepReason::BootFailed));
        assert_eq!(machine.step(Input::Wake), [Effect::Boot]);
    }

    #[test]
    fn power_awake_boots_at_once_and_again_after_a_failure() {
        let mut machine = Machine::new();
        assert_eq!(machine.step(Input::Configured(PowerIntent::Awake)), [Effect::Boot]);
        assert_eq!(
            machine.step(Input::BootFailed),
            [Effect::Refuse(Refusal::BootFailed), Effect::RetryLater]
        );
        assert_eq!(machine.step(Input::RetryDue), [Effect::Boot]);
        machine.step(Input::Booted);
        assert_eq!(machine.step(VM_DIED), [Effect::RetryLater]);
    }

    #[test]
    fn power_asleep_stops_the_vm_and_refuses_actions() {
        let mut machine = after(&AWAKE);
        let effects = machine.step(Input::Configured(PowerIntent::Asleep));
        assert_eq!(effects, [Effect::Stop, Effect::Refuse(Refusal::PowerAsleep)]);
        assert_eq!(machine.step(Input::Wake), [Effect::Refuse(Refusal::PowerAsleep)]);
        machine.step(Input::Stopped);
        assert_eq!(machine.stage(), Stage::Asleep(SleepReason::Requested));
        assert_eq!(machine.step(Input::RetryDue), []);
    }

    #[test]
    fn power_asleep_takes_back_a_boot_in_flight() {
        let mut machine = after(&[Input::Wake]);
        let effects = machine.step(Input::Configured(PowerIntent::Asleep));
        assert_eq!(effects, [Effect::Stop, Effect::Refuse(Refusal::PowerAsleep)]);
        assert_eq!(machine.step(Input::Booted), [], "a boot that ends too late changes nothing");
        assert_eq!(machine.stage(), Stage::Stopping);
    }

    #[test]
    fn an_action_while_the_vm_stops_boots_the_next_one() {
        let mut machine = after(&AWAKE);
        machine.step(Input::Configured(PowerIntent::Asleep));
        machine.step(Input::Configured(PowerIntent::Auto));
        assert_eq!(machine.step(Input::Wake), []);
        assert_eq!(machine.step(Input::Stopped), [Effect::Boot]);
    }

    #[test]
    fn an_idle_vm_is_stopped_and_says_why() {
        let mut machine = after(&AWAKE);
        assert_eq!(machine.step(IDLE), [Effect::Stop]);
        assert_eq!(machine.step(Input::Stopped), []);
        assert_eq!(machine.stage(), Stage::Asleep(SleepReason::Idle));
        assert_eq!(machine.step(Input::Wake), [Effect::Boot]);
    }

    #[test]
    fn an_action_that_comes_while_an_idle_vm_stops_is_not_lost() {
        let mut machine = after(&AWAKE);
        machine.step(IDLE);
        assert_eq!(machine.step(Input::Wake), []);
        assert_eq!(machine.step(Input::Stopped), [Effect::Boot]);
        assert_eq!(machine.step(Input::Booted), [Effect::Admit]);
    }

    #[test]
    fn what_is_wanted_awake_or_is_booting_is_not_put_to_sleep() {
        let mut machine = after(&AWAKE);
        machine.step(Input::Configured(PowerIntent::Awake));
        assert_eq!(machine.step(Input::Sleep(SleepReason::MemoryPressure)), []);
        assert_eq!(machine.stage(), Stage::Awake);
        let mut machine = after(&[Input::Wake]);
        assert_eq!(machine.step(IDLE), []);
        assert_eq!(machine.stage(), Stage::Waking);
    }

    #[test]
    fn power_asleep_while_an_idle_vm_stops_refuses_those_who_wait() {
        let mut machine = after(&AWAKE);
        machine.step(IDLE);
        machine.step(Input::Wake);
        let effects = machine.step(Input::Configured(PowerIntent::Asleep));
        assert_eq!(effects, [Effect::Refuse(Refusal::PowerAsleep)]);
        assert_eq!(machine.step(Input::Stopped), []);
        assert_eq!(machine.stage(), Stage::Asleep(SleepReason::Requested));
    }

    #[test]
    fn a_removal_that_failed_can_only_be_tried_again() {
        let mut machine = Machine::new();
        assert_eq!(machine.step(Input::Delete), [Effect::Remove]);
        assert_eq!(machine.step(Input::RemoveFailed), []);
        assert_eq!(machine.step(Input::Wake), [Effect::Refuse(Refusal::Deleting)]);
        assert_eq!(machine.step(Input::Configured(PowerIntent::Awake)), []);
        assert_eq!(machine.step(Input::Delete), [Effect::Remove]);
    }

    #[test]
    fn deletion_stops_the_vm_first_and_is_final() {
        let mut machine = after(&AWAKE);
        assert_eq!(machine.step(Input::Delete), [Effect::Stop, Effect::Refuse(Refusal::Deleting)]);
        assert_eq!(machine.step(Input::Wake), [Effect::Refuse(Refusal::Deleting)]);
        assert_eq!(machine.step(Input::Configured(PowerIntent::Awake)), []);
        assert_eq!(machine.step(Input::Stopped), [Effect::Remove]);
        assert_eq!(machine.stage(), Stage::Gone);
        assert_eq!(machine.step(Input::Wake), [Effect::Refuse(Refusal::Deleting)]);
    }

    #[test]
    fn deleting_a_sleeping_workspace_needs_no_vm() {
        assert_eq!(Machine::new().step(Input::Delete), [Effect::Remove]);
    }

    #[test]
    fn no_order_of_events_boots_a_second_vm() {
        let inputs = [
            Input::Wake,
            Input::Booted,
            Input::BootFailed,
            VM_DIED,
            IDLE,
            Input::Stopped,
            Input::RetryDue,
            Input::RemoveFailed,
            Input::Configured(PowerIntent::Awake),
            Input::Configured(PowerIntent::Asleep),
            Input::Configured(PowerIntent::Auto),
            Input::Delete,
        ];
        // Every sequence of five, with the world answering only what it was asked.
        let mut stack = vec![Vec::new()];
        while let Some(sequence) = stack.pop() {
            check_single_vm(&sequence);
            if sequence.len() < 5 {
                for input in inputs {
                    let mut longer = sequence.clone();
                    longer.push(input);
                    stack.push(longer);
                }
            }
        }
    }

    /// Follows how many VMs a world would hold that does what the machine says.
    fn check_single_vm(inputs: &[Input]) {
        let mut machine = Machine::new();
        let (mut vms, mut is_booting, mut is_stopping) = (0, false, false);
        for input in inputs {
            let can_happen = match input {
                Input::Booted | Input::BootFailed => is_booting && !is_stopping,
                Input::VmExited(_) => vms == 1 && !is_booting && !is_stopping,
                Input::Stopped => is_stopping,
                Input::RemoveFailed => machine.stage() == Stage::Gone,
                Input::Wake | Input::Sleep(_) | Input::RetryDue | Input::Configured(_) | Input::Delete => {
                    true
                }
            };
            if !can_happen {
                return;
            }
            match input {
                Input::Booted => is_booting = false,
                Input::BootFailed => (vms, is_booting) = (0, false),
                Input::VmExited(_) => vms = 0,
                Input::Stopped => (vms, is_booting, is_stopping) = (0, false, false),
                Input::Wake
                | Input::Sleep(_)
                | Input::RetryDue
                | Input::RemoveFailed
                | Input::Configured(_)
                | Input::Delete => {}
            }
            for effect in machine.step(*input) {
                match effect {
                    Effect::Boot => (vms, is_booting) = (vms + 1, true),
                    Effect::Stop => {
                        assert_eq!(vms, 1, "{inputs:?}");
                        is_stopping = true;
                    }
                    Effect::Remove => assert_eq!(vms, 0, "{inputs:?}"),
                    Effect::Admit => assert_eq!((vms, is_booting), (1, false), "{inputs:?}"),
                    Effect::Refuse(_) | Effect::RetryLater => {}
                }
            }
            assert!(vms <= 1, "{inputs:?}");
        }
    }
}
