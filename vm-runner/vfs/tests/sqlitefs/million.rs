//! A million files: what making, finding and removing them takes, in time and memory.

use std::time::Instant;

use vm_vfs::sqlitefs::{SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::{FileSystem, NodeKind};

use crate::{check_clean, create, name, options};

const DIRECTORIES: usize = 100;
/// How many there are unless `MANY_FILES` says so.
const FILES: usize = 1_000_000;
/// How much more memory the process may have than before, in KiB: caches have limits, whatever the number of files is.
const MAX_GROWTH_KIB: u64 = 192 << 10;

/// Memory of this process that is in use, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "takes minutes: make nightly runs it"]
fn a_million_files_are_made_found_and_removed_within_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteFsOptions {
        max_inodes: 2_000_000,
        max_bytes: 64 << 30,
        tuning: Tuning::default(),
        ..options(folder.path())
    };
    let many = std::env::var("MANY_FILES").map_or(FILES, |files| files.parse().unwrap());
    let per_directory = many / DIRECTORIES;
    let before = resident_kib();
    let mut started = Instant::now();
    let mut tell = |what: &str| {
        let growth = resident_kib().saturating_sub(before);
        println!("{what:<44} {:>8.1} s, {growth:>8} KiB more than before", started.elapsed().as_secs_f64());
        assert!(growth < MAX_GROWTH_KIB, "{what}: {growth} KiB");
        started = Instant::now();
    };
    let fs = SqliteFs::open(options.clone()).unwrap();
    for directory in 0..DIRECTORIES {
        let directory = create(&*fs.root(), &format!("d{directory}"), NodeKind::Directory).unwrap();
        for file in 0..per_directory {
            let file = create(&*directory, &format!("f{file}"), NodeKind::Regular).unwrap();
            file.write_at(0, b"content").unwrap();
        }
    }
    fs.sync().unwrap();
    tell(&format!("{many} files made and durable"));
    fs.close().unwrap();
    drop(fs);
    tell("closed");
    let fs = SqliteFs::open(options).unwrap();
    assert_eq!(fs.statfs().unwrap().free_inodes, 2_000_000 - (DIRECTORIES * (per_directory + 1)) as u64 - 1);
    tell("opened");
    for number in 0..20_000_usize {
        let (directory, file) = (number * 7919 % DIRECTORIES, number * 104_729 % per_directory);
        let directory = fs.root().lookup(name(&format!("d{directory}"))).unwrap();
        let file = directory.lookup(name(&format!("f{file}"))).unwrap();
        let mut content = [0; 16];
        assert_eq!(file.read_at(0, &mut content).unwrap(), 7);
    }
    tell("20 000 of them found and read, all over");
    check_clean(&fs);
    tell("checked");
    for directory in 0..DIRECTORIES / 10 {
        let parent = fs.root().lookup(name(&format!("d{directory}"))).unwrap();
        for file in 0..per_directory {
            parent.unlink(name(&format!("f{file}"))).unwrap();
        }
        fs.root().rmdir(name(&format!("d{directory}"))).unwrap();
    }
    fs.sync().unwrap();
    tell("a tenth of them removed");
    check_clean(&fs);
}
