//! `e2e bench`: the benchmarks of a running cluster.

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::bench::{self, BenchArgs};

/// Benchmarks of a running Lodge. `make up` starts one.
#[derive(Debug, Parser)]
#[command(name = "e2e", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print p50, p95 and p99 of the paths that matter, each to the first byte of output
    Bench(BenchArgs),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Args::parse().command {
        Command::Bench(args) => bench::run(args, &mut std::io::stdout()).await,
    }
}
