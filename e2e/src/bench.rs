//! The benchmarks of a running cluster: p50, p95 and p99 with n, each measured to the first byte of output.
//!
//! They decide no test. The machine's other work shows in them; say what ran beside them when quoting them.

mod burst;
mod cluster;
mod nginx;
mod proxy;
mod runner;
mod scale;
mod wake;
mod writes;

use crate::{
    cluster::Cluster,
    percentile::{Samples, heading},
};
use anyhow::Result;
use std::{future::Future, io::Write, time::Duration};

/// How much to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Samples of each request on an awake workspace
    #[arg(long, default_value_t = 1000)]
    pub requests: usize,
    /// Samples of each thing that makes a Workspace
    #[arg(long, default_value_t = 50)]
    pub workspaces: usize,
    /// Workspaces that are applied all at once
    #[arg(long, default_value_t = 300)]
    pub burst: usize,
    /// Sleeping workspaces that are woken; 10000 take some minutes
    #[arg(long, default_value_t = 1000)]
    pub wakes: usize,
    /// Workspaces that the operator has to cope with
    #[arg(long, default_value_t = 20_000)]
    pub objects: usize,
    /// Seconds of each round of the proxy's benchmark
    #[arg(long, default_value_t = 5)]
    pub proxy_seconds: u64,
    /// Only these parts
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
}

/// A part of the benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The runner alone, without Kubernetes
    Runner,
    /// Commands through the gateway, and from apply to Ready
    Cluster,
    /// Many Workspaces at once
    Burst,
    /// Sleeping workspaces that are woken by a command
    Wake,
    /// How many requests a second pass the gateway, and an nginx in its place
    Proxy,
    /// Writes to the API server
    Writes,
    /// The operator with very many Workspaces, on an API server of its own
    Scale,
}

impl Part {
    const ALL: [Self; 6] = [Self::Runner, Self::Cluster, Self::Burst, Self::Wake, Self::Writes, Self::Proxy];
}

/// Where results go, as they come.
pub(crate) struct Report<'a> {
    out: &'a mut (dyn Write + Send),
}

impl std::fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Report")
    }
}

impl Report<'_> {
    fn row(&mut self, name: &str, samples: &Samples) -> Result<()> {
        Ok(writeln!(self.out, "{}", samples.row(name))?)
    }

    fn note(&mut self, text: impl std::fmt::Display) -> Result<()> {
        Ok(writeln!(self.out, "  {text}")?)
    }
}

/// Runs the benchmarks and prints a row for each as it is done.
///
/// # Errors
/// If the cluster, the gateway or the runner fails.
pub async fn run(args: &BenchArgs, out: &mut (dyn Write + Send)) -> Result<()> {
    let cluster = Cluster::find()?;
    let parts = if args.only.is_empty() { Part::ALL.to_vec() } else { args.only.clone() };
    writeln!(out, "{}", machine())?;
    writeln!(out, "{}", heading())?;
    let report = &mut Report { out };
    for part in parts {
        match part {
            Part::Runner => {
                for (name, samples) in runner::run(&cluster, args).await? {
                    report.row(&name, &samples)?;
                }
            }
            Part::Cluster => {
                for (name, samples) in cluster::run(&cluster, args).await? {
                    report.row(&name, &samples)?;
                }
            }
            Part::Burst => burst::run(&cluster, args.burst, report).await?,
            Part::Wake => wake::run(&cluster, args.wakes, report).await?,
            Part::Proxy => proxy::run(&cluster, Duration::from_secs(args.proxy_seconds), report).await?,
            Part::Writes => writes::run(&cluster, report).await?,
            Part::Scale => scale::run(&cluster, args.objects, report).await?,
        }
    }
    writeln!(report.out, "\n{METHOD}")?;
    Ok(())
}

const METHOD: &str = "\
method: release build, one request at a time on one kept connection, wall clock from sending the request to the
first byte of the answer's body, unless a row says otherwise. \"apply\" is a server-side apply by a Rust client;
Ready is seen by a watch opened before it. Pauses between samples are jittered. A warm-up that is not counted
comes first.";

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
