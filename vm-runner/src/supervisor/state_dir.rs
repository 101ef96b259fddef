//! What a supervisor keeps on disk: one folder per workspace, with the epoch of its binding and its files.
//!
//! ```text
//! DATA/.lock          held by the one supervisor that may use this folder
//! DATA/.trash/        what is deleted and not gone yet; emptied at start
//! DATA/<uid>/epoch    decimal; written whole or not at all
//! DATA/<uid>/files/   while no VM runs (`slot`)
//! DATA/<uid>/state.db what happened in it, and its runs (`journal`)
//! DATA/.runs/<uid>    while runs of a workspace go on (`journal`)
//! ```
//! An epoch never goes back, and a workspace is only deleted by an owner of its latest: a supervisor that was replaced, and
//! still lives because the lock does not reach it, does nothing any more.
//!
//! A workspace is deleted by one rename into the trash: it is there whole or not at all. Nothing secret is ever written
//! here.
#![expect(clippy::disallowed_methods, reason = "host-facing: the supervisor's own data folder")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::uid::Uid;

const EPOCH: &str = "epoch";
const EPOCH_DRAFT: &str = "epoch.new";
const TRASH: &str = ".trash";
const RUNS: &str = ".runs";

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is in use by another supervisor; each needs a --data folder of its own")]
    InUse(PathBuf),
    #[error("{path} holds {text:?}, which is not an epoch; restore it or remove the folder around it")]
    Epoch { path: PathBuf, text: String },
    #[error("the workspace belongs to epoch {theirs} now; this is epoch {ours}, which was replaced")]
    Stale { theirs: u64, ours: u64 },
}

/// Workspaces that were bound here, with the epoch of their binding.
pub(crate) type KnownEpochs = Vec<(Uid, u64)>;

/// The data folder, locked by this process.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Opens the folder, for this process alone.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        make_dir(root)?;
        let lock_path = root.join(".lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse(root.to_owned()))?;
        let state = Self { root: root.to_owned(), _lock: lock };
        if let Err(error) = state.empty_trash() {
            tracing::warn!(%error, "what was deleted earlier still takes up room");
        }
        Ok(state)
    }

    /// The workspaces that are known. Removes what an interrupted write left behind; files in slots must be back before.
    pub(crate) fn scan(&self) -> Result<KnownEpochs, Error> {
        let mut known = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(at(&self.root))? {
            let entry = entry.map_err(at(&self.root))?;
            let name = entry.file_name();
            let Some(uid) = name.to_str().and_then(|name| name.parse::<Uid>().ok()) else { continue };
            let folder = entry.path();
            if !entry.file_type().map_err(at(&folder))?.is_dir() {
                continue;
            }
            remove_if_there(&folder.join(EPOCH_DRAFT))?;
            match read_epoch(&folder.join(EPOCH))? {
                Some(epoch) => known.push((uid, epoch)),
                // Interrupted before the first epoch was written: the folder is empty, and nothing was promised yet. One
                // with contents is somebody else's, and stays.
                None => match fs::remove_dir(&folder) {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                        tracing::warn!(folder = %folder.display(), "left alone: not a workspace's folder");
                    }
                    result => result.map_err(at(&folder))?,
                },
            }
        }
        Ok(known)
    }

    /// Those of these workspaces that had runs going on when the last supervisor ended. Removes marks of others.
    pub(crate) fn unfinished(&self, known: &KnownEpochs) -> Result<KnownEpochs, Error> {
        let marks = self.root.join(RUNS);
        let entries = match fs::read_dir(&marks) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(at(&marks))?,
        };
        let epochs: HashMap<&str, u64> = known.iter().map(|(uid, epoch)| (uid.as_str(), *epoch)).collect();
        let mut unfinished = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&marks))?;
            let name = entry.file_name();
            let uid = name.to_str().and_then(|name| name.parse::<Uid>().ok());
            match uid.and_then(|uid| epochs.get(uid.as_str()).map(|epoch| (uid, *epoch))) {
                Some(found) => unfinished.push(found),
                None => remove_if_there(&entry.path())?,
            }
        }
        Ok(unfinished)
    }

    /// Keeps the epoch of a workspace; after this returns it survives a crash of the machine.
    pub(crate) fn save_epoch(&self, uid: &Uid, epoch: u64) -> Result<(), Error> {
        let folder = self.root.join(uid.as_str());
        make_dir(&folder)?;
        let _turn = take_turn(&folder)?;
        check_epoch(&folder, epoch)?;
        let draft = folder.join(EPOCH_DRAFT);
        let target = folder.join(EPOCH);
        let mut file = File::create(&draft).map_err(at(&draft))?;
        write!(file, "{epoch}").map_err(at(&draft))?;
        file.sync_all().map_err(at(&draft))?;
        fs::rename(&draft, &target).map_err(at(&target))?;
        sync_dir(&folder)?;
        sync_dir(&self.root)
    }

    /// Removes everything of a workspace, and what of it lies elsewhere in this folder, for the owner of this epoch. May be
    /// tried again.
    pub(crate) fn remove(&self, uid: &Uid, epoch: u64, elsewhere: Option<&Path>) -> Result<(), Error> {
        make_dir(&self.root.join(TRASH))?;
        let folder = self.root.join(uid.as_str());
        if folder.exists() {
            let _turn = take_turn(&folder)?;
            check_epoch(&folder, epoch)?;
            self.discard(&folder, uid.as_str())?;
        }
        if let Some(path) = elsewhere {
            self.discard(path, &format!("{uid}.elsewhere"))?;
        }
        Ok(())
    }

    /// Removes a folder. After the rename it is gone for everybody, whatever happens.
    fn discard(&self, folder: &Path, name: &str) -> Result<(), Error> {
        let trash = self.root.join(TRASH).join(name);
        // Of an attempt that failed.
        remove_tree(&trash)?;
        match fs::rename(folder, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(at(folder))?,
        }
        sync_dir(&self.root)?;
        remove_tree(&trash)
    }

    fn empty_trash(&self) -> Result<(), Error> {
        remove_tree(&self.root.join(TRASH))
    }
}

/// Keeps other supervisors from changing the same epoch, for as long as the answer lives.
fn take_turn(folder: &Path) -> Result<File, Error> {
    let turn = File::open(folder).map_err(at(folder))?;
    flock(&turn, FlockOperation::LockExclusive).map_err(|errno| at(folder)(errno.into()))?;
    Ok(turn)
}

/// Checks that a workspace does not belong to a later owner.
pub(super) fn check_epoch(folder: &Path, ours: u64) -> Result<(), Error> {
    match read_epoch(&folder.join(EPOCH))? {
        Some(theirs) if theirs > ours => Err(Error::Stale { theirs, ours }),
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at(path))
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn read_epoch(path: &Path) -> Result<Option<u64>, Error> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(at(path))?,
    };
    match text.trim().parse() {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => Err(Error::Epoch { path: path.to_owned(), text }),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        text.parse().unwrap()
    }

    #[test]
    fn an_epoch_outlives_the_supervisor() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let known = state.scan().unwrap();
        assert_eq!(known, []);
        state.save_epoch(&uid("a"), 7).unwrap();
        state.save_epoch(&uid("a"), 8).unwrap();
        drop(state);
        let known = StateDir::open(dir.path()).unwrap().scan().unwrap();
        assert_eq!(known, [(uid("a"), 8)]);
    }

    #[test]
    fn what_an_interrupted_write_left_is_cleaned_away() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("half")).unwrap();
        fs::write(dir.path().join("half").join(EPOCH_DRAFT), "1").unwrap();
        let known = StateDir::open(dir.path()).unwrap().scan().unwrap();
        assert_eq!(known, []);
        assert!(!dir.path().join("half").exists());
    }

    #[test]
    fn two_supervisors_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn removing_a_workspace_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.save_epoch(&uid("a"), 1).unwrap();
        fs::create_dir_all(dir.path().join("a/files")).unwrap();
        state.remove(&uid("a"), 1, None).unwrap();
        state.remove(&uid("a"), 1, None).unwrap();
        assert!(!dir.path().join("a").exists());
        assert_eq!(fs::read_dir(dir.path().join(TRASH)).unwrap().count(), 0);
    }

    #[test]
    fn a_deletion_that_was_interrupted_is_finished_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(TRASH).join("a/files")).unwrap();
        let known = StateDir::open(dir.path()).unwrap().scan().unwrap();
        assert_eq!(known, []);
        assert!(!dir.path().join(TRASH).exists());
    }

    #[test]
    fn a_folder_that_is_no_workspace_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("photos")).unwrap();
        fs::write(dir.path().join("photos/cat.jpg"), "x").unwrap();
        let known = StateDir::open(dir.path()).unwrap().scan().unwrap();
        assert_eq!(known, []);
        assert!(dir.path().join("photos/cat.jpg").exists());
    }

    #[test]
    fn a_removal_that_fails_can_be_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.save_epoch(&uid("a"), 1).unwrap();
        fs::write(dir.path().join(TRASH), "in the way").unwrap();
        assert!(state.remove(&uid("a"), 1, None).is_err());
        assert!(dir.path().join("a/epoch").exists(), "nothing of it is gone yet");
        fs::remove_file(dir.path().join(TRASH)).unwrap();
        state.remove(&uid("a"), 1, None).unwrap();
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn a_damaged_epoch_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a").join(EPOCH), "x").unwrap();
        let error = StateDir::open(dir.path()).unwrap().scan().unwrap_err().to_string();
        assert!(error.contains("not an epoch") && error.contains("a/epoch"), "{error}");
    }
}
