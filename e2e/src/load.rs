//! A steady load through the gateway, as from well-behaved clients: reads, writes that are looked for later, commands.
//!
//! Requests begin at fixed times whatever becomes of those before, so that an outage is not hidden by clients that wait. A
//! request is sent again only as the answers allow: after a refusal that says "not begun" (429, 503, 504, or no connection),
//! and after a connection that broke if it may be repeated (reads, and writes, which put a whole file). A command whose
//! connection broke is counted as uncertain and not repeated.
//!
//! The load runs on threads of its own; whoever starts it can go on to break things.

mod account;
mod request;

pub use account::{Account, Total};
pub use request::{End, Kind, Outcome};

use crate::{cluster::Cluster, gateway};
use anyhow::{Context, Result, anyhow};
use request::Sender;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// What is asked, how often, by whom.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Requests that begin each second.
    pub rate: u32,
    /// The workspaces that take turns.
    pub targets: Vec<Target>,
    /// The bearer token of whoever asks.
    pub token: String,
    /// How long one request may take with all its repetitions.
    pub patience: Duration,
}

/// A workspace that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub workspace: String,
}

/// More requests than these are never on their way at once; those that would be are counted as shed.
const MOST_IN_FLIGHT: usize = 4000;

/// A load that goes on.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Account>>>,
}

impl Load {
    /// Begins.
    ///
    /// # Errors
    /// If the gateway's address can't be found or its certificate authority read.
    pub fn start(cluster: &Cluster, plan: LoadPlan) -> Result<Self> {
        let sender = Sender::new(gateway::Door::find(cluster)?, &plan)?;
        let stop = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || runtime.block_on(drive(sender, plan, &stop))
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops beginning requests, waits for those on their way, and reads back every write that was acknowledged.
    ///
    /// # Errors
    /// If the load could not begin at all.
    pub fn finish(mut self) -> Result<Account> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("a load is finished once")?;
        thread.join().map_err(|_| anyhow!("the load's thread panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

async fn drive(sender: Sender, plan: LoadPlan, stop: &AtomicBool) -> Result<Account> {
    let sender = Arc::new(sender);
    for target in 0..plan.targets.len() {
        sender.prepare(target).await?;
    }
    let mut account = Account::new(plan.targets.clone());
    let mut running: JoinSet<Outcome> = JoinSet::new();
    let start = Instant::now();
    let mut number: u64 = 0;
    while !stop.load(Ordering::Acquire) {
        let due = start + Duration::from_secs_f64(number as f64 / f64::from(plan.rate.max(1)));
        tokio::time::sleep_until(due.into()).await;
        if running.len() < MOST_IN_FLIGHT {
            let sender = sender.clone();
            running.spawn(async move { sender.ask(number).await });
        } else {
            account.shed += 1;
        }
        number += 1;
        while let Some(outcome) = running.try_join_next() {
            account.add(outcome?);
        }
    }
    while let Some(outcome) = running.join_next().await {
        account.add(outcome?);
    }
    let written: Vec<_> = account.acknowledged_writes().collect();
    for number in written {
        if let Err(why) = sender.verify(number).await {
            account.lost.push(format!("write {number}: {why:#}"));
        }
    }
    Ok(account)
}
