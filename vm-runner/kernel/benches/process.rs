//! How long the kernel itself takes: a process from spawn to wait, a byte through a pipe, a command of the host.
//!
//! `cargo bench -p vm-kernel` prints medians. The programs are closures, so no driver is measured.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement is a program that prints or panics"
)]
#![allow(dead_code, reason = "the tests' machine can more than is measured here")]

#[path = "../tests/machine.rs"]
mod machine;

use std::time::{Duration, Instant};

use machine::{Machine, print, read, spawn, spawn_with, wait};
use vm_abi::OpenFlags;
use vm_kernel::syscall::{self, Fd, FileAction};
use vm_kernel::{Command, Stdio};

const ROUNDS: usize = 2000;

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what:<44} median {median:>10.2?}   99% {late:>10.2?}");
}

fn main() {
    for workers in [1, 2] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
        println!("{workers} worker(s)");
        let measured = runtime.spawn(measure());
        runtime.block_on(measured).unwrap();
    }
}

async fn measure() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    machine.program("echo", |ctx| async move {
        print(&ctx, Fd::STDOUT, "hello\n").await;
        0
    });
    machine.program("mirror", |ctx| async move {
        loop {
            let text = read(&ctx, Fd::STDIN, 64).await.unwrap();
            if text.is_empty() {
                return 0;
            }
            print(&ctx, Fd::STDOUT, &text).await;
        }
    });
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        machine.run(Command::new("echo").stdin(Stdio::Null)).await;
        times.push(start.elapsed());
    }
    report("command of the host, spawn to output and end", times);
    let (sender, receiver) = std::sync::mpsc::channel();
    machine
        .expect(move |ctx| {
            let sender = sender.clone();
            async move {
                sender.send(spawns(&ctx).await).unwrap();
                sender.send(echoes(&ctx).await).unwrap();
            }
        })
        .await;
    report("spawn, exit and wait in the guest", receiver.recv().unwrap());
    report("a byte through two pipes and back", receiver.recv().unwrap());
}

async fn spawns(ctx: &vm_kernel::context::ProcessContext) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let child = spawn(ctx, &["true"]).await;
        wait(ctx, child).await;
        times.push(start.elapsed());
    }
    times
}

async fn echoes(ctx: &vm_kernel::context::ProcessContext) -> Vec<Duration> {
    let (there, to) = syscall::pipe::pipe(ctx, OpenFlags::CLOEXEC).unwrap();
    let (from, back) = syscall::pipe::pipe(ctx, OpenFlags::CLOEXEC).unwrap();
    let actions = vec![
        FileAction::Dup2 { source: there, target: Fd::STDIN },
        FileAction::Dup2 { source: back, target: Fd::STDOUT },
    ];
    let child = spawn_with(ctx, &["mirror"], actions).await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        print(ctx, to, "x").await;
        read(ctx, from, 1).await.unwrap();
        times.push(start.elapsed());
    }
    syscall::file::close(ctx, to).unwrap();
    wait(ctx, child).await;
    times
}
