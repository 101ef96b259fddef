//! The process table: who exists, and how processes relate.
//!
//! One lock guards all relations: parents and children, groups, sessions, and what a parent has still to be told. So
//! checks and changes that involve several processes are one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use vm_abi::Errno;

use super::wait::{WaitOptions, WaitResult, WaitStatus, WaitTarget};
use super::{ExitStatus, Pgid, Pid, Process, Sid};
use crate::mutex::Mutex;
use crate::usage::Charge;

/// Pids wrap around here, as on Linux.
pub(crate) const MAX_PID: i32 = 4_194_304;
/// The first pid; 1 is what adopts orphans, and no process.
const FIRST_PID: i32 = 2;

/// All processes of a kernel.
#[derive(Default)]
pub(crate) struct ProcessTable {
    inner: Mutex<Inner>,
}

struct Inner {
    entries: BTreeMap<Pid, Entry>,
    next: i32,
    /// Processes ever made.
    made: u64,
    accepts_processes: bool,
}

struct Entry {
    process: Arc<Process>,
    parent: Parent,
    group: Pgid,
    session: Sid,
    children: Vec<Pid>,
    has_executed: bool,
    ended: Option<ExitStatus>,
    /// A stop or continuation that the parent was not told of.
    change: Option<WaitStatus>,
    _charge: Charge,
}

/// Who waits for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// The host: a command.
    Host,
    /// Nobody: its parent has ended.
    Init,
    /// Another process.
    Process(Pid),
}

/// Into which group and session a new process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Those of its parent.
    Inherit,
    /// A group of its own in its parent's session.
    OwnGroup,
    /// This group of its parent's session.
    Group(Pgid),
    /// A session and group of its own.
    OwnSession,
}

/// How a process relates to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relations {
    pub(crate) parent: Parent,
    pub(crate) group: Pgid,
    pub(crate) session: Sid,
    pub(crate) ended: Option<ExitStatus>,
}

/// What follows from the end of a process.
pub(crate) struct Ended {
    /// Its parent, if that is a process that lives.
    pub(crate) parent: Option<Arc<Process>>,
    /// Members of groups that are now orphaned and have stopped members: nobody else would ever continue those.
    pub(crate) orphaned: Vec<Arc<Process>>,
    /// Entries to drop after unlocking.
    _removed: Vec<Arc<Process>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next: FIRST_PID, made: 0, accepts_processes: true }
    }
}

impl ProcessTable {
    /// Adds a process made with a fresh pid.
    ///
    /// # Errors
    /// `EAGAIN` if the table is closed; `EPERM` if the group is not one of the parent's session; `ESRCH` if the parent
    /// has ended.
    pub(crate) fn insert(
        &self,
        parent: Parent,
        placement: Placement,
        charge: Charge,
        make: impl FnOnce(Pid) -> Process,
    ) -> Result<Arc<Process>, Errno> {
        let mut inner = self.inner.lock();
        if !inner.accepts_processes {
            return Err(Errno::EAGAIN);
        }
        let pid = inner.free_pid()?;
        inner.made += 1;
        let (group, session) = inner.place(pid, parent, placement)?;
        let process = Arc::new(make(pid));
        if let Parent::Process(parent) = parent {
            inner.entry_mut(parent)?.children.push(pid);
        }
        let entry = Entry {
            process: Arc::clone(&process),
            parent,
            group,
            session,
            children: Vec::new(),
            has_executed: false,
            ended: None,
            change: None,
            _charge: charge,
        };
        inner.entries.insert(pid, entry);
        Ok(process)
    }

    /// No more processes come.
    pub(crate) fn close(&self) {
        self.inner.lock().accepts_processes = false;
    }

    /// A process, zombies included.
    pub(crate) fn get(&self, pid: Pid) -> Result<Arc<Process>, Errno> {
        self.inner.lock().entry(pid).map(|entry| Arc::clone(&entry.process))
    }

    /// How a process relates to others.
    pub(crate) fn relations(&self, pid: Pid) -> Result<Relations, Errno> {
        self.inner.lock().entry(pid).map(Entry::relations)
    }

    /// How many processes were ever made.
    pub(crate) fn made(&self) -> u64 {
        self.inner.lock().made
    }

    /// All processes, ascending, zombies included.
    pub(crate) fn all(&self) -> Vec<(Arc<Process>, Relations)> {
        let inner = self.inner.lock();
        inner.entries.values().map(|entry| (Arc::clone(&entry.process), entry.relations())).collect()
    }

    /// The processes that have not ended and are related so.
    pub(crate) fn living(&self, is_wanted: impl Fn(Pid, &Relations) -> bool) -> Vec<Arc<Process>> {
        let inner = self.inner.lock();
        let living = inner.entries.iter().filter(|(_, entry)| entry.ended.is_none());
        living
            .filter(|(pid, entry)| is_wanted(**pid, &entry.relations()))
            .map(|(_, entry)| Arc::clone(&entry.process))
            .collect()
    }

    /// Whether no member of a process's group has a parent in its session but outside of the group: then nobody could
    /// continue it after a stop from the terminal.
    pub(crate) fn is_in_orphaned_group(&self, pid: Pid) -> bool {
        let inner = self.inner.lock();
        let Ok(own) = inner.entry(pid) else {
            return true;
        };
        inner.is_orphaned(own.group, own.session)
    }

    /// Marks that a process has executed a program since it was spawned.
    pub(crate) fn set_executed(&self, pid: Pid) {
        if let Ok(entry) = self.inner.lock().entry_mut(pid) {
            entry.has_executed = true;
        }
    }

    /// Puts a process into a group of its session (`setpgid`).
    pub(crate) fn set_group(&self, caller: Pid, target: Pid, group: Pgid) -> Result<(), Errno> {
        let mut inner = self.inner.lock();
        let session = inner.entry(caller)?.session;
        let entry = inner.entry(target)?;
        if target != caller && entry.parent != Parent::Process(caller) {
            return Err(Errno::ESRCH);
        }
        if entry.session != session || entry.session == target.own_session() {
            return Err(Errno::EPERM);
        }
        if target != caller && entry.has_executed {
            return Err(Errno::EACCES);
        }
        let is_group_of_session = || inner.entries.values().any(|e| e.group == group && e.session == session);
        if group != target.own_group() && !is_group_of_session() {
            return Err(Errno::EPERM);
        }
        inner.entry_mut(target)?.group = group;
        Ok(())
    }

    /// Gives a process a session and group of its own (`setsid`). `EPERM` if it leads a group.
    pub(crate) fn set_session(&self, pid: Pid) -> Result<Sid, Errno> {
        let mut inner = self.inner.lock();
        if inner.entries.values().any(|entry| entry.group == pid.own_group()) {
            return Err(Errno::EPERM);
        }
        let entry = inner.entry_mut(pid)?;
        entry.session = pid.own_session();
        entry.group = pid.own_group();
        Ok(entry.session)
    }

    /// Notes a stop or continuation; tells the parent that has to hear of it.
    pub(crate) fn set_change(&self, pid: Pid, change: WaitStatus) -> Option<Arc<Process>> {
        let mut inner = self.inner.lock();
        let entry = inner.entry_mut(pid).ok()?;
        if entry.ended.is_some() {
            return None;
        }
        entry.change = Some(change);
        let parent = entry.parent;
        inner.living_parent(parent)
    }

    /// A process has ended. Its children are orphans; it stays as a zombie if its parent wants to know.
    pub(crate) fn end(&self, pid: Pid, status: ExitStatus) -> Ended {
        let mut inner = self.inner.lock();
        let mut removed = Vec::new();
        let Ok(entry) = inner.entry_mut(pid) else {
            return Ended { parent: None, orphaned: Vec::new(), _removed: removed };
        };
        entry.ended = Some(status);
        entry.change = None;
        let (parent, group, session) = (entry.parent, entry.group, entry.session);
        let children = std::mem::take(&mut entry.children);
        // A group is orphaned by this end only if the process was its link to another group of the session.
        let mut groups = Vec::new();
        if inner.is_elsewhere_in_session(parent, group, session) {
            groups.push(group);
        }
        for child in children {
            let Ok(orphan) = inner.entry_mut(child) else { continue };
            orphan.parent = Parent::Init;
            if orphan.group != group && orphan.session == session {
                groups.push(orphan.group);
            }
            if orphan.ended.is_some() {
                removed.extend(inner.entries.remove(&child).map(|entry| entry.process));
            }
        }
        let orphaned = inner.stopped_orphans(groups, session);
        let parent = inner.living_parent(parent);
        let keeps_zombie =
            parent.as_ref().is_some_and(|parent| !parent.signals(|signals| signals.reaps_automatically()));
        if !keeps_zombie {
            removed.extend(inner.remove(pid).map(|entry| entry.process));
        }
        Ended { parent, orphaned, _removed: removed }
    }

    /// What a parent is to be told of its children, if anything; zombies it is told of are gone.
    ///
    /// # Errors
    /// `ECHILD` if it has no such child.
    pub(crate) fn try_wait(
        &self,
        parent: Pid,
        target: WaitTarget,
        options: WaitOptions,
    ) -> Result<Option<WaitResult>, Errno> {
        let mut inner = self.inner.lock();
        let own = inner.entry(parent)?;
        let own_group = own.group;
        let mut has_child = false;
        let mut found = None;
        for &pid in &own.children {
            let Ok(child) = inner.entry(pid) else { continue };
            if !target.includes(pid, child.group, own_group) {
                continue;
            }
            has_child = true;
            if let Some(status) = child.report(options) {
                found = Some(WaitResult { pid, status });
                break;
            }
        }
        let Some(result) = found else {
            return if has_child { Ok(None) } else { Err(Errno::ECHILD) };
        };
        let removed = match result.status {
            WaitStatus::Exited(_) | WaitStatus::Signaled(_) => {
                let child = inner.remove(result.pid);
                if let (Some(child), Ok(own)) = (&child, inner.entry(parent)) {
                    own.process.cpu.add_child(&child.process.cpu);
                }
                child
            }
            WaitStatus::Stopped(_) | WaitStatus::Continued => {
                inner.entry_mut(result.pid)?.change = None;
                None
            }
        };
        drop(inner);
        drop(removed);
        Ok(Some(result))
    }
}

impl Inner {
    fn entry(&self, pid: Pid) -> Result<&Entry, Errno> {
        self.entries.get(&pid).ok_or(Errno::ESRCH)
    }

    fn entry_mut(&mut self, pid: Pid) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(&pid).ok_or(Errno::ESRCH)
    }

    /// Whether no living member of a group has a parent in the session but outside of the group.
    fn is_orphaned(&self, group: Pgid, session: Sid) -> bool {
        let has_guardian = |member: &Entry| match member.parent {
            Parent::Host | Parent::Init => false,
            Parent::Process(parent) => self.entry(parent).is_ok_and(|parent| {
                parent.ended.is_none() && parent.session == session && parent.group != group
            }),
        };
        !self.living_members(group).any(has_guardian)
    }

    /// Whether a parent is in a session, but not in the group.
    fn is_elsewhere_in_session(&self, parent: Parent, group: Pgid, session: Sid) -> bool {
        match parent {
            Parent::Host | Parent::Init => false,
            Parent::Process(pid) => {
                self.entry(pid).is_ok_and(|parent| parent.group != group && parent.session == session)
            }
        }
    }

    fn living_members(&self, group: Pgid) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| entry.group == group && entry.ended.is_none())
    }

    /// The members of those of these groups that are orphaned and have stopped members.
    fn stopped_orphans(&self, mut groups: Vec<Pgid>, session: Sid) -> Vec<Arc<Process>> {
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|group| {
            self.living_members(*group).any(|member| member.process.control.is_stopped())
                && self.is_orphaned(*group, session)
        });
        let members = groups.iter().flat_map(|group| self.living_members(*group));
        members.map(|member| Arc::clone(&member.process)).collect()
    }

    fn living_parent(&self, parent: Parent) -> Option<Arc<Process>> {
        match parent {
            Parent::Host | Parent::Init => None,
            Parent::Process(pid) => self
                .entry(pid)
                .ok()
                .filter(|entry| entry.ended.is_none())
                .map(|entry| Arc::clone(&entry.process)),
        }
    }

    fn remove(&mut self, pid: Pid) -> Option<Entry> {
        let entry = self.entries.remove(&pid)?;
        if let Parent::Process(parent) = entry.parent
            && let Ok(parent) = self.entry_mut(parent)
        {
            parent.children.retain(|child| *child != pid);
        }
        Some(entry)
    }

    fn place(&self, pid: Pid, parent: Parent, placement: Placement) -> Result<(Pgid, Sid), Errno> {
        let own = (pid.own_group(), pid.own_session());
        let parent = match parent {
            Parent::Host | Parent::Init => return Ok(own),
            // Whoever is killed has no more children: they would escape what killed their parent.
            Parent::Process(parent) => self
                .entry(parent)
                .ok()
                .filter(|parent| parent.ended.is_none() && parent.process.control.killed_by().is_none()),
        };
        let parent = parent.ok_or(Errno::ESRCH)?;
        match placement {
            Placement::OwnSession => Ok(own),
            Placement::Inherit => Ok((parent.group, parent.session)),
            Placement::OwnGroup => Ok((pid.own_group(), parent.session)),
            Placement::Group(group) => {
                let is_there = |entry: &Entry| entry.group == group && entry.session == parent.session;
                let exists = group == pid.own_group() || self.entries.values().any(is_there);
                if exists { Ok((group, parent.session)) } else { Err(Errno::EPERM) }
            }
        }
    }

    /// A pid that is no process's, group's or session's number.
    fn free_pid(&mut self) -> Result<Pid, Errno> {
        for _ in 0..MAX_PID {
            let candidate = self.next;
            self.next = if candidate >= MAX_PID { FIRST_PID } else { candidate + 1 };
            let Some(pid) = Pid::new(candidate) else { continue };
            let is_used =
                |entry: &Entry| entry.group == pid.own_group() || entry.session == pid.own_session();
            if !self.entries.contains_key(&pid) && !self.entries.values().any(is_used) {
                return Ok(pid);
            }
        }
        Err(Errno::EAGAIN)
    }
}

impl Entry {
    fn relations(&self) -> Relations {
        Relations { parent: self.parent, group: self.group, session: self.session, ended: self.ended }
    }

    /// What of this child's news the options ask for.
    fn report(&self, options: WaitOptions) -> Option<WaitStatus> {
        if let Some(status) = self.ended {
            return Some(status.into());
        }
        self.change.filter(|change| match change {
            WaitStatus::Stopped(_) => options.contains(WaitOptions::UNTRACED),
            WaitStatus::Continued => options.contains(WaitOptions::CONTINUED),
            WaitStatus::Exited(_) | WaitStatus::Signaled(_) => false,
        })
    }
}
