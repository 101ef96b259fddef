//! Commands: what the host asks a VM to run.
//!
//! Every command is the leader of a session of its own, so that all it starts can be ended together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vm_abi::{Credentials, Errno, FileType, Mode, OpenFlags, SignalSet};
use vm_vfs::Caller;

use crate::anonymous::AnonymousNode;
use crate::device;
use crate::file::File;
use crate::file::description::FileDescription;
use crate::file::fd_table::{Fd, FdFlags, FdTable};
use crate::kernel::{Kernel, KernelInner};
use crate::limit::Limit;
use crate::pipe::Pipe;
use crate::pipe::host::{HostReader, HostWriter};
use crate::poll::{Interest, Waiter, wait_ready};
use crate::process::rlimit::Rlimits;
use crate::process::signal::SignalState;
use crate::process::spawn::Draft;
use crate::process::table::{Parent, Placement};
use crate::process::{ExitStatus, Pid, Process, Sid, WorkingDirectory};
use crate::program::ProgramName;
use crate::pty::host::HostTerminal;
use crate::trace::log::Tracing;
use crate::tty::window_size::WindowSize;

/// Something to run.
#[derive(Clone, Debug)]
pub struct Command {
    program: ProgramName,
    argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
    cwd: Vec<u8>,
    credentials: Credentials,
    umask: Mode,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
    terminal: Option<WindowSize>,
}

/// What a standard stream of a command is.
#[derive(Clone, Debug, Default)]
pub enum Stdio {
    /// The null device.
    #[default]
    Null,
    /// A pipe whose other end the host gets.
    Piped,
    /// These bytes, then the end. For standard input.
    Bytes(Bytes),
    /// The same as standard output. For standard error.
    SameAsStdout,
}

/// A command that was started. Dropping it lets the command run on.
pub struct ProcessHandle {
    process: Arc<Process>,
    /// The other end of its standard input, if piped.
    pub stdin: Option<HostWriter>,
    /// The other end of its standard output, if piped.
    pub stdout: Option<HostReader>,
    /// The other end of its standard error, if piped.
    pub stderr: Option<HostReader>,
    /// The other side of its terminal, if it has one.
    pub terminal: Option<HostTerminal>,
}

impl Command {
    /// Runs the program of this name, looked for in `PATH` unless it has a slash, as root in `/`, with null streams.
    #[must_use]
    pub fn new(name: impl Into<Vec<u8>>) -> Self {
        let name = name.into();
        Self {
            argv: vec![name.clone()],
            program: ProgramName::SearchEnv(name),
            envp: Vec::new(),
            cwd: b"/".to_vec(),
            credentials: Credentials::root(),
            umask: Mode::new(0o022),
            stdin: Stdio::Null,
            stdout: Stdio::Null,
            stderr: Stdio::Null,
            terminal: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.argv.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<Vec<u8>>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.argv.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let entry = [name.as_ref(), b"=", value.as_ref()].concat();
        self.envp.retain(|other| !other.starts_with(&entry[..=name.as_ref().len()]));
        self.envp.push(entry);
        self
    }

    /// Starts in this directory.
    #[must_use]
    pub fn cwd(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.cwd = path.into();
        self
    }

    /// Runs as this user.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Gives new files these bits less; 022 if not set.
    #[must_use]
    pub fn umask(mut self, umask: Mode) -> Self {
        self.umask = umask;
        self
    }

    /// Reads from this.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdin = stdin;
        self
    }

    /// Writes to this.
    #[must_use]
    pub fn stdout(mut self, stdout: Stdio) -> Self {
        self.stdout = stdout;
        self
    }

    /// Complains to this.
    #[must_use]
    pub fn stderr(mut self, stderr: Stdio) -> Self {
        self.stderr = stderr;
        self
    }

    /// Runs in a terminal of this size, which is its session's controlling one and all three streams.
    #[must_use]
    pub fn terminal(mut self, window: WindowSize) -> Self {
        self.terminal = Some(window);
        self
    }
}

/// The standard streams of a command under construction.
#[derive(Default)]
struct Streams {
    fds: FdTable,
    stdin: Option<HostWriter>,
    stdout: Option<HostReader>,
    stderr: Option<HostReader>,
    terminal: Option<HostTerminal>,
}

impl Kernel {
    /// Starts a command.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, `ENOEXEC` for program or working directory, `EAGAIN` if there are too many processes or the
    /// kernel shuts down, `E2BIG`, `ENFILE`.
    pub fn spawn(&self, command: Command) -> Result<ProcessHandle, Errno> {
        let kernel = self.inner();
        let Command { program, argv, envp, cwd, credentials, umask, stdin, stdout, stderr, terminal } =
            command;
        kernel.check_args(&argv, &envp)?;
        let streams = match terminal {
            Some(window) => kernel.terminal_streams(&credentials, window)?,
            None => kernel.streams(&credentials, stdin, stdout, stderr)?,
        };
        let Streams { fds, stdin, stdout, stderr, terminal } = streams;
        let root = WorkingDirectory { location: kernel.namespace.root(), path: b"/"[..].into() };
        let cwd = kernel.find_directory(&root, &credentials, Caller::default(), &cwd)?;
        let draft = Draft {
            fds,
            cwd,
            credentials: Arc::new(credentials),
            umask,
            rlimits: Rlimits::new(&kernel.limits),
            signals: SignalState::new(SignalSet::EMPTY, SignalSet::EMPTY),
            share: Arc::default(),
            tracing: Tracing::default(),
        };
        let envp = kernel.complete_environment(envp, &draft, &kernel.environment);
        let image = kernel.find_image(&draft, &program, argv, envp, &[], Caller::default())?;
        let process = kernel.add_process(draft, image, Parent::Host, Placement::OwnSession)?;
        if let Some(terminal) = &terminal {
            kernel.acquire_terminal(process.pid, terminal.master().terminal());
        }
        kernel.start(&process);
        Ok(ProcessHandle { process, stdin, stdout, stderr, terminal })
    }

    /// A process that runs, whoever has started it; without streams, and without a session of its own unless it leads
    /// one. `None` if there is none of this number.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<ProcessHandle> {
        let process = self.inner().table.get(pid).ok()?;
        Some(ProcessHandle { process, stdin: None, stdout: None, stderr: None, terminal: None })
    }

    /// A pipe between the host and itself, of guests' rules and limits.
    ///
    /// # Errors
    /// `ENFILE` if there are too many pipes.
    pub fn pipe(&self) -> Result<(HostReader, HostWriter), Errno> {
        let pipe = self.inner().new_pipe(&Credentials::root())?;
        Ok((HostReader::new(&pipe), HostWriter::new(&pipe)))
    }
}

impl KernelInner {
    /// An unnamed pipe without ends.
    pub(crate) fn new_pipe(&self, credentials: &Credentials) -> Result<Arc<Pipe>, Errno> {
        let charge = self.meters.pipes.take_one()?;
        let now = self.clock.realtime();
        let node = AnonymousNode::new(self.next_ino(), FileType::Fifo, Mode::new(0o600), credentials, now);
        Ok(Pipe::new(node, self.pipe_space(), charge))
    }

    /// An open file that is an end of an unnamed pipe.
    pub(crate) fn describe_pipe(
        &self,
        pipe: &Arc<Pipe>,
        flags: OpenFlags,
    ) -> Result<Arc<FileDescription>, Errno> {
        let location = self.anonymous.with_inode(Arc::clone(pipe) as _);
        self.describe(location, Box::new(pipe.open_end(flags)), flags)
    }

    fn streams(
        &self,
        credentials: &Credentials,
        stdin: Stdio,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<Streams, Errno> {
        let mut streams = Streams::default();
        let input = match stdin {
            Stdio::Null | Stdio::SameAsStdout => self.describe_null(OpenFlags::READ)?,
            Stdio::Piped => {
                let pipe = self.new_pipe(credentials)?;
                streams.stdin = Some(HostWriter::new(&pipe));
                self.describe_pipe(&pipe, OpenFlags::READ)?
            }
            Stdio::Bytes(bytes) => {
                let pipe = self.new_pipe(credentials)?;
                pipe.fill(bytes);
                self.describe_pipe(&pipe, OpenFlags::READ)?
            }
        };
        let (output, reader) = self.output(credentials, &stdout)?;
        streams.stdout = reader;
        let errors = match stderr {
            Stdio::SameAsStdout => Arc::clone(&output),
            Stdio::Null | Stdio::Piped | Stdio::Bytes(_) => {
                let (errors, reader) = self.output(credentials, &stderr)?;
                streams.stderr = reader;
                errors
            }
        };
        let limit = self.limits.max_fds;
        for (fd, description) in [(Fd::STDIN, input), (Fd::STDOUT, output), (Fd::STDERR, errors)] {
            streams.fds.insert_at(fd, description, FdFlags::empty(), limit).map_err(|_| Errno::EMFILE)?;
        }
        Ok(streams)
    }

    fn terminal_streams(
        self: &Arc<Self>,
        credentials: &Credentials,
        window: WindowSize,
    ) -> Result<Streams, Errno> {
        let master = self.new_pty(credentials, window)?;
        let replica = self.describe_replica(&self.pty_node(master.terminal())?)?;
        let mut streams = Streams { terminal: Some(HostTerminal::new(master)), ..Streams::default() };
        for fd in [Fd::STDIN, Fd::STDOUT, Fd::STDERR] {
            let limit = self.limits.max_fds;
            streams
                .fds
                .insert_at(fd, Arc::clone(&replica), FdFlags::empty(), limit)
                .map_err(|_| Errno::EMFILE)?;
        }
        Ok(streams)
    }

    fn output(
        &self,
        credentials: &Credentials,
        stdio: &Stdio,
    ) -> Result<(Arc<FileDescription>, Option<HostReader>), Errno> {
        match stdio {
            Stdio::Piped => {
                let pipe = self.new_pipe(credentials)?;
                let reader = HostReader::new(&pipe);
                Ok((self.describe_pipe(&pipe, OpenFlags::WRITE)?, Some(reader)))
            }
            Stdio::Null | Stdio::Bytes(_) | Stdio::SameAsStdout => {
                Ok((self.describe_null(OpenFlags::WRITE)?, None))
            }
        }
    }

    fn describe_null(&self, flags: OpenFlags) -> Result<Arc<FileDescription>, Errno> {
        let file: Box<dyn File> = Box::new(device::null());
        self.describe(self.anonymous.with_inode(device::null_inode()), file, flags)
    }
}

impl ProcessHandle {
    /// The command's pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid
    }

    /// The session of all that the command starts.
    #[must_use]
    pub fn session(&self) -> Sid {
        self.process.pid.own_session()
    }

    /// Waits for the command to end; what it started may run on. Cancelling loses nothing.
    pub async fn wait(&self) -> ExitStatus {
        self.process.wait_ended().await
    }

    /// Whether the command, or what it has started, was refused something by this limit.
    #[must_use]
    pub fn has_hit(&self, limit: Limit) -> bool {
        self.process.cpu.share().hits.has(limit)
    }

    /// CPU time that the command itself has used, in its kernel.
    #[must_use]
    pub fn cpu_time(&self, kernel: &Kernel) -> Duration {
        self.process.cpu.used_at(kernel.inner().clock.monotonic())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.process.exit_status()
    }
}

impl Process {
    /// Waits for the process to end.
    pub(crate) async fn wait_ended(&self) -> ExitStatus {
        let interest = Interest { readiness: self.end_readiness(), events: vm_abi::PollEvents::HUP };
        let try_op = || self.exit_status().ok_or(Errno::EAGAIN);
        // The host is never interrupted, and there is no deadline: no error can come.
        let status = wait_ready(Waiter::Host, &[interest], None, try_op).await;
        status.unwrap_or(ExitStatus::Signaled(vm_abi::Signal::SIGKILL))
    }
}
