//! The shells of a VM: those that run, and the last of those that have ended.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use vm_kernel::Pid;

use super::started::Shell;
use crate::task::Task;

/// Most ended shells that are kept; the oldest go first.
const MAX_ENDED: usize = 16;

/// Shells by their id.
pub(crate) struct ShellTable {
    /// Guarded by itself; a leaf in the lock order.
    inner: Mutex<Inner>,
    /// Those who serve attached clients. Guarded by itself; a leaf in the lock order.
    attachments: Mutex<JoinSet<()>>,
    /// Makes ids differ from those of earlier boots: who comes back must not find somebody else's shell.
    boot: i64,
}

#[derive(Default)]
struct Inner {
    /// Oldest first.
    entries: Vec<Entry>,
    last_number: u64,
}

struct Entry {
    shell: Arc<Shell>,
    _owner: Option<Task<()>>,
}

/// What keeps a VM awake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShellActivity {
    /// Shells that run.
    pub(crate) shells: usize,
    /// Clients that are attached.
    pub(crate) attached: usize,
    /// First processes of running shells that nobody is attached to.
    pub(crate) unattached_leaders: Vec<Pid>,
    /// How long nobody has typed into or attached to any running shell; `None` without one.
    pub(crate) idle: Option<Duration>,
}

impl ShellTable {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            attachments: Mutex::new(JoinSet::new()),
            boot: jiff::Timestamp::now().as_millisecond(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that no other shell has.
    pub(crate) fn next_id(&self) -> String {
        let mut inner = self.inner();
        inner.last_number += 1;
        format!("{:x}-{}", self.boot, inner.last_number)
    }

    /// Adds a shell.
    pub(crate) fn insert(&self, shell: Arc<Shell>) {
        self.inner().entries.push(Entry { shell, _owner: None });
    }

    /// Notes who owns a shell.
    pub(crate) fn set_owner(&self, shell: &Arc<Shell>, owner: Task<()>) {
        let mut inner = self.inner();
        if let Some(entry) = inner.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.shell, shell)) {
            entry._owner = Some(owner);
        }
    }

    /// The shell of this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Shell>> {
        let inner = self.inner();
        inner.entries.iter().find(|entry| entry.shell.id() == id).map(|entry| Arc::clone(&entry.shell))
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Shell>> {
        self.inner().entries.iter().map(|entry| Arc::clone(&entry.shell)).collect()
    }

    /// Forgets a shell.
    pub(crate) fn remove(&self, shell: &Arc<Shell>) {
        let mut inner = self.inner();
        let index = inner.entries.iter().position(|entry| Arc::ptr_eq(&entry.shell, shell));
        let removed = index.map(|index| inner.entries.remove(index));
        drop(inner);
        drop(removed);
    }

    /// Forgets the oldest of those that have ended, if there are too many.
    pub(crate) fn trim_ended(&self) {
        let ended: Vec<_> = self.all().into_iter().filter(|shell| shell.log().exit().is_some()).collect();
        for shell in &ended[..ended.len().saturating_sub(MAX_ENDED)] {
            self.remove(shell);
        }
    }

    /// Serves an attached client for as long as the VM runs.
    pub(crate) fn serve(&self, attachment: impl Future<Output = ()> + Send + 'static) {
        let mut attachments = self.attachments.lock().unwrap_or_else(PoisonError::into_inner);
        while attachments.try_join_next().is_some() {}
        attachments.spawn(attachment);
    }

    /// What keeps the VM awake.
    pub(crate) fn activity(&self) -> ShellActivity {
        let mut running = self.all();
        running.retain(|shell| shell.log().exit().is_none());
        let unattached = running.iter().filter(|shell| shell.attached() == 0);
        ShellActivity {
            shells: running.len(),
            attached: running.iter().map(|shell| shell.attached() as usize).sum(),
            unattached_leaders: unattached.map(|shell| shell.pid()).collect(),
            idle: running.iter().map(|shell| shell.last_use().elapsed()).min(),
        }
    }
}
