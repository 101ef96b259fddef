//! Executing another program in a process.
//!
//! wasm-abi.md 2.1.3. Everything that can fail comes before the first change; after it the process is the new
//! program's, and the old one only unwinds.

use std::sync::Arc;

use vm_abi::Errno;

use super::WorkingDirectory;
use super::environment::value;
use super::spawn::Draft;
use crate::context::ProcessContext;
use crate::file::Fd;
use crate::program::ProgramName;
use crate::trace::log::Tracing;

/// A program to execute.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// What to run.
    pub program: ProgramName,
    /// Its arguments, its name first.
    pub argv: Vec<Vec<u8>>,
    /// Its environment, entries `NAME=value`. An absolute `PWD` is its working directory.
    pub envp: Vec<Vec<u8>>,
    /// Fds that it does not get, besides those marked close-on-exec. Unopened ones are passed over.
    pub close: Vec<Fd>,
}

/// The process now belongs to another program: the driver ends the old one and answers
/// [`ProgramEnd::Replaced`](crate::driver::ProgramEnd::Replaced).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "unwind the guest and answer ProgramEnd::Replaced"]
pub struct Replaced(());

/// Executes a program in the calling process.
pub(crate) fn exec(ctx: &ProcessContext, request: ExecRequest) -> Result<Replaced, Errno> {
    let (kernel, process) = (ctx.kernel(), ctx.process());
    let ExecRequest { program, argv, envp, close } = request;
    kernel.check_args(&argv, &envp)?;
    let mut draft = Draft {
        fds: process.with_fds(|fds| fds.clone()),
        cwd: WorkingDirectory::clone(&process.cwd()),
        credentials: process.credentials(),
        umask: process.umask(),
        rlimits: process.rlimits(),
        signals: process.signals(Clone::clone),
        share: process.cpu.share(),
        tracing: Tracing::default(),
    };
    let caller = ctx.pid().as_caller();
    if let Some(path) = value(&envp, b"PWD").filter(|path| path.starts_with(b"/"))
        && let Ok(cwd) = kernel.find_directory(&draft.cwd, &draft.credentials, caller, path)
    {
        draft.cwd = cwd;
    }
    let envp = kernel.complete_environment(envp, &draft, &[]);
    let image = kernel.find_image(&draft, &program, argv, envp, &ctx.envp(), caller)?;

    let mut closed = process.with_fds(|fds| {
        let listed: Vec<_> = close.iter().filter_map(|fd| fds.remove(*fd).ok()).collect();
        let marked = fds.remove_on_exec();
        listed.into_iter().chain(marked).collect::<Vec<_>>()
    });
    closed.drain(..).for_each(|entry| ctx.close_entry(entry));
    process.set_cwd(draft.cwd);
    process.set_image(Arc::clone(&image));
    kernel.table.set_executed(process.pid);
    let effect = process.change_signals(|signals| signals.reset_handlers());
    kernel.carry_out(process, effect);
    Ok(Replaced(()))
}
