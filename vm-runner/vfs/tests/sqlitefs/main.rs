//! Files in a database through crashes, at their limits, at size, and under many threads.

#![expect(clippy::disallowed_methods, reason = "the tests look at the host's files and start processes")]
#![allow(clippy::unwrap_used, reason = "tests panic")]

mod crash;
mod full;
mod history;
mod limits;
mod million;
mod owner;
mod size;
mod threads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Mode, Timespec};
use vm_vfs::sqlitefs::{FsckOptions, SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::{Inode, Name, NodeKind, Owner, VfsResult};

/// Written only when somebody wants it.
fn quiet() -> Tuning {
    Tuning { flush_interval: Duration::from_secs(3600), ..Tuning::default() }
}

fn options(folder: &Path) -> SqliteFsOptions {
    SqliteFsOptions {
        folder: folder.to_owned(),
        epoch: 1,
        max_bytes: 1 << 40,
        max_inodes: 1 << 30,
        root_mode: Mode::new(0o755),
        root_owner: Owner::ROOT,
        clock: Arc::new(|| Timespec::from_secs(77)),
        tuning: quiet(),
    }
}

fn open(folder: &Path) -> Arc<SqliteFs> {
    SqliteFs::open(options(folder)).unwrap()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn create(directory: &dyn Inode, text: &str, kind: NodeKind<'_>) -> VfsResult<Arc<dyn Inode>> {
    directory.create(name(text), kind, Mode::new(0o755), Owner::ROOT)
}

#[track_caller]
fn check_clean(fs: &SqliteFs) {
    let report = fs.check(FsckOptions::default());
    assert!(report.is_clean(), "{}", report.problems.join("\n"));
}
