//! Paths of guests: as values, and walked in a namespace with links and mounts.

use std::sync::Arc;

use vm_abi::{Credentials, Errno, Gid, Mode, OpenFlags, Timespec, Uid};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{
    Caller, FileSystem, Follow, Location, MAX_NAME_BYTES, MAX_PATH_BYTES, MountFlags, Name, Namespace, Owner,
    RenameFlags, VPath, WalkContext,
};

/// Reads a path and a name.
///
/// # Panics
/// If one is not as its type promises.
pub fn path(data: &[u8]) {
    if let Ok(name) = Name::new(data) {
        assert!(
            !data.is_empty() && data.len() <= MAX_NAME_BYTES && !data.contains(&b'/') && !data.contains(&0)
        );
        assert_eq!(name.to_owned().as_name(), name);
    }
    let Ok(path) = VPath::new(data) else { return };
    let bytes = path.as_bytes();
    assert!(bytes.starts_with(b"/") && bytes.len() <= MAX_PATH_BYTES);
    assert!(bytes.len() == 1 || !bytes.ends_with(b"/"));
    assert_eq!(VPath::new(bytes).as_ref(), Ok(&path), "a normal path stays as it is");
    let rebuilt = path.components().fold(VPath::root(), VPath::join);
    assert_eq!(rebuilt, path);
}

/// Uses paths, each up to a NUL, on files in memory: first as root, then as somebody else.
///
/// # Panics
/// If a path leads to two places, or a directory has a path that does not lead to it.
pub fn walk(data: &[u8]) {
    let Ok(namespace) = ground() else { return };
    let root = namespace.root();
    for credentials in [Credentials::root(), Credentials::new(Uid(1000), Gid(1000))] {
        let walk = WalkContext {
            namespace: &namespace,
            root: &root,
            start: &root,
            credentials: &credentials,
            caller: Caller::default(),
        };
        let mut paths = data.split(|byte| *byte == 0).take(32).peekable();
        let mut turn = 0_u8;
        while let Some(path) = paths.next() {
            turn = turn.wrapping_add(1).wrapping_add(path.first().copied().unwrap_or_default());
            let other = paths.peek().copied().unwrap_or(b"/b");
            change(&walk, turn, path, other);
            check(&walk, path);
        }
    }
}

fn new_tmpfs() -> Arc<dyn FileSystem> {
    let (root_mode, root_owner) = (Mode::new(0o777), Owner::ROOT);
    let clock = Arc::new(|| Timespec::EPOCH);
    Tmpfs::new(TmpfsOptions { max_bytes: 1 << 20, max_inodes: 256, root_mode, root_owner, clock })
}

/// A tree with links that lead anywhere, and a second file system in it.
fn ground() -> vm_vfs::VfsResult<Namespace> {
    let namespace = Namespace::new(new_tmpfs(), MountFlags::empty());
    let root = namespace.root();
    let credentials = Credentials::root();
    let walk = WalkContext {
        namespace: &namespace,
        root: &root,
        start: &root,
        credentials: &credentials,
        caller: Caller::default(),
    };
    for directory in ["/a", "/a/b", "/m", "/a/closed"] {
        walk.mkdir(
            directory.as_bytes(),
            Mode::new(if directory.ends_with("closed") { 0o700 } else { 0o777 }),
        )?;
    }
    walk.open(b"/f", OpenFlags::WRITE | OpenFlags::CREATE, Mode::new(0o644))?;
    for (target, path) in [("a/b", "/l"), ("/l/../..", "/a/up"), ("loop", "/loop"), ("../m/in", "/a/m")] {
        walk.symlink(target.as_bytes(), path.as_bytes())?;
    }
    namespace.mount(&VPath::new(b"/m")?, new_tmpfs(), MountFlags::empty())?;
    walk.mkdir(b"/m/in", Mode::new(0o777))?;
    Ok(namespace)
}

fn change(walk: &WalkContext<'_>, turn: u8, path: &[u8], other: &[u8]) {
    let mode = Mode::new(0o755);
    // Most of these fail, for good reasons; they must not do anything else.
    let _ = match turn % 10 {
        0 => walk.mkdir(path, mode).map(drop),
        1 => walk.symlink(other, path).map(drop),
        2 => walk.link(path, Follow::No, other),
        3 => walk.unlink(path),
        4 => walk.rmdir(path),
        5 => walk.rename(path, walk, other, RenameFlags::empty()),
        6 => walk.rename(path, walk, other, RenameFlags::EXCHANGE),
        7 => walk.chmod(path, Mode::new(u32::from(turn) * 3), Follow::Yes),
        8 => walk.truncate(path, u64::from(turn)),
        _ => walk.open(path, OpenFlags::WRITE | OpenFlags::CREATE, mode).map(drop),
    };
}

fn check(walk: &WalkContext<'_>, path: &[u8]) {
    let found = walk.resolve(path);
    let unfollowed = walk.resolve_with(path, Follow::No);
    // Where the link itself is, what it leads to may be missing; not the other way round.
    assert!(found.is_err() || unfollowed.is_ok());
    let canonical = walk.canonicalize(path);
    let Ok(found) = found else {
        assert!(canonical.is_err());
        return;
    };
    let Ok(canonical) = canonical else { return };
    let root = Credentials::root();
    let all_seeing = WalkContext { credentials: &root, ..*walk };
    let again = all_seeing.resolve_with(canonical.as_bytes(), Follow::No);
    assert_eq!(again.map(|again| id(&again)), Ok(id(&found)), "{canonical} leads elsewhere");
    if found.file_type().is_directory() {
        assert_eq!(walk.path_of(&found), Some(canonical));
        let parent = all_seeing.starting_at(&found).resolve(b"..");
        assert!(parent.is_ok_and(|parent| parent.file_type().is_directory()));
        let outcome = all_seeing.starting_at(&found).rmdir(b".");
        assert_eq!(outcome, Err(Errno::EINVAL.into()));
    }
}

fn id(location: &Location) -> (u64, vm_vfs::FileId) {
    (location.mount().id(), location.file_id())
}
