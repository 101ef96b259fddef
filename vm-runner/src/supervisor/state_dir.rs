//! What a supervisor keeps on disk: one folder per workspace, with the epoch of its binding.
//!
//! ```text
//! DATA/.lock          held by the one supervisor that may use this folder
//! DATA/<uid>/epoch    decimal; written whole or not at all
//! ```
//! Nothing secret is ever written here.
#![expect(clippy::disallowed_methods, reason = "host-facing: the supervisor's own data folder")]

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::uid::Uid;

const EPOCH: &str = "epoch";
const EPOCH_DRAFT: &str = "epoch.new";

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is in use by another supervisor; each needs a --data folder of its own")]
    InUse(PathBuf),
    #[error("{path} holds {text:?}, which is not an epoch; restore it or remove the folder around it")]
    Epoch { path: PathBuf, text: String },
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
    /// Opens the folder and removes what an interrupted write left behind. Answers the workspaces that are known.
    pub(crate) fn open(root: &Path) -> Result<(Self, KnownEpochs), Error> {
        make_dir(root)?;
        let lock_path = root.join(".lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse(root.to_owned()))?;
        let state = Self { root: root.to_owned(), _lock: lock };
        let known = state.scan()?;
        Ok((state, known))
    }

    fn scan(&self) -> Result<KnownEpochs, Error> {
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

    /// Keeps the epoch of a workspace; after this returns it survives a crash of the machine.
    pub(crate) fn save_epoch(&self, uid: &Uid, epoch: u64) -> Result<(), Error> {
        let folder = self.root.join(uid.as_str());
        make_dir(&folder)?;
        let draft = folder.join(EPOCH_DRAFT);
        let target = folder.join(EPOCH);
        let mut file = File::create(&draft).map_err(at(&draft))?;
        write!(file, "{epoch}").map_err(at(&draft))?;
        file.sync_all().map_err(at(&draft))?;
        fs::rename(&draft, &target).map_err(at(&target))?;
        sync_dir(&folder)?;
        sync_dir(&self.root)
    }

    /// Removes everything of a workspace.
    pub(crate) fn remove(&self, uid: &Uid) -> Result<(), Error> {
        let folder = self.root.join(uid.as_str());
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&folder)(error)),
            _ => sync_dir(&self.root),
        }
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
        let (state, known) = StateDir::open(dir.path()).unwrap();
        assert_eq!(known, []);
        state.save_epoch(&uid("a"), 7).unwrap();
        state.save_epoch(&uid("a"), 8).unwrap();
        drop(state);
        let (_, known) = StateDir::open(dir.path()).unwrap();
        assert_eq!(known, [(uid("a"), 8)]);
    }

    #[test]
    fn what_an_interrupted_write_left_is_cleaned_away() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("half")).unwrap();
        fs::write(dir.path().join("half").join(EPOCH_DRAFT), "1").unwrap();
        let (_, known) = StateDir::open(dir.path()).unwrap();
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
        let (state, _) = StateDir::open(dir.path()).unwrap();
        state.save_epoch(&uid("a"), 1).unwrap();
        state.remove(&uid("a")).unwrap();
        state.remove(&uid("a")).unwrap();
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn a_damaged_epoch_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a").join(EPOCH), "x").unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not an epoch") && error.contains("a/epoch"), "{error}");
    }
}
