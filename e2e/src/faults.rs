//! Faults under load: one part of a running Lodge is killed while requests go on, and everything is counted.
//!
//! What has to hold: no write that was acknowledged is lost, no request on a healthy path fails in a way that its client may
//! not repeat, and it goes well again soon. Every fault has a namespace whose runner is hit and another one beside it
//! that nothing of the fault should reach.

mod fault;
mod stage;
mod verdict;

pub use fault::Fault;
pub use stage::Stage;
pub use verdict::Verdict;

use crate::cluster::Cluster;
use anyhow::{Result, ensure};
use std::{io::Write, time::Duration};

/// How to break things.
#[derive(Debug, Clone, clap::Args)]
pub struct FaultsArgs {
    /// Requests a second
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// Seconds of load before each fault and after it is over
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// For how many seconds there is no API server
    #[arg(long, default_value_t = 30)]
    pub outage: u64,
    /// How often each fault is inflicted
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// Only these faults
    #[arg(long, value_enum)]
    pub only: Vec<Fault>,
}

impl FaultsArgs {
    /// The short form, for `make test`.
    #[must_use]
    pub fn short() -> Self {
        Self { rate: 200, seconds: 2, outage: 5, rounds: 1, only: Vec::new() }
    }
}

/// Inflicts every fault and prints a row for each.
///
/// # Errors
/// If the cluster can't be used, or something that has to hold did not: every such thing is named.
pub fn run(args: &FaultsArgs, out: &mut impl Write) -> Result<()> {
    let cluster = Cluster::find()?;
    let faults = if args.only.is_empty() { Fault::ALL.to_vec() } else { args.only.clone() };
    let stage = Stage::set(&cluster)?;
    let mut broken = Vec::new();
    writeln!(out, "{}", Verdict::heading())?;
    for fault in (0..args.rounds).flat_map(|_| faults.iter().copied()) {
        let verdict = inflict(&stage, fault, args)?;
        writeln!(out, "{verdict}")?;
        broken.extend(verdict.broken_promises());
    }
    writeln!(out, "\n{}", method(args))?;
    ensure!(broken.is_empty(), "{} promises were broken:\n  {}", broken.len(), broken.join("\n  "));
    Ok(())
}

/// One fault, with its load before, while and after.
///
/// # Errors
/// If the fault can't be inflicted.
pub fn inflict(stage: &Stage, fault: Fault, args: &FaultsArgs) -> Result<Verdict> {
    let calm = Duration::from_secs(args.seconds);
    let load = stage.load(args.rate)?;
    std::thread::sleep(calm);
    let injury = fault.inflict(stage, Duration::from_secs(args.outage))?;
    std::thread::sleep(calm);
    let account = load.finish()?;
    Ok(Verdict::of(fault, stage, injury, account))
}

fn method(args: &FaultsArgs) -> String {
    format!(
        "method: {} requests a second begin at fixed times (5 in 10 read a file, 3 write one of their own, 2 run a command) \
         in four workspaces of the namespace that is hit and two of another; a client repeats what was refused with 429, 503 \
         or 504 or found no connection, and reads and writes whose connection broke. `lost`: acknowledged writes that could \
         not be read back at the end. `uncertain`: commands whose connection broke. `disturbed`: from the fault to the end of \
         the last attempt that failed or took longer than 500 ms. `recovered`: what the column says, against its goal.",
        args.rate
    )
}
