//! What cannot be seen from outside, and the conformance suite. The rest is in `tests/sqlitefs`.
#![expect(clippy::disallowed_methods, reason = "the tests look at the database's files")]

mod room;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vm_abi::{Errno, Mode, Timespec};

use super::{FsckOptions, OpenError, SqliteFs, SqliteFsOptions, Tuning, check_file};
use crate::conformance::{Fixture, run};
use crate::file_system::{FileClock, FileSystem};
use crate::inode::{Inode, NodeKind, Owner, XattrSet};
use crate::overlayfs::{OverlayFs, OverlayOptions};
use crate::path::Name;

fn options(folder: &Path) -> SqliteFsOptions {
    SqliteFsOptions {
        folder: folder.to_owned(),
        epoch: 1,
        max_bytes: 1 << 30,
        max_inodes: 1 << 20,
        root_mode: Mode::new(0o755),
        root_owner: Owner::ROOT,
        clock: Arc::new(|| Timespec::from_secs(77)),
        // Written only when somebody wants it.
        tuning: Tuning { flush_interval: Duration::from_secs(3600), ..Tuning::default() },
    }
}

fn open(folder: &Path) -> Arc<SqliteFs> {
    SqliteFs::open(options(folder)).unwrap()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn create(directory: &dyn Inode, text: &str, kind: NodeKind<'_>) -> crate::VfsResult<Arc<dyn Inode>> {
    directory.create(name(text), kind, Mode::new(0o755), Owner::ROOT)
}

fn read(inode: &dyn Inode) -> Vec<u8> {
    let mut bytes = vec![0xaa; inode.stat().unwrap().size as usize];
    assert_eq!(inode.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

#[track_caller]
fn check_clean(fs: &SqliteFs) {
    let report = fs.check(FsckOptions::default());
    assert!(report.is_clean(), "{}", report.problems.join("\n"));
}

/// A file system that takes its folder along when it goes.
struct InFolder {
    fs: Arc<SqliteFs>,
    _folder: TempDir,
}

impl FileSystem for InFolder {
    fn kind(&self) -> &'static str {
        self.fs.kind()
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.fs.root()
    }

    fn statfs(&self) -> crate::VfsResult<crate::StatFs> {
        self.fs.statfs()
    }
}

impl Drop for InFolder {
    fn drop(&mut self) {
        check_clean(&self.fs);
        self.fs.close().unwrap();
        let report = check_file(&self._folder.path().join("fs.db"), FsckOptions::default()).unwrap();
        assert!(report.is_clean(), "{}", report.problems.join("\n"));
    }
}

/// An overlay that keeps its lower layer open.
struct Keeping {
    overlay: Arc<dyn FileSystem>,
    _lower: Arc<dyn FileSystem>,
}

impl FileSystem for Keeping {
    fn kind(&self) -> &'static str {
        self.overlay.kind()
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.overlay.root()
    }
}

fn for_suite(clock: &Arc<dyn FileClock>, tuning: Tuning) -> Arc<dyn FileSystem> {
    let folder = tempfile::tempdir().unwrap();
    let limits = SqliteFsOptions { max_bytes: 1 << 20, max_inodes: 200, ..options(folder.path()) };
    let fs = SqliteFs::open(SqliteFsOptions { clock: Arc::clone(clock), tuning, ..limits }).unwrap();
    Arc::new(InFolder { fs, _folder: folder })
}

/// Nothing is kept in memory that the database has, and everything is written at once.
fn forgetful() -> Tuning {
    Tuning {
        cache_bytes: 0,
        cache_inodes: 0,
        dirty_bytes: 1,
        flush_interval: Duration::ZERO,
        log_bytes: 1,
        log_room_bytes: 1,
    }
}

fn overlay(lowers: Vec<Arc<dyn FileSystem>>, upper: Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
    OverlayFs::new(OverlayOptions { lowers, upper, source: "test".to_owned() }).unwrap()
}

#[track_caller]
fn check_suite(make: &dyn Fn(Arc<dyn FileClock>) -> Fixture) {
    let report = run(make);
    assert!(report.failures.is_empty(), "{}\n", report.failures.join("\n"));
    assert!(report.checked >= 300, "only {} outcomes", report.checked);
}

#[test]
fn sqlitefs_conforms() {
    let tuning = Tuning::default();
    check_suite(&|clock| Fixture { below: for_suite(&clock, tuning), finish: Box::new(|below| below) });
}

#[test]
fn sqlitefs_without_memory_conforms() {
    check_suite(&|clock| Fixture { below: for_suite(&clock, forgetful()), finish: Box::new(|below| below) });
}

#[test]
fn an_overlay_over_sqlitefs_conforms() {
    check_suite(&|clock| {
        let upper = for_suite(&clock, Tuning::default());
        let below = for_suite(&clock, Tuning::default());
        let finish = Box::new(move |below: Arc<dyn FileSystem>| -> Arc<dyn FileSystem> {
            let overlay = overlay(vec![Arc::clone(&below)], upper);
            Arc::new(Keeping { overlay, _lower: below })
        });
        Fixture { below, finish }
    });
}

#[test]
fn an_overlay_over_sqlitefs_mounted_again_conforms() {
    check_suite(&|clock| {
        let upper = for_suite(&clock, forgetful());
        let below = overlay(Vec::new(), Arc::clone(&upper));
        Fixture { below, finish: Box::new(move |_| overlay(Vec::new(), upper)) }
    });
}

/// Closes and opens a file system between setup and examination.
struct Reopened {
    fs: Arc<SqliteFs>,
    _folder: Arc<TempDir>,
}

impl FileSystem for Reopened {
    fn kind(&self) -> &'static str {
        "sqlitefs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.fs.root()
    }
}

#[test]
fn sqlitefs_opened_again_conforms() {
    check_suite(&|clock| {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let options = SqliteFsOptions { clock, ..options(folder.path()) };
        let first = SqliteFs::open(options.clone()).unwrap();
        let below = Arc::new(Reopened { fs: Arc::clone(&first), _folder: Arc::clone(&folder) });
        let finish = Box::new(move |_| -> Arc<dyn FileSystem> {
            first.close().unwrap();
            Arc::new(Reopened { fs: SqliteFs::open(options).unwrap(), _folder: folder })
        });
        Fixture { below, finish }
    });
}

#[test]
fn what_was_closed_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let root = fs.root();
    let directory = create(&*root, "d", NodeKind::Directory).unwrap();
    let file = create(&*directory, "f", NodeKind::Regular).unwrap();
    file.write_at(100_000, b"hello").unwrap();
    file.set_xattr(b"user.a", b"b", XattrSet::Any).unwrap();
    root.link(name("g"), &file).unwrap();
    create(&*root, "l", NodeKind::Symlink(b"d/f")).unwrap();
    let (before, ino) = (file.stat().unwrap(), file.ino());
    check_clean(&fs);
    fs.close().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the log is put away");
    drop((root, directory, file, fs));

    let fs = open(folder.path());
    let root = fs.root();
    let file = root.lookup(name("d")).unwrap().lookup(name("f")).unwrap();
    assert_eq!((file.ino(), file.stat().unwrap()), (ino, before));
    assert_eq!(root.lookup(name("g")).unwrap().ino(), ino);
    let mut bytes = read(&*file);
    assert_eq!(bytes.split_off(100_000), b"hello");
    assert!(bytes.iter().all(|&byte| byte == 0));
    assert_eq!(file.get_xattr(b"user.a").unwrap(), b"b");
    assert_eq!(root.lookup(name("l")).unwrap().read_link().unwrap(), b"d/f");
    assert_eq!(root.read_dir().unwrap().len(), 3);
    check_clean(&fs);
}

#[test]
fn a_later_owner_keeps_an_earlier_one_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |epoch| SqliteFs::open(SqliteFsOptions { epoch, ..options(folder.path()) });
    at(5).unwrap().close().unwrap();
    let error = at(4).err().unwrap();
    assert!(matches!(error, OpenError::StaleEpoch { theirs: 5, ours: 4 }), "{error}");
    at(5).unwrap().close().unwrap();
    at(6).unwrap();
    assert!(at(5).is_err());
}

#[test]
fn closing_refuses_what_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let root = fs.root();
    let file = create(&*root, "f", NodeKind::Regular).unwrap();
    fs.close().unwrap();
    fs.close().unwrap();
    assert_eq!(file.write_at(0, b"x").unwrap_err(), Errno::EIO);
    assert_eq!(create(&*root, "g", NodeKind::Regular).err().unwrap(), Errno::EIO);
    fs.sync().unwrap();
    assert!(!fs.check(FsckOptions::default()).is_clean());
}

fn write_file(root: &Arc<dyn Inode>, text: &str, len: usize) -> Arc<dyn Inode> {
    let file = create(&**root, text, NodeKind::Regular).unwrap();
    assert_eq!(file.write_at(0, &vec![7; len]).unwrap(), len);
    file
}

fn set_max_pages(fs: &SqliteFs, pages: Option<u64>) {
    let turn = fs.shared.database.turn();
    let connection = turn.connection().unwrap();
    let now: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let pages = pages.map_or(now, |pages| pages as i64);
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
}

#[test]
fn a_full_disk_of_the_host_refuses_changes_until_there_is_room_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let root = fs.root();
    write_file(&root, "old", 100_000);
    fs.sync().unwrap();
    set_max_pages(&fs, None);
    let new = write_file(&root, "new", 500_000);
    assert_eq!(fs.sync().unwrap_err(), Errno::ENOSPC);
    assert_eq!(new.sync(crate::SyncScope::Everything).unwrap_err(), Errno::ENOSPC);
    assert_eq!(create(&*root, "other", NodeKind::Regular).err().unwrap(), Errno::ENOSPC);
    assert_eq!(new.write_at(0, b"x").unwrap_err(), Errno::ENOSPC);
    assert_eq!(read(&*new), vec![7; 500_000], "what is in memory can be read");
    root.unlink(name("old")).unwrap();
    set_max_pages(&fs, Some(1 << 30));
    fs.sync().unwrap();
    create(&*root, "other", NodeKind::Regular).unwrap();
    check_clean(&fs);
    fs.close().unwrap();
    let fs = open(folder.path());
    let names: Vec<String> =
        fs.root().read_dir().unwrap().into_iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["new", "other"]);
    assert_eq!(read(&*fs.root().lookup(name("new")).unwrap()), vec![7; 500_000]);
    assert!(fs.fault().is_none());
}

#[test]
fn a_database_that_cannot_be_written_makes_the_files_read_only_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let root = fs.root();
    let file = write_file(&root, "f", 10);
    fs.sync().unwrap();
    fs.shared.database.turn().connection().unwrap().execute_batch("DROP TABLE chunk").unwrap();
    file.write_at(0, b"x").unwrap();
    assert_eq!(fs.sync().unwrap_err(), Errno::EIO);
    assert!(fs.fault().unwrap().contains("chunk"), "{:?}", fs.fault());
    assert_eq!(file.write_at(0, b"y").unwrap_err(), Errno::EROFS);
    assert_eq!(root.unlink(name("f")).unwrap_err(), Errno::EROFS);
    assert_eq!(file.sync(crate::SyncScope::DataOnly).unwrap_err(), Errno::EIO);
    assert_eq!(read(&*file)[0], b'x', "what is in memory can be read");
    assert_eq!(fs.close().unwrap_err(), Errno::EIO);
}

#[test]
fn syncs_at_once_share_their_batches() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let root = fs.root();
    fs.sync().unwrap();
    let before = fs.shared.batches();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let root = &root;
            scope.spawn(move || {
                for round in 0..25 {
                    let file = write_file(root, &format!("{thread}-{round}"), 10);
                    file.sync(crate::SyncScope::Everything).unwrap();
                }
            });
        }
    });
    let batches = fs.shared.batches() - before;
    assert!(batches < 200, "{batches} batches for 200 syncs");
    let before = fs.shared.batches();
    for index in 0..25 {
        root.lookup(name(&format!("3-{index}"))).unwrap().sync(crate::SyncScope::DataOnly).unwrap();
    }
    fs.sync().unwrap();
    assert_eq!(fs.shared.batches(), before, "what is durable needs no batch");
}

#[test]
fn what_changes_beside_syncs_and_after_a_rest_is_written_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { flush_interval: Duration::from_millis(200), ..Tuning::default() };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let file = create(&*fs.root(), "f", NodeKind::Regular).unwrap();
    for round in 0..4 {
        // The flusher is about: nobody wakes it.
        file.write_at(round, b"x").unwrap();
        fs.sync().unwrap();
        let (before, changed) = (fs.shared.batches(), std::time::Instant::now());
        file.write_at(100 + round, b"y").unwrap();
        while fs.shared.batches() == before {
            assert!(changed.elapsed() < Duration::from_secs(5), "round {round}: not written");
            std::thread::yield_now();
        }
        assert!(changed.elapsed() > Duration::from_millis(150), "round {round}: written at once");
    }
    // Longer than it stays about: somebody has to wake it.
    std::thread::sleep(Duration::from_millis(2500));
    let before = fs.shared.batches();
    file.write_at(1000, b"z").unwrap();
    let changed = std::time::Instant::now();
    while fs.shared.batches() == before {
        assert!(changed.elapsed() < Duration::from_secs(5), "not written after a rest");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_lived_between_two_batches_never_reaches_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let root = fs.root();
    let directory = create(&*root, "d", NodeKind::Directory).unwrap();
    fs.sync().unwrap();
    let log = || fs.shared.database.log_used().unwrap();
    let before = log();
    write_file(&directory, "f", 1 << 20);
    directory.unlink(name("f")).unwrap();
    fs.sync().unwrap();
    assert!(log() - before < 50_000, "{} bytes", log() - before);
    check_clean(&fs);
}

#[test]
fn an_idle_file_system_holds_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { cache_bytes: 100_000, cache_inodes: 100, ..options(folder.path()).tuning };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let root = fs.root();
    for index in 0..2000 {
        write_file(&root, &format!("f{index}"), 3000);
    }
    assert!(fs.shared.memory.dirty_bytes() > 2000 * 3000);
    fs.sync().unwrap();
    for index in 0..500 {
        let mut buffer = [0; 10];
        root.lookup(name(&format!("f{index}"))).unwrap().read_at(0, &mut buffer).unwrap();
    }
    let memory = &fs.shared.memory;
    assert_eq!(memory.dirty_bytes(), 0);
    assert!(memory.clean_bytes() <= 100_000 + 50_000, "{} bytes are cached", memory.clean_bytes());
    assert!(fs.shared.table.len() <= 200, "{} inodes are cached", fs.shared.table.len());
    assert_eq!(root.read_dir().unwrap().len(), 2000);
    check_clean(&fs);
    let large = write_file(&root, "large", 10 << 20);
    fs.sync().unwrap();
    assert!(memory.clean_bytes() <= 100_000, "{} bytes are cached", memory.clean_bytes());
    assert_eq!(read(&*large).len(), 10 << 20);
    assert!(
        memory.clean_bytes() <= 100_000 + 20 * 33_000,
        "{} bytes are cached after reading",
        memory.clean_bytes()
    );
}

#[test]
fn a_discarded_file_system_leaves_nothing_and_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let file = create(&*fs.root(), "a", NodeKind::Regular).unwrap();
    file.write_at(0, b"abc").unwrap();
    fs.sync().unwrap();
    file.write_at(3, b"def").unwrap();
    fs.discard();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(fs.sync().unwrap_err(), Errno::EIO);
    assert_eq!(file.write_at(0, b"abc").unwrap_err(), Errno::EIO);
    fs.discard();
    fs.close().unwrap();
    drop(file);
    assert_eq!(open(folder.path()).root().stat().unwrap().nlink, 2);
}

/// Behind the log, in the tests of that.
const ROOM_BYTES: u64 = 256 << 10;

#[test]
fn zeros_behind_the_log_are_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let log_len = |folder: &Path| std::fs::metadata(folder.join("fs.db-wal")).unwrap().len();
    let fs = open(folder.path());
    let file = create(&*fs.root(), "a", NodeKind::Regular).unwrap();
    let mut copies = Vec::new();
    for round in 0..60_u8 {
        file.write_at(u64::from(round) * 9000, &[round; 9000]).unwrap();
        fs.sync().unwrap();
        fs.shared.exclusively(|| fs.shared.database.extend_log(ROOM_BYTES));
        assert!(!fs.shared.database.is_log_short(ROOM_BYTES));
        let len = log_len(folder.path());
        if round % 20 == 7 {
            // The log begins anew, over what it had before.
            fs.shared.exclusively(|| fs.shared.checkpoint("RESTART"));
            assert!(log_len(folder.path()) >= len);
        }
        if round % 6 == 0 {
            // As a crash leaves it.
            let copy = tempfile::tempdir().unwrap();
            for name in ["fs.db", "fs.db-wal"] {
                std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
            }
            copies.push((round, copy));
        }
    }
    drop(fs);
    for (round, copy) in copies {
        let fs = open(copy.path());
        let file = fs.root().lookup(name("a")).unwrap();
        let content = read(&*file);
        assert_eq!(content.len(), (usize::from(round) + 1) * 9000);
        assert!(content.chunks(9000).zip(0..).all(|(chunk, round)| chunk == [round; 9000]));
        check_clean(&fs);
    }
}

#[test]
fn a_log_that_has_room_stays_as_long_as_it_is_when_something_becomes_durable() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let file = create(&*fs.root(), "a", NodeKind::Regular).unwrap();
    fs.sync().unwrap();
    fs.shared.exclusively(|| fs.shared.database.extend_log(ROOM_BYTES));
    let len = std::fs::metadata(folder.path().join("fs.db-wal")).unwrap().len();
    for round in 0..5_u8 {
        file.write_at(0, &[round; 1024]).unwrap();
        fs.sync().unwrap();
    }
    assert_eq!(std::fs::metadata(folder.path().join("fs.db-wal")).unwrap().len(), len);
    fs.close().unwrap();
    assert!(!folder.path().join("fs.db-wal").exists());
}
