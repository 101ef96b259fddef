//! Who may open a database, and what is wrong with those that cannot be opened.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vm_abi::Errno;
use vm_vfs::sqlitefs::{FsckOptions, OpenError, SqliteFs, check_file};
use vm_vfs::{FileSystem, NodeKind};

use crate::{create, name, open, options};

const HOLDER_FOLDER: &str = "SQLITEFS_TEST_HOLDER_FOLDER";

/// Not a test of its own: a process that holds a database until it is killed.
#[test]
fn holder_of_a_database() {
    let Some(folder) = std::env::var_os(HOLDER_FOLDER) else { return };
    let fs = open(Path::new(&folder));
    fs.sync().unwrap();
    writeln!(std::io::stdout(), "holding").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_new_owner_waits_for_one_that_is_dying() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner::holder_of_a_database", "--nocapture", "--test-threads=1"])
        .env(HOLDER_FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("holding")));
    let start = Instant::now();
    let error = SqliteFs::open(options(folder.path())).err().unwrap();
    assert!(matches!(error, OpenError::Busy), "{error}");
    assert!((4..8).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| SqliteFs::open(options(folder.path())).map(drop));
        std::thread::sleep(Duration::from_millis(300));
        holder.kill().unwrap();
        opening.join().unwrap().unwrap();
    });
    holder.wait().unwrap();
}

#[test]
fn a_second_owner_in_the_same_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    assert!(matches!(SqliteFs::open(options(folder.path())), Err(OpenError::Busy)));
    first.close().unwrap();
    open(folder.path());
}

#[test]
fn what_is_no_database_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fs.db");
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    let error = SqliteFs::open(options(folder.path())).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(std::fs::read(&path).unwrap().iter().all(|&byte| byte == b'x'));
    assert!(check_file(&path, FsckOptions::default()).is_err());
    assert!(check_file(&folder.path().join("none"), FsckOptions::default()).is_err());
    let missing = SqliteFs::open(options(&folder.path().join("none"))).err().unwrap();
    assert!(!missing.to_string().is_empty());
}

#[test]
fn damage_anywhere_gives_errors_and_problems_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let fs = open(folder.path());
    for index in 0..200 {
        let directory = create(&*fs.root(), &format!("d{index}"), NodeKind::Directory).unwrap();
        create(&*directory, "f", NodeKind::Regular).unwrap().write_at(0, &[index as u8; 3000]).unwrap();
    }
    fs.close().unwrap();
    drop(fs);
    let path = folder.path().join("fs.db");
    let whole = std::fs::read(&path).unwrap();
    let mut problems = 0;
    for page in 0..whole.len() / 8192 {
        let mut damaged = whole.clone();
        damaged[page * 8192 + 200..page * 8192 + 8000].fill(0xa5);
        std::fs::write(&path, damaged).unwrap();
        problems +=
            usize::from(!check_file(&path, FsckOptions::default()).is_ok_and(|report| report.is_clean()));
        let Ok(fs) = SqliteFs::open(options(folder.path())) else { continue };
        let root = fs.root();
        for index in 0..200 {
            let file =
                root.lookup(name(&format!("d{index}"))).and_then(|directory| directory.lookup(name("f")));
            let _ = file.and_then(|file| file.read_at(0, &mut [0; 3000]));
            let _ = root.rename(name(&format!("d{index}")), &root, name("x"), vm_vfs::RenameFlags::EXCHANGE);
        }
        let _ = root.read_dir();
        let _ = create(&*root, "new", NodeKind::Regular).and_then(|file| file.write_at(0, b"x"));
        if let Err(error) = fs.sync() {
            assert_eq!(error, Errno::EIO);
            assert!(fs.fault().is_some());
            assert_eq!(create(&*root, "newer", NodeKind::Regular).err().unwrap(), Errno::EROFS);
        }
        let _ = fs.close();
    }
    assert!(problems * 10 > whole.len() / 8192 * 7, "damage of {problems} pages was noticed");
}

#[test]
fn a_check_tells_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fs.db");
    for (damage, told) in [
        ("DELETE FROM inode WHERE kind = 0x8000", "which is missing"),
        ("UPDATE inode SET nlink = 7 WHERE kind = 0x8000", "has 1 names, not 7"),
        ("DELETE FROM dirent WHERE name = CAST('f' AS BLOB)", "has 0 names, not 1"),
        ("UPDATE inode SET parent = ino WHERE name = CAST('e' AS BLOB)", "not below the root"),
        ("UPDATE inode SET size = 10 WHERE kind = 0x8000", "reaches beyond its size"),
        ("DELETE FROM chunk", "content of inode"),
        ("UPDATE meta SET used_bytes = used_bytes + 1", "the counters say"),
        ("INSERT INTO orphan VALUES (1)", "among the orphans, but has a name"),
        ("DELETE FROM xattr", "extended attributes of inode"),
        ("UPDATE inode SET size = 9 WHERE ino = 1", "has 1 entries, not 9"),
    ] {
        let _ = std::fs::remove_file(&path);
        let fs = open(folder.path());
        let d = create(&*fs.root(), "d", NodeKind::Directory).unwrap();
        let e = create(&*d, "e", NodeKind::Directory).unwrap();
        let f = create(&*e, "f", NodeKind::Regular).unwrap();
        f.write_at(0, &[1; 5000]).unwrap();
        f.set_xattr(b"user.a", b"b", vm_vfs::XattrSet::Any).unwrap();
        fs.close().unwrap();
        drop(fs);
        rusqlite::Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let report = check_file(&path, FsckOptions::default()).unwrap();
        assert!(
            report.problems.iter().any(|problem| problem.contains(told)),
            "{damage}: {:?}",
            report.problems
        );
    }
}
