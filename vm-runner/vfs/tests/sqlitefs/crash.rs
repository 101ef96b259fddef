//! Crashes: of the process, at any instant, and of the host, by what would have been on its disk.
//!
//! The files must be as they were at some instant, and no earlier than what was said to be durable.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vm_vfs::sqlitefs::{FsckOptions, SqliteFs, SqliteFsOptions, Tuning, check_file};
use vm_vfs::{FileSystem, SyncScope};

use crate::history::{Random, SetClock, dump, reference, step};
use crate::{check_clean, options};

/// How many times a writer is killed; `SQLITEFS_CRASH_ROUNDS` makes it more.
const ROUNDS: u64 = 25;
const MAX_STEPS: i64 = 20_000;
const WRITER_FOLDER: &str = "SQLITEFS_TEST_WRITER_FOLDER";
const WRITER_SEED: &str = "SQLITEFS_TEST_WRITER_SEED";

/// Batches are written all the time, and the log is emptied often.
fn busy() -> Tuning {
    Tuning {
        flush_interval: Duration::from_millis(1),
        log_bytes: 1 << 20,
        log_room_bytes: 64 << 10,
        cache_inodes: 4,
        ..Tuning::default()
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn writer_that_is_killed() {
    let Some(folder) = std::env::var_os(WRITER_FOLDER) else { return };
    let seed = std::env::var(WRITER_SEED).unwrap().parse().unwrap();
    let clock = Arc::new(SetClock::default());
    let options = options(Path::new(&folder));
    let fs = SqliteFs::open(SqliteFsOptions { clock: clock.clone(), tuning: busy(), ..options }).unwrap();
    let (root, mut random, mut pauses) = (fs.root(), Random::new(seed), Random::new(!seed));
    for number in 0..MAX_STEPS {
        clock.0.store(number, Ordering::Relaxed);
        step(&root, &mut random);
        match pauses.below(24) {
            0 => fs.sync().unwrap(),
            1 => root.sync(SyncScope::Everything).unwrap(),
            _ => continue,
        }
        // Syncing the root promises no more than that: its entries.
        let is_promise = pauses.below(2) == 0;
        if is_promise {
            fs.sync().unwrap();
            writeln!(std::io::stdout(), "durable {}", number + 1).unwrap();
        }
    }
}

fn start_writer(folder: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(WRITER_FOLDER, folder)
        .env(WRITER_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a writer at some instant; tells how many steps it said to be durable.
fn kill_writer(folder: &Path, seed: u64, random: &mut Random) -> i64 {
    let mut writer = start_writer(folder, seed);
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut durable = 0;
    let wanted = random.below(40);
    for _ in 0..wanted {
        durable = lines.by_ref().find_map(|line| promise(&line.unwrap())).unwrap_or(durable);
    }
    let end = Instant::now() + Duration::from_micros(random.below(5000));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    writer.kill().unwrap();
    for line in lines.map_while(Result::ok) {
        durable = promise(&line).unwrap_or(durable);
    }
    writer.wait().unwrap();
    durable
}

fn promise(line: &str) -> Option<i64> {
    line.split_once("durable ")?.1.parse().ok()
}

#[test]
fn a_writer_killed_at_any_instant_loses_nothing_durable_and_leaves_a_state_that_was() {
    let rounds = std::env::var("SQLITEFS_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut random = Random::new(7);
    let mut total = 0;
    let mut place = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
    let mut model = reference(place.1.clone());
    for round in 0..rounds {
        if round % 5 == 0 {
            place = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
            model = reference(place.1.clone());
        }
        let (folder, clock) = &place;
        let durable = kill_writer(folder.path(), round, &mut random);
        let fs = SqliteFs::open(options(folder.path())).unwrap();
        check_clean(&fs);
        let found = dump(&fs.root());
        let mut steps = Random::new(round);
        let matched = (0..MAX_STEPS).find(|&number| {
            let is_there = number >= durable && dump(&model.root()) == found;
            if !is_there {
                clock.0.store(number, Ordering::Relaxed);
                step(&model.root(), &mut steps);
            }
            is_there
        });
        assert!(
            matched.is_some(),
            "round {round}: after {durable} durable steps there is a state that never was"
        );
        total += durable;
        fs.close().unwrap();
    }
    assert!(total > 50 * rounds as i64, "only {total} steps were durable in {rounds} rounds");
}

#[test]
fn what_is_on_the_disk_of_a_host_that_crashes_is_a_state_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    // The log only grows, and its file has nothing else, so what was on the disk at some instant is a part of it.
    let tuning = Tuning { log_bytes: u64::MAX, log_room_bytes: 0, ..busy() };
    let options = SqliteFsOptions { clock: clock.clone(), tuning, ..options(folder.path()) };
    let fs = SqliteFs::open(options.clone()).unwrap();
    fs.sync().unwrap();
    let log = folder.path().join("fs.db-wal");
    let log_len = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let (mut random, mut steps) = (Random::new(1), Random::new(2));
    let model_clock = Arc::new(SetClock::default());
    let (model, mut model_steps, mut model_at) = (reference(model_clock.clone()), Random::new(2), 0);
    let done = AtomicU64::new(0);
    for _ in 0..30 {
        let take = |steps: &mut Random, count: u64| {
            for _ in 0..count {
                let number = done.load(Ordering::Relaxed);
                clock.0.store(number as i64, Ordering::Relaxed);
                step(&fs.root(), steps);
                done.store(number + 1, Ordering::Relaxed);
            }
        };
        take(&mut steps, random.below(60));
        fs.sync().unwrap();
        let (durable, durable_len) = (done.load(Ordering::Relaxed), log_len());
        take(&mut steps, random.below(60));
        std::thread::sleep(Duration::from_millis(random.below(4)));
        let crashed = tempfile::tempdir().unwrap();
        std::fs::copy(folder.path().join("fs.db"), crashed.path().join("fs.db")).unwrap();
        let copied = crashed.path().join("fs.db-wal");
        std::fs::copy(&log, &copied).unwrap();
        // What was not synced may be there or not; here it is there up to some byte.
        let more = std::fs::metadata(&copied).unwrap().len() - durable_len;
        let kept = durable_len + random.below(more + 1);
        std::fs::OpenOptions::new().write(true).open(&copied).unwrap().set_len(kept).unwrap();
        let after =
            SqliteFs::open(SqliteFsOptions { folder: crashed.path().to_owned(), ..options.clone() }).unwrap();
        check_clean(&after);
        let found = dump(&after.root());
        while model_at < durable || dump(&model.root()) != found {
            assert!(
                model_at < done.load(Ordering::Relaxed),
                "{durable} durable steps: a state that never was"
            );
            model_clock.0.store(model_at as i64, Ordering::Relaxed);
            step(&model.root(), &mut model_steps);
            model_at += 1;
        }
    }
}

#[test]
fn every_batch_of_what_many_threads_do_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = Tuning { log_bytes: u64::MAX, flush_interval: Duration::ZERO, ..busy() };
    let fs = SqliteFs::open(SqliteFsOptions { tuning, ..options(folder.path()) }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let root = fs.root();
            scope.spawn(move || {
                let mut random = Random::new(100 + thread);
                for _ in 0..2000 {
                    step(&root, &mut random);
                    // So that the flusher gets its turn.
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        }
    });
    let crashed = tempfile::tempdir().unwrap();
    let (database, log) = (crashed.path().join("fs.db"), crashed.path().join("fs.db-wal"));
    // Each part of the log from its beginning ends with some batch.
    let (before, whole) =
        ["fs.db", "fs.db-wal"].map(|file| std::fs::read(folder.path().join(file)).unwrap()).into();
    let mut random = Random::new(3);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        std::fs::write(&database, &before).unwrap();
        let cut = random.below(whole.len() as u64) as usize;
        std::fs::write(&log, &whole[..cut]).unwrap();
        // Before the first batch there is an empty database, or none.
        let Ok(report) = check_file(&database, FsckOptions { pages: false }) else { continue };
        assert!(report.is_clean(), "the first {cut} bytes: {}", report.problems.join("\n"));
        seen.insert((report.inodes, report.names, report.bytes));
    }
    assert!(seen.len() > 10, "only {} batches", seen.len());
}

#[test]
fn files_that_were_unlinked_while_open_are_gone_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let fs = crate::open(folder.path());
    let root = fs.root();
    let held = crate::create(&*root, "f", vm_vfs::NodeKind::Regular).unwrap();
    held.write_at(0, &[7; 200_000]).unwrap();
    let unnamed = root.create_unnamed(vm_abi::Mode::new(0o600), vm_vfs::Owner::ROOT).unwrap();
    unnamed.write_at(0, b"x").unwrap();
    fs.sync().unwrap();
    root.unlink(crate::name("f")).unwrap();
    fs.sync().unwrap();
    assert_eq!(fs.check(Default::default()).orphans, 2);
    check_clean(&fs);
    let crashed = tempfile::tempdir().unwrap();
    for file in ["fs.db", "fs.db-wal"] {
        std::fs::copy(folder.path().join(file), crashed.path().join(file)).unwrap();
    }
    let mut buffer = [0; 10];
    assert_eq!(held.read_at(199_995, &mut buffer).unwrap(), 5);
    let after = crate::open(crashed.path());
    let (statfs, limits) = (after.statfs().unwrap(), options(folder.path()));
    assert_eq!((statfs.free_bytes, statfs.free_inodes), (limits.max_bytes, limits.max_inodes - 1));
    after.sync().unwrap();
    let report = after.check(Default::default());
    assert_eq!((report.orphans, report.inodes, report.is_clean()), (0, 1, true), "{report:?}");
}
