//! Waiting for several files at once.

use std::time::Duration;

use vm_abi::{Errno, OpenFlags, PollEvents};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, Fd, FileAction, PollFd};

use crate::machine::{Machine, open, print, spawn_with};

fn entry(fd: Fd, events: PollEvents) -> PollFd {
    PollFd { fd: Some(fd), events, revents: PollEvents::empty() }
}

async fn poll(ctx: &ProcessContext, files: &mut [PollFd], seconds: u64) -> Result<usize, Errno> {
    syscall::poll::poll(ctx, files, Some(Duration::from_secs(seconds)), None).await
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_is_told_at_once() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            let mut files =
                [entry(reader, PollEvents::IN), entry(writer, PollEvents::OUT | PollEvents::WRNORM)];
            assert_eq!(poll(&ctx, &mut files, 0).await, Ok(1));
            assert_eq!(files[0].revents, PollEvents::empty());
            assert_eq!(files[1].revents, PollEvents::OUT | PollEvents::WRNORM);
            print(&ctx, writer, "x").await;
            assert_eq!(poll(&ctx, &mut files, 0).await, Ok(2));
            assert_eq!(files[0].revents, PollEvents::IN);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_does_not_wait_and_a_timeout_does() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, _writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            let start = tokio::time::Instant::now();
            assert_eq!(poll(&ctx, &mut [entry(reader, PollEvents::IN)], 0).await, Ok(0));
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert_eq!(poll(&ctx, &mut [entry(reader, PollEvents::IN)], 3).await, Ok(0));
            assert!(start.elapsed() >= Duration::from_secs(3));
            assert_eq!(poll(&ctx, &mut [], 3).await, Ok(0));
            assert!(start.elapsed() >= Duration::from_secs(6));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_first_that_becomes_ready_ends_the_wait() {
    let machine = Machine::new();
    machine.program("late", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(2)).await.unwrap();
        print(&ctx, Fd::STDOUT, "x").await;
        syscall::time::sleep(&ctx, Duration::from_secs(2)).await.unwrap();
        0
    });
    machine
        .expect(|ctx| async move {
            let (silent, _keep) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            spawn_with(&ctx, &["late"], vec![FileAction::Dup2 { source: writer, target: Fd::STDOUT }]).await;
            syscall::file::close(&ctx, writer).unwrap();
            let events = PollEvents::RDNORM;
            let mut files = [entry(silent, events), entry(reader, events)];
            assert_eq!(syscall::poll::poll(&ctx, &mut files, None, None).await, Ok(1));
            assert_eq!((files[0].revents, files[1].revents), (PollEvents::empty(), PollEvents::RDNORM));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn hang_ups_and_errors_are_told_unasked() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            syscall::file::close(&ctx, writer).unwrap();
            let mut files = [entry(reader, PollEvents::empty())];
            assert_eq!(poll(&ctx, &mut files, 9).await, Ok(1));
            assert_eq!(files[0].revents, PollEvents::HUP);
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            syscall::file::close(&ctx, reader).unwrap();
            let mut files = [entry(writer, PollEvents::empty())];
            assert_eq!(poll(&ctx, &mut files, 9).await, Ok(1));
            assert_eq!(files[0].revents, PollEvents::ERR);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn unopened_fds_are_told_and_missing_ones_passed_over() {
    Machine::new()
        .expect(|ctx| async move {
            let none = PollFd { fd: None, events: PollEvents::IN, revents: PollEvents::all() };
            let mut files = [none, entry(Fd::try_from(99).unwrap(), PollEvents::IN)];
            assert_eq!(poll(&ctx, &mut files, 9).await, Ok(1));
            assert_eq!((files[0].revents, files[1].revents), (PollEvents::empty(), PollEvents::NVAL));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn files_directories_and_devices_are_always_ready() {
    let machine = Machine::new();
    machine.write_file("/work/f", "", 0o644);
    machine
        .expect(|ctx| async move {
            for path in ["/work/f", "/work", "/dev/null", "/dev/zero"] {
                let fd = open(&ctx, path, OpenFlags::READ).await.unwrap();
                let mut files = [entry(fd, PollEvents::IN | PollEvents::OUT)];
                assert_eq!(poll(&ctx, &mut files, 9).await, Ok(1), "{path}");
                assert_eq!(files[0].revents, PollEvents::IN | PollEvents::OUT);
            }
        })
        .await;
}
