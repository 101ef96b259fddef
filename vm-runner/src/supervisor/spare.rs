//! Warm vm processes, started before anybody needs one. A boot takes the oldest; the pool is filled up afterwards.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::child::{Spawner, VmProcess};
use super::metrics::{BootPath, Metrics};
use crate::config::Volume;

/// How long a boot's first command has the processors for itself before the next spare is started.
const REFILL_PAUSE: Duration = Duration::from_millis(50);
/// How often the pool looks for spares that have died.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The pool.
#[derive(Debug)]
pub(crate) struct Spares {
    spawner: Spawner,
    target: usize,
    /// Guarded by itself; a leaf in the lock order.
    ready: Mutex<VecDeque<VmProcess>>,
    refill: Notify,
    metrics: Arc<Metrics>,
}

impl Spares {
    pub(crate) fn new(spawner: Spawner, target: usize, metrics: Arc<Metrics>) -> Self {
        Self { spawner, target, ready: Mutex::new(VecDeque::new()), refill: Notify::new(), metrics }
    }

    /// Takes a warm process, or starts a cold one.
    pub(crate) async fn take(&self) -> io::Result<(VmProcess, BootPath)> {
        while let Some(mut spare) = self.pop() {
            if spare.is_running() {
                return Ok((spare, BootPath::Spare));
            }
        }
        Ok((self.spawner.spawn(Vec::new()).await?, BootPath::Cold))
    }

    /// Starts a process that can reach these volumes; what a process can reach is fixed when it starts, so no spare can.
    pub(crate) async fn start_with(&self, volumes: Vec<Volume>) -> io::Result<(VmProcess, BootPath)> {
        Ok((self.spawner.spawn(volumes).await?, BootPath::Cold))
    }

    /// Fills the pool up again, in a moment. Called after a boot, so that it competes neither with it nor with the first
    /// command.
    pub(crate) fn refill(&self) {
        self.refill.notify_one();
    }

    /// Keeps the pool filled, for ever.
    pub(crate) async fn keep_filled(&self) -> std::convert::Infallible {
        loop {
            self.drop_dead();
            while self.len() < self.target {
                match self.start_spare().await {
                    Ok(spare) => self.push(spare),
                    Err(error) => {
                        tracing::error!(%error, "starting a spare vm process failed");
                        break;
                    }
                }
            }
            if tokio::time::timeout(CHECK_INTERVAL, self.refill.notified()).await.is_ok() {
                tokio::time::sleep(REFILL_PAUSE).await;
            }
        }
    }

    /// Starts a spare, with the connection that its boot will take.
    async fn start_spare(&self) -> io::Result<VmProcess> {
        let spare = self.spawner.spawn(Vec::new()).await?;
        // Without one, the boot makes it.
        if let Err(error) = spare.client().prepare().await {
            tracing::debug!(%error, "a spare has no connection yet");
        }
        Ok(spare)
    }

    /// Takes all spares, to stop them.
    pub(crate) fn drain(&self) -> Vec<VmProcess> {
        self.with(|ready| ready.drain(..).collect())
    }

    fn pop(&self) -> Option<VmProcess> {
        self.with(VecDeque::pop_front)
    }

    fn push(&self, spare: VmProcess) {
        self.with(|ready| ready.push_back(spare));
    }

    fn len(&self) -> usize {
        self.with(|ready| ready.len())
    }

    fn drop_dead(&self) {
        let dead = self.with(|ready| {
            let before = ready.len();
            ready.retain_mut(VmProcess::is_running);
            before - ready.len()
        });
        if dead > 0 {
            tracing::warn!(dead, "spare vm processes ended by themselves; the log above says why");
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<VmProcess>) -> T) -> T {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut ready);
        self.metrics.set_spares(ready.len());
        result
    }
}
