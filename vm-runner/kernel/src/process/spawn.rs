//! Making processes: fork, file actions and exec in one step.
//!
//! wasm-abi.md 2.1.1. Everything that can fail is done on a [`Draft`] that nobody sees; the child exists only once it
//! is complete.

use std::sync::Arc;

use vm_abi::{Credentials, Errno, Mode, OpenFlags, Signal, SignalSet};
use vm_vfs::{Caller, Location};

use super::environment::{Completed, Environment, complete};
use super::image::{Image, args_bytes};
use super::rlimit::Rlimits;
use super::signal::SignalState;
use super::table::{Parent, Placement};
use super::{ExitStatus, Pgid, Pid, Process, ProcessParts, WorkingDirectory, logical_path};
use crate::context::ProcessContext;
use crate::cpu::{CpuTime, Share};
use crate::driver::ProgramEnd;
use crate::file::fd_table::{Fd, FdFlags, FdTable};
use crate::file::open::{Opener, open};
use crate::kernel::KernelInner;
use crate::limit::Limit;
use crate::mutex::Mutex;
use crate::poll::{RunEnd, run_until_killed};
use crate::program::{FoundProgram, ProgramName, Search};
use crate::task;
use crate::trace::log::Tracing;

/// A child to make.
#[derive(Clone, Debug)]
pub struct SpawnRequest {
    /// What it runs.
    pub program: ProgramName,
    /// Its arguments, its name first.
    pub argv: Vec<Vec<u8>>,
    /// Its environment, entries `NAME=value`.
    pub envp: Vec<Vec<u8>>,
    /// Where it starts, relative to the parent's working directory; there if `None`.
    pub cwd: Option<Vec<u8>>,
    /// What happens to its fds and working directory before the program starts, in order.
    pub actions: Vec<FileAction>,
    /// What else it does not have from its parent.
    pub attributes: SpawnAttributes,
}

/// A change to a child's fds or working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Closes an open fd.
    Close(Fd),
    /// Makes `target` a duplicate that survives exec; if both are the same, only lets it survive.
    Dup2 {
        /// The open fd.
        source: Fd,
        /// The other one.
        target: Fd,
    },
    /// Opens a file as exactly this fd.
    Open {
        /// The fd.
        fd: Fd,
        /// The file.
        path: Vec<u8>,
        /// How.
        flags: OpenFlags,
        /// Permissions of a new file, before the umask.
        mode: Mode,
    },
    /// Changes the working directory.
    ChangeDir(Vec<u8>),
    /// Changes the working directory to an open one.
    ChangeDirTo(Fd),
    /// Closes all fds from this one on.
    CloseFrom(Fd),
}

/// What a child does not have from its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpawnAttributes {
    /// Its ids.
    pub ids: SpawnIds,
    /// Its group and session.
    pub group: SpawnGroup,
    /// Signals that get their default action even if the parent ignores them.
    pub default_signals: SignalSet,
    /// Its signal mask; the parent's if `None`.
    pub mask: Option<SignalSet>,
}

/// Which ids a child gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpawnIds {
    /// Its parent's.
    #[default]
    Inherit,
    /// Its parent's, with the real ids in force.
    Reset,
}

/// Which process group a child belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpawnGroup {
    /// Its parent's.
    #[default]
    Inherit,
    /// One of its own.
    Own,
    /// This one.
    Join(Pgid),
    /// One of its own, in a session of its own.
    OwnSession,
}

/// A process that nobody sees yet.
pub(crate) struct Draft {
    pub(crate) fds: FdTable,
    pub(crate) cwd: WorkingDirectory,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) umask: Mode,
    pub(crate) rlimits: Rlimits,
    pub(crate) signals: SignalState,
    pub(crate) share: Arc<Share>,
    pub(crate) tracing: Tracing,
}

/// Makes a child of the calling process.
pub(crate) async fn spawn(ctx: &ProcessContext, request: SpawnRequest) -> Result<Pid, Errno> {
    let kernel = ctx.kernel();
    let SpawnRequest { program, argv, envp, cwd, actions, attributes } = request;
    kernel.check_args(&argv, &envp)?;
    if actions.len() > kernel.limits.max_file_actions {
        return Err(kernel.refusals.note(Limit::FileActions));
    }
    let mut draft = Draft::of_parent(ctx, &attributes);
    if let Some(path) = cwd {
        draft.change_dir(ctx, &path)?;
    }
    for action in actions {
        draft.apply(ctx, action).await?;
    }
    let caller = ctx.pid().as_caller();
    let envp = kernel.complete_environment(envp, &draft, &[]);
    let image = kernel.find_image(&draft, &program, argv, envp, &ctx.envp(), caller)?;
    drop(draft.fds.remove_on_exec());
    let placement = match attributes.group {
        SpawnGroup::Inherit => Placement::Inherit,
        SpawnGroup::Own => Placement::OwnGroup,
        SpawnGroup::Join(group) => Placement::Group(group),
        SpawnGroup::OwnSession => Placement::OwnSession,
    };
    kernel.check_processes_of(ctx.process())?;
    let child = kernel.add_process(draft, image, Parent::Process(ctx.pid()), placement)?;
    kernel.start(&child);
    Ok(child.pid)
}

impl Draft {
    fn of_parent(ctx: &ProcessContext, attributes: &SpawnAttributes) -> Self {
        let parent = ctx.process();
        let SpawnAttributes { ids, group: _, default_signals, mask } = *attributes;
        let credentials = match ids {
            SpawnIds::Inherit => parent.credentials(),
            SpawnIds::Reset => {
                let real = parent.credentials().with_real_ids();
                Arc::new(Credentials { suid: real.euid, sgid: real.egid, ..real })
            }
        };
        let signals = parent.signals(|signals| {
            SignalState::new(mask.unwrap_or(signals.mask()), signals.ignored().difference(default_signals))
        });
        Self {
            fds: parent.with_fds(|fds| fds.clone()),
            cwd: WorkingDirectory::clone(&parent.cwd()),
            credentials,
            umask: parent.umask(),
            rlimits: parent.rlimits(),
            signals,
            share: parent.cpu.share(),
            tracing: parent.tracing.for_child(),
        }
    }

    async fn apply(&mut self, ctx: &ProcessContext, action: FileAction) -> Result<(), Errno> {
        let limit = self.rlimits.fds();
        match action {
            // Standard streams may be missing already, and programs do not expect to hear of it.
            FileAction::Close(fd) if fd <= Fd::STDERR => drop(self.fds.remove(fd).ok()),
            FileAction::Close(fd) => drop(self.fds.remove(fd)?),
            FileAction::Dup2 { source, target } if source == target => {
                self.fds.entry_mut(source)?.flags = FdFlags::empty();
            }
            FileAction::Dup2 { source, target } => {
                let description = Arc::clone(self.fds.get(source)?);
                drop(self.fds.insert_at(target, description, FdFlags::empty(), limit)?);
            }
            FileAction::Open { fd, path, flags, mode } => {
                let flags = flags.difference(OpenFlags::CLOEXEC);
                let mode = mode.without(self.umask);
                let opener = Opener {
                    ctx,
                    credentials: &self.credentials,
                    start: &self.cwd.location,
                    start_path: Some(&self.cwd.path),
                };
                let description = open(opener, &path, flags, mode).await?;
                drop(self.fds.insert_at(fd, description, FdFlags::empty(), limit)?);
            }
            FileAction::ChangeDir(path) => self.change_dir(ctx, &path)?,
            FileAction::ChangeDirTo(fd) => {
                let location = self.fds.get(fd)?.location().clone();
                self.cwd = ctx.kernel().working_directory(location, &self.credentials, None)?;
            }
            FileAction::CloseFrom(low) => drop(self.fds.remove_from(low)),
        }
        Ok(())
    }

    fn change_dir(&mut self, ctx: &ProcessContext, path: &[u8]) -> Result<(), Errno> {
        let cwd = &self.cwd;
        self.cwd = ctx.kernel().find_directory(cwd, &self.credentials, ctx.pid().as_caller(), path)?;
        Ok(())
    }
}

impl KernelInner {
    /// Fails if arguments and environment are too long.
    pub(crate) fn check_args(&self, argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Result<(), Errno> {
        if args_bytes(argv, envp) > self.limits.max_args_bytes {
            Err(self.refusals.note(Limit::Arguments))
        } else {
            Ok(())
        }
    }

    /// The environment of a program that is about to start, completed.
    pub(crate) fn complete_environment(
        &self,
        envp: Environment,
        draft: &Draft,
        defaults: &[(Vec<u8>, Vec<u8>)],
    ) -> Completed {
        complete(envp, &draft.cwd.path, &draft.credentials, &self.accounts, defaults)
    }

    /// Finds and loads what a draft is to run.
    pub(crate) fn find_image(
        &self,
        draft: &Draft,
        program: &ProgramName,
        argv: Vec<Vec<u8>>,
        envp: Completed,
        parent_envp: &[Vec<u8>],
        caller: Caller,
    ) -> Result<Arc<Image>, Errno> {
        let search =
            Search { kernel: self, credentials: &draft.credentials, cwd: &draft.cwd.location, caller };
        let open_file = |fd| draft.fds.get(fd).map(|description| description.location().clone());
        let file = search.find(program, &envp, parent_envp, open_file)?;
        let FoundProgram { program, path, argv } = search.load(file, argv)?;
        let charge = self.meters.memory.take(args_bytes(&argv, &envp) as u64)?;
        Ok(Arc::new(Image { program, path, argv: argv.into(), envp, charge: Mutex::new(charge) }))
    }

    /// Makes a process of a draft. It does not run yet.
    pub(crate) fn add_process(
        &self,
        draft: Draft,
        image: Arc<Image>,
        parent: Parent,
        placement: Placement,
    ) -> Result<Arc<Process>, Errno> {
        let Draft { fds, cwd, credentials, umask, rlimits, signals, share, tracing } = draft;
        let charge = self.meters.processes.take_one()?;
        let parts = ProcessParts {
            fds,
            image,
            signals,
            credentials,
            umask,
            rlimits,
            cwd: Arc::new(cwd),
            memory: self.meters.memory.empty_charge(),
            started: self.clock.monotonic(),
            cpu: CpuTime::new(share),
            tracing,
        };
        self.table.insert(parent, placement, charge, |pid| Process::new(pid, parts))
    }

    /// Lets a process run.
    pub(crate) fn start(self: &Arc<Self>, process: &Arc<Process>) {
        let run = run_process(Arc::clone(self), Arc::clone(process));
        process.set_task(task::start(&self.runtime, run));
    }

    /// The directory at a path, as a working directory.
    pub(crate) fn find_directory(
        &self,
        from: &WorkingDirectory,
        credentials: &Credentials,
        caller: Caller,
        path: &[u8],
    ) -> Result<WorkingDirectory, Errno> {
        let root = self.namespace.root();
        let walk = vm_vfs::WalkContext {
            namespace: &self.namespace,
            root: &root,
            start: &from.location,
            credentials,
            caller,
        };
        let location = walk.resolve(path)?;
        self.working_directory(location, credentials, logical_path(&from.path, path))
    }

    /// A directory as a working directory, by a path that is known to lead there or by the one it really has.
    pub(crate) fn working_directory(
        &self,
        location: Location,
        credentials: &Credentials,
        path: Option<Vec<u8>>,
    ) -> Result<WorkingDirectory, Errno> {
        if !location.file_type().is_directory() {
            return Err(Errno::ENOTDIR);
        }
        location.check_access(credentials, vm_abi::Access::EXECUTE)?;
        let path = match path {
            Some(path) => path,
            None => {
                let real = self.namespace.path_of(&location, &self.namespace.root());
                real.ok_or(Errno::ENOENT)?.as_bytes().to_vec()
            }
        };
        Ok(WorkingDirectory { location, path: path.into() })
    }
}

/// Runs a process from its first program to its end.
async fn run_process(kernel: Arc<KernelInner>, process: Arc<Process>) {
    let status = loop {
        let image = process.image();
        let ctx = ProcessContext::new(Arc::clone(&kernel), Arc::clone(&process), Arc::clone(&image));
        let program = Arc::clone(&image.program).run(ctx);
        match run_until_killed(&process, &kernel, program).await {
            RunEnd::Killed(signal) => break ExitStatus::Signaled(signal),
            RunEnd::Finished(ProgramEnd::Exited(code)) => break ExitStatus::Exited(code),
            RunEnd::Finished(ProgramEnd::Replaced) if !Arc::ptr_eq(&image, &process.image()) => {}
            RunEnd::Finished(ProgramEnd::Replaced) => {
                tracing::error!(
                    pid = process.pid.raw(),
                    "program says it was replaced, but executed nothing"
                );
                break ExitStatus::Signaled(Signal::SIGABRT);
            }
            RunEnd::Finished(ProgramEnd::Trapped { signal, message }) => {
                let program = String::from_utf8_lossy(&image.path);
                tracing::info!(pid = process.pid.raw(), %program, %signal, %message, "program trapped");
                break ExitStatus::Signaled(signal);
            }
            RunEnd::Panicked => {
                tracing::error!(pid = process.pid.raw(), "driver panicked; its process dies");
                break ExitStatus::Signaled(Signal::SIGABRT);
            }
        }
        // The replaced program's memory is gone with its future. Giving it back cannot fail.
        let _ = process.set_memory(0);
    };
    kernel.end_process(&process, status);
}
