//! A host folder (a volume of the pod) as a file system, read-only or read-write.
//!
//! Nothing leads out of the folder. Every host call names one component, relative to the descriptor of a directory, and
//! follows no link; mounts below the folder are not crossed (`EXDEV`). Symbolic links are text that the guest's own path
//! walk walks, in the guest's namespace. `..` never reaches the host: a directory's parent is the one through which it
//! was found. So whoever swaps directories and links on the host while a guest walks gains nothing for the guest.
//!
//! What a guest sees:
//! - Modes, sizes, times and inode numbers are the host's. Owners too if the process may change them
//!   ([`HostOwner::Real`]); else everything belongs to one guest user ([`HostOwner::Shown`]), and giving it away is
//!   `EPERM`.
//! - Set-user-ID bits, and set-group-ID bits of files, are neither shown nor stored (as on a `nosuid` mount): a guest
//!   must not plant programs that run as this process' user on the host.
//! - Device nodes are listed, never opened (`EACCES`), never made (`EPERM`).
//! - Fifos and sockets are nodes without content, as on a network file system: the VM's kernel keeps what flows through
//!   them, and nothing at the host's end is ever opened. Their permission bits are fixed when they are made, and the
//!   process' umask applies to them.
//! - In a locked-down process the times of links, fifos and sockets cannot be set, nor can sockets be made (`ENOTSUP`).
//! - Extended attributes named `user.*` pass; there are no others (`ENOTSUP`).
//! - There are no unnamed files (`ENOTSUP`, to which programs know the answer): naming one takes a privilege, or `/proc`.
//! - Appending is atomic among the processes of the VM. Others who append to the same file at the same moment may
//!   collide, as over NFS.
//! - The host's permissions count too. For a process without privileges, a file whose owner may neither read nor write it
//!   cannot be opened and keeps its mode (`EACCES`).
//! - A file that somebody else replaced between being found and being opened is `ESTALE`.
//!
//! Descriptors: one for each file or directory that something in the VM holds, none for those that are merely known, and
//! never more than [`HostFsOptions::max_open`] (`ENFILE`). As long as a file is held its inode number cannot be taken by
//! another.
//!
//! Neighbours: `host_folder` maps software from host folders; this one is for data that changes.
//! Must never know which volume it is, nor why.
//!
//! Lock order: `Shared::changes` (shared by what finds, exclusive for what renames or removes), then `Node::appending`,
//! then `Shared::live`, then a node's handle or place. Host calls are made under the first two only.

mod attributes;
mod content;
mod errno;
mod host;
mod node;
mod tree;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};

use rustix::fs::{CWD, Mode as HostMode, OFlags};
use vm_abi::{Credentials, Errno};

use crate::error::{Error, VfsResult};
use crate::file_system::{FileSystem, StatFs};
use crate::inode::{Caller, Inode, Owner};
use crate::location::MountFlags;
use crate::namespace::Namespace;
use crate::walk::WalkContext;
use errno::errno;
use host::{Key, Opener};
use node::{Handle, Node, Reach};

/// How many files of one host folder are open at once unless the options say otherwise.
pub const DEFAULT_MAX_OPEN: usize = 1024;

/// How a [`HostFs`] is made.
#[derive(Clone, Debug)]
pub struct HostFsOptions {
    /// The folder. Links on the way to it are followed: it is the operator's choice, not the guest's.
    pub folder: PathBuf,
    /// Show this directory or file of the folder instead of the whole. Links in it are walked within the folder.
    pub sub_path: Option<Vec<u8>>,
    /// Refuse every change.
    pub read_only: bool,
    /// To whom the files belong.
    pub owner: HostOwner,
    /// How many files may be in use at once (`ENFILE`); each takes a descriptor of this process.
    pub max_open: usize,
}

/// Whose the files of a host folder are, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostOwner {
    /// All belong to this user and group.
    Shown(Owner),
    /// They belong to whom they belong on the host, and can be given away. The process needs the privilege for it.
    Real,
}

/// Why a host folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder itself.
    #[error("opening the host folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// What is to be shown of it.
    #[error("{path:?} in the host folder {}: {source}", folder.display())]
    SubPath {
        /// The folder.
        folder: PathBuf,
        /// The path within it.
        path: String,
        /// Why.
        source: Error,
    },
}

/// A host folder that can be mounted.
pub struct HostFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

/// What all nodes of one host folder share.
struct Shared {
    source: String,
    read_only: bool,
    owner: HostOwner,
    opener: Opener,
    /// Shared by what finds entries and makes them, exclusive for what renames or removes them: so places stay true.
    changes: RwLock<()>,
    /// Every node that something holds. Also guards all changes of places.
    live: Mutex<HashMap<Key, Weak<Node>>>,
    open: AtomicUsize,
    max_open: usize,
    /// Whether something changed since the last `sync`.
    is_dirty: AtomicBool,
}

impl HostFs {
    /// Opens a folder.
    ///
    /// # Errors
    /// When folder or path are missing, or the process may not open them.
    pub fn open(options: &HostFsOptions) -> Result<Arc<Self>, OpenError> {
        Self::open_with(options, Opener::default())
    }

    fn open_with(options: &HostFsOptions, opener: Opener) -> Result<Arc<Self>, OpenError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let refuse = |source: io::Error| OpenError::Folder { path: options.folder.clone(), source };
        let fd = rustix::fs::openat(CWD, &options.folder, flags, HostMode::empty())
            .map_err(|error| refuse(error.into()))?;
        let source = options.folder.display().to_string();
        let whole = Self::of(options, opener.clone(), source.clone(), Handle { fd, reach: Reach::Path })
            .map_err(|error| refuse(io::Error::other(error)))?;
        let Some(path) = options.sub_path.as_deref().filter(|path| !path.is_empty()) else {
            return Ok(whole);
        };
        let text = String::from_utf8_lossy(path).into_owned();
        let part = whole.walk(path).and_then(|node| {
            let source = Path::new(&source).join(text.trim_start_matches('/')).display().to_string();
            Self::of(options, opener, source, node.duplicate()?)
        });
        part.map_err(|source| OpenError::SubPath { folder: options.folder.clone(), path: text, source })
    }

    fn of(options: &HostFsOptions, opener: Opener, source: String, root: Handle) -> VfsResult<Arc<Self>> {
        let shared = Arc::new(Shared {
            source,
            read_only: options.read_only,
            owner: options.owner,
            opener,
            changes: RwLock::default(),
            live: Mutex::default(),
            open: AtomicUsize::new(0),
            max_open: options.max_open.max(1),
            is_dirty: AtomicBool::new(false),
        });
        let root = Node::root(&shared, root)?;
        Ok(Arc::new(Self { shared, root }))
    }

    /// What a path names, by the guest's rules: links stay within the folder.
    fn walk(self: &Arc<Self>, path: &[u8]) -> VfsResult<Arc<Node>> {
        let namespace = Namespace::new(Arc::clone(self) as Arc<dyn FileSystem>, MountFlags::empty());
        let root = namespace.root();
        let credentials = Credentials::root();
        let context = WalkContext {
            namespace: &namespace,
            root: &root,
            start: &root,
            credentials: &credentials,
            caller: Caller::default(),
        };
        self.root.sibling(context.resolve(path)?.inode())
    }
}

impl FileSystem for HostFs {
    fn kind(&self) -> &'static str {
        "hostfs"
    }

    fn source(&self) -> String {
        self.shared.source.clone()
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as Arc<dyn Inode>
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        let stat = rustix::fs::fstatvfs(&self.root.handle().fd).map_err(errno)?;
        Ok(StatFs {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_inodes: stat.f_files,
            free_inodes: stat.f_favail,
            block_bytes: stat.f_bsize,
        })
    }

    /// Flushes the host's file system, if anything was changed through this one since the last time.
    fn sync(&self) -> VfsResult<()> {
        if !self.shared.is_dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let result =
            self.root.readable().and_then(|handle| Ok(rustix::fs::syncfs(&handle.fd).map_err(errno)?));
        if result.is_err() {
            self.shared.is_dirty.store(true, Ordering::Release);
        }
        result
    }

    fn is_read_only(&self) -> bool {
        self.shared.read_only
    }
}

impl Shared {
    /// Fails if nothing may be changed; else notes that something will be.
    fn begin_change(&self) -> VfsResult<()> {
        if self.read_only {
            return Err(Errno::EROFS.into());
        }
        self.is_dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Counts one more file in use.
    fn take_descriptor(&self) -> VfsResult<()> {
        let take = |open: usize| (open < self.max_open).then_some(open + 1);
        match self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::limit(Errno::ENFILE, "open files of one host folder")),
        }
    }

    fn give_descriptor(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
