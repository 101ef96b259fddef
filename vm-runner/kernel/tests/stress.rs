//! Many processes at once on several threads: no wake-up is lost, nothing is left behind.

use vm_abi::{OpenFlags, Signal};
use vm_kernel::syscall::{self, Fd, FileAction, WaitStatus};
use vm_kernel::{Command, ExitStatus, Usage};

use crate::machine::{Machine, print, read, read_to_end, spawn_with, wait};

/// A pipeline `source | relay | relay | (here)`, checked to its last byte.
async fn pipeline(ctx: &vm_kernel::context::ProcessContext) {
    let mut children = Vec::new();
    let mut input = None;
    for name in ["source", "relay", "relay"] {
        let (reader, writer) = syscall::pipe::pipe(ctx, OpenFlags::CLOEXEC).unwrap();
        let mut actions = vec![FileAction::Dup2 { source: writer, target: Fd::STDOUT }];
        actions.extend(input.map(|source| FileAction::Dup2 { source, target: Fd::STDIN }));
        children.push(spawn_with(ctx, &[name], actions).await);
        syscall::file::close(ctx, writer).unwrap();
        if let Some(input) = input.replace(reader) {
            syscall::file::close(ctx, input).unwrap();
        }
    }
    assert_eq!(read_to_end(ctx, input.unwrap()).await.len(), 300 * 100);
    for child in children {
        assert_eq!(wait(ctx, child).await, WaitStatus::Exited(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_pipelines_at_once() {
    let machine = Machine::new();
    machine.program("source", |ctx| async move {
        for _ in 0..300 {
            print(&ctx, Fd::STDOUT, &"x".repeat(100)).await;
        }
        0
    });
    machine.program("relay", |ctx| async move {
        loop {
            let part = read(&ctx, Fd::STDIN, 777).await.unwrap();
            if part.is_empty() {
                return 0;
            }
            print(&ctx, Fd::STDOUT, &part).await;
        }
    });
    machine.program("shell", |ctx| async move {
        for _ in 0..5 {
            pipeline(&ctx).await;
        }
        0
    });
    let shells: Vec<_> = (0..40).map(|_| machine.kernel.spawn(Command::new("shell")).unwrap()).collect();
    for shell in shells {
        assert_eq!(shell.wait().await, ExitStatus::Exited(0));
    }
    assert_eq!(machine.kernel.usage(), Usage::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killing_at_any_moment_leaves_nothing_behind() {
    let machine = Machine::new();
    machine.program("mirror", |ctx| async move {
        loop {
            let part = read(&ctx, Fd::STDIN, 777).await.unwrap();
            if part.is_empty() {
                return 0;
            }
            print(&ctx, Fd::STDOUT, &part).await;
        }
    });
    machine.program("victim", |ctx| async move {
        loop {
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::CLOEXEC).unwrap();
            let (from, to) = syscall::pipe::pipe(&ctx, OpenFlags::CLOEXEC).unwrap();
            let actions = vec![
                FileAction::Dup2 { source: reader, target: Fd::STDIN },
                FileAction::Dup2 { source: to, target: Fd::STDOUT },
            ];
            let child = spawn_with(&ctx, &["mirror"], actions).await;
            print(&ctx, writer, "x").await;
            read(&ctx, from, 1).await.unwrap();
            for fd in [reader, writer, from, to] {
                syscall::file::close(&ctx, fd).unwrap();
            }
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        }
    });
    for round in 0..60 {
        let process = machine.kernel.spawn(Command::new("victim")).unwrap();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        machine.kernel.kill_session(process.session(), Signal::SIGKILL).unwrap();
        assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    }
    // What was killed takes a moment to be buried.
    for _ in 0..100_000 {
        if machine.kernel.usage() == Usage::default() {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(machine.kernel.usage(), Usage::default(), "left behind: {:?}", machine.kernel.processes());
}
