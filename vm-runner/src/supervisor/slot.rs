//! Slots: what a vm process can reach of the data folder, one folder per process.
//!
//! ```text
//!   DATA/<uid>/files            the files of a workspace that sleeps
//!   DATA/.slots/<n>/            given to one vm process when it starts; empty while it is a spare
//!   DATA/.slots/<n>/<uid>       the files of a workspace whose VM runs in that process
//! ```
//! A spare does not know its workspace, and what a process may reach is fixed when it starts; so the folder moves to the
//! process, and back when the process has ended. A move is one rename: after a crash the files lie in one of the two
//! places, and [`Slots::open`] brings them back. Nothing here ever removes files of a workspace.
//!
//! Two marks in `DATA/<uid>` guard a move. The epoch: a supervisor that was replaced, and still lives, gets no files any
//! more. `kept`: there are files, so if they are not where they should be, none are made in their place.
//!
//! Whose files a slot holds is known here and never asked of the slot, which an untrusted process can write. At start the
//! names of folders in it count: a vm process cannot make folders (`vm/lockdown`).
#![expect(clippy::disallowed_methods, reason = "host-facing: folders of the data folder change hands here")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vm_api::{Problem, ProblemCode};

use super::state_dir;
use super::uid::Uid;

/// Folder of the slots, in the data folder.
const SLOTS: &str = ".slots";
/// The files of a workspace, in its folder.
const FILES: &str = "files";
/// Says that a workspace has files.
const KEPT: &str = "kept";
/// Folders in it; a vm process cannot make any.
const INNER_FOLDERS: [&str; 1] = ["cwasm"];

/// Why files cannot be moved to a process or back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the files of workspace {0} are in use by another vm process of this runner")]
    InUse(Uid),
    #[error("{0} is not a folder; it was tampered with")]
    NotAFolder(PathBuf),
    #[error(
        "{home} is not there, where the files of workspace {uid} were; bring it back, or remove {mark} to begin without"
    )]
    Missing { uid: Uid, home: PathBuf, mark: PathBuf },
    #[error(transparent)]
    Epoch(#[from] state_dir::Error),
    #[error(
        "the files of workspace {uid} are in two places, {one} and {other}; remove the one that is wrong"
    )]
    TwoPlaces { uid: Uid, one: PathBuf, other: PathBuf },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Io { source, .. } if is_full(source) => ProblemCode::StorageFull,
            Error::InUse(_) => ProblemCode::StorageBusy,
            Error::Epoch(state_dir::Error::Stale { .. }) => ProblemCode::StaleEpoch,
            Error::Io { .. }
            | Error::NotAFolder(_)
            | Error::Missing { .. }
            | Error::Epoch(_)
            | Error::TwoPlaces { .. } => ProblemCode::StorageUnavailable,
        };
        Self::new(code, format!("the files of the workspace: {error}"))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes slots, and knows where the files of each workspace are. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    data: PathBuf,
    next: AtomicU64,
    /// Files that are not at home. Guarded by itself; a leaf in the lock order.
    away: Mutex<HashMap<Uid, Away>>,
}

/// Where files are that are not at home.
#[derive(Clone, Debug)]
enum Away {
    /// With a vm process.
    InUse,
    /// Left in a slot whose process has ended, or is ending.
    Left(PathBuf),
}

/// The folder of one vm process.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    path: PathBuf,
    holds: Option<Uid>,
}

impl Slots {
    /// Brings back what an earlier supervisor left with its vm processes, and removes their slots.
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let root = data.join(SLOTS);
        make_dir(&root)?;
        let inner = Inner { data: data.to_owned(), next: AtomicU64::new(1), away: Mutex::default() };
        let slots = Self { inner: Arc::new(inner) };
        for entry in fs::read_dir(&root).map_err(at(&root))? {
            let entry = entry.map_err(at(&root))?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) {
                slots.inner.next.fetch_max(number.saturating_add(1), Ordering::Relaxed);
            }
            slots.recover(&entry.path())?;
        }
        Ok(slots)
    }

    fn recover(&self, slot: &Path) -> Result<(), Error> {
        if !is_folder(slot).map_err(at(slot))? {
            tracing::warn!(path = %slot.display(), "left alone: not a slot");
            return Ok(());
        }
        let mut is_empty = true;
        for entry in fs::read_dir(slot).map_err(at(slot))? {
            let entry = entry.map_err(at(slot))?;
            let from = entry.path();
            let uid = entry.file_name().to_str().and_then(|name| name.parse::<Uid>().ok());
            // What cannot be looked at may be all that somebody has.
            let Some(uid) = uid.filter(|_| is_folder(&from).unwrap_or(true)) else { continue };
            match self.bring_home(&uid, &from) {
                Ok(()) => tracing::info!(workspace = %uid, "its files are back from an unfinished run"),
                Err(error) => {
                    tracing::error!(workspace = %uid, %error, "its files stay where they are; it cannot be booted");
                    self.lock().insert(uid, Away::Left(from));
                    is_empty = false;
                }
            }
        }
        if is_empty { remove_tree(slot) } else { Ok(()) }
    }

    /// Makes a slot for a process that is about to start.
    pub(crate) fn make(&self) -> Result<Slot, Error> {
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let path = self.inner.data.join(SLOTS).join(number.to_string());
        make_dir(&path)?;
        Ok(Slot { slots: self.clone(), path, holds: None })
    }

    /// Forgets a workspace that is deleted; answers what is left of its files outside of its folder.
    pub(crate) fn forget(&self, uid: &Uid) -> Option<PathBuf> {
        match self.lock().remove(uid) {
            Some(Away::Left(path)) => Some(path),
            Some(Away::InUse) | None => None,
        }
    }

    fn home(&self, uid: &Uid) -> PathBuf {
        self.inner.data.join(uid.as_str()).join(FILES)
    }

    fn bring_home(&self, uid: &Uid, from: &Path) -> Result<(), Error> {
        if !is_folder(from).map_err(at(from))? {
            return Err(Error::NotAFolder(from.to_owned()));
        }
        let home = self.home(uid);
        make_dir(&self.inner.data.join(uid.as_str()))?;
        match fs::rename(from, &home) {
            // What is there is not empty: a rename replaces an empty folder only.
            Err(error) if is_taken(&error) => {
                Err(Error::TwoPlaces { uid: uid.clone(), one: from.to_owned(), other: home })
            }
            result => result.map_err(at(&home)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uid, Away>> {
        self.inner.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the files of a workspace here, for the owner of this epoch; makes them if there are none yet.
    pub(crate) fn claim(&mut self, uid: &Uid, epoch: u64) -> Result<(), Error> {
        let folder = self.slots.inner.data.join(uid.as_str());
        state_dir::check_epoch(&folder, epoch)?;
        let left = {
            let mut away = self.slots.lock();
            match away.insert(uid.clone(), Away::InUse) {
                Some(Away::InUse) => return Err(Error::InUse(uid.clone())),
                Some(Away::Left(path)) => Some(path),
                None => None,
            }
        };
        let result = self.fetch(uid, left.as_deref());
        match (&result, left) {
            (Ok(()), _) => {
                self.holds = Some(uid.clone());
                // Somebody else may have become its owner between the first look and the move.
                if let Err(error) = state_dir::check_epoch(&folder, epoch) {
                    self.give_back()?;
                    return Err(error.into());
                }
            }
            (Err(_), Some(path)) => drop(self.slots.lock().insert(uid.clone(), Away::Left(path))),
            (Err(_), None) => drop(self.slots.lock().remove(uid)),
        }
        result
    }

    fn fetch(&self, uid: &Uid, left: Option<&Path>) -> Result<(), Error> {
        if let Some(left) = left
            && left.exists()
        {
            self.slots.bring_home(uid, left)?;
        }
        let home = self.slots.home(uid);
        let mark = self.slots.inner.data.join(uid.as_str()).join(KEPT);
        let is_kept = mark.exists();
        match is_folder(&home) {
            Ok(true) => {}
            Ok(false) => return Err(Error::NotAFolder(home)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_kept => {
                return Err(Error::Missing { uid: uid.clone(), home, mark });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(&home)?,
            Err(error) => return Err(at(&home)(error)),
        }
        if !is_kept {
            fs::File::create(&mark).map_err(at(&mark))?;
        }
        for folder in INNER_FOLDERS {
            make_dir(&home.join(folder))?;
        }
        let target = self.path.join(uid.as_str());
        fs::rename(&home, &target).map_err(at(&target))
    }

    /// Moves the files back. The process must have ended.
    pub(crate) fn release(mut self) -> Result<(), Error> {
        self.give_back()?;
        remove_tree(&self.path)
    }

    fn give_back(&mut self) -> Result<(), Error> {
        if let Some(uid) = &self.holds {
            self.slots.bring_home(uid, &self.path.join(uid.as_str()))?;
            self.slots.lock().remove(uid);
        }
        self.holds = None;
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match self.holds.take() {
            // Nobody waited for the process. Its files stay known, and the next boot takes them from here.
            Some(uid) => {
                let path = self.path.join(uid.as_str());
                self.slots.lock().insert(uid, Away::Left(path));
            }
            // Only if it is empty, as that of a spare is; what else there may be goes at the next start.
            None => drop(fs::remove_dir(&self.path)),
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
        || error.kind() == io::ErrorKind::NotADirectory
}

/// Whether this is a folder; a link to one is not.
fn is_folder(path: &Path) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path)?.is_dir())
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::super::state_dir::StateDir;
    use super::*;

    fn uid(text: &str) -> Uid {
        text.parse().unwrap()
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn files_go_to_a_process_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(dir.path()).unwrap();
        let mut slot = slots.make().unwrap();
        slot.claim(&uid("a"), 1).unwrap();
        write(&slot.path().join("a/fs.db"), "1");
        let path = slot.path().to_owned();
        slot.release().unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a/files/fs.db")).unwrap(), "1");
        assert!(!path.exists());
    }

    #[test]
    fn two_processes_never_hold_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(dir.path()).unwrap();
        let mut first = slots.make().unwrap();
        first.claim(&uid("a"), 1).unwrap();
        let mut second = slots.make().unwrap();
        let problem = Problem::from(second.claim(&uid("a"), 1).unwrap_err());
        assert!(problem.is(ProblemCode::StorageBusy), "{problem}");
        first.release().unwrap();
        second.claim(&uid("a"), 1).unwrap();
    }

    #[test]
    fn files_of_a_process_that_nobody_waited_for_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(dir.path()).unwrap();
        let mut slot = slots.make().unwrap();
        slot.claim(&uid("a"), 1).unwrap();
        write(&slot.path().join("a/fs.db"), "1");
        drop(slot);
        let mut next = slots.make().unwrap();
        next.claim(&uid("a"), 1).unwrap();
        assert_eq!(fs::read_to_string(next.path().join("a/fs.db")).unwrap(), "1");
    }

    #[test]
    fn a_new_supervisor_brings_files_back_from_the_slots_of_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(".slots/7/a/fs.db"), "1");
        fs::create_dir_all(dir.path().join(".slots/9")).unwrap();
        let slots = Slots::open(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a/files/fs.db")).unwrap(), "1");
        assert_eq!(fs::read_dir(dir.path().join(".slots")).unwrap().count(), 0);
        assert!(slots.make().unwrap().path().ends_with(".slots/10"));
    }

    #[test]
    fn files_that_cannot_be_looked_at_are_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let uid = uid(&"a".repeat(63));
        write(&dir.path().join("data/.slots/1").join(uid.as_str()).join("fs.db"), "1");
        // So deep that the slot still has a path the kernel takes, and what is in it has none.
        let mut deep = dir.path().to_owned();
        while deep.as_os_str().len() < 4035 {
            let room = 4040 - deep.as_os_str().len();
            deep.push("d".repeat(room.min(201) - 1));
        }
        fs::create_dir_all(&deep).unwrap();
        let data = deep.join("data");
        fs::rename(dir.path().join("data"), &data).unwrap();
        let slots = Slots::open(&data).unwrap();
        assert!(matches!(slots.lock().get(&uid), Some(Away::Left(_))));
        fs::rename(&data, dir.path().join("data")).unwrap();
        let files = dir.path().join("data/.slots/1").join(uid.as_str());
        assert_eq!(fs::read_to_string(files.join("fs.db")).unwrap(), "1");
    }

    #[test]
    fn files_in_two_places_are_refused_by_name_and_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (home, other) = (dir.path().join("a/files/fs.db"), dir.path().join(".slots/1/a/fs.db"));
        write(&home, "home");
        write(&other, "other");
        let slots = Slots::open(dir.path()).unwrap();
        let mut slot = slots.make().unwrap();
        let error = slot.claim(&uid("a"), 1).unwrap_err();
        assert!(error.to_string().contains("two places"), "{error}");
        assert!(Problem::from(error).is(ProblemCode::StorageUnavailable));
        assert_eq!(fs::read_to_string(home).unwrap(), "home");
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
        fs::remove_dir_all(dir.path().join("a/files")).unwrap();
        slot.claim(&uid("a"), 1).unwrap();
        assert_eq!(fs::read_to_string(slot.path().join("a/fs.db")).unwrap(), "other");
    }

    #[test]
    fn files_that_have_vanished_are_not_replaced_by_none() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(dir.path()).unwrap();
        let mut slot = slots.make().unwrap();
        slot.claim(&uid("a"), 1).unwrap();
        slot.release().unwrap();
        fs::rename(dir.path().join("a/files"), dir.path().join("elsewhere")).unwrap();
        let mut slot = slots.make().unwrap();
        let error = slot.claim(&uid("a"), 1).unwrap_err();
        assert!(error.to_string().contains("a/kept"), "{error}");
        assert!(!dir.path().join("a/files").exists());
        fs::rename(dir.path().join("elsewhere"), dir.path().join("a/files")).unwrap();
        slot.claim(&uid("a"), 1).unwrap();
    }

    #[test]
    fn a_supervisor_that_was_replaced_gets_no_files_and_takes_none_away() {
        let dir = tempfile::tempdir().unwrap();
        let a = uid("a");
        let old = (StateDir::open(dir.path()).unwrap(), Slots::open(dir.path()).unwrap());
        old.0.save_epoch(&a, 1).unwrap();
        let mut running = old.1.make().unwrap();
        running.claim(&a, 1).unwrap();
        write(&running.path().join("a/fs.db"), "1");
        // The lock does not reach the next one: it takes the files away from a process that still runs.
        fs::remove_file(dir.path().join(".lock")).unwrap();
        let new = (StateDir::open(dir.path()).unwrap(), Slots::open(dir.path()).unwrap());
        new.0.save_epoch(&a, 2).unwrap();
        assert!(running.release().is_err());
        let mut late = old.1.make().unwrap();
        let problem = Problem::from(late.claim(&a, 1).unwrap_err());
        assert!(problem.is(ProblemCode::StaleEpoch), "{problem}");
        assert!(matches!(old.0.save_epoch(&a, 1), Err(state_dir::Error::Stale { theirs: 2, ours: 1 })));
        assert!(matches!(old.0.remove(&a, 1, None), Err(state_dir::Error::Stale { theirs: 2, ours: 1 })));
        let mut slot = new.1.make().unwrap();
        slot.claim(&a, 2).unwrap();
        assert_eq!(fs::read_to_string(slot.path().join("a/fs.db")).unwrap(), "1");
        slot.release().unwrap();
        assert_eq!(new.0.scan().unwrap(), [(a, 2)]);
    }

    #[test]
    fn a_link_in_place_of_the_files_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(dir.path()).unwrap();
        let mut slot = slots.make().unwrap();
        slot.claim(&uid("a"), 1).unwrap();
        let files = slot.path().join("a");
        fs::remove_dir_all(&files).unwrap();
        std::os::unix::fs::symlink(dir.path(), &files).unwrap();
        let error = slot.release().unwrap_err();
        assert!(matches!(error, Error::NotAFolder(_)), "{error}");
    }
}
