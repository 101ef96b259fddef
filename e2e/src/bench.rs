//! The benchmarks of a running cluster: p50, p95 and p99 with n, each measured to the first byte of output.
//!
//! They decide no test. The machine's other work shows in them; say what ran beside them when quoting them.

mod cluster;
mod runner;

use crate::{
    cluster::Cluster,
    percentile::{Samples, heading},
};
use anyhow::Result;
use std::{future::Future, io::Write, time::Duration};

/// How much to measure.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct BenchArgs {
    /// Samples of each request on an awake workspace
    #[arg(long, default_value_t = 1000)]
    pub requests: usize,
    /// Samples of each thing that makes a Workspace
    #[arg(long, default_value_t = 50)]
    pub workspaces: usize,
}

/// Runs every benchmark and prints a row for each as it is done.
///
/// # Errors
/// If the cluster, the gateway or the runner fails.
pub async fn run(args: BenchArgs, out: &mut impl Write) -> Result<()> {
    let cluster = Cluster::find()?;
    writeln!(out, "{}", machine())?;
    writeln!(out, "{}", heading())?;
    for (name, samples) in runner::run(&cluster, args).await? {
        writeln!(out, "{}", samples.row(&name))?;
    }
    for (name, samples) in cluster::run(&cluster, args).await? {
        writeln!(out, "{}", samples.row(&name))?;
    }
    writeln!(out, "\n{METHOD}")?;
    Ok(())
}

const METHOD: &str = "\
method: release build, one request at a time on one kept connection, wall clock from sending the request to the
first byte of the answer's body. \"apply\" is a server-side apply by a Rust client; Ready is seen by a watch opened
before it. Pauses between samples are jittered. A warm-up that is not counted comes first.";

/// What the numbers were measured on.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{cores} cores, Linux {}, load before {}", kernel.trim(), load.trim())
}

/// Measures `n` samples after a tenth as many that are not counted, with a jittered pause between them.
async fn sample<F: Future<Output = Result<Duration>>>(
    n: usize,
    pause: Duration,
    mut measure: impl FnMut(usize) -> F,
) -> Result<Samples> {
    let warm_up = (n / 10).max(1);
    let mut samples = Samples::default();
    for number in 0..n + warm_up {
        let time = measure(number).await?;
        if number >= warm_up {
            samples.add(time);
        }
        // A golden-ratio sequence: spreads the starts evenly over any period that something else may have.
        let jitter = (number as f64 * 0.618_033_988_75).fract();
        if !pause.is_zero() {
            tokio::time::sleep(pause.mul_f64(0.5 + jitter)).await;
        }
    }
    Ok(samples)
}
