//! Fds: numbers, duplicates, flags, limits.

use vm_abi::{Errno, OpenFlags};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, Fd, FdFlags, Rlimit};

use crate::machine::{Machine, open, print, read};

fn fd(number: u32) -> Fd {
    Fd::try_from(number).unwrap()
}

async fn null(ctx: &ProcessContext) -> Fd {
    open(ctx, "/dev/null", OpenFlags::READ).await.unwrap()
}

#[test]
fn only_small_numbers_are_fds() {
    assert_eq!(Fd::try_from(-1), Err(Errno::EBADF));
    assert_eq!(Fd::try_from(u32::MAX), Err(Errno::EBADF));
    assert_eq!(Fd::try_from(Fd::END), Err(Errno::EBADF));
    assert_eq!(fd(7).raw(), 7);
}

#[tokio::test(start_paused = true)]
async fn the_lowest_free_number_is_taken() {
    Machine::new()
        .expect(|ctx| async move {
            for expected in 3..6 {
                assert_eq!(null(&ctx).await, fd(expected));
            }
            syscall::file::close(&ctx, fd(4)).unwrap();
            syscall::file::close(&ctx, Fd::STDIN).unwrap();
            assert_eq!(null(&ctx).await, Fd::STDIN);
            assert_eq!(null(&ctx).await, fd(4));
            assert_eq!(null(&ctx).await, fd(6));
            assert_eq!(syscall::file::close(&ctx, fd(9)), Err(Errno::EBADF));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn duplicates_share_offset_and_status_but_not_fd_flags() {
    let machine = Machine::new();
    machine.write_file("/work/f", "abcdef", 0o644);
    machine
        .expect(|ctx| async move {
            let one = open(&ctx, "/work/f", OpenFlags::READ | OpenFlags::CLOEXEC).await.unwrap();
            let other = syscall::file::dup(&ctx, one).unwrap();
            assert_eq!(read(&ctx, one, 2).await.unwrap(), "ab");
            assert_eq!(read(&ctx, other, 2).await.unwrap(), "cd");
            syscall::file::set_status_flags(&ctx, one, OpenFlags::APPEND | OpenFlags::NONBLOCK).unwrap();
            let flags = OpenFlags::READ | OpenFlags::APPEND | OpenFlags::NONBLOCK;
            assert_eq!(syscall::file::status_flags(&ctx, other), Ok(flags));
            assert_eq!(syscall::file::fd_flags(&ctx, one), Ok(FdFlags::CLOEXEC));
            assert_eq!(syscall::file::fd_flags(&ctx, other), Ok(FdFlags::empty()));
            syscall::file::set_fd_flags(&ctx, other, FdFlags::CLOEXEC).unwrap();
            assert_eq!(syscall::file::fd_flags(&ctx, other), Ok(FdFlags::CLOEXEC));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn dup2_closes_what_it_replaces() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            let null = null(&ctx).await;
            print(&ctx, writer, "x").await;
            syscall::file::dup2(&ctx, null, writer).unwrap();
            assert_eq!(read(&ctx, reader, 9).await.unwrap(), "x");
            assert_eq!(read(&ctx, reader, 9).await.unwrap(), "");
            syscall::file::set_fd_flags(&ctx, null, FdFlags::CLOEXEC).unwrap();
            syscall::file::dup2(&ctx, null, null).unwrap();
            assert_eq!(syscall::file::fd_flags(&ctx, null), Ok(FdFlags::CLOEXEC));
            assert_eq!(syscall::file::dup2(&ctx, fd(99), null), Err(Errno::EBADF));
            assert_eq!(syscall::file::dup2(&ctx, fd(99), fd(99)), Err(Errno::EBADF));
            assert_eq!(syscall::file::dup2(&ctx, null, fd(1024)), Err(Errno::EBADF));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_can_be_asked_to_be_high() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(syscall::file::dup_min(&ctx, Fd::STDIN, fd(10)), Ok(fd(10)));
            assert_eq!(syscall::file::dup_min(&ctx, Fd::STDIN, fd(10)), Ok(fd(11)));
            assert_eq!(syscall::file::dup_min(&ctx, Fd::STDIN, fd(0)), Ok(fd(3)));
            assert_eq!(syscall::file::dup_min(&ctx, Fd::STDIN, fd(1024)), Err(Errno::EINVAL));
            syscall::file::dup_min(&ctx, Fd::STDIN, fd(1023)).unwrap();
            assert_eq!(syscall::file::dup_min(&ctx, Fd::STDIN, fd(1023)), Err(Errno::EMFILE));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn renumbering_moves() {
    Machine::new()
        .expect(|ctx| async move {
            let three = null(&ctx).await;
            syscall::file::renumber(&ctx, three, fd(20)).unwrap();
            assert!(syscall::file::stat(&ctx, fd(20)).is_ok());
            assert_eq!(syscall::file::stat(&ctx, three).map(drop), Err(Errno::EBADF));
            assert_eq!(syscall::file::renumber(&ctx, fd(20), fd(20)), Ok(()));
            assert!(syscall::file::stat(&ctx, fd(20)).is_ok());
            assert_eq!(syscall::file::renumber(&ctx, three, fd(20)), Err(Errno::EBADF));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn all_above_a_number_can_be_closed() {
    Machine::new()
        .expect(|ctx| async move {
            for _ in 0..5 {
                null(&ctx).await;
            }
            syscall::file::close_from(&ctx, fd(4));
            assert!(syscall::file::stat(&ctx, fd(3)).is_ok());
            assert_eq!(syscall::file::stat(&ctx, fd(4)).map(drop), Err(Errno::EBADF));
            assert_eq!(null(&ctx).await, fd(4));
            syscall::file::close_from(&ctx, fd(500));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_process_can_lower_its_own_limit_for_good() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(syscall::process::open_files_limit(&ctx), Rlimit { soft: 1024, hard: 1024 });
            let set = |soft, hard| syscall::process::set_open_files_limit(&ctx, Rlimit { soft, hard });
            assert_eq!(set(5, 4), Err(Errno::EINVAL));
            assert_eq!(set(5, 2000), Err(Errno::EPERM));
            assert_eq!(set(5, 10), Ok(()));
            assert_eq!(set(5, 11), Err(Errno::EPERM));
            null(&ctx).await;
            null(&ctx).await;
            assert_eq!(open(&ctx, "/dev/null", OpenFlags::READ).await, Err(Errno::EMFILE));
            assert_eq!(syscall::pipe::pipe(&ctx, OpenFlags::empty()), Err(Errno::EMFILE));
            assert_eq!(set(6, 10), Ok(()));
            // A pipe needs two: none is left behind.
            assert_eq!(syscall::pipe::pipe(&ctx, OpenFlags::empty()), Err(Errno::EMFILE));
            assert_eq!(null(&ctx).await, fd(5));
        })
        .await;
}
