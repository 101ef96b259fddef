//! A VM that only answers reads of files, for a workspace that sleeps.
//!
//! The files were last written by an untrusted process, so the supervisor never opens them itself: a spare vm process
//! does, takes nothing but reads, and ends when nobody has read for a moment. To everybody the workspace stays asleep. An
//! action that needs the VM makes this one the VM: nothing is opened twice.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use vm_api::Problem;

use super::boot::{Boot, Booted};
use crate::supervisor::client::VmClient;
use crate::task::Task;

/// How long such a VM waits for the next read.
pub(super) const LINGER: Duration = Duration::from_secs(3);

/// A VM that reads, from its boot to its end.
#[derive(Debug)]
pub(super) enum Reader {
    Starting(Boot),
    Running(Box<Reading>),
    Ending(Task<()>),
}

/// A VM that answers reads.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) booted: Booted,
    /// When to look whether it is still needed.
    due: Pin<Box<Sleep>>,
}

/// What comes from a reader.
pub(super) enum Happening {
    Booted(Box<Result<Booted, Problem>>),
    Exited(String),
    Due,
    Ended,
}

impl Reader {
    /// A reader that can answer.
    pub(super) fn running(booted: Booted) -> Self {
        Self::Running(Box::new(Reading { booted, due: Box::pin(sleep(LINGER)) }))
    }

    /// Where reads go.
    pub(super) fn vm(&self) -> Option<&Arc<VmClient>> {
        match self {
            Self::Running(reading) => Some(reading.booted.process.client()),
            Self::Starting(_) | Self::Ending(_) => None,
        }
    }

    /// Waits for what comes next. May be cancelled and called again.
    pub(super) async fn happening(&mut self) -> Happening {
        match self {
            Self::Starting(boot) => {
                let result = (&mut boot.task).await;
                Happening::Booted(Box::new(result.unwrap_or_else(|error| Err(super::boot_panicked(&error)))))
            }
            Self::Running(reading) => tokio::select! {
                how = reading.booted.process.wait() => Happening::Exited(how),
                () = &mut reading.due => Happening::Due,
            },
            Self::Ending(task) => {
                let _ = task.await;
                Happening::Ended
            }
        }
    }

    /// Looks again later.
    pub(super) fn linger(&mut self) {
        if let Self::Running(reading) = self {
            reading.due = Box::pin(sleep(LINGER));
        }
    }

    /// Ends it. Returns when its files are free.
    pub(super) async fn end(self, grace: Duration) {
        match self {
            Self::Starting(boot) => boot.cancel(grace).await,
            Self::Running(reading) => reading.booted.process.stop(grace).await,
            Self::Ending(task) => drop(task.await),
        }
    }
}
