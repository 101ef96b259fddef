//! Who watches is told what happens, in order, and when something was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vm_abi::{Credentials, Errno, Mode, OpenFlags, Timespec};

use super::{Change, MAX_CHANGES, MAX_WATCHES, Watch, WatchOptions};
use crate::inode::{Caller, Owner, RenameFlags};
use crate::location::MountFlags;
use crate::namespace::Namespace;
use crate::path::VPath;
use crate::tmpfs::{Tmpfs, TmpfsOptions};
use crate::walk::{Follow, WalkContext};

fn namespace() -> Namespace {
    let root = Tmpfs::new(TmpfsOptions {
        max_bytes: 1 << 24,
        max_inodes: 100_000,
        root_mode: Mode::new(0o755),
        root_owner: Owner::ROOT,
        clock: Arc::new(|| Timespec::EPOCH),
    });
    Namespace::new(root, MountFlags::empty())
}

fn act<T>(namespace: &Namespace, act: impl FnOnce(&WalkContext<'_>) -> T) -> T {
    let (root, credentials, caller) = (namespace.root(), Credentials::root(), Caller::default());
    act(&WalkContext { namespace, root: &root, start: &root, credentials: &credentials, caller })
}

fn mkdir(namespace: &Namespace, path: &[u8]) {
    act(namespace, |walk| walk.mkdir(path, Mode::new(0o755))).unwrap();
}

fn create(namespace: &Namespace, path: &[u8]) -> crate::Location {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    act(namespace, |walk| walk.open(path, flags, Mode::new(0o644))).unwrap().location
}

fn watch_after(namespace: &Namespace, path: &str, is_recursive: bool, after: Option<u64>) -> Watch {
    let path = VPath::try_from(path).unwrap();
    namespace.watch(WatchOptions { path, is_recursive, wake: Arc::new(|| {}), after }).unwrap()
}

fn watch(namespace: &Namespace, path: &str) -> Watch {
    watch_after(namespace, path, true, None)
}

fn shown(changes: &[Change]) -> Vec<String> {
    let show = |change: &Change| match &change.from {
        Some(from) => format!("{:?} {from} {}", change.kind, change.path),
        None => format!("{:?} {}", change.kind, change.path),
    };
    changes.iter().map(show).collect()
}

fn read(watch: &Watch) -> Vec<String> {
    shown(&watch.read(watch.start(), usize::MAX).changes)
}

#[test]
fn everything_that_happens_below_a_path_is_told_in_order() {
    let namespace = namespace();
    mkdir(&namespace, b"/w");
    let watch = watch(&namespace, "/w");
    mkdir(&namespace, b"/w/d");
    let file = create(&namespace, b"/w/d/f");
    file.write_at(0, b"x").unwrap();
    act(&namespace, |walk| {
        walk.rename(b"/w/d/f", walk, b"/w/g", RenameFlags::empty()).unwrap();
        file.append(b"y").unwrap();
        // Nobody has read yet that it was made.
        walk.chmod(b"/w/d", Mode::new(0o700), Follow::Yes).unwrap();
        walk.symlink(b"g", b"/w/l").unwrap();
        walk.link(b"/w/g", Follow::No, b"/w/h").unwrap();
        walk.unlink(b"/w/l").unwrap();
        walk.rmdir(b"/w/d").unwrap();
        walk.mkdir(b"/outside", Mode::new(0o755)).unwrap();
    });
    let expected = [
        "Created /w/d",
        "Created /w/d/f",
        "Moved /w/d/f /w/g",
        "Changed /w/g",
        "Created /w/l",
        "Created /w/h",
        "Removed /w/l",
        "Removed /w/d",
    ];
    assert_eq!(read(&watch), expected);
}

#[test]
fn a_file_that_was_opened_before_the_watch_is_seen_too() {
    let namespace = namespace();
    let file = create(&namespace, b"/f");
    let existing = act(&namespace, |walk| walk.open(b"/f", OpenFlags::WRITE, Mode::new(0))).unwrap();
    let watch = watch(&namespace, "/");
    file.write_at(0, b"x").unwrap();
    assert_eq!(read(&watch), ["Changed /f"]);
    let seen = watch.read(watch.start(), 10).newest;
    existing.location.set_size(0).unwrap();
    assert_eq!(shown(&watch.read(seen, 10).changes), ["Changed /f"]);
    act(&namespace, |walk| walk.unlink(b"/f")).unwrap();
    let seen = watch.read(seen, 10).newest;
    file.write_at(0, b"nobody can see it").unwrap();
    assert_eq!(watch.read(seen, 10).changes, []);
}

#[test]
fn many_writes_that_nobody_has_read_are_told_once() {
    let namespace = namespace();
    let (one, two) = (create(&namespace, b"/1"), create(&namespace, b"/2"));
    let watch = watch(&namespace, "/");
    for _ in 0..1000 {
        one.append(b"x").unwrap();
        two.append(b"x").unwrap();
    }
    let changes = watch.read(watch.start(), 10);
    assert_eq!(shown(&changes.changes), ["Changed /1", "Changed /2"]);
    one.append(b"x").unwrap();
    assert_eq!(shown(&watch.read(changes.newest, 10).changes), ["Changed /1"]);
}

#[test]
fn a_move_looks_different_from_inside_and_outside() {
    let namespace = namespace();
    mkdir(&namespace, b"/a");
    mkdir(&namespace, b"/b");
    create(&namespace, b"/a/f");
    let (a, b) = (watch(&namespace, "/a"), watch(&namespace, "/b"));
    act(&namespace, |walk| walk.rename(b"/a/f", walk, b"/b/f", RenameFlags::empty())).unwrap();
    assert_eq!(read(&a), ["Removed /a/f"]);
    assert_eq!(read(&b), ["Created /b/f"]);
}

#[test]
fn an_exchange_is_two_moves() {
    let namespace = namespace();
    create(&namespace, b"/a");
    mkdir(&namespace, b"/b");
    let watch = watch(&namespace, "/");
    act(&namespace, |walk| walk.rename(b"/a", walk, b"/b", RenameFlags::EXCHANGE)).unwrap();
    let changes = watch.read(0, 10).changes;
    assert_eq!(shown(&changes), ["Moved /a /b", "Moved /b /a"]);
    assert!(changes[0].file_type.is_regular() && changes[1].file_type.is_directory());
}

#[test]
fn a_watch_that_is_not_recursive_sees_the_entries_of_its_directory_only() {
    let namespace = namespace();
    mkdir(&namespace, b"/w");
    mkdir(&namespace, b"/w/d");
    let watch = watch_after(&namespace, "/w", false, None);
    create(&namespace, b"/w/d/deep");
    create(&namespace, b"/w/near");
    mkdir(&namespace, b"/wide");
    assert_eq!(read(&watch), ["Created /w/near"]);
}

#[test]
fn a_reader_that_is_too_slow_is_told_so() {
    let namespace = namespace();
    let watch = watch(&namespace, "/");
    for number in 0..MAX_CHANGES + 10 {
        create(&namespace, format!("/{number}").as_bytes());
    }
    let changes = watch.read(watch.start(), 3);
    assert!(changes.is_lost);
    assert_eq!(shown(&changes.changes), ["Created /10", "Created /11", "Created /12"]);
    assert!(!watch.read(changes.newest, 3).is_lost);
}

#[test]
fn a_watch_goes_on_after_another_of_the_same_path_while_that_lives() {
    let namespace = namespace();
    let first = watch(&namespace, "/");
    create(&namespace, b"/1");
    let seen = first.read(first.start(), 10).newest;
    create(&namespace, b"/2");
    let second = watch_after(&namespace, "/", true, Some(seen));
    assert!(!second.is_lost());
    drop(first);
    create(&namespace, b"/3");
    assert_eq!(read(&second), ["Created /2", "Created /3"]);
    drop(second);
    create(&namespace, b"/4");
    let third = watch_after(&namespace, "/", true, Some(seen));
    assert!(third.is_lost());
    assert_eq!(read(&third), Vec::<String>::new());
}

#[test]
fn a_watch_is_woken_for_its_own_changes_only() {
    let namespace = namespace();
    mkdir(&namespace, b"/w");
    let count = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::clone(&count);
    let wake = Arc::new(move || {
        wakes.fetch_add(1, Ordering::Relaxed);
    });
    let path = VPath::try_from("/w").unwrap();
    let _watch = namespace.watch(WatchOptions { path, is_recursive: true, wake, after: None }).unwrap();
    create(&namespace, b"/elsewhere");
    create(&namespace, b"/w/here");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn there_is_a_most_of_watches() {
    let namespace = namespace();
    let watches: Vec<_> = (0..MAX_WATCHES).map(|_| watch(&namespace, "/")).collect();
    let path = VPath::root();
    let refused =
        namespace.watch(WatchOptions { path, is_recursive: true, wake: Arc::new(|| {}), after: None });
    assert_eq!(
        refused.err().map(|error| (error.errno(), error.hit_limit())),
        Some((Errno::EMFILE, Some("watches")))
    );
    drop(watches);
    watch(&namespace, "/");
}
