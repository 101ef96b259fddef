//! Huge files, huge directories, and what they leave behind.

use std::sync::Arc;
use std::time::Duration;

use vm_abi::Errno;
use vm_vfs::sqlitefs::{SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::{Allocation, Extent, FileSystem, Inode, NodeKind, SetAttr};

use crate::{check_clean, create, name, open, options};

const GIB: u64 = 1 << 30;

fn size_to(inode: &Arc<dyn Inode>, size: u64) {
    inode.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() }).unwrap();
}

#[test]
fn a_file_of_ten_gigabytes_with_a_few_pages_takes_a_few_pages() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    let file = create(&*fs.root(), "f", NodeKind::Regular).unwrap();
    let places = [0, 4096, 5 * GIB + 77, 10 * GIB - 1];
    for place in places {
        file.write_at(place, b"x").unwrap();
    }
    file.allocate(7 * GIB, GIB / 16, Allocation::KeepSize).unwrap();
    let look = |file: &Arc<dyn Inode>| {
        let stat = file.stat().unwrap();
        assert_eq!(stat.size, 10 * GIB);
        let chunk = |place: u64| place / 32_768 * 32_768;
        assert_eq!(file.seek_extent(0, Extent::Data).unwrap(), 0);
        assert_eq!(file.seek_extent(0, Extent::Hole).unwrap(), 4097);
        assert_eq!(file.seek_extent(4097, Extent::Data).unwrap(), chunk(5 * GIB + 77));
        assert_eq!(file.seek_extent(6 * GIB, Extent::Data).unwrap(), 7 * GIB);
        assert_eq!(file.seek_extent(7 * GIB, Extent::Hole).unwrap(), 7 * GIB + GIB / 16);
        assert_eq!(file.seek_extent(9 * GIB, Extent::Data).unwrap(), chunk(10 * GIB - 1));
        assert_eq!(file.seek_extent(10 * GIB - 1, Extent::Hole).unwrap(), 10 * GIB);
        for place in places {
            let mut around = [9; 3];
            let from = place.saturating_sub(1);
            let read = file.read_at(from, &mut around).unwrap();
            assert_eq!(around[(place - from) as usize], b'x');
            assert!(around[..read].iter().filter(|&&byte| byte != 0).count() == 1);
        }
    };
    look(&file);
    check_clean(&fs);
    drop(file);
    fs.close().unwrap();
    assert!(std::fs::metadata(folder.path().join("fs.db")).unwrap().len() < 1 << 20);
    let fs = open(folder.path());
    let file = fs.root().lookup(name("f")).unwrap();
    look(&file);
    size_to(&file, 5 * GIB + 78);
    assert_eq!(file.seek_extent(6 * GIB, Extent::Data).unwrap_err(), Errno::ENXIO);
    size_to(&file, 8 * GIB);
    assert_eq!(file.seek_extent(6 * GIB, Extent::Data).unwrap_err(), Errno::ENXIO);
    check_clean(&fs);
    size_to(&file, 0);
    assert_eq!(file.stat().unwrap().blocks, 0);
    check_clean(&fs);
}

#[test]
fn a_hundred_thousand_files_in_a_directory_come_and_go() {
    const FILES: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { flush_interval: Duration::from_millis(50), ..Tuning::default() };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let directory = create(&*fs.root(), "d", NodeKind::Directory).unwrap();
    for index in 0..FILES {
        create(&*directory, &format!("f{index}"), NodeKind::Regular).unwrap();
    }
    assert_eq!(directory.read_dir().unwrap().len(), FILES);
    drop(directory);
    fs.close().unwrap();
    let fs = open(folder.path());
    let directory = fs.root().lookup(name("d")).unwrap();
    assert!(directory.lookup(name("f99999")).is_ok());
    assert_eq!(directory.lookup(name("g")).err().unwrap(), Errno::ENOENT);
    assert_eq!(fs.root().rmdir(name("d")).unwrap_err(), Errno::ENOTEMPTY);
    create(&*directory, "g", NodeKind::Regular).unwrap();
    assert_eq!(directory.read_dir().unwrap().len(), FILES + 1);
    check_clean(&fs);
    for index in 0..FILES {
        directory.unlink(name(&format!("f{index}"))).unwrap();
    }
    directory.unlink(name("g")).unwrap();
    drop(directory);
    fs.root().rmdir(name("d")).unwrap();
    check_clean(&fs);
    assert_eq!(fs.statfs().unwrap().free_inodes, fs.statfs().unwrap().total_inodes - 1);
}

#[test]
fn what_is_more_than_memory_may_hold_is_written_read_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning {
        cache_bytes: 1 << 20,
        dirty_bytes: 1 << 20,
        flush_interval: Duration::from_millis(1),
        log_bytes: 4 << 20,
        log_room_bytes: 64 << 10,
        ..Tuning::default()
    };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let file = create(&*fs.root(), "f", NodeKind::Regular).unwrap();
    let block = |index: u64| vec![index as u8 ^ 0x33; 100_000];
    for index in 0..500 {
        assert_eq!(file.write_at(index * 100_000, &block(index)).unwrap(), 100_000);
    }
    let mut buffer = vec![0; 100_000];
    for index in (0..500).rev() {
        assert_eq!(file.read_at(index * 100_000, &mut buffer).unwrap(), 100_000);
        assert!(buffer == block(index), "block {index}");
    }
    check_clean(&fs);
    let log = std::fs::metadata(folder.path().join("fs.db-wal")).unwrap().len();
    assert!(log < 24 << 20, "the log has {log} bytes");
    drop(file);
    fs.root().unlink(name("f")).unwrap();
    check_clean(&fs);
    assert_eq!(fs.statfs().unwrap().free_bytes, fs.statfs().unwrap().total_bytes);
    let before = std::fs::metadata(folder.path().join("fs.db")).unwrap().len();
    // The flusher gives free space back when it has rested; closing puts the log away.
    let end = std::time::Instant::now() + Duration::from_secs(20);
    let mut after = before;
    while after > 12 << 20 && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        after = std::fs::metadata(folder.path().join("fs.db")).unwrap().len();
    }
    fs.close().unwrap();
    after = std::fs::metadata(folder.path().join("fs.db")).unwrap().len();
    assert!(after < 12 << 20, "{before} bytes became {after}");
}

#[test]
fn the_log_keeps_its_length_while_much_is_written_and_gives_it_back_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let tuning =
        Tuning { flush_interval: Duration::from_millis(10), log_bytes: 20 << 20, ..Tuning::default() };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let log_len = || std::fs::metadata(folder.path().join("fs.db-wal")).unwrap().len();
    let file = create(&*fs.root(), "f", NodeKind::Regular).unwrap();
    let mut longest = 0;
    for index in 0..48 {
        file.write_at(index << 20, &vec![index as u8; 1 << 20]).unwrap();
        fs.sync().unwrap();
        assert!(log_len() >= longest, "shortened from {longest} bytes while it was in use");
        longest = log_len();
    }
    assert!((20 << 20..64 << 20).contains(&longest), "it was {longest} bytes long");
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while log_len() > 16 << 20 {
        assert!(std::time::Instant::now() < end, "it is still {} bytes long", log_len());
        std::thread::sleep(Duration::from_millis(50));
    }
    check_clean(&fs);
}

#[test]
fn a_huge_reservation_takes_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let tuning =
        Tuning { dirty_bytes: 8 << 20, flush_interval: Duration::from_millis(10), ..Tuning::default() };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    let file = create(&*fs.root(), "f", NodeKind::Regular).unwrap();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = resident();
    file.allocate(0, 40 * GIB, Allocation::Extend).unwrap();
    let growth = resident().saturating_sub(before);
    assert_eq!(file.stat().unwrap().size, 40 * GIB);
    assert!(growth < 256 << 10, "{growth} KiB");
    // What cannot be had changes nothing.
    assert_eq!(file.allocate(0, 4096 * GIB, Allocation::Extend).unwrap_err(), Errno::ENOSPC);
    assert_eq!(file.stat().unwrap().size, 40 * GIB);
    assert_eq!(file.seek_extent(39 * GIB, Extent::Hole).unwrap(), 40 * GIB);
    // Without growing, a reservation ends with the file.
    file.allocate(39 * GIB, i64::MAX as u64 - 39 * GIB, Allocation::KeepSize).unwrap();
    assert_eq!(file.stat().unwrap().size, 40 * GIB);
    fs.sync().unwrap();
    check_clean(&fs);
}
