//! How long commands take at the runner's API: `cargo bench -p vm-runner --bench exec`.
//!
//! One client on one kept connection over a Unix socket, a real supervisor, real vm processes. Each time runs from before
//! the request is written: "first byte" until the first byte that the command has written is there (of a streamed answer),
//! all others until the whole answer is read, which is later. Needs the guest software in `.local/software`. The same work
//! by the machine's own programs stands beside it.
#![expect(clippy::disallowed_methods, reason = "starts the real program, and native ones beside it")]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for people, which may give up"
)]

#[path = "support/runner.rs"]
mod runner;

use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use vm_api::{ExecRequest, route};

use crate::runner::{Memory, Runner, Spares, report};

async fn bench_exec(runner: &mut Runner, what: &str, request: ExecRequest, count: usize) {
    for _ in 0..count.div_ceil(10) {
        runner.exec("awake", &request).await;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        runner.exec("awake", &request).await;
        times.push(started.elapsed());
    }
    report(what, times);
}

/// To the first byte of output.
async fn bench_first_output(runner: &mut Runner, what: &str, request: ExecRequest, count: usize) {
    for _ in 0..count.div_ceil(10) {
        runner.first_output("awake", &request).await;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        times.push(runner.first_output("awake", &request).await);
    }
    report(what, times);
}

/// The same by the machine's own program, from before it is started until it has ended.
fn bench_native(what: &str, argv: &[&str], count: usize) {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let output = Command::new(argv[0]).args(&argv[1..]).output().expect("a native program");
        times.push(started.elapsed());
        assert!(output.status.success(), "{output:?}");
    }
    report(what, times);
}

async fn bench_create(runner: &mut Runner, count: usize) {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let uid = format!("create-{number}");
        let started = Instant::now();
        runner.create(&uid).await;
        times.push(started.elapsed());
        runner.delete(&uid).await;
    }
    report("create a workspace (PUT until ready)", times);
}

/// Runs `echo hello` where no VM is: every other time streamed, to its first byte, else to the end of the answer.
#[derive(Default)]
struct Hello {
    first: Vec<Duration>,
    whole: Vec<Duration>,
}

impl Hello {
    async fn run(&mut self, runner: &mut Runner, uid: &str) {
        let request = ExecRequest::command("echo hello");
        if self.first.len() <= self.whole.len() {
            self.first.push(runner.first_output(uid, &request).await);
            return;
        }
        let started = Instant::now();
        let response = runner.exec(uid, &request).await;
        self.whole.push(started.elapsed());
        assert_eq!(response.stdout, "hello\n");
    }

    fn report(self, what: &str, spares: Spares) {
        let spares = match spares {
            Spares::One => "spare",
            Spares::None => "cold",
        };
        report(&format!("{what} to first byte, {spares}"), self.first);
        report(&format!("{what} to the whole answer, {spares}"), self.whole);
    }
}

async fn bench_boot(runner: &mut Runner, spares: Spares, count: usize) {
    let mut hello = Hello::default();
    for number in 0..count {
        let uid = format!("boot-{number}");
        runner.create(&uid).await;
        if let Spares::One = spares {
            runner.wait_for_a_spare().await;
        }
        hello.run(runner, &uid).await;
        runner.delete(&uid).await;
    }
    hello.report("new workspace", spares);
}

/// A workspace that has run before, and sleeps.
async fn bench_wake(runner: &mut Runner, spares: Spares, count: usize) {
    let uid = "wake";
    runner.create(uid).await;
    let mut hello = Hello::default();
    // The first is no wake but the first boot.
    let mut first_boot = Hello::default();
    for round in 0..=count {
        if let Spares::One = spares {
            runner.wait_for_a_spare().await;
        }
        let into = if round == 0 { &mut first_boot } else { &mut hello };
        into.run(runner, uid).await;
        let sleep = route::Workspace::at_runner(uid).base().to_owned() + "/sleep";
        runner.send(Method::POST, &sleep, Vec::new()).await;
    }
    runner.delete(uid).await;
    hello.report("asleep", spares);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut runner = Runner::start(Spares::One).await;
    runner.create("awake").await;
    bench_exec(&mut runner, "exec true", ExecRequest::argv(["true"]), 2000).await;
    let piped = ExecRequest::command("echo hello | tr a-z A-Z");
    bench_first_output(&mut runner, "'echo hello | tr a-z A-Z', first byte", piped.clone(), 500).await;
    bench_exec(&mut runner, "'echo hello | tr a-z A-Z', whole answer", piped, 500).await;
    let script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done";
    bench_exec(&mut runner, "100 x /bin/true by a shell loop", ExecRequest::command(script), 20).await;
    bench_native("100 x /bin/true by a native shell loop", &["sh", "-c", script], 20);
    let text = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of a log\"; i=$((i+1)); done > lines";
    runner.exec("awake", &ExecRequest::command(text)).await;
    bench_exec(
        &mut runner,
        "grep -c 7 of 20 000 lines",
        ExecRequest::argv(["grep", "-c", "7", "lines"]),
        200,
    )
    .await;
    let lines = tempfile::NamedTempFile::new().expect("a file");
    let text: String = (0..20_000).map(|line| format!("line {line} of a log\n")).collect();
    std::fs::write(lines.path(), text).expect("lines");
    let path = lines.path().to_str().expect("a path");
    bench_native("grep -c 7 of 20 000 lines, native", &["grep", "-c", "7", path], 200);
    bench_create(&mut runner, 200).await;
    bench_boot(&mut runner, Spares::One, 60).await;
    bench_wake(&mut runner, Spares::One, 200).await;
    // An idle VM gives back what its programs left.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for Memory { proportional_kib, private_kib } in runner.vm_memory() {
        println!(
            "memory of a vm process (awake, or spare)     PSS {proportional_kib} KiB, private {private_kib} KiB"
        );
    }
    drop(runner);
    let mut runner = Runner::start(Spares::None).await;
    bench_boot(&mut runner, Spares::None, 60).await;
    bench_wake(&mut runner, Spares::None, 200).await;
}
