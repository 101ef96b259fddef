//! Sessions and their controlling terminals.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use vm_abi::{Errno, Signal};

use super::termios::LocalFlags;
use super::{Control, Terminal};
use crate::context::ProcessContext;
use crate::file::Direction;
use crate::kernel::KernelInner;
use crate::mutex::Mutex;
use crate::process::{Pgid, Pid, Sid};

/// Which session has which controlling terminal.
#[derive(Default)]
pub(crate) struct ControllingTerminals {
    by_session: Mutex<HashMap<Sid, Weak<Terminal>>>,
}

impl KernelInner {
    /// The controlling terminal of a process's session. `ENXIO` if it has none.
    pub(crate) fn controlling_terminal(&self, pid: Pid) -> Result<Arc<Terminal>, Errno> {
        let session = self.table.relations(pid)?.session;
        let found = self.controlling.by_session.lock().get(&session).and_then(Weak::upgrade);
        found.filter(|terminal| terminal.control().session == Some(session)).ok_or(Errno::ENXIO)
    }

    /// Makes a terminal the controlling one of a session leader's session, if neither has another.
    pub(crate) fn acquire_terminal(&self, leader: Pid, terminal: &Arc<Terminal>) {
        let Ok(relations) = self.table.relations(leader) else { return };
        if relations.session != leader.own_session() || self.controlling_terminal(leader).is_ok() {
            return;
        }
        let is_acquired = terminal.change_control(|control| {
            let is_free = control.session.is_none();
            if is_free {
                *control = Control { session: Some(relations.session), foreground: Some(relations.group) };
            }
            is_free
        });
        if is_acquired {
            self.controlling.by_session.lock().insert(relations.session, Arc::downgrade(terminal));
        }
    }

    /// A process ends: if it leads a session with a terminal, that is hung up.
    pub(crate) fn leave_session(&self, pid: Pid) {
        let Some(terminal) = self.controlling.by_session.lock().remove(&pid.own_session()) else {
            return;
        };
        if let Some(terminal) = terminal.upgrade() {
            let control = terminal.change_control(std::mem::take);
            if let Some(group) = control.foreground {
                self.post_to_group(group, Signal::SIGHUP);
                self.post_to_group(group, Signal::SIGCONT);
            }
        }
    }

    /// A terminal's master is gone: the session's leader and the foreground group are hung up.
    pub(crate) fn hang_up(&self, control: Control) {
        let Some(session) = control.session else { return };
        self.controlling.by_session.lock().remove(&session);
        let leader = Pid::new(session.raw()).and_then(|pid| self.table.get(pid).ok());
        if let Some(leader) = leader {
            self.post_signal(&leader, Signal::SIGHUP);
            self.post_signal(&leader, Signal::SIGCONT);
        }
        if let Some(group) = control.foreground.filter(|group| group.raw() != session.raw()) {
            self.post_to_group(group, Signal::SIGHUP);
            self.post_to_group(group, Signal::SIGCONT);
        }
    }

    /// Whether a process may use its terminal now. Background processes are stopped: `EAGAIN`, to try again when they
    /// go on; `EIO` if stopping them is impossible.
    pub(crate) fn check_terminal_use(
        &self,
        ctx: &ProcessContext,
        terminal: &Terminal,
        direction: Direction,
    ) -> Result<(), Errno> {
        let control = terminal.control();
        let relations = self.table.relations(ctx.pid())?;
        if control.session != Some(relations.session) || control.foreground == Some(relations.group) {
            return Ok(());
        }
        let signal = match direction {
            Direction::Read => Signal::SIGTTIN,
            Direction::Write if terminal.termios().local.contains(LocalFlags::TOSTOP) => Signal::SIGTTOU,
            Direction::Write => return Ok(()),
        };
        let is_held_back = ctx
            .process()
            .signals(|signals| signals.mask().contains(signal) || signals.ignored().contains(signal));
        match direction {
            Direction::Write if is_held_back => return Ok(()),
            Direction::Read if is_held_back => return Err(Errno::EIO),
            Direction::Read | Direction::Write => {}
        }
        if self.table.is_in_orphaned_group(ctx.pid()) {
            return Err(Errno::EIO);
        }
        self.post_to_group(relations.group, signal);
        Err(Errno::EAGAIN)
    }

    /// Gives the terminal to another group of the caller's session.
    pub(crate) fn set_foreground(
        &self,
        ctx: &ProcessContext,
        terminal: &Terminal,
        group: Pgid,
    ) -> Result<(), Errno> {
        let session = self.table.relations(ctx.pid())?.session;
        if terminal.control().session != Some(session) {
            return Err(Errno::ENOTTY);
        }
        if self
            .table
            .living(|_, relations| relations.group == group && relations.session == session)
            .is_empty()
        {
            return Err(Errno::EPERM);
        }
        terminal.change_control(|control| control.foreground = Some(group));
        Ok(())
    }
}
