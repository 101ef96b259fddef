//! A volume that is really full: a small tmpfs of the host, which only root can mount. Others skip this, and say so.
#![expect(clippy::print_stderr, reason = "says if it cannot be run")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use vm_abi::Errno;
use vm_vfs::sqlitefs::{OpenError, SqliteFs};
use vm_vfs::{FileSystem, NodeKind};

use crate::{check_clean, create, name, open, options};

/// A small volume, until it is dropped.
struct Volume(TempDir);

impl Volume {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "lodge-test"])
            .arg(folder.path())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: mounting a small volume needs root");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn content(number: usize) -> Vec<u8> {
    number.to_le_bytes().repeat(4096)
}

/// Makes files, each durable, until there is no space; returns how many there are.
fn fill(fs: &SqliteFs, from: usize) -> usize {
    for number in from.. {
        let made = create(&*fs.root(), &format!("f{number}"), NodeKind::Regular)
            .and_then(|file| file.write_at(0, &content(number)))
            .and_then(|_| fs.sync());
        match made {
            Ok(()) => {}
            Err(error) => {
                assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, None));
                return number;
            }
        }
    }
    unreachable!("the volume has an end")
}

fn check_all(fs: &SqliteFs, count: usize) {
    for number in 0..count {
        let file = fs.root().lookup(name(&format!("f{number}"))).unwrap();
        let mut read = vec![0; content(number).len() + 1];
        assert_eq!(file.read_at(0, &mut read).unwrap(), content(number).len(), "file {number}");
        assert!(read.starts_with(&content(number)), "file {number}");
    }
}

#[test]
fn a_full_volume_refuses_what_is_new_loses_nothing_and_recovers() {
    let Some(volume) = Volume::new("8m") else { return };
    let ballasts = ["one", "other"].map(|name| volume.path().join(name));
    for ballast in &ballasts {
        std::fs::write(ballast, vec![1; 2 << 20]).unwrap();
    }
    let fs = open(volume.path());
    let durable = fill(&fs, 0);
    assert!(durable > 20, "{durable} files");
    // Nothing new, but what is there can be read, and removed.
    assert_eq!(create(&*fs.root(), "new", NodeKind::Regular).err().unwrap(), Errno::ENOSPC);
    let first = fs.root().lookup(name("f0")).unwrap();
    assert_eq!(first.write_at(0, b"x").unwrap_err(), Errno::ENOSPC);
    assert_eq!(fs.fault(), None, "a full volume is no damage");
    check_all(&fs, durable);
    fs.root().unlink(name("f0")).unwrap();
    fs.root().link(name("f0"), &first).unwrap_err();
    drop(first);
    // There is space again: it goes on by itself.
    std::fs::remove_file(&ballasts[0]).unwrap();
    fs.sync().unwrap();
    let file = create(&*fs.root(), "f0", NodeKind::Regular).unwrap();
    file.write_at(0, &content(0)).unwrap();
    fs.sync().unwrap();
    // The file that met the end was begun, and may be there in part.
    let _ = fs.root().unlink(name(&format!("f{durable}")));
    let more = fill(&fs, durable);
    assert!(more > durable + 5, "{durable} files, then {more}");
    check_all(&fs, more);
    drop(file);
    // Even closing finds no space for what waits; what was durable is there for the next opening.
    let _ = fs.close();
    drop(fs);
    let fs = open(volume.path());
    check_all(&fs, more);
    // Removing has to be written, too.
    std::fs::remove_file(&ballasts[1]).unwrap();
    for number in 0..more {
        fs.root().unlink(name(&format!("f{number}"))).unwrap();
    }
    fs.sync().unwrap();
    check_clean(&fs);
    fs.close().unwrap();
    let fs = open(volume.path());
    let again = fill(&fs, 0);
    assert!(again > durable / 2, "removing gives the space back: {durable} files, then {again}");
}

#[test]
fn a_database_that_cannot_be_made_for_lack_of_space_says_so() {
    let Some(volume) = Volume::new("64k") else { return };
    let _ = std::fs::write(volume.path().join("ballast"), vec![1; 64 << 10]);
    let error = SqliteFs::open(options(volume.path())).err().unwrap();
    let is_told = match &error {
        OpenError::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        other => other.to_string().contains("full"),
    };
    assert!(is_told, "{error}");
}
