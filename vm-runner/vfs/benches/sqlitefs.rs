//! How fast files in a database are, beside tmpfs and beside the host's own file system on the same disk.
//!
//! `cargo bench -p vm-vfs --bench sqlitefs` prints percentiles. `TMPDIR` tells which disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement is a program that prints or panics, and compares with the host's files"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vm_abi::{Mode, Timespec};
use vm_vfs::sqlitefs::{SqliteFs, SqliteFsOptions, Tuning};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{FileSystem, Inode, Name, NodeKind, Owner, SyncScope};

const FILES: usize = 5000;
const DIRECTORIES: usize = 50;
const LARGE_MIBS: [usize; 2] = [96, 512];
const BLOCK_BYTES: usize = 128 << 10;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    small_files(folder.path());
    reopening(&folder.path().join("db"));
    durable_writes(folder.path());
    for mib in LARGE_MIBS {
        large_file(folder.path(), mib);
    }
}

fn now() -> Timespec {
    Timespec::from_nanos(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64)
}

fn open(folder: &Path) -> Arc<SqliteFs> {
    fs::create_dir_all(folder).unwrap();
    SqliteFs::open(SqliteFsOptions {
        folder: folder.to_owned(),
        epoch: 1,
        max_bytes: 1 << 40,
        max_inodes: 1 << 30,
        root_mode: Mode::new(0o755),
        root_owner: Owner::ROOT,
        clock: Arc::new(now),
        tuning: Tuning::default(),
    })
    .unwrap()
}

fn tmpfs() -> Arc<Tmpfs> {
    let (root_mode, root_owner) = (Mode::new(0o755), Owner::ROOT);
    Tmpfs::new(TmpfsOptions {
        max_bytes: 1 << 40,
        max_inodes: 1 << 30,
        root_mode,
        root_owner,
        clock: Arc::new(now),
    })
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let total: Duration = times.iter().sum();
    println!(
        "{what:<44} p50 {:>9.2?}  p95 {:>9.2?}  p99 {:>9.2?}  sum {total:>9.2?}",
        at(50),
        at(95),
        at(99)
    );
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    times.push(start.elapsed());
    result
}

fn content(index: usize) -> Vec<u8> {
    vec![index as u8; 200 + index % 37 * 100]
}

fn create(directory: &dyn Inode, name: &str, kind: NodeKind<'_>) -> Arc<dyn Inode> {
    directory.create(Name::new(name.as_bytes()).unwrap(), kind, Mode::new(0o755), Owner::ROOT).unwrap()
}

fn lookup(directory: &dyn Inode, name: &str) -> Arc<dyn Inode> {
    directory.lookup(Name::new(name.as_bytes()).unwrap()).unwrap()
}

fn small_files(folder: &Path) {
    let native = folder.join("native");
    let mut times = Vec::new();
    let start = Instant::now();
    for directory in 0..DIRECTORIES {
        fs::create_dir_all(native.join(format!("d{directory}"))).unwrap();
        for file in 0..FILES / DIRECTORIES {
            timed(&mut times, || {
                let mut at = fs::File::create(native.join(format!("d{directory}/f{file}"))).unwrap();
                at.write_all(&content(file)).unwrap();
            });
        }
    }
    report("create and write 5000 files: host", times);
    let created = start.elapsed();
    rustix::fs::syncfs(fs::File::open(folder).unwrap()).unwrap();
    println!("{:<44} {created:>9.2?}, synced {:>9.2?}", "  all of it", start.elapsed());
    let tmpfs = tmpfs();
    on_tree("tmpfs", &*tmpfs);
    let sqlitefs = open(&folder.join("db"));
    on_tree("sqlitefs", &*sqlitefs);
    sqlitefs.close().unwrap();
    let size = fs::metadata(folder.join("db/fs.db")).unwrap().len();
    println!("{:<44} {} KiB", "size of the database", size / 1024);
}

fn on_tree(kind: &str, fs: &dyn FileSystem) {
    let (root, mut times) = (fs.root(), Vec::new());
    let start = Instant::now();
    for directory in 0..DIRECTORIES {
        let directory = create(&*root, &format!("d{directory}"), NodeKind::Directory);
        for file in 0..FILES / DIRECTORIES {
            timed(&mut times, || {
                let at = create(&*directory, &format!("f{file}"), NodeKind::Regular);
                at.write_at(0, &content(file)).unwrap();
            });
        }
    }
    let created = start.elapsed();
    report(&format!("create and write 5000 files: {kind}"), times);
    fs.sync().unwrap();
    println!("{:<44} {created:>9.2?}, synced {:>9.2?}", "  all of it", start.elapsed());
    look(kind, fs);
}

/// What `git status` does, and reading all.
fn look(kind: &str, fs: &dyn FileSystem) {
    let root = fs.root();
    let (mut stats, mut lists, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for directory in 0..DIRECTORIES {
        let directory = timed(&mut lists, || {
            let directory = lookup(&*root, &format!("d{directory}"));
            assert_eq!(directory.read_dir().unwrap().len(), FILES / DIRECTORIES);
            directory
        });
        for file in 0..FILES / DIRECTORIES {
            let name = format!("f{file}");
            timed(&mut stats, || lookup(&*directory, &name).stat().unwrap());
        }
        let mut buffer = [0; 4096];
        for file in 0..FILES / DIRECTORIES {
            let name = format!("f{file}");
            timed(&mut reads, || lookup(&*directory, &name).read_at(0, &mut buffer).unwrap());
        }
    }
    report(&format!("  look up and stat: {kind}"), stats);
    report(&format!("  list a directory of 100: {kind}"), lists);
    report(&format!("  look up and read: {kind}"), reads);
}

fn reopening(folder: &Path) {
    let mut times = Vec::new();
    for _ in 0..50 {
        let fs = timed(&mut times, || {
            let fs = open(folder);
            let file = lookup(&*lookup(&*fs.root(), "d7"), "f7");
            assert!(file.read_at(0, &mut [0; 64]).unwrap() > 0);
            fs
        });
        fs.close().unwrap();
    }
    report("open with 5000 files, read the first byte", times);
    let fs = open(folder);
    look("sqlitefs, opened again", &*fs);
}

fn durable_writes(folder: &Path) {
    let (mut native, mut ours, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    let file = fs::File::create(folder.join("durable")).unwrap();
    for round in 0..500 {
        timed(&mut native, || {
            file.write_all_at(&[7; 1024], round * 1024).unwrap();
            file.sync_data().unwrap();
        });
    }
    let fs = open(&folder.join("durable-db"));
    let file = create(&*fs.root(), "f", NodeKind::Regular);
    for round in 0..500 {
        timed(&mut ours, || {
            file.write_at(round % 64 * 1024, &[7; 1024]).unwrap();
            file.sync(SyncScope::DataOnly).unwrap();
        });
    }
    report("write 1 KiB durably: host", native);
    report("write 1 KiB durably: sqlitefs", ours);
    let start = Instant::now();
    let root = &fs.root();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                scope.spawn(move || {
                    let mut times = Vec::new();
                    for round in 0..200 {
                        timed(&mut times, || {
                            let file = create(&**root, &format!("{worker}-{round}"), NodeKind::Regular);
                            file.write_at(0, &[7; 1024]).unwrap();
                            file.sync(SyncScope::Everything).unwrap();
                        });
                    }
                    times
                })
            })
            .collect();
        for worker in workers {
            threads.extend(worker.join().unwrap());
        }
    });
    report("create 1 KiB durably, 4 threads: sqlitefs", threads);
    println!("{:<44} {:.0} a second", "", 800.0 / start.elapsed().as_secs_f64());
}

fn large_file(folder: &Path, mib: usize) {
    let blocks = (mib << 20) / BLOCK_BYTES;
    let block = vec![0x5a; BLOCK_BYTES];
    let speed = |what: &str, start: Instant| {
        let speed = (mib << 20) as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("{:<44} {speed:.0} MB/s", format!("{what}, {mib} MiB"));
    };
    let path = folder.join("large");
    let start = Instant::now();
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..blocks {
        file.write_all(&block).unwrap();
    }
    speed("write: host", start);
    file.sync_all().unwrap();
    speed("write and sync: host", start);
    let start = Instant::now();
    let mut file = fs::File::open(&path).unwrap();
    let mut buffer = vec![0; BLOCK_BYTES];
    while file.read(&mut buffer).unwrap() > 0 {}
    speed("read, cached by the host: host", start);
    fs::remove_file(&path).unwrap();

    let fs = open(&folder.join(format!("large-db-{mib}")));
    let file = create(&*fs.root(), "f", NodeKind::Regular);
    let start = Instant::now();
    for round in 0..blocks {
        file.write_at((round * BLOCK_BYTES) as u64, &block).unwrap();
    }
    speed("write: sqlitefs", start);
    fs.sync().unwrap();
    speed("write and sync: sqlitefs", start);
    let start = Instant::now();
    for round in 0..blocks {
        assert_eq!(file.read_at((round * BLOCK_BYTES) as u64, &mut buffer).unwrap(), BLOCK_BYTES);
    }
    speed("read, cached by the host: sqlitefs", start);
    let start = Instant::now();
    fs.root().unlink(Name::new(b"f").unwrap()).unwrap();
    drop(file);
    fs.sync().unwrap();
    println!("{:<44} {:.2?}", "remove and sync: sqlitefs", start.elapsed());
    fs.close().unwrap();
}
