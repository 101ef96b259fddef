//! How many workspaces fit: `cargo bench -p vm-runner --bench density [-- ASLEEP AWAKE]` (1000 and 200).
//!
//! One supervisor. First the workspaces that sleep are told to it, then some are woken by a first command and kept awake;
//! commands then go to the awake ones in turn. Memory is the proportional set size of the vm processes, and of the
//! supervisor. Needs the guest software in `.local/software`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for people, which may give up"
)]

#[path = "support/runner.rs"]
mod runner;

use std::time::{Duration, Instant};

use vm_api::{ExecRequest, WorkspaceConfig};

use crate::runner::{Runner, Spares, report};

/// Commands to the awake workspaces, in turn.
const COMMANDS: usize = 2_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let asleep = numbers.first().copied().unwrap_or(1_000);
    let awake = numbers.get(1).copied().unwrap_or(200);
    let mut runner = Runner::start(Spares::One).await;
    let empty = runner.supervisor_memory();
    let mut times = Vec::new();
    for number in 0..asleep + awake {
        let started = Instant::now();
        runner.put(&WorkspaceConfig::new("bench", format!("w{number}"))).await;
        times.push(started.elapsed());
    }
    report("tell the runner of a workspace", times);
    let told = runner.supervisor_memory();
    println!(
        "supervisor with {} asleep: PSS {told} KiB, {:.1} KiB each",
        asleep + awake,
        told.saturating_sub(empty) as f64 / (asleep + awake) as f64
    );
    let mut times: Vec<Duration> = Vec::new();
    for number in 0..awake {
        let started = Instant::now();
        runner.exec(&format!("w{number}"), &ExecRequest::argv(["true"])).await;
        times.push(started.elapsed());
    }
    report(&format!("wake {awake} one after the other, `true`"), times);
    let mut memory: Vec<u64> = runner.vm_memory().iter().map(|memory| memory.proportional_kib).collect();
    memory.sort_unstable();
    let total: u64 = memory.iter().sum();
    println!(
        "{} vm processes: PSS median {} KiB, most {} KiB, together {} MiB; supervisor {} KiB",
        memory.len(),
        memory.get(memory.len() / 2).unwrap_or(&0),
        memory.last().unwrap_or(&0),
        total / 1024,
        runner.supervisor_memory()
    );
    let mut times = Vec::new();
    for number in 0..COMMANDS {
        let started = Instant::now();
        runner.exec(&format!("w{}", number % awake.max(1)), &ExecRequest::argv(["true"])).await;
        times.push(started.elapsed());
    }
    report(&format!("`true` in {awake} awake workspaces in turn"), times);
}
