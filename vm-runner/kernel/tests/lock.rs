//! Advisory file locks.

use std::time::Duration;

use vm_abi::{Errno, OpenFlags};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, Blocking, Fd, Flock, HeldLock, LockKind, LockRange, WaitStatus};

use crate::machine::{Machine, open, read, spawn, wait};

const BOTH: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);

fn machine() -> Machine {
    let machine = Machine::new();
    machine.write_file("/work/f", "0123456789", 0o644);
    machine
}

async fn file(ctx: &ProcessContext) -> Fd {
    open(ctx, "/work/f", BOTH).await.unwrap()
}

fn range(start: i64, len: i64) -> LockRange {
    LockRange::new(start, len).unwrap()
}

async fn lock(
    ctx: &ProcessContext,
    fd: Fd,
    kind: LockKind,
    at: (i64, i64),
    blocking: Blocking,
) -> Result<(), Errno> {
    syscall::file::lock_range(ctx, fd, kind, range(at.0, at.1), blocking).await
}

#[tokio::test(start_paused = true)]
async fn whole_files_are_locked_by_open_files() {
    machine()
        .expect(|ctx| async move {
            let flock = |fd, operation| syscall::file::flock(&ctx, fd, operation, Blocking::Try);
            let (one, other) = (file(&ctx).await, file(&ctx).await);
            assert_eq!(flock(one, Flock::Shared).await, Ok(()));
            assert_eq!(flock(other, Flock::Shared).await, Ok(()));
            assert_eq!(flock(one, Flock::Exclusive).await, Err(Errno::EAGAIN));
            assert_eq!(flock(other, Flock::Unlock).await, Ok(()));
            assert_eq!(flock(one, Flock::Exclusive).await, Ok(()));
            let duplicate = syscall::file::dup(&ctx, one).unwrap();
            syscall::file::close(&ctx, one).unwrap();
            assert_eq!(flock(other, Flock::Shared).await, Err(Errno::EAGAIN));
            assert_eq!(flock(duplicate, Flock::Exclusive).await, Ok(()));
            syscall::file::close(&ctx, duplicate).unwrap();
            assert_eq!(flock(other, Flock::Exclusive).await, Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_locker_waits_for_the_holder_to_end() {
    let machine = machine();
    machine.program("holder", |ctx| async move {
        let fd = file(&ctx).await;
        syscall::file::flock(&ctx, fd, Flock::Exclusive, Blocking::Try).await.unwrap();
        lock(&ctx, fd, LockKind::Write, (0, 0), Blocking::Try).await.unwrap();
        syscall::time::sleep(&ctx, Duration::from_secs(5)).await.unwrap();
        0
    });
    machine
        .expect(|ctx| async move {
            let fd = file(&ctx).await;
            for _ in 0..2 {
                spawn(&ctx, &["holder"]).await;
                syscall::time::sleep(&ctx, Duration::from_secs(1)).await.unwrap();
                let start = tokio::time::Instant::now();
                syscall::file::flock(&ctx, fd, Flock::Exclusive, Blocking::Wait).await.unwrap();
                lock(&ctx, fd, LockKind::Write, (3, 1), Blocking::Wait).await.unwrap();
                assert!(start.elapsed() >= Duration::from_secs(3));
                syscall::file::flock(&ctx, fd, Flock::Unlock, Blocking::Wait).await.unwrap();
                syscall::file::unlock_range(&ctx, fd, range(0, 0)).unwrap();
            }
        })
        .await;
    assert_eq!(machine.kernel.usage().locks, 0);
}

#[tokio::test(start_paused = true)]
async fn ranges_are_locked_by_processes() {
    let machine = machine();
    machine.program("other", |ctx| async move {
        let fd = file(&ctx).await;
        let parent = syscall::Pid::new(syscall::process::parent(&ctx)).unwrap();
        let conflict =
            |kind, start, len| syscall::file::conflicting_lock(&ctx, fd, kind, range(start, len)).unwrap();
        let held = HeldLock { kind: LockKind::Write, range: range(2, 4), pid: parent };
        assert_eq!(conflict(LockKind::Read, 0, 0), Some(held));
        assert_eq!(conflict(LockKind::Read, 6, 0), None);
        assert_eq!(lock(&ctx, fd, LockKind::Write, (5, 1), Blocking::Try).await, Err(Errno::EAGAIN));
        assert_eq!(lock(&ctx, fd, LockKind::Write, (6, 4), Blocking::Try).await, Ok(()));
        0
    });
    machine
        .expect(|ctx| async move {
            let fd = file(&ctx).await;
            lock(&ctx, fd, LockKind::Write, (2, 4), Blocking::Try).await.unwrap();
            // One's own locks are never in the way.
            assert_eq!(syscall::file::conflicting_lock(&ctx, fd, LockKind::Write, range(0, 0)), Ok(None));
            let child = spawn(&ctx, &["other"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
            // The child's locks went with it.
            assert_eq!(lock(&ctx, fd, LockKind::Write, (0, 0), Blocking::Try).await, Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn closing_any_fd_of_a_file_gives_up_the_processes_ranges() {
    let machine = machine();
    machine.program("other", |ctx| async move {
        let fd = file(&ctx).await;
        u8::from(lock(&ctx, fd, LockKind::Write, (0, 0), Blocking::Try).await.is_err())
    });
    machine
        .expect(|ctx| async move {
            let (one, other) = (file(&ctx).await, file(&ctx).await);
            lock(&ctx, one, LockKind::Write, (0, 0), Blocking::Try).await.unwrap();
            let child = spawn(&ctx, &["other"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(1));
            syscall::file::close(&ctx, other).unwrap();
            let child = spawn(&ctx, &["other"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn waiting_in_a_circle_is_a_deadlock() {
    let machine = machine();
    machine.program("second", |ctx| async move {
        let fd = file(&ctx).await;
        lock(&ctx, fd, LockKind::Write, (1, 1), Blocking::Try).await.unwrap();
        crate::machine::print(&ctx, Fd::STDOUT, "x").await;
        // Waits for the parent, until that gives up.
        u8::from(lock(&ctx, fd, LockKind::Write, (0, 1), Blocking::Wait).await.is_err())
    });
    machine
        .expect(|ctx| async move {
            let fd = file(&ctx).await;
            lock(&ctx, fd, LockKind::Write, (0, 1), Blocking::Try).await.unwrap();
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            let actions = vec![syscall::FileAction::Dup2 { source: writer, target: Fd::STDOUT }];
            let child = crate::machine::spawn_with(&ctx, &["second"], actions).await;
            read(&ctx, reader, 1).await.unwrap();
            syscall::time::sleep(&ctx, Duration::from_secs(1)).await.unwrap();
            assert_eq!(lock(&ctx, fd, LockKind::Write, (1, 1), Blocking::Wait).await, Err(Errno::EDEADLK));
            syscall::file::unlock_range(&ctx, fd, range(0, 0)).unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_needs_a_file_that_is_open_for_it() {
    machine()
        .expect(|ctx| async move {
            let reader = open(&ctx, "/work/f", OpenFlags::READ).await.unwrap();
            assert_eq!(lock(&ctx, reader, LockKind::Write, (0, 0), Blocking::Try).await, Err(Errno::EBADF));
            assert_eq!(lock(&ctx, reader, LockKind::Read, (0, 0), Blocking::Try).await, Ok(()));
            let flock = syscall::file::flock(&ctx, reader, Flock::Exclusive, Blocking::Try).await;
            assert_eq!(flock, Ok(()));
        })
        .await;
}
