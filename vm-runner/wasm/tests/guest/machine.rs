//! A VM for tests: an image of programs, a writable root, and a kernel with the driver.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vm_abi::{Credentials, Gid, Mode, Timespec, Uid};
use vm_kernel::driver::Driver;
use vm_kernel::{Account, Accounts, Command, ExitStatus, HostReader, Kernel, KernelBuilder, Limits, Stdio};
use vm_vfs::folderfs::{self, FolderOptions};
use vm_vfs::image::ImageBuilder;
use vm_vfs::packagefs::PackageFile;
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{Caller, ContentId, Mapping, MountFlags, Namespace, NodeKind, Owner, VPath, WalkContext};
use vm_wasm::software::{Index, Manifest, ModuleEntry};
use vm_wasm::{Compiler, EngineOptions, GuestCodeCache, WasmDriver, WasmEngine};

/// Where commands are looked for.
const PATH: &str = "/opt/bin";
/// No test program takes longer, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A VM.
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    /// Compiled test programs, if it has any.
    programs: Option<tempfile::TempDir>,
}

/// How a command ended, and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    /// A VM whose `/opt` is an image, with one user besides root.
    pub(crate) fn new(image: ImageBuilder, driver: Arc<dyn Driver>, limits: Limits) -> Self {
        log_as_asked();
        let root = Tmpfs::new(TmpfsOptions {
            max_bytes: 512 << 20,
            max_inodes: 100_000,
            root_mode: Mode::new(0o755),
            root_owner: Owner::ROOT,
            clock: Arc::new(now),
        });
        let namespace = Namespace::new(root, MountFlags::empty());
        populate(&namespace);
        let opt = VPath::try_from("/opt").unwrap();
        namespace.mount(&opt, image.build().into_file_system(), MountFlags::empty()).unwrap();
        let ada = Account {
            name: "ada".to_owned(),
            uid: Uid(1000),
            gid: Gid(1000),
            full_name: "Ada".to_owned(),
            home: "/home/ada".to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        let kernel = KernelBuilder::new(namespace)
            .limits(limits)
            .hostname("lodge")
            .accounts(Accounts::with_root().with_user(ada))
            .environment_variable("PATH", PATH)
            .driver(driver)
            .build();
        kernel
            .namespace()
            .mount(&VPath::try_from("/dev").unwrap(), kernel.devfs(), MountFlags::empty())
            .unwrap();
        kernel
            .namespace()
            .mount(&VPath::try_from("/proc").unwrap(), kernel.procfs(), MountFlags::empty())
            .unwrap();
        Self { kernel, programs: None }
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, command: Command) -> Finished {
        let command = command.stdout(Stdio::Piped).stderr(Stdio::Piped);
        let mut process = self.kernel.spawn(command).unwrap();
        let (stdout, stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        let all = async { tokio::join!(process.wait(), read_all(stdout), read_all(stderr)) };
        let (status, stdout, stderr) = tokio::time::timeout(TIMEOUT, all).await.unwrap_or_else(|_| {
            panic!("the command did not end; processes: {:?}", names(&self.kernel));
        });
        Finished { status, stdout, stderr }
    }

    /// Copies a folder of the host into the VM's root, for everybody to write.
    pub(crate) fn import(&self, folder: &Path, to: &str) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{to}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.as_root(|context| context.mkdir(path.as_bytes(), Mode::new(0o777))).unwrap();
                self.import(&entry.path(), &path);
            } else {
                self.install(&path, &std::fs::read(entry.path()).unwrap());
            }
        }
    }

    fn as_root<T>(&self, act: impl FnOnce(&WalkContext<'_>) -> T) -> T {
        let namespace = self.kernel.namespace();
        let (root, credentials) = (namespace.root(), Credentials::root());
        let caller = Caller::default();
        act(&WalkContext { namespace, root: &root, start: &root, credentials: &credentials, caller })
    }

    /// Puts a file that may be executed into the VM, owned by the user.
    pub(crate) fn install(&self, path: &str, content: &[u8]) {
        self.as_root(|context| {
            let location = match context.resolve(path.as_bytes()) {
                Ok(location) => location,
                Err(_) => context.mknod(path.as_bytes(), NodeKind::Regular, Mode::new(0o755)).unwrap(),
            };
            location.set_size(0).unwrap();
            location.inode().write_at(0, content).unwrap();
            context.chown(path.as_bytes(), Some(Uid(1000)), Some(Gid(1000)), vm_vfs::Follow::Yes).unwrap();
        });
    }

    /// Runs a shell script as the user, in the user's home.
    pub(crate) async fn sh(&self, script: &str) -> Finished {
        self.run(user_command("sh").args(["-c", script])).await
    }
}

/// `LODGE_LOG=vm_wasm=trace` shows every host call.
fn log_as_asked() {
    if let Ok(filter) = std::env::var("LODGE_LOG") {
        let _already = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            .try_init();
    }
}

/// A command of the user, in the user's home, with no input.
pub(crate) fn user_command(name: &str) -> Command {
    Command::new(name)
        .cwd("/home/ada")
        .credentials(Credentials::new(Uid(1000), Gid(1000)))
        .stdin(Stdio::Bytes(Bytes::new()))
}

fn names(kernel: &Kernel) -> Vec<String> {
    let line = |argv: &[Vec<u8>]| String::from_utf8_lossy(&argv.join(&b' ')).into_owned();
    kernel
        .processes()
        .iter()
        .map(|process| format!("{} {}", process.pid.raw(), line(&process.argv)))
        .collect()
}

async fn read_all(mut reader: HostReader) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = reader.read().await {
        all.extend_from_slice(&bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn now() -> Timespec {
    Timespec::since_epoch(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
}

fn populate(namespace: &Namespace) {
    let root = namespace.root();
    let credentials = Credentials::root();
    let context = WalkContext {
        namespace,
        root: &root,
        start: &root,
        credentials: &credentials,
        caller: Caller::default(),
    };
    for directory in ["/dev", "/etc", "/home", "/home/ada", "/opt", "/proc", "/root", "/usr", "/var"] {
        context.mkdir(directory.as_bytes(), Mode::new(0o755)).unwrap();
    }
    for directory in ["/tmp", "/var/tmp"] {
        context.mkdir(directory.as_bytes(), Mode::new(0o1777)).unwrap();
        context.chmod(directory.as_bytes(), Mode::new(0o1777), vm_vfs::Follow::Yes).unwrap();
    }
    for link in ["/bin", "/usr/bin"] {
        context.symlink(PATH.as_bytes(), link.as_bytes()).unwrap();
    }
    context.chown(b"/home/ada", Some(Uid(1000)), Some(Gid(1000)), vm_vfs::Follow::Yes).unwrap();
    for (file, text) in [
        ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000:Ada:/home/ada:/bin/sh\n"),
        ("/etc/group", "root:x:0:\nada:x:1000:\n"),
    ] {
        let location = context.mknod(file.as_bytes(), NodeKind::Regular, Mode::new(0o644)).unwrap();
        location.inode().write_at(0, text.as_bytes()).unwrap();
    }
}

/// Compiles programs written in the text format and makes a VM that has them as commands.
pub(crate) struct Programs {
    folder: tempfile::TempDir,
    sources: Vec<(&'static str, Vec<u8>)>,
    guest_code: Option<GuestCodeCache>,
}

impl Programs {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), sources: Vec::new(), guest_code: None }
    }

    /// Keeps what is compiled for guests in a folder.
    pub(crate) fn keep_guest_code(self, cache: GuestCodeCache) -> Self {
        Self { guest_code: Some(cache), ..self }
    }

    /// Adds `tests/programs/<name>.wat`. The command has the last part of the name.
    pub(crate) fn with(mut self, name: &'static str) -> Self {
        let path = programs_folder().join(format!("{name}.wat"));
        let wasm = wat::parse_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.sources.push((name.rsplit('/').next().unwrap_or(name), wasm));
        self
    }

    /// Compiles them and boots.
    pub(crate) fn boot(self, options: &EngineOptions, limits: Limits) -> Machine {
        let compiler = Compiler::new().unwrap();
        let compiled = self.folder.path().join("compiled");
        std::fs::create_dir_all(&compiled).unwrap();
        let mut image = ImageBuilder::new("image", "test programs");
        let mut modules = BTreeMap::new();
        for (name, wasm) in self.sources {
            let id = ContentId::of(&wasm).to_string();
            let code = compiler.compile(&wasm).unwrap();
            std::fs::write(compiled.join(format!("{id}.cwasm")), &code).unwrap();
            modules.insert(id, ModuleEntry { size: wasm.len() as u64, compiled_size: code.len() as u64 });
            place(&mut image, &format!("/bin/{name}"), wasm);
        }
        let index =
            Index { fingerprint: compiler.fingerprint().to_owned(), modules, contents: BTreeMap::new() };
        std::fs::write(self.folder.path().join("index.json"), index.to_json()).unwrap();
        let engine = WasmEngine::new(options).unwrap();
        let driver = WasmDriver::open(engine, self.folder.path()).unwrap();
        if let Some(cache) = self.guest_code {
            driver.keep_guest_code(cache);
        }
        let mut machine = Machine::new(image, Arc::new(driver), limits);
        machine.programs = Some(self.folder);
        machine
    }
}

fn place(image: &mut ImageBuilder, path: &str, content: Vec<u8>) {
    let path = VPath::try_from(path).unwrap();
    image.file(&path, Mode::new(0o755), Timespec::EPOCH, Mapping::new(Arc::new(content))).unwrap();
}

/// `tests/programs`.
pub(crate) fn programs_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

/// The published software, built.
pub(crate) struct Software {
    pub(crate) folder: PathBuf,
    pub(crate) driver: Arc<WasmDriver>,
}

impl Software {
    /// Opens the folder that `LODGE_SOFTWARE` names, or `.local/software` in the repository.
    pub(crate) fn open() -> Self {
        let folder = std::env::var_os("LODGE_SOFTWARE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/software"),
            PathBuf::from,
        );
        assert!(
            folder.join("index.json").exists(),
            "there is no guest software in {}: run `make software`, or set LODGE_SOFTWARE",
            folder.display()
        );
        let engine = WasmEngine::new(&EngineOptions::default()).unwrap();
        let driver = Arc::new(WasmDriver::open(engine, &folder).unwrap());
        Self { folder, driver }
    }

    /// A fresh VM with these packages.
    pub(crate) fn boot(&self, packages: &[&str]) -> Machine {
        let manifest = Manifest::read(&self.folder).unwrap();
        let index = Index::read(&self.folder).unwrap();
        let mut image = ImageBuilder::new("image", "software");
        let mut placed: HashMap<&str, String> = HashMap::new();
        for package in manifest.packages.iter().filter(|package| packages.contains(&package.name.as_str())) {
            for source in &package.sources {
                let base = placed
                    .entry(&source.path)
                    .or_insert_with(|| place_source(&mut image, self, &index, &source.path));
                for path in index.contents[&source.path].keys() {
                    let command = path.strip_prefix("bin/").unwrap();
                    if source.commands.is_empty() || source.commands.iter().any(|wanted| wanted == command) {
                        // The first package that brings a command wins.
                        let link = VPath::try_from(format!("/bin/{command}").as_str()).unwrap();
                        let _duplicate =
                            image.symlink(&link, format!("{base}/{path}").as_bytes(), Timespec::EPOCH);
                    }
                }
            }
        }
        Machine::new(image, Arc::clone(&self.driver) as Arc<dyn Driver>, Limits::default())
    }
}

fn place_source(image: &mut ImageBuilder, software: &Software, index: &Index, source: &str) -> String {
    let at = format!("/pkgs/{}", source.rsplit('/').next().unwrap());
    let target = VPath::try_from(at.as_str()).unwrap();
    let ids = index.contents[source]
        .iter()
        .map(|(path, id)| (path.clone().into_bytes(), ContentId::from_hex(id).unwrap()))
        .collect::<HashMap<_, _>>();
    let host = software.folder.join(source);
    if source.ends_with(".aospkg") {
        PackageFile::open(&host).unwrap().place(image, &target, &ids).unwrap();
    } else {
        let options = FolderOptions { only: None, all_executable: true, content_ids: ids };
        folderfs::place(image, &target, &host, &options).unwrap();
    }
    format!("/opt{at}")
}
