//! Host folders under the conformance suite, and every way out of one that somebody could think of.

mod conformance;
mod escape;
mod sharing;

use std::path::Path;
use std::sync::Arc;

use vm_abi::{Credentials, Gid, Uid};

use super::host::Opener;
use super::{DEFAULT_MAX_OPEN, HostFs, HostFsOptions, HostOwner};
use crate::file_system::FileSystem;
use crate::inode::{Caller, Owner};
use crate::location::{Location, MountFlags};
use crate::namespace::Namespace;
use crate::walk::WalkContext;

fn options(folder: &Path) -> HostFsOptions {
    HostFsOptions {
        folder: folder.to_owned(),
        sub_path: None,
        read_only: false,
        owner: HostOwner::Shown(Owner { uid: Uid(1000), gid: Gid(1000) }),
        max_open: DEFAULT_MAX_OPEN,
    }
}

/// A walker in a namespace of one host folder.
struct Guest {
    namespace: Namespace,
    root: Location,
    credentials: Credentials,
}

impl Guest {
    fn new(file_system: Arc<HostFs>) -> Self {
        let namespace = Namespace::new(file_system as Arc<dyn FileSystem>, MountFlags::empty());
        let root = namespace.root();
        Self { namespace, root, credentials: Credentials::root() }
    }

    fn open(folder: &Path) -> Self {
        Self::new(HostFs::open(&options(folder)).unwrap())
    }

    fn stepwise(folder: &Path) -> Self {
        Self::new(HostFs::open_with(&options(folder), Opener::stepwise()).unwrap())
    }

    fn walk(&self) -> WalkContext<'_> {
        WalkContext {
            namespace: &self.namespace,
            root: &self.root,
            start: &self.root,
            credentials: &self.credentials,
            caller: Caller::default(),
        }
    }

    fn read(&self, path: &str) -> crate::VfsResult<Vec<u8>> {
        read(&self.walk().open(path.as_bytes(), vm_abi::OpenFlags::READ, vm_abi::Mode::new(0))?.location)
    }

    fn write(&self, path: &str, text: &str) -> crate::VfsResult<Location> {
        let flags = vm_abi::OpenFlags::WRITE | vm_abi::OpenFlags::CREATE | vm_abi::OpenFlags::TRUNC;
        let file = self.walk().open(path.as_bytes(), flags, vm_abi::Mode::new(0o644))?.location;
        file.inode().write_at(0, text.as_bytes())?;
        Ok(file)
    }
}

fn read(file: &Location) -> crate::VfsResult<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let len = file.inode().read_at(0, &mut bytes)?;
    bytes.truncate(len);
    Ok(bytes)
}
