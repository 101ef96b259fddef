//! What the requests on files of one VM share: names of uploads, the order of commits, syncs, and which limit of the
//! specification is about which part of the file system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_abi::Credentials;
use vm_api::{MountConfig, MountSource, StorageType, WorkspaceConfig};
use vm_vfs::{FileSystem, Location, VPath, VfsResult};

use super::watch::Lingering;
use crate::task;
use crate::vm::boot::Vm;
use crate::vm::server::errno::Storage;

/// Shared state of the files API of one VM.
pub(crate) struct FileShared {
    next_upload: AtomicU64,
    /// Held while a condition is checked and what depends on it is done. A leaf in the lock order but for the file
    /// systems' own locks.
    commit: Mutex<()>,
    syncs: Syncs,
    /// Whether nothing that is written outlives the VM.
    is_ephemeral: bool,
    mounts: Vec<(VPath, Storage)>,
    pub(super) lingering: Lingering,
}

impl FileShared {
    pub(crate) fn new(config: &WorkspaceConfig) -> Self {
        Self {
            next_upload: AtomicU64::new(0),
            commit: Mutex::new(()),
            syncs: Syncs::default(),
            is_ephemeral: config.storage.kind == StorageType::Ephemeral,
            mounts: mounts(&config.mounts),
            lingering: Lingering::default(),
        }
    }

    /// A number for the name of a file that is not in its place yet.
    pub(super) fn next_upload(&self) -> u64 {
        self.next_upload.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps other requests from changing what a condition was checked on. Guests are not kept from it.
    pub(super) fn commit(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything durable that was written to the file system of `location`.
    pub(super) async fn sync(&self, vm: &Vm, location: &Location) -> VfsResult<()> {
        let file_system = location.mount().file_system();
        let root = vm.kernel().namespace().root();
        if !Arc::ptr_eq(file_system, root.mount().file_system()) {
            return if file_system.kind() == "tmpfs" { Ok(()) } else { sync_now(file_system) };
        }
        if self.is_ephemeral { Ok(()) } else { self.syncs.sync(file_system).await }
    }

    /// The limits of the place of a path.
    pub(super) fn storage(&self, vm: &Vm, path: &[u8]) -> Storage {
        let place = nearest(vm, path);
        let inside = self.mounts.iter().filter(|(mount, _)| place.starts_with(mount));
        let mount = inside.max_by_key(|(mount, _)| mount.as_bytes().len());
        mount.map_or_else(root_storage, |(_, storage)| storage.clone())
    }
}

/// The path of what exists at or above a path, free of links.
fn nearest(vm: &Vm, path: &[u8]) -> VPath {
    let mut path = path;
    let found = vm.walk(&Credentials::root(), |walk| {
        loop {
            match walk.canonicalize(path) {
                Ok(found) => return Ok(found),
                Err(error) => {
                    let end = path.iter().rposition(|byte| *byte == b'/').ok_or(error)?;
                    path = &path[..end];
                    if path.is_empty() {
                        return Ok(VPath::root());
                    }
                }
            }
        }
    });
    found.unwrap_or_else(|_| VPath::root())
}

fn root_storage() -> Storage {
    Storage {
        name: "the workspace's storage".to_owned(),
        bytes: Some("spec.storage.size".to_owned()),
        inodes: Some("spec.limits.storageInodes".to_owned()),
    }
}

fn mounts(configured: &[MountConfig]) -> Vec<(VPath, Storage)> {
    let mut mounts = Vec::new();
    if let Ok(path) = VPath::try_from("/dev/shm") {
        mounts.push((
            path,
            Storage { name: "/dev/shm, whose size is fixed".to_owned(), bytes: None, inodes: None },
        ));
    }
    for (index, mount) in configured.iter().enumerate() {
        let Ok(path) = VPath::new(mount.path.as_bytes()) else { continue };
        let name = format!("the mount {}", mount.path);
        let field = match &mount.source {
            MountSource::Tmpfs(_) => Some(format!("spec.mounts[{index}].tmpfs.size")),
            MountSource::Files(_) | MountSource::Volume(_) => None,
        };
        mounts.push((path, Storage { name, bytes: field.clone(), inodes: field }));
    }
    mounts
}

/// Syncs of one file system. Those who come while one is under way share the next one.
#[derive(Default)]
struct Syncs {
    asked: AtomicU64,
    /// How many of those who asked are served.
    done: tokio::sync::Mutex<u64>,
}

impl Syncs {
    async fn sync(&self, file_system: &Arc<dyn FileSystem>) -> VfsResult<()> {
        let ours = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= ours {
            return Ok(());
        }
        let until = self.asked.load(Ordering::SeqCst);
        sync_now(file_system)?;
        *done = until;
        Ok(())
    }
}

fn sync_now(file_system: &Arc<dyn FileSystem>) -> VfsResult<()> {
    task::in_place(|| file_system.sync())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vm_api::TmpfsMount;
    use vm_vfs::Inode;

    use super::*;

    /// Counts its syncs, which take a while.
    #[derive(Default)]
    struct Slow(AtomicU64);

    impl FileSystem for Slow {
        fn kind(&self) -> &'static str {
            "slow"
        }

        fn root(&self) -> Arc<dyn Inode> {
            panic!("nobody looks into it")
        }

        fn sync(&self) -> VfsResult<()> {
            std::thread::sleep(Duration::from_millis(20));
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writers_that_come_while_a_sync_is_under_way_share_the_next_one() {
        let slow = Arc::new(Slow::default());
        let syncs = Arc::new(Syncs::default());
        let writers = (0..50).map(|_| {
            let (file_system, syncs) = (Arc::clone(&slow) as Arc<dyn FileSystem>, Arc::clone(&syncs));
            task::spawn(async move { syncs.sync(&file_system).await })
        });
        let results = futures::future::join_all(writers).await;
        assert!(results.into_iter().all(|result| result.unwrap().is_ok()));
        assert!(slow.0.load(Ordering::SeqCst) <= 10, "{:?}", slow.0);
    }

    #[test]
    fn a_tmpfs_mount_is_limited_by_its_own_size() {
        let source = MountSource::Tmpfs(TmpfsMount { size_bytes: 1 });
        let mounts = mounts(&[MountConfig { path: "/scratch/".to_owned(), read_only: false, source }]);
        let (path, storage) = mounts.last().unwrap();
        assert_eq!(path.as_bytes(), b"/scratch");
        assert_eq!(storage.bytes.as_deref(), Some("spec.mounts[0].tmpfs.size"));
    }
}
