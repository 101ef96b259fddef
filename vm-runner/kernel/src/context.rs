//! Who makes a system call: a process of a kernel, running one program.

use std::sync::Arc;

use vm_abi::{Credentials, Errno, Signal};
use vm_vfs::{Location, WalkContext};

use crate::file::description::FileDescription;
use crate::file::fd_table::Entry;
use crate::file::{Fd, FdFlags};
use crate::kernel::KernelInner;
use crate::limit::Limit;
use crate::limits::Limits;
use crate::poll::checkpoint;
use crate::process::image::Image;
use crate::process::rlimit::Resource;
use crate::process::{Pid, Process};

/// A program's handle to its process and kernel; every system call takes it. Cheap to clone.
///
/// It is made anew for each program a process executes.
#[derive(Clone)]
pub struct ProcessContext {
    kernel: Arc<KernelInner>,
    process: Arc<Process>,
    image: Arc<Image>,
}

impl ProcessContext {
    pub(crate) fn new(kernel: Arc<KernelInner>, process: Arc<Process>, image: Arc<Image>) -> Self {
        Self { kernel, process, image }
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid
    }

    /// The program's arguments, its name first.
    #[must_use]
    pub fn argv(&self) -> Arc<[Vec<u8>]> {
        Arc::clone(&self.image.argv)
    }

    /// The environment, each entry `NAME=value`. `PWD` is among them.
    #[must_use]
    pub fn envp(&self) -> Arc<[Vec<u8>]> {
        Arc::clone(&self.image.envp.entries)
    }

    /// The environment as whoever started the program gave it, without what the kernel filled in.
    #[must_use]
    pub fn given_envp(&self) -> &[Vec<u8>] {
        self.image.envp.given()
    }

    /// The absolute path of the working directory, as `PWD` says.
    #[must_use]
    pub fn cwd_path(&self) -> Arc<[u8]> {
        Arc::clone(&self.process.cwd().path)
    }

    /// The path the program was found at.
    #[must_use]
    pub fn program_path(&self) -> &[u8] {
        &self.image.path
    }

    /// Whether a signal handler has to run: ask at every return to the guest. One atomic load.
    #[must_use]
    pub fn has_deliverable(&self) -> bool {
        self.process.is_interrupted()
    }

    /// Tells the kernel how much memory the program uses now, before it grows. Given back when the program ends.
    ///
    /// # Errors
    /// `ENOMEM` at the VM's limit: the program must not grow.
    pub fn set_memory(&self, bytes: u64) -> Result<(), Errno> {
        self.process.set_memory(bytes)
    }

    /// What limits the VM.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.kernel.limits
    }

    pub(crate) fn kernel(&self) -> &Arc<KernelInner> {
        &self.kernel
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The description behind an fd of the process.
    pub(crate) fn description(&self, fd: Fd) -> Result<Arc<FileDescription>, Errno> {
        self.process.with_fds(|fds| fds.get(fd).cloned())
    }

    /// Lets go of an fd that was taken out of the table. POSIX: with any fd of a file, its process's record locks go.
    pub(crate) fn close_entry(&self, entry: Entry) {
        let file = entry.slot.description().location().file_id();
        drop(entry);
        self.kernel.locks.release_file(file, self.process.pid);
    }

    /// Notes that a process has all the fds that a process may have, unless it has chosen to have fewer.
    pub(crate) fn fds_refused(&self, errno: Errno, limit: u32) -> Errno {
        if errno == Errno::EMFILE && limit >= self.kernel.limits.max_fds {
            self.kernel.refusals.note(Limit::Fds);
        }
        errno
    }

    /// Gives the process two new fds, or none.
    pub(crate) fn insert_pair(
        &self,
        first: Arc<FileDescription>,
        second: Arc<FileDescription>,
        flags: FdFlags,
    ) -> Result<(Fd, Fd), Errno> {
        let limit = self.process.fd_limit();
        let (pair, undone) = self.process.with_fds(|fds| {
            let first = match fds.insert(first, flags, 0, limit) {
                Ok(fd) => fd,
                Err(errno) => return (Err(errno), None),
            };
            match fds.insert(second, flags, 0, limit) {
                Ok(second) => (Ok((first, second)), None),
                Err(errno) => (Err(errno), fds.remove(first).ok()),
            }
        });
        drop(undone);
        pair.map_err(|errno| self.fds_refused(errno, limit))
    }

    /// Does work that waits for the host, a disk mostly. It holds up nobody else, and is no CPU time of the process.
    pub(crate) fn block<T>(&self, work: impl FnOnce() -> T) -> T {
        let clock = &self.kernel.clock;
        let began = clock.monotonic();
        let result = self.kernel.blocked.run(&self.kernel.runtime, work);
        self.process.cpu.add_blocked(clock.monotonic().saturating_sub(began));
        result
    }

    /// Fails if the process may make no file so large.
    pub(crate) fn check_file_size(&self, size: u64) -> Result<(), Errno> {
        let limit = self.process.rlimit(Resource::FileSize).soft;
        if size > limit { Err(self.file_too_large()) } else { Ok(()) }
    }

    /// The process reached its limit of file sizes: `SIGXFSZ`, and `EFBIG` if it survives that.
    pub(crate) fn file_too_large(&self) -> Errno {
        self.kernel.post_signal(&self.process, Signal::SIGXFSZ);
        Errno::EFBIG
    }

    /// The process wrote to what nobody reads: `SIGPIPE`. Does not return if that kills it.
    pub(crate) async fn broken_pipe(&self) {
        self.kernel.post_signal(&self.process, Signal::SIGPIPE);
        checkpoint(self).await;
    }

    /// Walks paths on behalf of the process.
    pub(crate) fn walk<T>(
        &self,
        start: &Location,
        credentials: &Credentials,
        walk: impl FnOnce(&WalkContext<'_>) -> T,
    ) -> T {
        let root = self.kernel.namespace.root();
        walk(&WalkContext {
            namespace: &self.kernel.namespace,
            root: &root,
            start,
            credentials,
            caller: self.process.pid.as_caller(),
        })
    }
}
