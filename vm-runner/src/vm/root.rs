//! The file systems of a VM: a read-only image of software and system files, a writable layer above it, and mounts.
//!
//! ```text
//!   /        overlay of   what the workspace writes: sqlitefs in its slot, or tmpfs (`storage`)
//!                         image of the workspace: /etc/passwd, /etc/hostname, …
//!                         image of the software: /opt/agentos/pkgs, /opt/agentos/bin, /usr, …
//!   /dev     devfs, /dev/pts devpts, /dev/shm tmpfs        /proc   procfs
//!   spec.mounts: tmpfs, an image of files, or hostfs on a volume of the runner
//! ```
//! The image of the software is the same for all workspaces that choose the same packages, and is built before a
//! workspace is known where that can be guessed.

use std::sync::Arc;

use vm_abi::{Mode, Timespec};
use vm_api::{FilesMount, MountConfig, MountSource, Problem, ProblemCode, VolumeMount, WorkspaceConfig};
use vm_kernel::Accounts;
use vm_vfs::hostfs::{DEFAULT_MAX_OPEN, HostFs, HostFsOptions, HostOwner};
use vm_vfs::image::{Image, ImageBuilder};
use vm_vfs::overlayfs::{OverlayFs, OverlayOptions};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{
    Caller, FileClock, FileSystem, Follow, Mapping, MountFlags, Namespace, Owner, VPath, WalkContext,
};

use super::storage::Storage;
use super::{commands, etc};
use crate::config::Volume;

/// Names and inodes that a tmpfs of `spec.mounts` may have per MiB.
const MOUNT_INODES_PER_MIB: u64 = 256;
/// Most bytes in `/dev/shm`, as container runtimes have it.
const SHARED_MEMORY_BYTES: u64 = 64 << 20;
/// Most names and inodes there.
const SHARED_MEMORY_INODES: u64 = 16 << 10;

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {source}")]
    Path { path: String, source: vm_vfs::Error },
    #[error("the root: {0}")]
    Overlay(vm_vfs::Error),
    #[error("this vm process was not given the volume {0}")]
    Volume(String),
    #[error("the volume {name}: {source}")]
    Open { name: String, source: vm_vfs::hostfs::OpenError },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(ProblemCode::BootFailed, format!("the file systems of the VM: {error}"))
    }
}

/// Mounts everything but what the kernel brings. `storage` is the layer that the workspace writes.
pub(crate) fn build(
    config: &WorkspaceConfig,
    software: Arc<dyn FileSystem>,
    storage: &Storage,
    volumes: &[Volume],
    accounts: &Accounts,
) -> Result<Namespace, Error> {
    let workspace = workspace_image(&config.name, accounts)?.into_file_system();
    let overlay = OverlayFs::new(OverlayOptions {
        lowers: vec![workspace, software],
        upper: storage.file_system(),
        source: "workspace".to_owned(),
    })
    .map_err(Error::Overlay)?;
    let namespace = Namespace::new(overlay, MountFlags::empty());
    make_home(&namespace, config)?;
    for mount in &config.mounts {
        add_mount(&namespace, mount, config, volumes)?;
    }
    Ok(namespace)
}

/// What is the same in every VM, into an image that holds software already.
pub(crate) fn place_system(builder: &mut ImageBuilder, certificates: Option<&Mapping>) -> Result<(), Error> {
    for (directory, mode) in etc::DIRECTORIES {
        let at = path(directory)?;
        builder.directory(&at, Mode::new(*mode), Timespec::EPOCH).map_err(at_path(directory))?;
    }
    for (link, target) in etc::LINKS {
        builder.symlink(&path(link)?, target.as_bytes(), Timespec::EPOCH).map_err(at_path(link))?;
    }
    for (file, text) in etc::FILES {
        place_file(builder, file, 0o644, text.as_bytes().to_vec())?;
    }
    for (name, script) in commands::COMMANDS {
        place_file(builder, &format!("{}/{name}", commands::FOLDER), 0o755, script.as_bytes().to_vec())?;
    }
    if let Some(certificates) = certificates {
        let file = "/etc/ssl/certs/ca-certificates.crt";
        builder
            .file(&path(file)?, Mode::new(0o644), Timespec::EPOCH, certificates.clone())
            .map_err(at_path(file))?;
    }
    Ok(())
}

fn workspace_image(hostname: &str, accounts: &Accounts) -> Result<Image, Error> {
    let mut builder = ImageBuilder::new("image", "workspace");
    for (file, text) in etc::workspace_files(hostname, accounts) {
        place_file(&mut builder, file, 0o644, text.into_bytes())?;
    }
    Ok(builder.build())
}

fn place_file(builder: &mut ImageBuilder, file: &str, mode: u32, content: Vec<u8>) -> Result<(), Error> {
    let content = Mapping::new(Arc::new(content));
    builder.file(&path(file)?, Mode::new(mode), now(), content).map_err(at_path(file))
}

/// The user's home, which belongs to the user.
fn make_home(namespace: &Namespace, config: &WorkspaceConfig) -> Result<(), Error> {
    let home = &config.user.home;
    let root = namespace.root();
    let credentials = vm_abi::Credentials::root();
    let context = WalkContext {
        namespace,
        root: &root,
        start: &root,
        credentials: &credentials,
        caller: Caller::default(),
    };
    make_directories(&context, home)?;
    let (uid, gid) = (vm_abi::Uid(config.user.uid), vm_abi::Gid(config.user.gid));
    let stat = context.stat(home.as_bytes(), Follow::Yes).map_err(at_path(home))?;
    if (stat.uid, stat.gid) == (uid, gid) {
        // As it was left: not even its time changes.
        return Ok(());
    }
    context.chown(home.as_bytes(), Some(uid), Some(gid), Follow::Yes).map_err(at_path(home))
}

/// Makes a directory and those above it; what is there already stays.
fn make_directories(context: &WalkContext<'_>, directory: &str) -> Result<(), Error> {
    let mut at = VPath::root();
    for name in path(directory)?.components() {
        at = at.join(name);
        match context.mkdir(at.as_bytes(), Mode::new(0o755)) {
            Err(error) if error != vm_abi::Errno::EEXIST => return Err(at_path(directory)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn add_mount(
    namespace: &Namespace,
    mount: &MountConfig,
    config: &WorkspaceConfig,
    volumes: &[Volume],
) -> Result<(), Error> {
    let MountConfig { path: at, read_only, source } = mount;
    let root = namespace.root();
    let credentials = vm_abi::Credentials::root();
    let context = WalkContext {
        namespace,
        root: &root,
        start: &root,
        credentials: &credentials,
        caller: Caller::default(),
    };
    make_directories(&context, at)?;
    let user = Owner { uid: vm_abi::Uid(config.user.uid), gid: vm_abi::Gid(config.user.gid) };
    let file_system: Arc<dyn FileSystem> = match source {
        MountSource::Tmpfs(tmpfs) => Tmpfs::new(TmpfsOptions {
            max_bytes: tmpfs.size_bytes,
            max_inodes: (tmpfs.size_bytes >> 20).max(4).saturating_mul(MOUNT_INODES_PER_MIB),
            root_mode: Mode::new(0o755),
            root_owner: user,
            clock: clock(),
        }),
        MountSource::Files(files) => files_image(files)?.into_file_system(),
        MountSource::Volume(volume) => open_volume(volume, volumes, *read_only, user)?,
    };
    let flags = if *read_only { MountFlags::READ_ONLY } else { MountFlags::empty() };
    let flags = match source {
        MountSource::Volume(_) => flags | MountFlags::NO_DEV,
        MountSource::Tmpfs(_) | MountSource::Files(_) => flags,
    };
    namespace.mount(&path(at)?, file_system, flags).map_err(at_path(at))
}

/// A folder of the host. A pod may not change owners there, so all of it belongs to the workspace's user.
fn open_volume(
    wanted: &VolumeMount,
    volumes: &[Volume],
    read_only: bool,
    user: Owner,
) -> Result<Arc<dyn FileSystem>, Error> {
    let VolumeMount { name, sub_path } = wanted;
    let volume = volumes.iter().find(|volume| volume.name == *name);
    let volume = volume.ok_or_else(|| Error::Volume(name.clone()))?;
    let options = HostFsOptions {
        folder: volume.path.clone(),
        sub_path: sub_path.clone().map(String::into_bytes),
        read_only: read_only || volume.read_only,
        owner: HostOwner::Shown(user),
        max_open: DEFAULT_MAX_OPEN,
    };
    let file_system = HostFs::open(&options).map_err(|source| Error::Open { name: name.clone(), source })?;
    Ok(file_system)
}

fn files_image(files: &FilesMount) -> Result<Image, Error> {
    let mut builder = ImageBuilder::new("files", "kubernetes");
    for entry in &files.entries {
        place_file(&mut builder, &format!("/{}", entry.path), entry.mode, entry.content_base64.0.clone())?;
    }
    Ok(builder.build())
}

/// `/dev/shm`, which everybody may write.
pub(crate) fn shared_memory() -> Arc<dyn FileSystem> {
    Tmpfs::new(TmpfsOptions {
        max_bytes: SHARED_MEMORY_BYTES,
        max_inodes: SHARED_MEMORY_INODES,
        root_mode: Mode::new(0o1777),
        root_owner: Owner::ROOT,
        clock: clock(),
    })
}

/// The host's time, for time stamps.
pub(crate) fn clock() -> Arc<dyn FileClock> {
    Arc::new(now)
}

fn now() -> Timespec {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timespec::new(seconds, since.subsec_nanos()).unwrap_or_default()
}

fn path(text: &str) -> Result<VPath, Error> {
    // A trailing slash is fine in a specification, and not part of a path's name.
    let text = if text == "/" { text } else { text.trim_end_matches('/') };
    VPath::try_from(text).map_err(at_path(text))
}

fn at_path(path: &str) -> impl FnOnce(vm_vfs::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Path { path, source }
}
