//! The thread that advances wasmtime's epochs, so that guest code which computes yields every millisecond.
//!
//! It sleeps while no guest runs: [`Ticker::guest_runs`] notes activity with one relaxed store and wakes the thread only
//! when it had gone to sleep. Must never know what the epochs are used for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::error::{Error, Result};

/// How long guest code may compute before it yields to other tasks.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a running guest after which the thread goes to sleep.
const IDLE_TICKS: u32 = 20;

/// Handle to the thread; dropping it ends the thread.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Set by whoever polls a guest, cleared by each tick.
    active: AtomicBool,
    /// The thread is parked until a guest runs.
    parked: AtomicBool,
    stopped: AtomicBool,
    engines: Mutex<Vec<EngineWeak>>,
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> Result<Self> {
        let shared = Arc::new(Shared {
            active: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            engines: Mutex::new(vec![engine]),
        });
        let of_thread = Arc::clone(&shared);
        let thread =
            Builder::new().name("epoch".to_owned()).spawn(move || of_thread.run()).map_err(Error::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Advances the epochs of another engine, too.
    pub(crate) fn add(&self, engine: EngineWeak) {
        self.shared.engines().push(engine);
    }

    /// Notes that a guest is about to run.
    pub(crate) fn guest_runs(&self) {
        self.shared.active.store(true, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.as_ref().map(JoinHandle::thread) {
            Thread::unpark(thread);
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; if it did, there is nothing left to do about it.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut idle_ticks = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            if self.active.swap(false, Ordering::SeqCst) {
                idle_ticks = 0;
            } else {
                idle_ticks += 1;
            }
            if idle_ticks > IDLE_TICKS {
                self.park();
                idle_ticks = 0;
            } else {
                std::thread::sleep(TICK);
            }
            self.advance();
        }
    }

    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        // A guest that started before `parked` was visible has set `active` by now.
        while !self.active.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }

    fn advance(&self) {
        self.engines().retain(|engine| match engine.upgrade() {
            Some(engine) => {
                engine.increment_epoch();
                true
            }
            None => false,
        });
    }

    fn engines(&self) -> MutexGuard<'_, Vec<EngineWeak>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
