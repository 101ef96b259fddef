//! `e2e bench`: the benchmarks of a running cluster. `e2e faults`: its parts are killed under load.

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::{
    bench::{self, BenchArgs},
    faults::{self, FaultsArgs},
};

/// Benchmarks and faults of a running Lodge. `make up` starts one.
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
    /// Kill each part under load, print what that came to, and fail if a promise was broken
    Faults(FaultsArgs),
}

fn main() -> Result<()> {
    let out = &mut std::io::stdout();
    match Args::parse().command {
        Command::Bench(args) => tokio::runtime::Runtime::new()?.block_on(bench::run(&args, out)),
        Command::Faults(args) => faults::run(&args, out),
    }
}
