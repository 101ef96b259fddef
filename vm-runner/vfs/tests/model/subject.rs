//! The file systems that are put to the test.

mod database;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use vm_abi::{Errno, Mode, Timespec};
use vm_vfs::hostfs::{DEFAULT_MAX_OPEN, HostFs, HostFsOptions, HostOwner};
use vm_vfs::image::ImageBuilder;
use vm_vfs::overlayfs::{OverlayFs, OverlayOptions};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{FileClock, FileSystem, Mapping, Owner, VPath};

pub(crate) use database::{database, database_overlay, forgetful_database};

use super::history::Subject;
use super::operation::{Bytes, Operation};
use super::reference::{Body, Outcome, Reference};
use super::system::Answer;

/// A clock of which no two readings are the same.
pub(crate) fn clock() -> Arc<dyn FileClock> {
    let seconds = AtomicI64::new(0);
    Arc::new(move || Timespec::from_secs(seconds.fetch_add(1, Ordering::Relaxed)))
}

fn new_tmpfs() -> Arc<dyn FileSystem> {
    let (root_mode, root_owner) = (Mode::new(0o755), Owner::ROOT);
    Tmpfs::new(TmpfsOptions {
        max_bytes: 1 << 30,
        max_inodes: 100_000,
        root_mode,
        root_owner,
        clock: clock(),
    })
}

/// Files in memory. There is nothing to open again.
pub(crate) struct Memory(Arc<dyn FileSystem>);

pub(crate) fn tmpfs() -> (Memory, Reference) {
    (Memory(new_tmpfs()), Reference::new())
}

impl Subject for Memory {
    fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.0)
    }

    fn reopen(&mut self) {}
}

/// Layers; opening again puts a new overlay over the same ones.
pub(crate) struct Layers {
    lowers: Vec<Arc<dyn FileSystem>>,
    upper: Arc<dyn FileSystem>,
    overlay: Arc<dyn FileSystem>,
}

impl Layers {
    fn new(lowers: Vec<Arc<dyn FileSystem>>) -> Self {
        let upper = new_tmpfs();
        let overlay = mount(&lowers, &upper);
        Self { lowers, upper, overlay }
    }
}

fn mount(lowers: &[Arc<dyn FileSystem>], upper: &Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
    let (lowers, upper) = (lowers.to_vec(), Arc::clone(upper));
    OverlayFs::new(OverlayOptions { lowers, upper, source: "test".to_owned() }).unwrap()
}

impl Subject for Layers {
    fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.overlay)
    }

    fn reopen(&mut self) {
        self.overlay = mount(&self.lowers, &self.upper);
    }
}

pub(crate) fn empty_overlay() -> (Layers, Reference) {
    (Layers::new(Vec::new()), Reference::new())
}

/// What the lower layers hold: directories, files by size, a link.
enum Item {
    Folder(&'static str),
    File(&'static str, usize),
    Link(&'static str, &'static str),
}

const LOWER: &[Item] = &[
    Item::Folder("/a"),
    Item::File("/a/a", 5),
    Item::Folder("/a/b"),
    Item::File("/a/b/a", 70_000),
    Item::Folder("/a/b/c"),
    Item::Link("/a/c", "b/a"),
    Item::File("/b", 4096),
    Item::Link("/c", "/a/b"),
];

/// Two images; the upper one shows some of the lower one's directories, too.
fn image_layers() -> (Vec<Arc<dyn FileSystem>>, Reference) {
    let mut reference = Reference::new();
    let mut builders = [ImageBuilder::new("image", "top"), ImageBuilder::new("image", "bottom")];
    for (index, item) in LOWER.iter().enumerate() {
        let builder = &mut builders[index % 2];
        match item {
            Item::Folder(path) => {
                reference.mkdir(path, 0o755).unwrap();
                builder.directory(&vpath(path), Mode::new(0o755), Timespec::EPOCH).unwrap();
            }
            Item::File(path, len) => {
                let bytes = Bytes { first: 7, len: *len }.expand();
                reference.make(path, Body::File(bytes.clone()), 0o644).unwrap();
                let content = Mapping::new(Arc::new(bytes));
                builder.file(&vpath(path), Mode::new(0o644), Timespec::EPOCH, content).unwrap();
            }
            Item::Link(path, target) => {
                reference.make(path, Body::Symlink((*target).to_owned()), 0o777).unwrap();
                builder.symlink(&vpath(path), target.as_bytes(), Timespec::EPOCH).unwrap();
            }
        }
    }
    let lowers = builders.into_iter().map(|builder| builder.build().into_file_system()).collect();
    (lowers, reference)
}

/// An overlay over two images.
pub(crate) fn overlay() -> (Layers, Reference) {
    let (lowers, reference) = image_layers();
    (Layers::new(lowers), reference)
}

fn vpath(path: &str) -> VPath {
    VPath::try_from(path).unwrap()
}

/// A folder of the host, as root with its own owners, else as one user's.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
    host_fs: Arc<HostFs>,
    is_root: bool,
}

fn open(folder: &Path, is_root: bool) -> Arc<HostFs> {
    let owner = if is_root { HostOwner::Real } else { HostOwner::Shown(Owner::ROOT) };
    let folder = folder.to_owned();
    HostFs::open(&HostFsOptions {
        folder,
        sub_path: None,
        read_only: false,
        owner,
        max_open: DEFAULT_MAX_OPEN,
    })
    .unwrap()
}

pub(crate) fn host_folder() -> (Folder, Reference) {
    let folder = tempfile::tempdir().unwrap();
    rustix::fs::chmod(folder.path(), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let host_fs = open(folder.path(), is_root);
    (Folder { folder, host_fs, is_root }, Reference::new())
}

impl Subject for Folder {
    fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.host_fs) as Arc<dyn FileSystem>
    }

    fn reopen(&mut self) {
        self.host_fs = open(self.folder.path(), self.is_root);
    }

    /// The host's permissions bind this process unless it is root: it leaves them to itself.
    fn adapt(&self, operation: &Operation) -> Option<Operation> {
        match operation {
            Operation::Mkdir(path, mode) if !self.is_root => {
                Some(Operation::Mkdir(path.clone(), mode | 0o700))
            }
            Operation::Chmod(path, mode) if !self.is_root => {
                Some(Operation::Chmod(path.clone(), mode | 0o700))
            }
            _ => None,
        }
    }

    fn is_excused(&self, operation: &Operation, answer: &Outcome<Answer>) -> bool {
        match (operation, answer) {
            // Only one name of a file is known, and that one was removed.
            (Operation::LinkHeld(..), Err(Errno::ENOENT)) => true,
            (Operation::Chown(..), Err(Errno::EPERM)) => !self.is_root,
            // Modes of fifos are fixed.
            (Operation::Chmod(..), Err(Errno::ENOTSUP)) => true,
            // Not every file system of a host can.
            (Operation::Allocate { .. }, Err(Errno::ENOTSUP)) => true,
            _ => false,
        }
    }
}
