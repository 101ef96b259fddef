//! Limits that a process sets itself.

use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Credentials, Errno, Gid, OpenFlags, Signal, Uid};
use vm_kernel::syscall::{self, DirFd, Disposition, Resource, Rlimit, WaitStatus};
use vm_kernel::{Command, ExitStatus};

use crate::cpu::{ComputingClock, compute};
use crate::machine::{Machine, open, request, spawn, wait};

fn limit(ctx: &vm_kernel::context::ProcessContext, resource: Resource, limit: u64) {
    syscall::process::set_rlimit(ctx, resource, Rlimit { soft: limit, hard: limit }).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_grows_to_its_limit_and_no_further() {
    let machine = Machine::new();
    machine.write_file("/work/f", "", 0o644);
    machine.program("fatal", |ctx| async move {
        let fd = open(&ctx, "/work/f", OpenFlags::WRITE).await.unwrap();
        syscall::file::seek(&ctx, fd, 10, vm_abi::Whence::Start).unwrap();
        let _ = syscall::file::write(&ctx, fd, b"x").await;
        0
    });
    machine
        .expect(|ctx| async move {
            limit(&ctx, Resource::FileSize, 10);
            let fd = open(&ctx, "/work/f", OpenFlags::WRITE | OpenFlags::APPEND).await.unwrap();
            assert_eq!(syscall::file::write(&ctx, fd, b"12345678").await, Ok(8));
            assert_eq!(syscall::file::write(&ctx, fd, b"12345678").await, Ok(2));
            let child = spawn(&ctx, &["fatal"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGXFSZ));
            syscall::signal::set_disposition(&ctx, Signal::SIGXFSZ, Disposition::Ignore).unwrap();
            assert_eq!(syscall::file::write(&ctx, fd, b"x").await, Err(Errno::EFBIG));
            assert_eq!(syscall::file::pwrite(&ctx, fd, b"123456", 7), Ok(3));
            assert_eq!(syscall::file::pwrite(&ctx, fd, b"x", 99), Err(Errno::EFBIG));
            assert_eq!(syscall::file::truncate(&ctx, fd, 11), Err(Errno::EFBIG));
            assert_eq!(syscall::path::truncate(&ctx, DirFd::Cwd, b"/work/f", 11), Err(Errno::EFBIG));
            assert_eq!(syscall::file::truncate(&ctx, fd, 10), Ok(()));
            // Pipes are no files.
            let (_reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            assert_eq!(syscall::file::write(&ctx, writer, &[0; 100]).await, Ok(100));
        })
        .await;
    assert_eq!(machine.read_file("/work/f"), "1234567123");
}

#[tokio::test(start_paused = true)]
async fn cpu_time_runs_out_first_softly_then_hard() {
    let machine = Machine::with(|builder| builder.clock(Arc::new(ComputingClock::new())));
    machine.program("spin", |ctx| async move {
        if ctx.argv().len() > 1 {
            syscall::signal::set_disposition(&ctx, Signal::SIGXCPU, Disposition::Ignore).unwrap();
        }
        loop {
            compute(1).await;
        }
    });
    machine
        .expect(|ctx| async move {
            let both = Rlimit { soft: 2, hard: 4 };
            syscall::process::set_rlimit(&ctx, Resource::Cpu, both).unwrap();
            let start = tokio::time::Instant::now();
            let child = spawn(&ctx, &["spin"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGXCPU));
            assert_eq!(start.elapsed().as_millis() / 100, 20);
            let child = spawn(&ctx, &["spin", "stubborn"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGKILL));
            assert_eq!(start.elapsed().as_millis() / 100, 60);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_processes() {
    let machine = Machine::new();
    machine.program("sleep", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1)).await.map_or(1, |()| 0)
    });
    machine.program("many", |ctx| async move {
        limit(&ctx, Resource::Processes, 3);
        spawn(&ctx, &["sleep"]).await;
        spawn(&ctx, &["sleep"]).await;
        let refused = syscall::process::spawn(&ctx, request(&ctx, &["sleep"])).await;
        u8::from(refused != Err(Errno::EAGAIN))
    });
    let user = Credentials::new(Uid(5), Gid(5));
    let others = machine.kernel.spawn(Command::new("sleep")).unwrap();
    let output = machine.run(Command::new("many").credentials(user)).await;
    assert_eq!(output.status, ExitStatus::Exited(0));
    assert_eq!(others.wait().await, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn limits_pass_to_children_and_over_exec() {
    let machine = Machine::new();
    machine.program("child", |ctx| async move {
        assert_eq!(ctx.set_memory(200), Err(Errno::ENOMEM));
        assert_eq!(ctx.set_memory(100), Ok(()));
        let raised = Rlimit { soft: 100, hard: 200 };
        let refused = syscall::process::set_rlimit(&ctx, Resource::AddressSpace, raised);
        assert_eq!(refused, Err(Errno::EPERM));
        u8::from(syscall::process::rlimit(&ctx, Resource::Stack).soft != 8 << 20)
    });
    machine
        .expect(|ctx| async move {
            limit(&ctx, Resource::AddressSpace, 100);
            let child = spawn(&ctx, &["child"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}
