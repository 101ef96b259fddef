//! Many threads at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vm_vfs::sqlitefs::{SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::{FileSystem, Inode, NodeKind, RenameFlags, SyncScope};

use crate::history::{Random, step};
use crate::{check_clean, create, name, options};

/// Everything is written and forgotten all the time.
fn restless() -> Tuning {
    Tuning {
        cache_bytes: 64 << 10,
        cache_inodes: 8,
        dirty_bytes: 256 << 10,
        flush_interval: Duration::from_millis(1),
        log_bytes: 1 << 20,
        log_room_bytes: 64 << 10,
    }
}

#[test]
fn writers_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fs = SqliteFs::open(SqliteFsOptions { tuning: restless(), ..options(folder.path()) }).unwrap();
    let root = fs.root();
    let log = create(&*root, "log", NodeKind::Regular).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (root, log) = (&root, &log);
            scope.spawn(move || {
                for round in 0..300 {
                    log.append(&[thread; 7]).unwrap();
                    let file = create(&**root, &format!("{thread}-{round}"), NodeKind::Regular).unwrap();
                    file.write_at(0, &[thread; 3000]).unwrap();
                    if round % 50 == 0 {
                        file.sync(SyncScope::Everything).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(log.stat().unwrap().size, 4 * 300 * 7);
    let entries = root.read_dir().unwrap();
    assert_eq!(entries.len(), 1201);
    let mut bytes = vec![0; 8400];
    log.read_at(0, &mut bytes).unwrap();
    assert!(bytes.chunks(7).all(|record| record.iter().all(|&byte| byte == record[0])));
    for entry in entries.iter().filter(|entry| entry.name.as_bytes() != b"log") {
        let mut bytes = [9; 3001];
        let file = root.lookup(entry.name.as_name()).unwrap();
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), 3000);
        let thread = entry.name.as_bytes()[0] - b'0';
        assert!(bytes[..3000].iter().all(|&byte| byte == thread));
    }
    check_clean(&fs);
}

#[test]
fn random_changes_by_many_threads_leave_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let fs = SqliteFs::open(SqliteFsOptions { tuning: restless(), ..options(folder.path()) }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = fs.root();
            scope.spawn(move || {
                let mut random = Random::new(thread);
                for _ in 0..1500 {
                    step(&root, &mut random);
                }
            });
        }
    });
    check_clean(&fs);
    let seen = crate::history::dump(&fs.root());
    fs.close().unwrap();
    let fs = crate::open(folder.path());
    assert_eq!(crate::history::dump(&fs.root()), seen);
}

#[test]
fn a_file_that_is_renamed_over_is_always_there_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let fs = SqliteFs::open(SqliteFsOptions { tuning: restless(), ..options(folder.path()) }).unwrap();
    let root = fs.root();
    let put = |root: &Arc<dyn Inode>, text: &str, byte: u8| {
        create(&**root, text, NodeKind::Regular).unwrap().write_at(0, &[byte; 40_000]).unwrap();
    };
    put(&root, "target", 0);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut buffer = vec![0; 40_001];
                while !is_done.load(Ordering::Relaxed) {
                    let file = root.lookup(name("target")).unwrap();
                    assert_eq!(file.read_at(0, &mut buffer).unwrap(), 40_000);
                    assert!(buffer[..40_000].iter().all(|&byte| byte == buffer[0]));
                }
            });
        }
        for round in 1..300 {
            put(&root, "new", round as u8);
            root.rename(name("new"), &root, name("target"), RenameFlags::empty()).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
    check_clean(&fs);
    assert_eq!(root.read_dir().unwrap().len(), 1);
}
