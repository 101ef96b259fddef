//! What happened to files, for those who watch: created, changed, removed, moved.
//!
//! A [`Watch`] is on a path, not on an inode: it tells what happens at and below that path, whatever is there. All
//! watches of a namespace share one bounded ring of changes with one sequence of numbers; each watch reads it at its own
//! pace, and one that is too slow is told that it lost changes. Only what somebody watches is recorded. While nobody
//! does, an operation costs one relaxed load.
//!
//! Changes come from the operations on paths and from writes through a [`Location`]; nobody who goes to an inode itself
//! is seen. The name of a file is the one by which it was opened, or to which it was moved since. A write through
//! another hard link is told under that link's name only.
//!
//! The lock here is a leaf: paths are made before it is taken, and nobody is called while it is held.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use vm_abi::{Errno, FileType};

use crate::error::{Error, VfsResult};
use crate::location::{FileId, Location};
use crate::namespace::{MountTable, Namespace};
use crate::path::{NameBuf, VPath};

/// Most watches of one namespace (`EMFILE`).
pub const MAX_WATCHES: usize = 64;
/// Most changes that are kept for slow readers.
const MAX_CHANGES: usize = 8192;
/// Most bytes of paths in them.
const MAX_CHANGE_BYTES: usize = 1 << 20;
/// Most moved files whose new names are remembered.
const MAX_MOVED: usize = 4096;
/// How far back a change is looked for that a new one can be told with.
const MERGE_WINDOW: usize = 16;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was made, or moved here from where nobody watches.
    Created,
    /// Its content or its attributes changed.
    Changed,
    /// It was removed, or moved to where nobody watches.
    Removed,
    /// It was moved.
    Moved,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number; later changes have higher ones.
    pub seq: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// Where the file is, or was when it was removed.
    pub path: VPath,
    /// Where a moved file was.
    pub from: Option<VPath>,
    /// What it is.
    pub file_type: FileType,
    /// Whether moving it replaced another file.
    pub replaced: bool,
}

/// What a watch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Changes in order.
    pub changes: Vec<Change>,
    /// What to read after next time.
    pub newest: u64,
    /// Whether changes before these are not known any more.
    pub is_lost: bool,
}

/// How a watch is made.
pub struct WatchOptions {
    /// What to watch.
    pub path: VPath,
    /// Whether everything below counts, or only the entries of the directory.
    pub is_recursive: bool,
    /// Called when there is something to read; must be quick and must not call back.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Go on after this number, as an earlier watch of the same path told it.
    pub after: Option<u64>,
}

/// A watch; ends when it is dropped.
pub struct Watch {
    notifier: Arc<Notifier>,
    id: u64,
    scope: Scope,
    start: u64,
    is_lost: bool,
}

/// Where an open file was found.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) directory: Location,
    pub(crate) name: NameBuf,
}

/// The watches of a namespace.
pub(crate) struct Notifier {
    is_active: AtomicBool,
    table: Weak<RwLock<Arc<MountTable>>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    watches: Vec<Registered>,
    next_watch: u64,
    ring: VecDeque<Change>,
    ring_bytes: usize,
    /// The number of the newest change.
    newest: u64,
    /// The newest number that somebody has read.
    read: u64,
    /// Where files went that were moved since somebody watches.
    moved: HashMap<FileId, Origin>,
}

struct Registered {
    id: u64,
    scope: Scope,
    /// Everything after this number was recorded for it.
    since: u64,
    wake: Arc<dyn Fn() + Send + Sync>,
}

#[derive(Clone, PartialEq, Eq)]
struct Scope {
    path: VPath,
    is_recursive: bool,
}

impl Scope {
    fn covers(&self, path: &VPath) -> bool {
        let (top, path) = (self.path.as_bytes(), path.as_bytes());
        let top = if top == b"/" { &b""[..] } else { top };
        match path.strip_prefix(top) {
            Some([]) => true,
            Some([b'/', rest @ ..]) => self.is_recursive || !rest.contains(&b'/'),
            Some(_) | None => false,
        }
    }

    /// The change as it looks from here.
    fn see(&self, change: &Change) -> Option<Change> {
        let from = change.from.as_ref().map(|from| (from, self.covers(from)));
        match (self.covers(&change.path), from) {
            (true, None | Some((_, true))) => Some(change.clone()),
            (true, Some((_, false))) => Some(Change {
                kind: if change.replaced { ChangeKind::Changed } else { ChangeKind::Created },
                from: None,
                ..change.clone()
            }),
            (false, Some((from, true))) => {
                Some(Change { kind: ChangeKind::Removed, path: from.clone(), from: None, ..change.clone() })
            }
            (false, None | Some((_, false))) => None,
        }
    }
}

impl Namespace {
    /// Starts to watch a path.
    ///
    /// # Errors
    /// `EMFILE` above [`MAX_WATCHES`].
    pub fn watch(&self, options: WatchOptions) -> VfsResult<Watch> {
        let WatchOptions { path, is_recursive, wake, after } = options;
        let notifier = Arc::clone(self.notifier());
        let scope = Scope { path, is_recursive };
        let mut inner = notifier.lock();
        if inner.watches.len() >= MAX_WATCHES {
            return Err(Error::limit(Errno::EMFILE, "watches"));
        }
        if inner.watches.is_empty() {
            // Nobody knows what happened meanwhile; a number that nobody was told stands for it.
            inner.newest += 1;
            inner.ring.clear();
            inner.ring_bytes = 0;
        }
        let known = inner.watches.iter().filter(|other| other.scope == scope).map(|other| other.since).min();
        let (start, is_lost) = match after {
            Some(after) if known.is_some_and(|since| (since..=inner.newest).contains(&after)) => {
                (after, false)
            }
            Some(_) => (inner.newest, true),
            None => (inner.newest, false),
        };
        let id = inner.next_watch;
        inner.next_watch += 1;
        inner.watches.push(Registered { id, scope: scope.clone(), since: start, wake });
        notifier.is_active.store(true, Ordering::Relaxed);
        drop(inner);
        Ok(Watch { notifier, id, scope, start, is_lost })
    }
}

impl Watch {
    /// The number to read after first.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Whether the number that was to be gone on after is not known any more.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// What happened after a number, at most this many changes.
    #[must_use]
    pub fn read(&self, after: u64, most: usize) -> Changes {
        let mut inner = self.notifier.lock();
        let oldest = inner.ring.front().map_or(inner.newest + 1, |change| change.seq);
        let is_lost = after.saturating_add(1) < oldest || after > inner.newest;
        let (mut changes, mut newest) = (Vec::new(), inner.newest);
        let skipped = inner.ring.partition_point(|change| change.seq <= after);
        for change in inner.ring.range(skipped..) {
            if changes.len() >= most {
                break;
            }
            newest = change.seq;
            changes.extend(self.scope.see(change));
        }
        inner.read = inner.read.max(newest);
        Changes { changes, newest, is_lost }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.notifier.lock();
        inner.watches.retain(|watch| watch.id != self.id);
        if inner.watches.is_empty() {
            self.notifier.is_active.store(false, Ordering::Relaxed);
            inner.ring = VecDeque::new();
            inner.ring_bytes = 0;
            inner.moved = HashMap::new();
        }
    }
}

impl Notifier {
    /// Watches of the namespace with this table.
    pub(crate) fn new(table: Weak<RwLock<Arc<MountTable>>>) -> Self {
        Self { is_active: AtomicBool::new(false), table, inner: Mutex::default() }
    }

    /// Whether somebody watches.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// An entry was made or removed.
    pub(crate) fn entry(&self, kind: ChangeKind, directory: &Location, name: &NameBuf, file_type: FileType) {
        if self.is_active()
            && let Some(path) = self.path_in(directory, name)
        {
            self.record(kind, path, None, file_type, false);
        }
    }

    /// Content or attributes of a file changed.
    pub(crate) fn changed(&self, file: &Location) {
        if self.is_active()
            && let Some(path) = self.path_of(file)
        {
            self.record(ChangeKind::Changed, path, None, file.file_type(), false);
        }
    }

    /// An entry was moved. `file` is its inode, at its new directory.
    pub(crate) fn moved(&self, from: Option<VPath>, to: &Origin, file: &Location, replaced: bool) {
        if !self.is_active() {
            return;
        }
        if !file.file_type().is_directory() {
            let mut inner = self.lock();
            if inner.moved.len() >= MAX_MOVED {
                inner.moved.clear();
            }
            inner.moved.insert(file.file_id(), to.clone());
        }
        if let (Some(from), Some(path)) = (from, self.path_in(&to.directory, &to.name)) {
            self.record(ChangeKind::Moved, path, Some(from), file.file_type(), replaced);
        }
    }

    /// The path of an entry, for [`moved`](Self::moved): it has to be known before.
    pub(crate) fn path_in(&self, directory: &Location, name: &NameBuf) -> Option<VPath> {
        let table = self.table.upgrade()?;
        let table = Arc::clone(&table.read().unwrap_or_else(PoisonError::into_inner));
        Some(table.path_of(directory)?.join(name.as_name()))
    }

    fn path_of(&self, file: &Location) -> Option<VPath> {
        if file.file_type().is_directory() {
            let table = self.table.upgrade()?;
            let table = Arc::clone(&table.read().unwrap_or_else(PoisonError::into_inner));
            return table.path_of(file);
        }
        let is_there = |origin: &Origin| {
            let found = origin.directory.inode().lookup(origin.name.as_name());
            found.is_ok_and(|found| found.ino() == file.inode().ino())
        };
        let origin = file.origin().filter(|origin| is_there(origin)).cloned();
        let moved = || self.lock().moved.get(&file.file_id()).cloned();
        let origin = origin.or_else(|| moved().filter(is_there))?;
        self.path_in(&origin.directory, &origin.name)
    }

    fn record(
        &self,
        kind: ChangeKind,
        path: VPath,
        from: Option<VPath>,
        file_type: FileType,
        replaced: bool,
    ) {
        let mut inner = self.lock();
        let concerns = |watch: &&Registered| {
            watch.scope.covers(&path) || from.as_ref().is_some_and(|from| watch.scope.covers(from))
        };
        let wakes: Vec<_> =
            inner.watches.iter().filter(concerns).map(|watch| Arc::clone(&watch.wake)).collect();
        if wakes.is_empty() || (kind == ChangeKind::Changed && inner.is_told_already(&path)) {
            return;
        }
        inner.newest += 1;
        let change = Change { seq: inner.newest, kind, path, from, file_type, replaced };
        inner.push(change);
        drop(inner);
        wakes.iter().for_each(|wake| wake());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether a change that nobody has read yet makes everybody look at this file anyway.
    fn is_told_already(&self, path: &VPath) -> bool {
        let unread = self.ring.iter().rev().take(MERGE_WINDOW).take_while(|change| change.seq > self.read);
        let last =
            unread.into_iter().find(|change| change.path == *path || change.from.as_ref() == Some(path));
        last.is_some_and(|change| {
            change.path == *path && matches!(change.kind, ChangeKind::Created | ChangeKind::Changed)
        })
    }

    fn push(&mut self, change: Change) {
        self.ring_bytes += change.bytes();
        self.ring.push_back(change);
        while self.ring.len() > MAX_CHANGES || self.ring_bytes > MAX_CHANGE_BYTES {
            match self.ring.pop_front() {
                Some(oldest) => self.ring_bytes -= oldest.bytes(),
                None => return,
            }
        }
    }
}

impl Change {
    fn bytes(&self) -> usize {
        self.path.as_bytes().len() + self.from.as_ref().map_or(0, |from| from.as_bytes().len())
    }
}

#[cfg(test)]
mod tests;
