//! How long programs take, from the host's spawn to their exit, in one VM with the published software.
//!
//! `cargo bench -p vm-wasm -p vm-runner --bench programs` prints p50, p95 and p99 in microseconds, and how many runs
//! they are taken from. Output is read to its end, so the time is that of the whole command.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark runs on the host")]

#[path = "../tests/guest/machine.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod machine;

use std::time::{Duration, Instant};

use machine::{Machine, Software, user_command};
use vm_kernel::Command;

/// Runs that are not counted: code is loaded and slots are warmed.
const WARM_UP: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        cold(20).await;
        let software = Software::open();
        let machine = software.boot(&["common"]);
        let sh = |script: &str| user_command("sh").args(["-c", script]);
        measure(&machine, "true", 2000, || user_command("true")).await;
        measure(&machine, "echo hello", 1000, || user_command("echo").arg("hello")).await;
        measure(&machine, "sh -c :", 1000, || sh(":")).await;
        measure(&machine, "sh -c 'echo hello | tr a-z A-Z'", 500, || sh("echo hello | tr a-z A-Z")).await;
        measure(&machine, "sh: 100 x /bin/true", 50, || {
            sh("i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done")
        })
        .await;
        measure(&machine, "sh: seq 1 20000 | sort -n | tail -1", 20, || {
            sh("seq 1 20000 | sort -n | tail -1")
        })
        .await;
        measure(&machine, "sha256sum of 1 MiB", 20, || sh("head -c 1048576 /dev/zero | sha256sum")).await;
    });
}

/// What a new vm process pays once: engine, software folder, file systems and kernel, the first command, the next.
async fn cold(runs: usize) {
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..runs {
        let started = Instant::now();
        let software = Software::open();
        let opened = Instant::now();
        let machine = software.boot(&["common"]);
        let booted = Instant::now();
        machine.run(user_command("sh").args(["-c", "echo hello"])).await;
        let first = Instant::now();
        machine.run(user_command("sh").args(["-c", "echo hello"])).await;
        let steps = [opened - started, booted - opened, first - booted, first.elapsed()];
        times.iter_mut().zip(steps).for_each(|(times, step)| times.push(step));
    }
    let names = [
        "engine and driver",
        "file systems and kernel",
        "first sh -c 'echo hello'",
        "second sh -c 'echo hello'",
    ];
    names.into_iter().zip(times).for_each(|(name, times)| print(name, times));
}

async fn measure(machine: &Machine, name: &str, runs: usize, command: impl Fn() -> Command) {
    for _ in 0..WARM_UP.min(runs) {
        machine.run(command()).await;
    }
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let started = Instant::now();
        let finished = machine.run(command()).await;
        times.push(started.elapsed());
        assert_eq!(finished.stderr, "", "{name}");
    }
    print(name, times);
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let percentile = |percent: usize| micros(times[(times.len() - 1) * percent / 100]);
    println!(
        "{name:40} p50 {:>9.1} p95 {:>9.1} p99 {:>9.1} us  n {}",
        percentile(50),
        percentile(95),
        percentile(99),
        times.len()
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
