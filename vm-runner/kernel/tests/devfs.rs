//! Devices.

use vm_abi::{Errno, FileType, OpenFlags, Whence};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, DirFd, Fd, FileAction, FileKind, Follow, WaitStatus};

use crate::machine::{Machine, open, print, read, read_to_end, spawn_with, wait};

const BOTH: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);

async fn device(ctx: &ProcessContext, path: &str) -> Fd {
    open(ctx, path, BOTH).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn null_takes_everything_and_gives_nothing() {
    Machine::new()
        .expect(|ctx| async move {
            let null = device(&ctx, "/dev/null").await;
            print(&ctx, null, "into the void").await;
            assert_eq!(read(&ctx, null, 9).await.unwrap(), "");
            assert_eq!(syscall::file::kind(&ctx, null), Ok(FileKind::CharDevice));
            assert_eq!(syscall::file::is_terminal(&ctx, null), Ok(false));
            assert_eq!(syscall::file::seek(&ctx, null, 99, Whence::Start), Ok(0));
            let stat = syscall::file::stat(&ctx, null).unwrap();
            assert_eq!((stat.file_type(), stat.rdev.0), (FileType::CharDevice, 0x103));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn zero_full_and_random_give_what_their_names_say() {
    Machine::new()
        .expect(|ctx| async move {
            let mut buffer = [1; 64];
            let zero = device(&ctx, "/dev/zero").await;
            assert_eq!(syscall::file::read(&ctx, zero, &mut buffer).await, Ok(64));
            assert_eq!(buffer, [0; 64]);
            let full = device(&ctx, "/dev/full").await;
            assert_eq!(syscall::file::write(&ctx, full, b"x").await, Err(Errno::ENOSPC));
            for path in ["/dev/random", "/dev/urandom"] {
                let random = device(&ctx, path).await;
                assert_eq!(syscall::file::read(&ctx, random, &mut buffer).await, Ok(64));
                assert_ne!(buffer, [0; 64]);
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_standard_streams_have_names() {
    let machine = Machine::new();
    machine.write_file("/work/f", "from the file", 0o644);
    machine.program("child", |ctx| async move {
        let named = open(&ctx, "/dev/stdin", OpenFlags::READ).await.unwrap();
        assert_eq!(read_to_end(&ctx, named).await, "from the file");
        let stdout = open(&ctx, "/dev/stdout", OpenFlags::WRITE).await.unwrap();
        print(&ctx, stdout, "to the pipe").await;
        0
    });
    let output = machine
        .expect(|ctx| async move {
            let file = open(&ctx, "/work/f", OpenFlags::READ).await.unwrap();
            let actions = vec![FileAction::Dup2 { source: file, target: Fd::STDIN }];
            let child = spawn_with(&ctx, &["child"], actions).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
    assert_eq!(output, "to the pipe");
}

#[tokio::test(start_paused = true)]
async fn an_inherited_pipe_is_opened_by_its_number() {
    let machine = Machine::new();
    machine.program("reader", |ctx| async move {
        let path = String::from_utf8(ctx.argv()[1].clone()).unwrap();
        let fd = open(&ctx, &path, OpenFlags::READ).await.unwrap();
        assert_eq!(read(&ctx, fd, 99).await.unwrap(), "substituted");
        let stat = syscall::path::stat(&ctx, DirFd::Cwd, path.as_bytes(), Follow::Yes).unwrap();
        u8::from(stat.file_type() != FileType::Fifo)
    });
    machine
        .expect(|ctx| async move {
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            syscall::file::dup2(&ctx, reader, Fd::try_from(63).unwrap()).unwrap();
            print(&ctx, writer, "substituted").await;
            for path in ["/dev/fd/63", "/proc/self/fd/63"] {
                let child = spawn_with(&ctx, &["reader", path], Vec::new()).await;
                assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0), "{path}");
                print(&ctx, writer, "substituted").await;
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn devices_cannot_be_made_removed_or_mistaken() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(syscall::path::unlink(&ctx, DirFd::Root, b"dev/null"), Err(Errno::EROFS));
            let flags = OpenFlags::WRITE | OpenFlags::CREATE;
            assert_eq!(open(&ctx, "/dev/new", flags).await, Err(Errno::EROFS));
            assert_eq!(open(&ctx, "/dev/missing", OpenFlags::READ).await, Err(Errno::ENOENT));
            assert_eq!(open(&ctx, "/dev/tty", OpenFlags::READ).await, Err(Errno::ENXIO));
            assert_eq!(open(&ctx, "/dev/null/x", OpenFlags::READ).await, Err(Errno::ENOTDIR));
            let created = open(&ctx, "/dev/null", flags | OpenFlags::TRUNC).await.unwrap();
            print(&ctx, created, "redirected").await;
            let up = syscall::path::canonicalize(&ctx, DirFd::Cwd, b"/dev/shm/..").unwrap();
            assert_eq!(up, b"/dev");
        })
        .await;
}
