//! Files in a database: closed and opened again, killed, and as the upper layer of an overlay.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vm_abi::Mode;
use vm_vfs::sqlitefs::{FsckOptions, SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::{FileSystem, Owner};

use super::{clock, image_layers, mount};
use crate::history::Subject;
use crate::reference::Reference;

/// What is put above the database.
type Above = Box<dyn Fn(&Arc<SqliteFs>) -> Arc<dyn FileSystem>>;

/// A database in a folder of its own.
pub(crate) struct Database {
    folder: tempfile::TempDir,
    tuning: Tuning,
    /// `None` while it is being opened again.
    files: Option<Arc<SqliteFs>>,
    above: Above,
    mounted: Option<Arc<dyn FileSystem>>,
    may_lose: bool,
}

impl Database {
    fn new(tuning: Tuning, may_lose: bool, above: Above) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Self { folder, tuning, files: None, above, mounted: None, may_lose };
        database.open();
        database
    }

    fn open(&mut self) {
        let options = SqliteFsOptions {
            folder: self.folder.path().to_owned(),
            epoch: 1,
            max_bytes: 1 << 30,
            max_inodes: 100_000,
            root_mode: Mode::new(0o755),
            root_owner: Owner::ROOT,
            clock: clock(),
            tuning: self.tuning,
        };
        let files = SqliteFs::open(options).unwrap();
        let report = files.check(FsckOptions::default());
        assert!(report.is_clean(), "{:?}", report.problems);
        self.mounted = Some((self.above)(&files));
        self.files = Some(files);
    }
}

impl Subject for Database {
    fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::clone(self.mounted.as_ref().unwrap())
    }

    fn reopen(&mut self) {
        self.mounted = None;
        let files = self.files.take().unwrap();
        let report = files.check(FsckOptions::default());
        assert!(report.is_clean(), "{:?}", report.problems);
        files.close().unwrap();
        drop(files);
        self.open();
    }

    /// The database goes on from what a killed process would have left: its files as they are at this instant. The log is
    /// copied after what it belongs to, which only changes when the log is emptied.
    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        for name in ["fs.db", "fs.db-wal"] {
            copy_file(&self.folder.path().join(name), &copy.path().join(name));
        }
        self.mounted = None;
        self.files = None;
        self.folder = copy;
        self.open();
    }

    fn may_lose(&self) -> bool {
        self.may_lose
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test plays the death of the process that has the file open"
)]
fn copy_file(from: &Path, to: &Path) {
    match std::fs::copy(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        result => drop(result.unwrap()),
    }
}

fn alone() -> Above {
    Box::new(|files| Arc::clone(files) as Arc<dyn FileSystem>)
}

/// As a workspace has it.
pub(crate) fn database() -> (Database, Reference) {
    (Database::new(Tuning::default(), true, alone()), Reference::new())
}

/// One that keeps nearly nothing in memory and writes at once.
pub(crate) fn forgetful_database() -> (Database, Reference) {
    let tuning = Tuning {
        cache_bytes: 16 * 1024,
        cache_inodes: 2,
        dirty_bytes: 64 * 1024,
        flush_interval: Duration::from_millis(1),
        ..Tuning::default()
    };
    (Database::new(tuning, true, alone()), Reference::new())
}

/// The upper layer of an overlay. One operation of an overlay is several of its layer's, so a crash may come in between;
/// here nothing is lost.
pub(crate) fn database_overlay() -> (Database, Reference) {
    let (lowers, reference) = image_layers();
    let above: Above = Box::new(move |files| mount(&lowers, &(Arc::clone(files) as Arc<dyn FileSystem>)));
    (Database::new(Tuning::default(), false, above), reference)
}
