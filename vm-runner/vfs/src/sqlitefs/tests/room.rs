//! What waits to be written is bounded, and what is answered as durable is so.

use std::sync::atomic::{AtomicBool, Ordering};

use vm_abi::{Errno, Mode};

use super::{check_clean, name, open, options, read, write_file};
use crate::file_system::FileSystem;
use crate::inode::{Inode, NodeKind, Owner, SyncScope, XattrSet};
use crate::sqlitefs::flush::Durability;
use crate::sqlitefs::{OpenError, SqliteFs, SqliteFsOptions, Tuning, schema};

#[test]
fn a_huge_write_waits_for_room_as_many_small_ones_do() {
    let folder = tempfile::tempdir().unwrap();
    let dirty_bytes = 8 << 20;
    let tuning = Tuning { dirty_bytes, ..options(folder.path()).tuning };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let file = write_file(&fs.root(), "f", 0);
    let bytes: Vec<u8> = (0..100_usize << 20).map(|at| (at / 4096) as u8).collect();
    assert_eq!(file.write_at(0, &bytes).unwrap(), bytes.len());
    let unwritten = fs.shared.memory.dirty_bytes();
    assert!(unwritten <= 2 * dirty_bytes, "{unwritten} bytes wait to be written");
    assert_eq!(file.append(&bytes).unwrap().end, 2 * bytes.len() as u64);
    let unwritten = fs.shared.memory.dirty_bytes();
    assert!(unwritten <= 2 * dirty_bytes, "{unwritten} bytes wait to be written");
    assert!(read(&*file) == [&bytes[..], &bytes[..]].concat());
    check_clean(&fs);
}

#[test]
fn what_a_sync_has_answered_is_durable_while_others_begin_batches() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let files: Vec<_> = (0..2)
        .map(|number| {
            let text = format!("f{number}");
            fs.root.make_entry(name(&text), NodeKind::Regular, Mode::new(0o644), Owner::ROOT).unwrap()
        })
        .collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs.shared.flush(Durability::Committed);
            }
        });
        let rounds: Vec<_> = files
            .iter()
            .map(|file| {
                scope.spawn(|| {
                    for round in 0..500_u32 {
                        file.write_at(0, &round.to_le_bytes()).unwrap();
                        // The batch that takes it may be begun by now, or not.
                        (0..round % 64 * 16).for_each(|_| std::hint::spin_loop());
                        file.sync(SyncScope::Everything).unwrap();
                        // Nobody else writes to it: what it last was in is on the disk.
                        assert!(fs.shared.is_durable(file), "round {round}");
                    }
                })
            })
            .collect();
        let results: Vec<_> = rounds.into_iter().map(|round| round.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
}

#[test]
fn a_database_that_was_being_made_when_its_process_was_killed_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fs.db");
    {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        schema::migrate(&connection, 0, schema::STEPS).unwrap();
    }
    let fs = open(folder.path());
    write_file(&fs.root(), "f", 10);
    fs.close().unwrap();
    drop(fs);
    // With files in it, it is damaged.
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM meta", []).unwrap();
    let error = SqliteFs::open(options(folder.path())).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn extended_attributes_count_as_memory() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { dirty_bytes: 4 << 20, cache_bytes: 1 << 20, ..options(folder.path()).tuning };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let root = fs.root();
    let value = |number: u32, len: usize| vec![number as u8; len];
    for number in 0..500 {
        let file = write_file(&root, &format!("f{number}"), 0);
        file.set_xattr(b"user.large", &value(number, 60_000), XattrSet::Any).unwrap();
        file.set_xattr(b"user.small", &value(number, 10), XattrSet::Any).unwrap();
        let unwritten = fs.shared.memory.dirty_bytes();
        assert!(unwritten <= 5 << 20, "{unwritten} bytes wait to be written");
    }
    assert!(fs.shared.memory.dirty_bytes() > 100_000, "the last ones wait");
    fs.sync().unwrap();
    assert_eq!(fs.shared.memory.dirty_bytes(), 0);
    for number in 0..500 {
        let file = root.lookup(name(&format!("f{number}"))).unwrap();
        assert_eq!(file.get_xattr(b"user.large").unwrap(), value(number, 60_000));
        assert_eq!(file.list_xattr().unwrap().len(), 2);
        assert_eq!(file.set_xattr(b"user.none", b"", XattrSet::Replace).unwrap_err(), Errno::ENODATA);
    }
    assert_eq!(fs.shared.table.attribute_bytes(), 0, "what the database has is not kept");
    let file = root.lookup(name("f7")).unwrap();
    file.set_xattr(b"user.other", b"x", XattrSet::Any).unwrap();
    file.remove_xattr(b"user.small").unwrap();
    assert_eq!(file.get_xattr(b"user.large").unwrap(), value(7, 60_000));
    fs.sync().unwrap();
    assert_eq!(file.get_xattr(b"user.other").unwrap(), b"x");
    assert_eq!(file.get_xattr(b"user.small").unwrap_err(), Errno::ENODATA);
    root.unlink(name("f7")).unwrap();
    file.set_xattr(b"user.late", &value(1, 50_000), XattrSet::Any).unwrap();
    drop(file);
    fs.sync().unwrap();
    assert_eq!(fs.shared.memory.dirty_bytes(), 0);
    check_clean(&fs);
}
