//! A booted VM: kernel, file systems, accounts, and the settings that can change while it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::JoinSet;
use vm_abi::{Credentials, Gid, Uid};
use vm_api::{EnvVar, Problem, ProblemCode, Usage, WorkspaceConfig};
use vm_kernel::driver::Driver;
use vm_kernel::{Account, Accounts};
use vm_kernel::{HostReader, Kernel, KernelBuilder, Limits, ProcessInfo, ProcessState};
use vm_vfs::{Caller, MountFlags, VPath, VfsResult, WalkContext};
use vm_wasm::WasmDriver;

use super::buffers::Buffers;
use super::server::event::EventLog;
use super::server::file::FileShared;
use super::server::process::ProcessTable;
use super::server::shell::ShellTable;
use super::software_image::SoftwareImage;
use super::storage::Storage;
use super::{etc, root};
use crate::boot_request::Activity;
use crate::config::Volume;

/// Background output that is read and thrown away, per VM.
const MAX_DISCARDED: usize = 1024;

/// How many open files all processes may have together, for each that one of them may have.
const OPEN_FILES_PER_FD: usize = 16;

/// A running VM.
pub(crate) struct Vm {
    uid: String,
    kernel: Kernel,
    driver: Arc<WasmDriver>,
    user: User,
    storage: Storage,
    storage_bytes: u64,
    /// What packages and the system set.
    base_env: Vec<(String, String)>,
    /// Guarded by itself; a leaf in the lock order.
    settings: RwLock<Arc<Settings>>,
    /// Guarded by itself; a leaf in the lock order.
    discarding: Mutex<JoinSet<()>>,
    buffers: Arc<Buffers>,
    processes: ProcessTable,
    shells: ShellTable,
    events: Arc<EventLog>,
    files: FileShared,
}

/// Settings that can change while the VM runs.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The whole environment of a command but its own; later entries win.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) command_timeout: Duration,
}

/// Somebody that commands and file actions run as.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) credentials: Credentials,
}

/// What the process was given of the host, besides software.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    /// The files of the workspace are in the folder of its uid here; absent, they live in memory.
    pub(crate) slot: Option<PathBuf>,
    /// What the workspace may mount by name.
    pub(crate) volumes: Vec<Volume>,
}

/// Boots a VM. Must be called in the runtime that its programs will run in.
///
/// # Errors
/// A problem for those who wait for the VM.
pub(crate) fn boot(
    uid: &str,
    config: &WorkspaceConfig,
    software: &SoftwareImage,
    driver: Arc<WasmDriver>,
    grants: &Grants,
) -> Result<Vm, Problem> {
    let accounts = accounts(config);
    let folder = grants.slot.as_ref().map(|slot| slot.join(uid));
    let storage = Storage::open(config, folder.as_deref())?;
    let software_layer = Arc::clone(&software.file_system);
    let namespace = root::build(config, software_layer, &storage, &grants.volumes, &accounts)?;
    let kernel = KernelBuilder::new(namespace)
        .limits(limits(config))
        .hostname(config.name.clone())
        .accounts(accounts)
        .driver(Arc::clone(&driver) as Arc<dyn Driver>)
        .build();
    mount_devices(&kernel).map_err(|error| {
        let detail = format!("/dev and /proc of the VM: {}", error.errno().message());
        Problem::new(ProblemCode::BootFailed, detail)
    })?;
    let base_env = base_env(config, software);
    let settings = RwLock::new(Arc::new(settings(config, &base_env)));
    Ok(Vm {
        uid: uid.to_owned(),
        kernel,
        driver,
        user: User {
            name: config.user.name.clone(),
            home: config.user.home.clone(),
            credentials: credentials(config),
        },
        storage,
        storage_bytes: config.storage.size_bytes,
        base_env,
        settings,
        discarding: Mutex::new(JoinSet::new()),
        buffers: Buffers::of_requests(config.limits.memory_bytes),
        processes: ProcessTable::new(Buffers::of_kept_output(config.limits.memory_bytes)),
        shells: ShellTable::new(),
        events: Arc::new(EventLog::new()),
        files: FileShared::new(config),
    })
}

/// Mounts what only the kernel can show.
fn mount_devices(kernel: &Kernel) -> VfsResult<()> {
    let namespace = kernel.namespace();
    namespace.mount(&VPath::try_from("/dev")?, kernel.devfs(), MountFlags::empty())?;
    namespace.mount(&VPath::try_from("/dev/pts")?, kernel.devpts(), MountFlags::empty())?;
    namespace.mount(&VPath::try_from("/dev/shm")?, root::shared_memory(), MountFlags::empty())?;
    namespace.mount(&VPath::try_from("/proc")?, kernel.procfs(), MountFlags::empty())
}

impl Vm {
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Most bytes of the writable layer: no file can be larger.
    pub(crate) fn storage_bytes(&self) -> u64 {
        self.storage_bytes
    }

    /// What requests in flight may hold in memory.
    pub(crate) fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// What the API has started on its own.
    pub(crate) fn processes(&self) -> &ProcessTable {
        &self.processes
    }

    /// The shells.
    pub(crate) fn shells(&self) -> &ShellTable {
        &self.shells
    }

    /// What happens.
    pub(crate) fn events(&self) -> &Arc<EventLog> {
        &self.events
    }

    /// Whom commands run as that name nobody.
    pub(crate) fn user_name(&self) -> &str {
        &self.user.name
    }

    /// Whom file actions run as.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.user.credentials
    }

    /// What requests on files share.
    pub(crate) fn files(&self) -> &FileShared {
        &self.files
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what can change while the VM runs.
    pub(crate) fn reconfigure(&self, config: &WorkspaceConfig) {
        let new = Arc::new(settings(config, &self.base_env));
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.storage.reconfigure(config);
        self.kernel.set_cpu_millis(cpu_millis(config));
    }

    /// The layer that the workspace writes.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Gives back the memory that programs have left which have ended.
    pub(crate) fn trim(&self) {
        if let Err(error) = self.driver.trim() {
            tracing::debug!(%error, "an idle VM keeps the memory of its programs");
        }
    }

    /// Whether anything keeps the VM awake, and what it uses. The supervisor asks now and then.
    pub(crate) fn activity(&self) -> Activity {
        let shells = self.shells.activity();
        let processes = self.kernel.processes();
        let living = || processes.iter().filter(|process| process.ended.is_none());
        let keeps_awake = |process: &&ProcessInfo| {
            let is_left_shell = process.state == ProcessState::AtTerminal
                && shells.unattached_leaders.contains(&process.pid)
                && living().filter(|other| other.session == process.session).count() == 1;
            !is_left_shell
        };
        Activity {
            processes: living().filter(keeps_awake).count() as u64,
            attached: shells.attached as u64,
            streams: self.processes.activity().streams as u64,
            usage: self.usage(),
            fault: self.storage.fault(),
        }
    }

    /// The workspace's user, or the account of this name.
    pub(crate) fn user(&self, name: Option<&str>) -> Result<User, Problem> {
        match name {
            None => Ok(self.user.clone()),
            Some(name) if name == self.user.name => Ok(self.user.clone()),
            Some("root") => {
                let (name, home) = ("root".to_owned(), "/root".to_owned());
                Ok(User { name, home, credentials: Credentials::root() })
            }
            Some(name) => {
                let detail = format!("there is no user {name:?}; there are {} and root", self.user.name);
                Err(Problem::new(ProblemCode::UserUnknown, detail).with_field("user"))
            }
        }
    }

    /// Walks paths from the root as somebody.
    pub(crate) fn walk<T>(
        &self,
        credentials: &Credentials,
        act: impl FnOnce(&WalkContext<'_>) -> VfsResult<T>,
    ) -> VfsResult<T> {
        let namespace = self.kernel.namespace();
        let root = namespace.root();
        act(&WalkContext { namespace, root: &root, start: &root, credentials, caller: Caller::default() })
    }

    /// Reads and throws away what a command's background processes still write, so that they do not die of it.
    pub(crate) fn discard(&self, mut reader: HostReader) {
        let mut discarding = self.discarding.lock().unwrap_or_else(PoisonError::into_inner);
        while discarding.try_join_next().is_some() {}
        if discarding.len() < MAX_DISCARDED {
            discarding.spawn(async move { while reader.read().await.is_some() {} });
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let kernel = self.kernel.usage();
        let storage = self.storage.file_system().statfs().unwrap_or_default();
        Usage {
            storage_bytes: storage.total_bytes.saturating_sub(storage.free_bytes),
            files: storage.total_inodes.saturating_sub(storage.free_inodes),
            processes: kernel.processes,
            memory_bytes: kernel.memory_bytes,
        }
    }
}

fn accounts(config: &WorkspaceConfig) -> Accounts {
    let user = &config.user;
    if user.uid == 0 {
        return Accounts::with_root();
    }
    Accounts::with_root().with_user(Account {
        name: user.name.clone(),
        uid: Uid(user.uid),
        gid: Gid(user.gid),
        full_name: user.name.clone(),
        home: user.home.clone(),
        shell: "/bin/sh".to_owned(),
    })
}

/// The workspace's user, in its group: `id -G` names the primary group too.
fn credentials(config: &WorkspaceConfig) -> Credentials {
    let gid = Gid(config.user.gid);
    Credentials { groups: vec![gid], ..Credentials::new(Uid(config.user.uid), gid) }
}

/// 0 is no limit to the kernel; the configuration has none such.
fn cpu_millis(config: &WorkspaceConfig) -> u32 {
    u32::try_from(config.limits.cpu_millis).unwrap_or(u32::MAX).max(1)
}

fn limits(config: &WorkspaceConfig) -> Limits {
    let limits = &config.limits;
    Limits {
        cpu_millis: cpu_millis(config),
        max_processes: usize::try_from(limits.processes).unwrap_or(usize::MAX),
        max_fds: limits.open_files,
        max_open_files: (limits.open_files as usize).saturating_mul(OPEN_FILES_PER_FD),
        max_pipes: limits.open_files as usize,
        max_sockets: usize::try_from(limits.sockets).unwrap_or(usize::MAX),
        max_memory_bytes: limits.memory_bytes,
        ..Limits::default()
    }
}

fn base_env(config: &WorkspaceConfig, software: &SoftwareImage) -> Vec<(String, String)> {
    let system = etc::environment(software.has_git);
    let system = system.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    system
        .chain([("HOSTNAME".to_owned(), config.name.clone())])
        .chain(software.environment.iter().cloned())
        .collect()
}

fn settings(config: &WorkspaceConfig, base_env: &[(String, String)]) -> Settings {
    let own = config.env.iter().map(|EnvVar { name, value }| (name.clone(), value.clone()));
    Settings {
        env: base_env.iter().cloned().chain(own).collect(),
        command_timeout: Duration::from_millis(config.limits.command_timeout_ms),
    }
}
