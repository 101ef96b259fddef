//! A host folder that others use too: what is seen of their changes, what is refused, what it costs.
#![expect(clippy::disallowed_methods, reason = "the tests change host folders behind a guest's back")]

use std::os::unix::fs::MetadataExt;

use vm_abi::{Errno, Gid, Mode, OpenFlags, Uid};

use super::super::{HostFs, HostFsOptions};
use super::{Guest, options, read};
use crate::file_system::FileSystem;
use crate::inode::{RenameFlags, SyncScope, XattrSet};
use crate::walk::Follow;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn changes_of_the_host_are_seen_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::open(folder.path());
    assert_eq!(guest.read("/f").unwrap_err(), Errno::ENOENT);
    std::fs::write(folder.path().join("f"), b"one").unwrap();
    let held = guest.walk().open(b"/f", OpenFlags::READ, Mode::new(0)).unwrap().location;
    std::fs::write(folder.path().join("f"), b"more").unwrap();
    assert_eq!(read(&held).unwrap(), b"more");
    std::fs::write(folder.path().join("g"), b"replaced").unwrap();
    std::fs::rename(folder.path().join("g"), folder.path().join("f")).unwrap();
    assert_eq!(read(&held).unwrap(), b"more", "the open file is the old one");
    assert_eq!(guest.read("/f").unwrap(), b"replaced");
    std::fs::remove_file(folder.path().join("f")).unwrap();
    assert_eq!(guest.walk().stat(b"/f", Follow::Yes).unwrap_err(), Errno::ENOENT);
}

#[test]
fn changes_of_the_guest_are_the_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::open(folder.path());
    guest.walk().mkdir(b"/d", Mode::new(0o751)).unwrap();
    let file = guest.write("/d/f", "text").unwrap();
    file.inode().set_xattr(b"user.a", b"b", XattrSet::Any).unwrap();
    file.inode().sync(SyncScope::Everything).unwrap();
    guest.namespace.sync().unwrap();
    assert_eq!(std::fs::read(folder.path().join("d/f")).unwrap(), b"text");
    assert_eq!(std::fs::metadata(folder.path().join("d")).unwrap().mode() & 0o7777, 0o751);
    let facts = std::fs::metadata(folder.path().join("d/f")).unwrap();
    assert_eq!((facts.ino(), facts.mode() & 0o7777), (file.inode().ino(), 0o644));
    let mut value = [0; 8];
    let len = rustix::fs::getxattr(folder.path().join("d/f"), "user.a", &mut value).unwrap();
    assert_eq!(&value[..len], b"b");
}

#[test]
fn a_read_only_folder_refuses_every_change() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), b"text").unwrap();
    let guest =
        Guest::new(HostFs::open(&HostFsOptions { read_only: true, ..options(folder.path()) }).unwrap());
    let walk = guest.walk();
    assert_eq!(guest.read("/f").unwrap(), b"text");
    assert_eq!(guest.write("/f", "x").err().unwrap(), Errno::EROFS);
    assert_eq!(guest.write("/new", "x").err().unwrap(), Errno::EROFS);
    assert_eq!(walk.unlink(b"/f").unwrap_err(), Errno::EROFS);
    assert_eq!(walk.chmod(b"/f", Mode::new(0), Follow::Yes).unwrap_err(), Errno::EROFS);
    assert_eq!(walk.rename(b"/f", &walk, b"/g", RenameFlags::empty()).unwrap_err(), Errno::EROFS);
    // Whoever calls past the path walk is refused as well.
    let inode = walk.resolve(b"/f").unwrap();
    let inode = inode.inode();
    assert_eq!(inode.write_at(0, b"x").unwrap_err(), Errno::EROFS);
    assert_eq!(inode.append(b"x").unwrap_err(), Errno::EROFS);
    assert_eq!(inode.set_xattr(b"user.a", b"x", XattrSet::Any).unwrap_err(), Errno::EROFS);
    let name = crate::Name::new(b"f").unwrap();
    assert_eq!(guest.root.inode().unlink(name).unwrap_err(), Errno::EROFS);
    assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), b"text");
}

#[test]
fn files_belong_to_the_shown_owner_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::open(folder.path());
    guest.write("/f", "x").unwrap();
    let stat = guest.walk().stat(b"/f", Follow::Yes).unwrap();
    assert_eq!((stat.uid, stat.gid), (Uid(1000), Gid(1000)));
    let chown = |uid, gid| guest.walk().chown(b"/f", uid, gid, Follow::Yes);
    assert_eq!(chown(Some(Uid(1)), None).unwrap_err(), Errno::EPERM);
    assert_eq!(chown(None, Some(Gid(0))).unwrap_err(), Errno::EPERM);
    chown(Some(Uid(1000)), Some(Gid(1000))).unwrap();
}

#[test]
fn descriptors_are_held_for_what_is_in_use_and_not_for_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..300 {
        std::fs::create_dir_all(folder.path().join(format!("d{number}/e"))).unwrap();
        std::fs::write(folder.path().join(format!("d{number}/e/f")), b"x").unwrap();
    }
    let file_system = HostFs::open(&options(folder.path())).unwrap();
    let shared = std::sync::Arc::clone(&file_system.shared);
    let guest = Guest::new(file_system);
    for number in 0..300 {
        guest.read(&format!("/d{number}/e/f")).unwrap();
        guest.walk().read_dir(format!("/d{number}/e").as_bytes()).unwrap();
    }
    let in_use = || shared.open.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((in_use(), shared.live.lock().unwrap().len()), (1, 1), "the root only");
    let held = guest.walk().resolve(b"/d7/e/f").unwrap();
    assert_eq!(in_use(), 4, "the file and what is above it");
    drop(held);
    assert_eq!(in_use(), 1);
}

#[test]
fn too_many_files_in_use_are_refused_and_the_limit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::new(HostFs::open(&HostFsOptions { max_open: 4, ..options(folder.path()) }).unwrap());
    let held: Vec<_> = (0..3).map(|number| guest.write(&format!("/{number}"), "x").unwrap()).collect();
    let error = guest.write("/3", "x").err().unwrap();
    assert_eq!((error.errno(), error.hit_limit()), (Errno::ENFILE, Some("open files of one host folder")));
    assert_eq!(guest.read("/1").unwrap(), b"x", "what is open already stays usable");
    drop(held);
    guest.write("/3", "x").unwrap();
    let before = descriptors();
    for _ in 0..100 {
        guest.write("/3", "y").unwrap();
    }
    assert!(descriptors() < before + 50, "descriptors leak");
}

#[test]
fn an_unlinked_file_stays_whole_for_those_who_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::open(folder.path());
    guest.write("/f", "text").unwrap();
    // Not opened, only found: its content must be had before the name goes.
    let found = guest.walk().resolve(b"/f").unwrap();
    guest.walk().unlink(b"/f").unwrap();
    assert_eq!(read(&found).unwrap(), b"text");
    found.inode().append(b"!").unwrap();
    assert_eq!(found.stat().unwrap().nlink, 0);
    let replaced = guest.write("/g", "old").unwrap();
    guest.write("/h", "new").unwrap();
    guest.walk().rename(b"/h", &guest.walk(), b"/g", RenameFlags::empty()).unwrap();
    assert_eq!(read(&replaced).unwrap(), b"old");
    assert_eq!(guest.read("/g").unwrap(), b"new");
}

#[test]
fn appending_at_once_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::open(folder.path());
    guest.write("/log", "").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let guest = &guest;
            scope.spawn(move || {
                let flags = OpenFlags::WRITE | OpenFlags::APPEND;
                let log = guest.walk().open(b"/log", flags, Mode::new(0)).unwrap().location;
                for _ in 0..300 {
                    log.inode().append(&[thread; 7]).unwrap();
                }
            });
        }
    });
    let bytes = std::fs::read(folder.path().join("log")).unwrap();
    assert_eq!(bytes.len(), 4 * 300 * 7);
    assert!(bytes.chunks(7).all(|record| record.iter().all(|byte| *byte == record[0])));
}

#[test]
fn the_space_is_the_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let file_system = HostFs::open(&options(folder.path())).unwrap();
    let space = file_system.statfs().unwrap();
    assert!(space.total_bytes >= space.free_bytes && space.free_bytes > 0);
    assert_eq!(file_system.source(), folder.path().display().to_string());
    assert_eq!(file_system.kind(), "hostfs");
}

#[test]
fn a_directory_that_nobody_may_search_can_be_listed_and_opened_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::open(folder.path());
    guest.walk().mkdir(b"/d", Mode::new(0o755)).unwrap();
    guest.write("/d/f", "x").unwrap();
    guest.walk().chmod(b"/d", Mode::new(0o600), Follow::Yes).unwrap();
    assert_eq!(guest.walk().read_dir(b"/d").unwrap().len(), 1);
    guest.walk().chmod(b"/d", Mode::new(0o755), Follow::Yes).unwrap();
    assert_eq!(guest.read("/d/f").unwrap(), b"x");
}
