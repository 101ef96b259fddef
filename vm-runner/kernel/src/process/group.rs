//! Process groups and sessions, and sending signals: to one, to a group, to a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use vm_abi::{Credentials, DefaultAction, Errno, PollEvents, Signal};

use super::signal::{Effect, TerminalStop};
use super::wait::WaitStatus;
use super::{Pgid, Pid, Process, Sid};
use crate::context::ProcessContext;
use crate::kernel::KernelInner;

/// To whom a signal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillTarget {
    /// One process.
    Process(Pid),
    /// A group.
    Group(Pgid),
    /// The sender's group.
    OwnGroup,
    /// Everybody the sender may send to, but not itself.
    Everyone,
}

impl KillTarget {
    /// The target as `kill(2)` writes it.
    #[must_use]
    pub fn from_raw(raw: i32) -> Self {
        match (Pid::new(raw), Pgid::new(raw.checked_neg().unwrap_or(i32::MAX))) {
            (Some(pid), _) => Self::Process(pid),
            (None, _) if raw == -1 => Self::Everyone,
            (None, Some(group)) => Self::Group(group),
            (None, None) => Self::OwnGroup,
        }
    }
}

impl KernelInner {
    /// Sends a signal from a process; without a signal only asks whether it could.
    pub(crate) fn kill(
        &self,
        ctx: &ProcessContext,
        target: KillTarget,
        signal: Option<Signal>,
    ) -> Result<(), Errno> {
        let targets = self.kill_targets(ctx, target)?;
        if targets.is_empty() {
            return Err(Errno::ESRCH);
        }
        let sender = ctx.process().credentials();
        let may_reach = |process: &Arc<Process>| {
            let continues = signal == Some(Signal::SIGCONT) && self.is_same_session(ctx.pid(), process.pid);
            continues || may_signal(&sender, &process.credentials())
        };
        let allowed: Vec<_> = targets.iter().filter(|process| may_reach(process)).collect();
        if allowed.is_empty() {
            return Err(Errno::EPERM);
        }
        if let Some(signal) = signal {
            allowed.iter().for_each(|process| self.post_signal(process, signal));
        }
        Ok(())
    }

    fn kill_targets(&self, ctx: &ProcessContext, target: KillTarget) -> Result<Vec<Arc<Process>>, Errno> {
        Ok(match target {
            KillTarget::Process(pid) => vec![self.table.get(pid)?],
            KillTarget::Group(group) => self.table.living(|_, relations| relations.group == group),
            KillTarget::OwnGroup => {
                let own = self.table.relations(ctx.pid())?.group;
                self.table.living(|_, relations| relations.group == own)
            }
            KillTarget::Everyone => self.table.living(|pid, _| pid != ctx.pid()),
        })
    }

    fn is_same_session(&self, one: Pid, other: Pid) -> bool {
        match (self.table.relations(one), self.table.relations(other)) {
            (Ok(one), Ok(other)) => one.session == other.session,
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Sends a signal to all of a group, from the kernel itself.
    pub(crate) fn post_to_group(&self, group: Pgid, signal: Signal) {
        for process in self.table.living(|_, relations| relations.group == group) {
            self.post_signal(&process, signal);
        }
    }

    /// Sends a signal to all of a session, from the kernel itself; tells whether there was anybody. Who is born meanwhile
    /// gets it, too.
    pub(crate) fn post_to_session(&self, session: Sid, signal: Signal) -> bool {
        let mut reached = BTreeSet::new();
        loop {
            let members =
                self.table.living(|pid, relations| relations.session == session && !reached.contains(&pid));
            if members.is_empty() {
                return !reached.is_empty();
            }
            for process in members {
                reached.insert(process.pid);
                self.post_signal(&process, signal);
            }
        }
    }

    /// A signal arrives at a process. Zombies do not mind.
    pub(crate) fn post_signal(&self, process: &Arc<Process>, signal: Signal) {
        if process.exit_status().is_some() {
            return;
        }
        if signal == Signal::SIGCONT {
            self.resume(process);
        }
        let is_stop = signal.default_action() == DefaultAction::Stop;
        let stop = if is_stop && !self.table.is_in_orphaned_group(process.pid) {
            TerminalStop::Allowed
        } else {
            TerminalStop::Pointless
        };
        let effect = process.change_signals(|signals| signals.post(signal, stop));
        self.carry_out(process, effect);
    }

    /// Does what a change of a process's signals causes.
    pub(crate) fn carry_out(&self, process: &Arc<Process>, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Interrupt => process.interrupt.notify(PollEvents::IN),
            Effect::Kill(signal) => process.control.kill(signal),
            Effect::Stop(signal) => {
                if process.control.stop() {
                    self.tell_parent(process, WaitStatus::Stopped(signal));
                }
            }
        }
    }

    fn resume(&self, process: &Arc<Process>) {
        if process.control.resume() {
            process.interrupt.notify(PollEvents::IN);
            self.tell_parent(process, WaitStatus::Continued);
        }
    }

    fn tell_parent(&self, process: &Process, change: WaitStatus) {
        if let Some(parent) = self.table.set_change(process.pid, change) {
            self.post_signal(&parent, Signal::SIGCHLD);
            parent.child_change.notify(PollEvents::IN);
        }
    }
}

/// POSIX: the sender's real or effective user must be the receiver's real or saved one.
fn may_signal(sender: &Credentials, receiver: &Credentials) -> bool {
    let receivers = [receiver.uid, receiver.suid];
    sender.is_privileged() || receivers.contains(&sender.uid) || receivers.contains(&sender.euid)
}

#[cfg(test)]
mod tests {
    use super::KillTarget;
    use crate::process::{Pgid, Pid};

    #[test]
    fn raw_targets_are_read_as_kill_does() {
        assert_eq!(KillTarget::from_raw(7), KillTarget::Process(Pid::new(7).unwrap()));
        assert_eq!(KillTarget::from_raw(0), KillTarget::OwnGroup);
        assert_eq!(KillTarget::from_raw(-1), KillTarget::Everyone);
        assert_eq!(KillTarget::from_raw(-7), KillTarget::Group(Pgid::new(7).unwrap()));
        assert_eq!(KillTarget::from_raw(i32::MIN), KillTarget::Group(Pgid::new(i32::MAX).unwrap()));
    }
}
