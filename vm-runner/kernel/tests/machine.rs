//! The fixture of all kernel tests: a kernel over a tmpfs, and a driver whose programs are closures.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use vm_abi::{Errno, Mode, OpenFlags, Timespec};
use vm_kernel::context::ProcessContext;
use vm_kernel::driver::{Driver, Program, ProgramEnd, ProgramImage};
use vm_kernel::syscall::{self, FileAction, ProgramName, SpawnAttributes, SpawnRequest};
use vm_kernel::{Command, ExitStatus, HostReader, Kernel, KernelBuilder, Limits, Pid, Stdio};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{Caller, FileClock, FileSystem, MountFlags, Namespace, Owner, VPath, WalkContext};

/// How files of the test driver start; the program's name follows, to the end of the line.
const MAGIC: &[u8] = b"\0closure ";

type Closure = Arc<dyn Fn(ProcessContext) -> BoxFuture<'static, ProgramEnd> + Send + Sync>;

/// Runs closures.
#[derive(Clone, Default)]
pub(crate) struct TestDriver {
    closures: Arc<Mutex<HashMap<Vec<u8>, Closure>>>,
}

struct ClosureProgram(Closure);

impl Driver for TestDriver {
    fn name(&self) -> &'static str {
        "closure"
    }

    fn recognizes(&self, head: &[u8]) -> bool {
        head.starts_with(MAGIC)
    }

    fn load(&self, image: &ProgramImage) -> Result<Arc<dyn Program>, Errno> {
        let name = image.head().strip_prefix(MAGIC).ok_or(Errno::ENOEXEC)?;
        let closures = self.closures.lock().unwrap();
        let closure = closures.get(name.trim_ascii_end()).ok_or(Errno::ENOEXEC)?;
        Ok(Arc::new(ClosureProgram(Arc::clone(closure))))
    }
}

impl Program for ClosureProgram {
    fn run(self: Arc<Self>, ctx: ProcessContext) -> BoxFuture<'static, ProgramEnd> {
        (self.0)(ctx)
    }
}

/// A kernel to test.
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    driver: TestDriver,
}

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
}

impl Machine {
    /// With default limits.
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// With these limits.
    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::with(|builder| builder.limits(limits))
    }

    /// Built so.
    pub(crate) fn with(build: impl FnOnce(KernelBuilder) -> KernelBuilder) -> Self {
        let clock: Arc<dyn FileClock> = Arc::new(|| Timespec::from_secs(1_000_000));
        let root = Tmpfs::new(TmpfsOptions {
            max_bytes: 64 << 20,
            max_inodes: 10_000,
            root_mode: Mode::new(0o755),
            root_owner: Owner::ROOT,
            clock,
        });
        let root: Arc<dyn FileSystem> = root;
        let namespace = Namespace::new(root, MountFlags::empty());
        let driver = TestDriver::default();
        let kernel = build(KernelBuilder::new(namespace)).driver(Arc::new(driver.clone())).build();
        let machine = Self { kernel, driver };
        for (path, mode) in
            [("/bin", 0o755), ("/dev", 0o755), ("/proc", 0o755), ("/tmp", 0o1777), ("/work", 0o777)]
        {
            machine.walk(|walk| walk.mkdir(path.as_bytes(), Mode::new(mode)).unwrap());
        }
        let mount = |path: &str, file_system| {
            let path = VPath::try_from(path).unwrap();
            machine.kernel.namespace().mount(&path, file_system, MountFlags::empty()).unwrap();
        };
        mount("/dev", machine.kernel.devfs());
        mount("/dev/pts", machine.kernel.devpts());
        mount("/proc", machine.kernel.procfs());
        machine
    }

    /// Walks the files as root.
    pub(crate) fn walk<T>(&self, work: impl FnOnce(&WalkContext<'_>) -> T) -> T {
        let root = self.kernel.namespace().root();
        let credentials = vm_abi::Credentials::root();
        work(&WalkContext {
            namespace: self.kernel.namespace(),
            root: &root,
            start: &root,
            credentials: &credentials,
            caller: Caller::default(),
        })
    }

    /// Writes a file.
    pub(crate) fn write_file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) {
        self.walk(|walk| {
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNC;
            let opened = walk.open(path.as_bytes(), flags, Mode::new(mode)).unwrap();
            opened.location.inode().write_at(0, content.as_ref()).unwrap();
        });
    }

    /// Reads a file.
    pub(crate) fn read_file(&self, path: &str) -> String {
        self.walk(|walk| {
            let location = walk.resolve(path.as_bytes()).unwrap();
            let mut content = vec![0; usize::try_from(location.stat().unwrap().size).unwrap()];
            let count = location.inode().read_at(0, &mut content).unwrap();
            String::from_utf8(content[..count].to_vec()).unwrap()
        })
    }

    /// Puts a program into `/bin`.
    pub(crate) fn program<F, R>(&self, name: &str, closure: F)
    where
        F: Fn(ProcessContext) -> R + Send + Sync + 'static,
        R: Future<Output = u8> + Send + 'static,
    {
        self.raw_program(name, move |ctx| {
            let run = closure(ctx);
            async move { ProgramEnd::Exited(run.await) }
        });
    }

    /// Puts a program into `/bin` that says itself how it ends.
    pub(crate) fn raw_program<F, R>(&self, name: &str, closure: F)
    where
        F: Fn(ProcessContext) -> R + Send + Sync + 'static,
        R: Future<Output = ProgramEnd> + Send + 'static,
    {
        let closure: Closure = Arc::new(move |ctx| Box::pin(closure(ctx)));
        self.driver.closures.lock().unwrap().insert(name.as_bytes().to_vec(), closure);
        let content = [MAGIC, name.as_bytes(), b"\n"].concat();
        self.write_file(&format!("/bin/{name}"), content, 0o755);
    }

    /// Runs a command to its end, collecting what it writes.
    pub(crate) async fn run(&self, command: Command) -> Output {
        let mut process = self.kernel.spawn(command.stdout(Stdio::Piped)).unwrap();
        let stdout = read_all(process.stdout.as_mut().unwrap()).await;
        Output { status: process.wait().await, stdout }
    }

    /// Runs a closure as a program and expects it to end well; gives what it wrote.
    pub(crate) async fn expect<F, R>(&self, closure: F) -> String
    where
        F: Fn(ProcessContext) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.program("main", move |ctx| {
            let run = closure(ctx);
            async move {
                run.await;
                0
            }
        });
        let output = self.run(Command::new("main")).await;
        assert_eq!(output.status, ExitStatus::Exited(0), "the program failed");
        output.stdout
    }
}

/// Everything that guests write, as text.
pub(crate) async fn read_all(reader: &mut HostReader) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = reader.read().await {
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).unwrap()
}

/// A request to run a program of this name with these arguments.
pub(crate) fn request(ctx: &ProcessContext, argv: &[&str]) -> SpawnRequest {
    SpawnRequest {
        program: ProgramName::SearchEnv(argv[0].as_bytes().to_vec()),
        argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
        envp: ctx.envp().to_vec(),
        cwd: None,
        actions: Vec::new(),
        attributes: SpawnAttributes::default(),
    }
}

/// Makes a child of this name with these arguments.
pub(crate) async fn spawn(ctx: &ProcessContext, argv: &[&str]) -> Pid {
    syscall::process::spawn(ctx, request(ctx, argv)).await.unwrap()
}

/// Makes a child whose fds are changed so.
pub(crate) async fn spawn_with(ctx: &ProcessContext, argv: &[&str], actions: Vec<FileAction>) -> Pid {
    let request = SpawnRequest { actions, ..request(ctx, argv) };
    syscall::process::spawn(ctx, request).await.unwrap()
}

/// Waits for a child to end.
pub(crate) async fn wait(ctx: &ProcessContext, pid: Pid) -> syscall::WaitStatus {
    let target = syscall::WaitTarget::Child(pid);
    let result = syscall::process::wait(ctx, target, syscall::WaitOptions::empty()).await.unwrap();
    let result = result.unwrap();
    assert_eq!(result.pid, pid);
    result.status
}

/// Opens a file of the working directory or root.
pub(crate) async fn open(ctx: &ProcessContext, path: &str, flags: OpenFlags) -> Result<syscall::Fd, Errno> {
    syscall::path::open(ctx, syscall::DirFd::Cwd, path.as_bytes(), flags, Mode::new(0o644)).await
}

/// Writes text.
pub(crate) async fn print(ctx: &ProcessContext, fd: syscall::Fd, text: &str) {
    assert_eq!(syscall::file::write(ctx, fd, text.as_bytes()).await, Ok(text.len()));
}

/// Reads up to so many bytes once, as text.
pub(crate) async fn read(ctx: &ProcessContext, fd: syscall::Fd, len: usize) -> Result<String, Errno> {
    let mut buffer = vec![0; len];
    let count = syscall::file::read(ctx, fd, &mut buffer).await?;
    buffer.truncate(count);
    Ok(String::from_utf8(buffer).unwrap())
}

/// Reads to the end, as text.
pub(crate) async fn read_to_end(ctx: &ProcessContext, fd: syscall::Fd) -> String {
    let mut all = String::new();
    loop {
        let part = read(ctx, fd, 4096).await.unwrap();
        if part.is_empty() {
            return all;
        }
        all += &part;
    }
}
