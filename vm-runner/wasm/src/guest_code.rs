//! Programs that a guest brought itself: compiled when they are first run, kept for the next time.
//!
//! One thread of low priority compiles one module at a time, while the processes that want it wait in their own
//! futures: others go on meanwhile, and killing one of those that wait ends it at once. Modules are known by the hash of
//! their content, so two processes that run the same one wait for one compilation. What was compiled stays in memory up
//! to a limit, and in a folder if the driver was given one ([`GuestCodeCache`]), from which the next boot maps it.
//!
//! Compiling happens in the vm process, which is exactly as trusted as its guests. It has limits in size, so that a
//! module cannot use it up: [`MAX_MODULE_BYTES`], and those of `scan`. Its CPU time is the guest's, too ([`Payer`]).
//! Neighbours: `module_cache` (links modules), `run` (waits). Knows no process but by the futures that wait.

mod compiler;
mod digest;
mod folder;
mod scan;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use vm_kernel::driver::ProgramImage;

pub(crate) use self::digest::Digests;
pub use self::folder::GuestCodeCache;

use self::compiler::{Compilers, Failure};
use crate::error::Error;
use crate::module_cache::{LoadedModule, ModuleCache, Sha256Digest};

/// Largest program of a guest's own that is compiled.
pub(crate) const MAX_MODULE_BYTES: usize = 64 << 20;
/// Machine code that is kept in memory, at least the newest module's.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// Modules that are remembered as not runnable.
const MAX_REFUSED: usize = 256;
/// Stack of the compiling thread.
const STACK_BYTES: usize = 16 << 20;

/// Charges whoever asked for a module first for the CPU time of compiling it, even if it has ended since.
pub(crate) type Payer = Box<dyn FnOnce(Duration) + Send>;

/// What compiling answered: the module, or why it cannot run, in words for the guest.
pub(crate) type Outcome = std::result::Result<Arc<LoadedModule>, Arc<str>>;

/// The modules that guests brought.
pub(crate) struct GuestCode {
    shared: Arc<Shared>,
}

struct Shared {
    compilers: Compilers,
    /// Guarded by itself; a leaf in the lock order.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    kept: HashMap<Sha256Digest, Kept>,
    refused: HashMap<Sha256Digest, Arc<str>>,
    waiting: VecDeque<Job>,
    compiling: Option<Compiling>,
    /// Whether a thread takes from `waiting`.
    has_thread: bool,
    /// Counts uses, to know which module was used least recently.
    uses: u64,
}

struct Kept {
    module: Arc<LoadedModule>,
    last_use: u64,
}

struct Job {
    sha256: Sha256Digest,
    image: ProgramImage,
    payer: Payer,
    waiters: Vec<oneshot::Sender<Outcome>>,
}

struct Compiling {
    sha256: Sha256Digest,
    waiters: Vec<oneshot::Sender<Outcome>>,
}

impl GuestCode {
    pub(crate) fn new(modules: Arc<ModuleCache>) -> Self {
        let shared = Shared { compilers: Compilers::new(modules), inner: Mutex::new(Inner::default()) };
        Self { shared: Arc::new(shared) }
    }

    /// Keeps compiled modules in a folder from now on, and uses those that are there. It is looked at when the first
    /// module is wanted.
    pub(crate) fn keep_in(&self, cache: GuestCodeCache) {
        self.shared.compilers.keep_in(cache);
    }

    /// The module if it is loaded already.
    pub(crate) fn loaded(&self, sha256: &Sha256Digest) -> Option<Arc<LoadedModule>> {
        self.shared.inner().touch(sha256)
    }

    /// The module, compiled first if need be: at the expense of `payer`, unless somebody else asked before. Dropping the
    /// future gives up waiting.
    pub(crate) async fn module(&self, sha256: Sha256Digest, image: &ProgramImage, payer: Payer) -> Outcome {
        let outcome = match self.shared.enqueue(sha256, image, payer) {
            Enqueued::Known(outcome) => return outcome,
            Enqueued::Waiting(outcome) => outcome,
        };
        // The thread ends by sending to everybody, unless there is no thread to be had.
        outcome.await.unwrap_or_else(|_| Err("it could not be compiled; try again".into()))
    }
}

enum Enqueued {
    Known(Outcome),
    Waiting(oneshot::Receiver<Outcome>),
}

impl Shared {
    fn enqueue(self: &Arc<Self>, sha256: Sha256Digest, image: &ProgramImage, payer: Payer) -> Enqueued {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner();
        if let Some(module) = inner.touch(&sha256) {
            return Enqueued::Known(Ok(module));
        }
        if let Some(reason) = inner.refused.get(&sha256) {
            return Enqueued::Known(Err(Arc::clone(reason)));
        }
        if let Some(waiters) = inner.waiters_of(&sha256) {
            waiters.push(sender);
            return Enqueued::Waiting(receiver);
        }
        // Jobs whose processes were killed are not worth their place.
        inner.waiting.retain(|job| !job.waiters.iter().all(oneshot::Sender::is_canceled));
        inner.waiting.push_back(Job { sha256, image: image.clone(), payer, waiters: vec![sender] });
        if !inner.has_thread {
            inner.has_thread = true;
            drop(inner);
            self.start_thread();
        }
        Enqueued::Waiting(receiver)
    }

    fn start_thread(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let builder = std::thread::Builder::new().name("compile".to_owned()).stack_size(STACK_BYTES);
        if let Err(source) = builder.spawn(move || shared.run()) {
            tracing::error!(error = %Error::Thread(source), "guest programs cannot be compiled");
            let mut inner = self.inner();
            inner.has_thread = false;
            inner.waiting.clear();
        }
    }

    /// Compiles what waits, until nothing does.
    fn run(&self) {
        compiler::lower_priority();
        while let Some((sha256, image, payer)) = self.next() {
            let before = compiler::cpu_time();
            let compiled = self.compilers.module(&sha256, &image);
            payer(compiler::cpu_time().saturating_sub(before));
            self.finish(sha256, compiled);
        }
    }

    fn next(&self) -> Option<(Sha256Digest, ProgramImage, Payer)> {
        let mut inner = self.inner();
        loop {
            let Some(job) = inner.waiting.pop_front() else {
                inner.has_thread = false;
                return None;
            };
            if !job.waiters.iter().all(oneshot::Sender::is_canceled) {
                inner.compiling = Some(Compiling { sha256: job.sha256, waiters: job.waiters });
                return Some((job.sha256, job.image, job.payer));
            }
        }
    }

    fn finish(&self, sha256: Sha256Digest, compiled: Result<Arc<LoadedModule>, Failure>) {
        let mut inner = self.inner();
        let outcome = match compiled {
            Ok(module) => {
                inner.keep(sha256, &module);
                Ok(module)
            }
            Err(Failure { reason, is_lasting }) => {
                let reason = Arc::<str>::from(reason);
                if is_lasting {
                    inner.refuse(sha256, &reason);
                }
                Err(reason)
            }
        };
        let waiters = inner.compiling.take().map(|compiling| compiling.waiters).unwrap_or_default();
        drop(inner);
        for waiter in waiters {
            // Whoever gave up waiting does not want it.
            let _unwanted = waiter.send(outcome.clone());
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The module, noted as used now.
    fn touch(&mut self, sha256: &Sha256Digest) -> Option<Arc<LoadedModule>> {
        self.uses += 1;
        let kept = self.kept.get_mut(sha256)?;
        kept.last_use = self.uses;
        Some(Arc::clone(&kept.module))
    }

    /// Those that wait for this module, if it is on its way.
    fn waiters_of(&mut self, sha256: &Sha256Digest) -> Option<&mut Vec<oneshot::Sender<Outcome>>> {
        if let Some(compiling) = self.compiling.as_mut().filter(|compiling| compiling.sha256 == *sha256) {
            return Some(&mut compiling.waiters);
        }
        self.waiting.iter_mut().find(|job| job.sha256 == *sha256).map(|job| &mut job.waiters)
    }

    /// Keeps a module, and forgets those used least recently when there are too many. Their processes go on.
    fn keep(&mut self, sha256: Sha256Digest, module: &Arc<LoadedModule>) {
        self.uses += 1;
        self.kept.insert(sha256, Kept { module: Arc::clone(module), last_use: self.uses });
        let mut bytes: usize = self.kept.values().map(|kept| kept.module.code_bytes()).sum();
        while bytes > MAX_KEPT_BYTES && self.kept.len() > 1 {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_use).map(|(sha256, _)| *sha256);
            let Some(forgotten) = oldest.and_then(|sha256| self.kept.remove(&sha256)) else { return };
            bytes = bytes.saturating_sub(forgotten.module.code_bytes());
        }
    }

    fn refuse(&mut self, sha256: Sha256Digest, reason: &Arc<str>) {
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(sha256, Arc::clone(reason));
    }
}
