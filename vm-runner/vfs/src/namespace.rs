//! The mount table: which file system is attached where.
//!
//! A [`Namespace`] is a handle; clones share the table. Readers take a snapshot with one short read lock, so a walk
//! sees one consistent table and never waits for a mount. Mount points are identified by mount and inode number, so
//! renaming a directory above one does no harm.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use vm_abi::{Credentials, DeviceNumber, Errno};

use crate::error::VfsResult;
use crate::file_system::FileSystem;
use crate::inode::{Caller, Inode, Parent};
use crate::location::{Location, Mount, MountFlags};
use crate::notify::Notifier;
use crate::path::VPath;
use crate::walk::WalkContext;

/// The mounts of a VM. Cheap to clone; clones share the table.
#[derive(Clone)]
pub struct Namespace {
    table: Arc<RwLock<Arc<MountTable>>>,
    notifier: Arc<Notifier>,
}

/// A row of `/proc/mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Where the content comes from.
    pub source: String,
    /// The mount point.
    pub path: VPath,
    /// The type of the file system.
    pub kind: &'static str,
    /// What the mount forbids; `READ_ONLY` also if the file system itself is read-only.
    pub flags: MountFlags,
}

impl Namespace {
    /// A namespace with this file system as its root and nothing else.
    #[must_use]
    pub fn new(root: Arc<dyn FileSystem>, flags: MountFlags) -> Self {
        let mut notifier = None;
        let table = Arc::new_cyclic(|table| {
            let notifier = Arc::clone(notifier.insert(Arc::new(Notifier::new(Weak::clone(table)))));
            let mount = Mount {
                id: 1,
                dev: device_number(1),
                root: root.root(),
                file_system: root,
                flags,
                mount_point: None,
                notifier: Some(notifier),
            };
            let mounts = vec![Arc::new(mount)];
            RwLock::new(Arc::new(MountTable { mounts, children: HashMap::new(), next_id: 2, next_dev: 2 }))
        });
        let notifier = notifier.unwrap_or_else(|| Arc::new(Notifier::new(Weak::new())));
        Self { table, notifier }
    }

    pub(crate) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Location {
        let table = self.snapshot();
        table.cross(table.root())
    }

    /// Attaches a file system at an existing path, over what is there: a directory over a directory, a file over
    /// anything else.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR` if one is a directory and the other is not.
    pub fn mount(&self, path: &VPath, file_system: Arc<dyn FileSystem>, flags: MountFlags) -> VfsResult<()> {
        let mount_point = self.locate(path)?;
        let root = file_system.root();
        self.attach(mount_point, file_system, root, flags)
    }

    /// Shows an existing file or directory at a second path (a bind mount).
    ///
    /// # Errors
    /// As [`mount`](Self::mount).
    pub fn bind(&self, path: &VPath, source: &Location, flags: MountFlags) -> VfsResult<()> {
        let mount_point = self.locate(path)?;
        let file_system = Arc::clone(source.mount().file_system());
        let inherited = source.mount().flags();
        self.attach(mount_point, file_system, Arc::clone(source.inode()), flags | inherited)
    }

    /// Detaches the topmost mount at a path. Files open in it stay usable.
    ///
    /// # Errors
    /// `EINVAL` if nothing is mounted there or it is the root; `EBUSY` if something is mounted below it.
    pub fn unmount(&self, path: &VPath) -> VfsResult<()> {
        let location = self.locate(path)?;
        let mut slot = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mount = &location.mount;
        let mount_point = match &mount.mount_point {
            Some(mount_point) if mount.is_root(&*location.inode) => mount_point,
            Some(_) | None => return Err(Errno::EINVAL.into()),
        };
        if slot.children.values().any(|child| child.is_attached_to(mount)) {
            return Err(Errno::EBUSY.into());
        }
        let mut table = MountTable::clone(&slot);
        if table.children.remove(&mount_key(mount_point)).is_none() {
            return Err(Errno::EINVAL.into());
        }
        table.mounts.retain(|other| other.id != mount.id);
        let old = std::mem::replace(&mut *slot, Arc::new(table));
        // A file system may go with the old table; not under the lock.
        drop(slot);
        drop(old);
        Ok(())
    }

    /// All mounts, in the order they were made.
    #[must_use]
    pub fn mounts(&self) -> Vec<MountEntry> {
        let table = self.snapshot();
        let entry = |mount: &Arc<Mount>| {
            let root = Location::new(Arc::clone(mount), Arc::clone(&mount.root));
            let read_only = if mount.is_read_only() { MountFlags::READ_ONLY } else { MountFlags::empty() };
            Some(MountEntry {
                source: mount.file_system.source(),
                path: table.path_below(&root, &table.root())?,
                kind: mount.file_system.kind(),
                flags: mount.flags | read_only,
            })
        };
        table.mounts.iter().filter_map(entry).collect()
    }

    /// The path of a directory as seen from a root directory, or of a mounted file; `None` if it was removed, lies
    /// outside of the root, or is another kind of file: those can have many names.
    #[must_use]
    pub fn path_of(&self, location: &Location, root: &Location) -> Option<VPath> {
        self.snapshot().path_below(location, root)
    }

    /// Makes everything written so far durable, in every file system; goes on after an error and tells the first.
    ///
    /// # Errors
    /// What a medium answers.
    pub fn sync(&self) -> VfsResult<()> {
        let results: Vec<_> = self.snapshot().mounts.iter().map(|mount| mount.file_system.sync()).collect();
        results.into_iter().collect()
    }

    pub(crate) fn snapshot(&self) -> Arc<MountTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn locate(&self, path: &VPath) -> VfsResult<Location> {
        let root = self.root();
        let credentials = Credentials::root();
        let context = WalkContext {
            namespace: self,
            root: &root,
            start: &root,
            credentials: &credentials,
            caller: Caller::default(),
        };
        context.resolve(path.as_bytes())
    }

    fn attach(
        &self,
        mount_point: Location,
        file_system: Arc<dyn FileSystem>,
        root: Arc<dyn Inode>,
        flags: MountFlags,
    ) -> VfsResult<()> {
        if mount_point.file_type().is_directory() != root.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        let mut slot = self.table.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have mounted at the same place since the walk.
        let mount_point = slot.cross(mount_point);
        let mut table = MountTable::clone(&slot);
        let same = table.mounts.iter().find(|mount| Arc::ptr_eq(&mount.file_system, &file_system));
        let dev = same.map_or_else(|| device_number(table.next_dev), |mount| mount.dev);
        let key = mount_key(&mount_point);
        let notifier = Some(Arc::clone(&self.notifier));
        let mount_point = Some(mount_point);
        let mount = Mount { id: table.next_id, dev, file_system, root, flags, mount_point, notifier };
        let mount = Arc::new(mount);
        table.next_id += 1;
        table.next_dev += 1;
        table.mounts.push(Arc::clone(&mount));
        table.children.insert(key, mount);
        *slot = Arc::new(table);
        Ok(())
    }
}

/// One state of the mount table; never changed, only replaced.
#[derive(Clone)]
pub(crate) struct MountTable {
    /// In the order they were made; the root first. Never empty.
    mounts: Vec<Arc<Mount>>,
    /// Mounts by the mount and inode they cover.
    children: HashMap<(u64, u64), Arc<Mount>>,
    next_id: u64,
    next_dev: u32,
}

impl MountTable {
    fn root(&self) -> Location {
        let mount = Arc::clone(&self.mounts[0]);
        let inode = Arc::clone(&mount.root);
        Location::new(mount, inode)
    }

    /// What is seen at this location: the root of what is mounted over it, or itself.
    pub(crate) fn cross(&self, mut location: Location) -> Location {
        while let Some(mount) = self.children.get(&mount_key(&location)) {
            location = Location::new(Arc::clone(mount), Arc::clone(&mount.root));
        }
        location
    }

    /// Whether something is mounted over this location. `location` is not crossed.
    pub(crate) fn is_mount_point(&self, location: &Location) -> bool {
        self.children.contains_key(&mount_key(location))
    }

    /// The directory above a directory, or itself at the given root and at the namespace's.
    pub(crate) fn parent_of(&self, directory: &Location, root: &Location) -> VfsResult<Location> {
        let mut at = directory.clone();
        while !at.is_same(root) {
            if at.mount.is_root(&*at.inode) {
                match &at.mount.mount_point {
                    Some(mount_point) => at = mount_point.clone(),
                    None => return Ok(at),
                }
                continue;
            }
            return match at.inode.parent() {
                Parent::In { directory, name: _ } => Ok(self.cross(at.with_inode(directory))),
                Parent::Root => Ok(at),
                Parent::Detached => Err(Errno::ENOENT.into()),
            };
        }
        Ok(at)
    }

    /// The path of a directory as seen from the namespace's root.
    pub(crate) fn path_of(&self, directory: &Location) -> Option<VPath> {
        self.path_below(directory, &self.cross(self.root()))
    }

    fn path_below(&self, location: &Location, root: &Location) -> Option<VPath> {
        let mut names = Vec::new();
        let mut at = location.clone();
        while !at.is_same(root) {
            if at.mount.is_root(&*at.inode) {
                match &at.mount.mount_point {
                    Some(mount_point) => at = mount_point.clone(),
                    None => break,
                }
                continue;
            }
            match at.inode.parent() {
                Parent::In { directory, name } => {
                    names.push(name);
                    at = at.with_inode(directory);
                }
                Parent::Root => break,
                Parent::Detached => return None,
            }
        }
        // Reaching the top elsewhere than at `root` means that the location lies outside of it.
        if !at.is_same(root) && !self.cross(at).is_same(root) {
            return None;
        }
        Some(names.iter().rev().fold(VPath::root(), |path, name| path.join(name.as_name())))
    }
}

impl Mount {
    fn is_attached_to(&self, parent: &Arc<Self>) -> bool {
        self.mount_point.as_ref().is_some_and(|mount_point| Arc::ptr_eq(&mount_point.mount, parent))
    }
}

fn mount_key(location: &Location) -> (u64, u64) {
    (location.mount.id, location.inode.ino())
}

/// File systems without a device are numbered as on Linux: major 0.
const fn device_number(index: u32) -> u64 {
    DeviceNumber::new(0, index).0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_abi::{Credentials, Errno, Mode, Timespec};

    use super::Namespace;
    use crate::inode::{Caller, Owner};
    use crate::location::{Location, MountFlags};
    use crate::path::VPath;
    use crate::tmpfs::{Tmpfs, TmpfsOptions};
    use crate::walk::WalkContext;

    fn tmpfs() -> Arc<Tmpfs> {
        Tmpfs::new(TmpfsOptions {
            max_bytes: 1 << 20,
            max_inodes: 100,
            root_mode: Mode::new(0o755),
            root_owner: Owner::ROOT,
            clock: Arc::new(|| Timespec::EPOCH),
        })
    }

    fn path(text: &str) -> VPath {
        VPath::try_from(text).unwrap()
    }

    /// Calls with a walker at the root, as root.
    fn at_root<T>(namespace: &Namespace, use_context: impl FnOnce(&WalkContext<'_>) -> T) -> T {
        let (root, credentials) = (namespace.root(), Credentials::root());
        let caller = Caller::default();
        use_context(&WalkContext { namespace, root: &root, start: &root, credentials: &credentials, caller })
    }

    fn mkdir(namespace: &Namespace, path: &[u8]) -> Location {
        at_root(namespace, |context| context.mkdir(path, Mode::new(0o755))).unwrap()
    }

    #[test]
    fn mounts_nest_and_are_listed_in_order() {
        let namespace = Namespace::new(tmpfs(), MountFlags::empty());
        mkdir(&namespace, b"/a");
        namespace.mount(&path("/a"), tmpfs(), MountFlags::NO_EXEC).unwrap();
        mkdir(&namespace, b"/a/b");
        namespace.mount(&path("/a/b"), tmpfs(), MountFlags::READ_ONLY).unwrap();
        let listed: Vec<_> = namespace.mounts().into_iter().map(|entry| (entry.path, entry.flags)).collect();
        assert_eq!(
            listed,
            [
                (path("/"), MountFlags::empty()),
                (path("/a"), MountFlags::NO_EXEC),
                (path("/a/b"), MountFlags::READ_ONLY),
            ]
        );
        assert_eq!(namespace.unmount(&path("/a")).unwrap_err(), Errno::EBUSY);
        namespace.unmount(&path("/a/b")).unwrap();
        namespace.unmount(&path("/a")).unwrap();
        assert_eq!(namespace.mounts().len(), 1);
        assert_eq!(namespace.mount(&path("/none"), tmpfs(), MountFlags::empty()).unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn a_second_mount_at_one_place_covers_the_first() {
        let namespace = Namespace::new(tmpfs(), MountFlags::empty());
        mkdir(&namespace, b"/m");
        namespace.mount(&path("/m"), tmpfs(), MountFlags::empty()).unwrap();
        mkdir(&namespace, b"/m/first");
        namespace.mount(&path("/m"), tmpfs(), MountFlags::empty()).unwrap();
        let names =
            |namespace: &Namespace| at_root(namespace, |context| context.read_dir(b"/m").unwrap().len());
        assert_eq!(names(&namespace), 0);
        namespace.unmount(&path("/m")).unwrap();
        assert_eq!(names(&namespace), 1);
    }

    #[test]
    fn a_mount_moves_with_the_directory_above_it() {
        let namespace = Namespace::new(tmpfs(), MountFlags::empty());
        mkdir(&namespace, b"/d");
        mkdir(&namespace, b"/d/m");
        namespace.mount(&path("/d/m"), tmpfs(), MountFlags::empty()).unwrap();
        let inside = mkdir(&namespace, b"/d/m/inside");
        at_root(&namespace, |context| context.rename(b"/d", context, b"/n", Default::default())).unwrap();
        assert_eq!(namespace.path_of(&inside, &namespace.root()), Some(path("/n/m/inside")));
        assert_eq!(namespace.mounts()[1].path, path("/n/m"));
        let up = at_root(&namespace, |context| context.resolve(b"/n/m/inside/../..")).unwrap();
        assert_eq!(namespace.path_of(&up, &namespace.root()), Some(path("/n")));
    }

    #[test]
    fn device_numbers_tell_file_systems_apart_and_a_bind_mount_keeps_its_own() {
        let namespace = Namespace::new(tmpfs(), MountFlags::empty());
        let source = mkdir(&namespace, b"/source");
        mkdir(&namespace, b"/bound");
        mkdir(&namespace, b"/other");
        namespace.bind(&path("/bound"), &source, MountFlags::READ_ONLY).unwrap();
        namespace.mount(&path("/other"), tmpfs(), MountFlags::empty()).unwrap();
        let locate = |path: &[u8]| at_root(&namespace, |context| context.resolve(path)).unwrap();
        assert_eq!(locate(b"/bound").file_id(), source.file_id());
        assert_ne!(locate(b"/other").file_id().dev, source.file_id().dev);
        assert_eq!(locate(b"/other").stat().unwrap().dev, locate(b"/other").file_id().dev);
        let refused = at_root(&namespace, |context| context.mkdir(b"/bound/x", Mode::new(0o755)));
        assert_eq!(refused.unwrap_err(), Errno::EROFS);
        mkdir(&namespace, b"/source/x");
        assert!(locate(b"/bound/x").is_same(&locate(b"/bound/./x")));
    }

    #[test]
    fn a_path_is_told_as_seen_from_a_root_and_not_at_all_from_outside() {
        let namespace = Namespace::new(tmpfs(), MountFlags::empty());
        let jail = mkdir(&namespace, b"/jail");
        let inside = mkdir(&namespace, b"/jail/in");
        let outside = mkdir(&namespace, b"/out");
        assert_eq!(namespace.path_of(&inside, &jail), Some(path("/in")));
        assert_eq!(namespace.path_of(&outside, &jail), None);
    }
}
