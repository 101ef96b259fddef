//! Signals of one process: dispositions, mask, pending set, and what a signal does when it arrives.
//!
//! [`SignalState`] is pure: it answers with an [`Effect`], which the caller carries out without its lock. [`Control`]
//! is what the run loop looks at: whether the process is killed or stopped.
//!
//! Standard and real-time signals are treated alike: one pending bit each, no queue, no siginfo.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Waker;

use bitflags::bitflags;
use futures::task::AtomicWaker;
use vm_abi::{DefaultAction, Signal, SignalSet};

/// What a process does about a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposition {
    /// The signal's default action.
    #[default]
    Default,
    /// Nothing.
    Ignore,
    /// The program's handler runs.
    Caught {
        /// Signals blocked while it runs, besides this one.
        mask: SignalSet,
        /// How it runs.
        flags: ActionFlags,
    },
}

bitflags! {
    /// How a handler runs, with Linux's bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ActionFlags: u32 {
        /// Children that end leave no zombie behind (for `SIGCHLD`).
        const NOCLDWAIT = 0x2;
        /// An interrupted call is resumed.
        const RESTART = 0x1000_0000;
        /// The signal is not blocked while its handler runs.
        const NODEFER = 0x4000_0000;
        /// The handler runs once.
        const RESETHAND = 0x8000_0000;
    }
}

/// How a mask changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskChange {
    /// These are blocked, too.
    Block,
    /// These are no longer blocked.
    Unblock,
    /// These and no others are blocked.
    Set,
}

/// A caught signal whose handler the driver has to run now. Given back to `finish_delivery` afterwards.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "run the guest's handler, then finish the delivery"]
pub struct Delivery {
    /// The signal.
    pub signal: Signal,
    /// Whether a call that it interrupted is resumed.
    pub restart: bool,
    restore: SignalSet,
}

/// What has to be done because of a signal or a changed mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// A handler is to run: interrupt a wait.
    Interrupt,
    /// The process dies of it.
    Kill(Signal),
    /// The process stops.
    Stop(Signal),
}

/// Whether a stop from the terminal may stop the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TerminalStop {
    /// It may.
    Allowed,
    /// Its process group is orphaned: nobody would continue it.
    Pointless,
}

/// Dispositions, mask and pending signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct SignalState {
    mask: SignalSet,
    pending: SignalSet,
    ignored: SignalSet,
    caught: SignalSet,
    handlers: Vec<Handler>,
    restore_after_wait: Option<SignalSet>,
}

#[derive(Clone, Copy, Debug)]
struct Handler {
    signal: Signal,
    mask: SignalSet,
    flags: ActionFlags,
}

const STOPPING: SignalSet =
    SignalSet::EMPTY.with(Signal::SIGSTOP).with(Signal::SIGTSTP).with(Signal::SIGTTIN).with(Signal::SIGTTOU);

impl SignalState {
    /// The state of a fresh process with this mask and these signals ignored.
    pub(crate) fn new(mask: SignalSet, ignored: SignalSet) -> Self {
        Self {
            mask: mask.difference(SignalSet::UNBLOCKABLE),
            ignored: ignored.difference(SignalSet::UNBLOCKABLE),
            ..Self::default()
        }
    }

    /// The blocked signals.
    pub(crate) fn mask(&self) -> SignalSet {
        self.mask
    }

    /// The signals that wait to be delivered.
    pub(crate) fn pending(&self) -> SignalSet {
        self.pending
    }

    /// The signals that are ignored by choice.
    pub(crate) fn ignored(&self) -> SignalSet {
        self.ignored
    }

    /// The signals that have a handler.
    pub(crate) fn caught(&self) -> SignalSet {
        self.caught
    }

    /// What happens about a signal.
    pub(crate) fn disposition(&self, signal: Signal) -> Disposition {
        if self.ignored.contains(signal) {
            return Disposition::Ignore;
        }
        match self.handler(signal) {
            Some(handler) => Disposition::Caught { mask: handler.mask, flags: handler.flags },
            None => Disposition::Default,
        }
    }

    /// Whether ended children leave no zombie: `SIGCHLD` is ignored, or handled with `NOCLDWAIT`.
    pub(crate) fn reaps_automatically(&self) -> bool {
        self.ignored.contains(Signal::SIGCHLD)
            || self
                .handler(Signal::SIGCHLD)
                .is_some_and(|handler| handler.flags.contains(ActionFlags::NOCLDWAIT))
    }

    /// Sets a disposition; the caller has checked that the signal can be caught.
    pub(crate) fn set_disposition(&mut self, signal: Signal, disposition: Disposition) -> Effect {
        self.handlers.retain(|handler| handler.signal != signal);
        self.ignored.remove(signal);
        self.caught.remove(signal);
        match disposition {
            Disposition::Default => {}
            Disposition::Ignore => self.ignored.insert(signal),
            Disposition::Caught { mask, flags } => {
                self.caught.insert(signal);
                self.handlers.push(Handler { signal, mask, flags });
            }
        }
        if self.is_ignored(signal) {
            self.pending.remove(signal);
        }
        self.settle()
    }

    /// A signal arrives.
    pub(crate) fn post(&mut self, signal: Signal, stop: TerminalStop) -> Effect {
        if signal == Signal::SIGCONT {
            self.pending = self.pending.difference(STOPPING);
        } else if STOPPING.contains(signal) {
            self.pending.remove(Signal::SIGCONT);
        }
        if self.mask.contains(signal) {
            self.pending.insert(signal);
            return Effect::Nothing;
        }
        if self.is_ignored(signal) {
            return Effect::Nothing;
        }
        if self.caught.contains(signal) {
            self.pending.insert(signal);
            return Effect::Interrupt;
        }
        match signal.default_action() {
            DefaultAction::Terminate | DefaultAction::Core => Effect::Kill(signal),
            DefaultAction::Stop if stop == TerminalStop::Allowed || signal == Signal::SIGSTOP => {
                Effect::Stop(signal)
            }
            DefaultAction::Stop | DefaultAction::Ignore | DefaultAction::Continue => Effect::Nothing,
        }
    }

    /// Changes the mask; tells the old one and what follows from newly unblocked signals.
    pub(crate) fn change_mask(&mut self, change: MaskChange, set: SignalSet) -> (SignalSet, Effect) {
        let old = self.mask;
        let new = match change {
            MaskChange::Block => old.union(set),
            MaskChange::Unblock => old.difference(set),
            MaskChange::Set => set,
        };
        self.mask = new.difference(SignalSet::UNBLOCKABLE);
        (old, self.settle())
    }

    /// Sets a mask for the time of one wait.
    pub(crate) fn begin_wait_mask(&mut self, mask: SignalSet) -> Effect {
        self.restore_after_wait = Some(self.mask);
        self.change_mask(MaskChange::Set, mask).1
    }

    /// The wait is over. If a handler is to run, it runs under the temporary mask, and the old one returns after it.
    pub(crate) fn end_wait_mask(&mut self) -> Effect {
        if self.is_deliverable() {
            return Effect::Interrupt;
        }
        self.restore_mask()
    }

    /// Whether a handler has to run.
    pub(crate) fn is_deliverable(&self) -> bool {
        !self.pending.intersection(self.caught).difference(self.mask).is_empty()
    }

    /// The next handler to run. Without one, the mask of before a wait is in force again.
    pub(crate) fn take_deliverable(&mut self) -> Result<Delivery, Effect> {
        let deliverable = self.pending.intersection(self.caught).difference(self.mask);
        let Some(handler) = deliverable.first().and_then(|signal| self.handler(signal)) else {
            return Err(self.restore_mask());
        };
        let Handler { signal, mask, flags } = handler;
        self.pending.remove(signal);
        let restore = self.restore_after_wait.take().unwrap_or(self.mask);
        self.mask = self.mask.union(mask).difference(SignalSet::UNBLOCKABLE);
        if !flags.contains(ActionFlags::NODEFER) {
            self.mask.insert(signal);
        }
        if flags.contains(ActionFlags::RESETHAND) {
            self.handlers.retain(|handler| handler.signal != signal);
            self.caught.remove(signal);
        }
        Ok(Delivery { signal, restart: flags.contains(ActionFlags::RESTART), restore })
    }

    /// The handler has run.
    pub(crate) fn finish_delivery(&mut self, delivery: Delivery) -> Effect {
        self.change_mask(MaskChange::Set, delivery.restore).1
    }

    /// Another program is executed: handlers are gone, all else stays.
    pub(crate) fn reset_handlers(&mut self) -> Effect {
        self.handlers.clear();
        self.caught = SignalSet::EMPTY;
        self.restore_after_wait = None;
        self.settle()
    }

    fn restore_mask(&mut self) -> Effect {
        match self.restore_after_wait.take() {
            Some(mask) => self.change_mask(MaskChange::Set, mask).1,
            None => Effect::Nothing,
        }
    }

    /// Acts on pending signals that nothing holds back any more.
    fn settle(&mut self) -> Effect {
        let free = self.pending.difference(self.mask).difference(self.caught);
        let mut stop = None;
        for signal in free.iter() {
            self.pending.remove(signal);
            if self.ignored.contains(signal) {
                continue;
            }
            match signal.default_action() {
                DefaultAction::Terminate | DefaultAction::Core => return Effect::Kill(signal),
                DefaultAction::Stop => stop = Some(signal),
                DefaultAction::Ignore | DefaultAction::Continue => {}
            }
        }
        match stop {
            Some(signal) => Effect::Stop(signal),
            None if self.is_deliverable() => Effect::Interrupt,
            None => Effect::Nothing,
        }
    }

    fn is_ignored(&self, signal: Signal) -> bool {
        let by_default = signal.default_action() == DefaultAction::Ignore && !self.caught.contains(signal);
        self.ignored.contains(signal) || by_default
    }

    fn handler(&self, signal: Signal) -> Option<Handler> {
        self.handlers.iter().find(|handler| handler.signal == signal).copied()
    }
}

/// Whether a process is killed or stopped; the run loop waits on it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    killed_by: AtomicU8,
    stopped: AtomicBool,
    run_loop: AtomicWaker,
}

impl Control {
    /// The run loop wants to be woken by this.
    pub(crate) fn register(&self, waker: &Waker) {
        self.run_loop.register(waker);
    }

    /// Looks again.
    pub(crate) fn wake(&self) {
        self.run_loop.wake();
    }

    /// The process dies of the signal; the first signal counts, but for `SIGKILL`.
    pub(crate) fn kill(&self, signal: Signal) {
        if signal == Signal::SIGKILL {
            self.killed_by.store(signal.raw(), Ordering::SeqCst);
        } else {
            let _ = self.killed_by.compare_exchange(0, signal.raw(), Ordering::SeqCst, Ordering::SeqCst);
        }
        self.wake();
    }

    /// The signal that kills the process now. A stopped process dies of `SIGKILL` only, until it is continued.
    pub(crate) fn killed_by(&self) -> Option<Signal> {
        let signal = Signal::from_raw(i32::from(self.killed_by.load(Ordering::SeqCst)));
        signal.filter(|signal| *signal == Signal::SIGKILL || !self.is_stopped())
    }

    /// The process stops; tells whether it was running.
    pub(crate) fn stop(&self) -> bool {
        let was_running = !self.stopped.swap(true, Ordering::SeqCst);
        self.wake();
        was_running
    }

    /// The process continues; tells whether it was stopped.
    pub(crate) fn resume(&self) -> bool {
        let was_stopped = self.stopped.swap(false, Ordering::SeqCst);
        self.wake();
        was_stopped
    }

    /// Whether the process is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Whether the program must not run on: killed or stopped.
    pub(crate) fn is_held(&self) -> bool {
        self.is_stopped() || self.killed_by().is_some()
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::{Signal, SignalSet};

    use super::{ActionFlags, Disposition, Effect, MaskChange, SignalState, TerminalStop};

    fn caught(flags: ActionFlags) -> Disposition {
        Disposition::Caught { mask: SignalSet::EMPTY.with(Signal::SIGUSR2), flags }
    }

    #[test]
    fn an_unblocked_signal_without_handler_takes_its_default_action() {
        let mut state = SignalState::default();
        assert_eq!(state.post(Signal::SIGTERM, TerminalStop::Allowed), Effect::Kill(Signal::SIGTERM));
        assert_eq!(state.post(Signal::SIGCHLD, TerminalStop::Allowed), Effect::Nothing);
        assert_eq!(state.post(Signal::SIGTSTP, TerminalStop::Allowed), Effect::Stop(Signal::SIGTSTP));
        assert_eq!(state.post(Signal::SIGTSTP, TerminalStop::Pointless), Effect::Nothing);
        assert_eq!(state.post(Signal::SIGSTOP, TerminalStop::Pointless), Effect::Stop(Signal::SIGSTOP));
    }

    #[test]
    fn a_blocked_signal_waits_even_if_it_is_ignored() {
        let mut state =
            SignalState::new(SignalSet::EMPTY.with(Signal::SIGHUP), SignalSet::EMPTY.with(Signal::SIGHUP));
        assert_eq!(state.post(Signal::SIGHUP, TerminalStop::Allowed), Effect::Nothing);
        assert!(state.pending().contains(Signal::SIGHUP));
        let (_, effect) = state.change_mask(MaskChange::Set, SignalSet::EMPTY);
        assert_eq!(effect, Effect::Nothing);
        assert!(state.pending().is_empty());
    }

    #[test]
    fn unblocking_a_fatal_pending_signal_kills() {
        let mut state = SignalState::new(SignalSet::EMPTY.with(Signal::SIGTERM), SignalSet::EMPTY);
        assert_eq!(state.post(Signal::SIGTERM, TerminalStop::Allowed), Effect::Nothing);
        let all = SignalSet::EMPTY.with(Signal::SIGTERM);
        assert_eq!(state.change_mask(MaskChange::Unblock, all).1, Effect::Kill(Signal::SIGTERM));
    }

    #[test]
    fn a_handler_runs_with_its_mask_and_the_old_one_returns() {
        let mut state = SignalState::default();
        state.set_disposition(Signal::SIGUSR1, caught(ActionFlags::RESTART));
        assert_eq!(state.post(Signal::SIGUSR1, TerminalStop::Allowed), Effect::Interrupt);
        let delivery = state.take_deliverable().unwrap();
        assert!(delivery.restart);
        assert_eq!(state.mask(), SignalSet::EMPTY.with(Signal::SIGUSR1).with(Signal::SIGUSR2));
        assert_eq!(state.finish_delivery(delivery), Effect::Nothing);
        assert_eq!(state.mask(), SignalSet::EMPTY);
        assert!(state.take_deliverable().is_err());
    }

    #[test]
    fn a_one_shot_handler_is_gone_after_its_first_signal() {
        let mut state = SignalState::default();
        state.set_disposition(Signal::SIGUSR1, caught(ActionFlags::RESETHAND | ActionFlags::NODEFER));
        state.post(Signal::SIGUSR1, TerminalStop::Allowed);
        let delivery = state.take_deliverable().unwrap();
        assert!(!state.mask().contains(Signal::SIGUSR1));
        state.finish_delivery(delivery);
        assert_eq!(state.disposition(Signal::SIGUSR1), Disposition::Default);
    }

    #[test]
    fn a_temporary_mask_lasts_until_the_handler_has_run() {
        let blocked = SignalSet::EMPTY.with(Signal::SIGUSR1);
        let mut state = SignalState::new(blocked, SignalSet::EMPTY);
        state.set_disposition(Signal::SIGUSR1, caught(ActionFlags::empty()));
        state.post(Signal::SIGUSR1, TerminalStop::Allowed);
        assert_eq!(state.begin_wait_mask(SignalSet::EMPTY), Effect::Interrupt);
        assert_eq!(state.end_wait_mask(), Effect::Interrupt);
        let delivery = state.take_deliverable().unwrap();
        state.finish_delivery(delivery);
        assert_eq!(state.mask(), blocked);
    }

    #[test]
    fn continuing_discards_pending_stops_and_the_other_way_round() {
        let blocked = SignalSet::EMPTY.with(Signal::SIGTSTP).with(Signal::SIGCONT);
        let mut state = SignalState::new(blocked, SignalSet::EMPTY);
        state.post(Signal::SIGTSTP, TerminalStop::Allowed);
        state.post(Signal::SIGCONT, TerminalStop::Allowed);
        assert_eq!(state.pending(), SignalSet::EMPTY.with(Signal::SIGCONT));
        state.post(Signal::SIGTSTP, TerminalStop::Allowed);
        assert_eq!(state.pending(), SignalSet::EMPTY.with(Signal::SIGTSTP));
    }

    #[test]
    fn executing_another_program_keeps_what_is_ignored_and_drops_handlers() {
        let mut state = SignalState::new(SignalSet::EMPTY, SignalSet::EMPTY.with(Signal::SIGPIPE));
        state.set_disposition(Signal::SIGUSR1, caught(ActionFlags::empty()));
        state.reset_handlers();
        assert_eq!(state.disposition(Signal::SIGUSR1), Disposition::Default);
        assert_eq!(state.disposition(Signal::SIGPIPE), Disposition::Ignore);
    }

    #[test]
    fn kill_and_stop_cannot_be_blocked() {
        let mut state = SignalState::new(SignalSet::ALL, SignalSet::ALL);
        assert_eq!(state.post(Signal::SIGKILL, TerminalStop::Allowed), Effect::Kill(Signal::SIGKILL));
        assert_eq!(state.post(Signal::SIGSTOP, TerminalStop::Allowed), Effect::Stop(Signal::SIGSTOP));
    }
}
