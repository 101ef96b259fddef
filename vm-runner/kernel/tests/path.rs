//! Calls on paths.

use vm_abi::{Access, Errno, FileType, Mode, OpenFlags};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, AccessIds, DirFd, Follow, NodeKind, RenameFlags};
use vm_kernel::{Command, ExitStatus};

use crate::machine::{Machine, open, print};

const CWD: DirFd = DirFd::Cwd;

fn mode(ctx: &ProcessContext, path: &str) -> u32 {
    syscall::path::stat(ctx, CWD, path.as_bytes(), Follow::No).unwrap().permissions().bits()
}

#[tokio::test(start_paused = true)]
async fn relative_paths_start_where_they_are_told() {
    let machine = Machine::new();
    machine.write_file("/work/f", "", 0o644);
    machine.program("main", |ctx| async move {
        let directory = open(&ctx, "/bin", OpenFlags::READ).await.unwrap();
        let stat = |dir, path: &[u8]| syscall::path::stat(&ctx, dir, path, Follow::Yes).map(drop);
        assert_eq!(stat(CWD, b"f"), Ok(()));
        assert_eq!(stat(DirFd::Root, b"f"), Err(Errno::ENOENT));
        assert_eq!(stat(DirFd::Root, b"work/f"), Ok(()));
        assert_eq!(stat(DirFd::Fd(directory), b"main"), Ok(()));
        assert_eq!(stat(DirFd::Fd(directory), b"../work/f"), Ok(()));
        assert_eq!(stat(DirFd::Fd(directory), b"/work/f"), Ok(()));
        let closed = DirFd::Fd(syscall::Fd::try_from(77).unwrap());
        assert_eq!(stat(closed, b"f"), Err(Errno::EBADF));
        assert_eq!(stat(closed, b"/work/f"), Ok(()));
        assert_eq!(stat(DirFd::Fd(syscall::Fd::STDIN), b"f"), Err(Errno::ENOTDIR));
        assert_eq!(stat(CWD, b""), Err(Errno::ENOENT));
        0
    });
    assert_eq!(machine.run(Command::new("main").cwd("/work")).await.status, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn the_umask_takes_bits_from_everything_that_is_made() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(syscall::process::umask(&ctx, Some(Mode::new(0o027))), Mode::new(0o022));
            assert_eq!(syscall::process::umask(&ctx, None), Mode::new(0o027));
            syscall::path::mkdir(&ctx, CWD, b"/work/d", Mode::new(0o777)).unwrap();
            open(&ctx, "/work/f", OpenFlags::WRITE | OpenFlags::CREATE).await.unwrap();
            syscall::path::mknod(&ctx, CWD, b"/work/p", NodeKind::Fifo, Mode::new(0o666)).unwrap();
            assert_eq!(
                [mode(&ctx, "/work/d"), mode(&ctx, "/work/f"), mode(&ctx, "/work/p")],
                [0o750, 0o640, 0o640]
            );
            syscall::path::chmod(&ctx, CWD, b"/work/f", Mode::new(0o777), Follow::Yes).unwrap();
            assert_eq!(mode(&ctx, "/work/f"), 0o777);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn links_are_followed_or_not() {
    let machine = Machine::new();
    machine.write_file("/work/f", "x", 0o644);
    machine
        .expect(|ctx| async move {
            syscall::path::symlink(&ctx, b"f", CWD, b"/work/link").unwrap();
            let file_type =
                |follow| syscall::path::stat(&ctx, CWD, b"/work/link", follow).unwrap().file_type();
            assert_eq!(file_type(Follow::No), FileType::Symlink);
            assert_eq!(file_type(Follow::Yes), FileType::Regular);
            assert_eq!(syscall::path::read_link(&ctx, CWD, b"/work/link"), Ok(b"f".to_vec()));
            assert_eq!(syscall::path::read_link(&ctx, CWD, b"/work/f"), Err(Errno::EINVAL));
            let nofollow = open(&ctx, "/work/link", OpenFlags::READ | OpenFlags::NOFOLLOW).await;
            assert_eq!(nofollow, Err(Errno::ELOOP));
            assert_eq!(syscall::path::canonicalize(&ctx, CWD, b"/work/link"), Ok(b"/work/f".to_vec()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn names_are_moved_and_multiplied() {
    let machine = Machine::new();
    machine.write_file("/work/a", "a", 0o644);
    machine.write_file("/work/b", "b", 0o644);
    machine
        .expect(|ctx| async move {
            let work = DirFd::Fd(open(&ctx, "/work", OpenFlags::READ).await.unwrap());
            let none = RenameFlags::NOREPLACE;
            assert_eq!(syscall::path::rename(&ctx, work, b"a", CWD, b"/work/b", none), Err(Errno::EEXIST));
            syscall::path::rename(&ctx, work, b"a", CWD, b"/work/b", RenameFlags::EXCHANGE).unwrap();
            syscall::path::rename(&ctx, work, b"b", work, b"c", RenameFlags::empty()).unwrap();
            syscall::path::link(&ctx, work, b"c", Follow::No, CWD, b"/tmp/d").unwrap();
            let stat = syscall::path::stat(&ctx, CWD, b"/tmp/d", Follow::No).unwrap();
            assert_eq!(stat.nlink, 2);
            syscall::path::unlink(&ctx, work, b"c").unwrap();
            assert_eq!(syscall::path::unlink(&ctx, work, b"c"), Err(Errno::ENOENT));
        })
        .await;
    assert_eq!((machine.read_file("/work/a"), machine.read_file("/tmp/d")), ("b".into(), "a".into()));
}

#[tokio::test(start_paused = true)]
async fn directories_come_and_go_when_empty() {
    Machine::new()
        .expect(|ctx| async move {
            let mkdir = |path: &[u8]| syscall::path::mkdir(&ctx, CWD, path, Mode::new(0o777));
            let rmdir = |path: &[u8]| syscall::path::rmdir(&ctx, CWD, path);
            assert_eq!(mkdir(b"/work/d/"), Ok(()));
            assert_eq!(mkdir(b"/work/d"), Err(Errno::EEXIST));
            assert_eq!(mkdir(b"/missing/d"), Err(Errno::ENOENT));
            assert_eq!(mkdir(b"/work/d/e"), Ok(()));
            assert_eq!(rmdir(b"/work/d"), Err(Errno::ENOTEMPTY));
            assert_eq!(rmdir(b"/dev"), Err(Errno::EBUSY));
            assert_eq!(rmdir(b"/work/d/e"), Ok(()));
            assert_eq!(rmdir(b"/work/d"), Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn access_and_size_are_the_paths_matter_too() {
    let machine = Machine::new();
    machine.write_file("/work/f", "12345", 0o444);
    machine
        .expect(|ctx| async move {
            let access = |wanted| {
                syscall::path::access(&ctx, CWD, b"/work/f", wanted, AccessIds::Effective, Follow::Yes)
            };
            assert_eq!(access(Access::empty()), Ok(()));
            assert_eq!(access(Access::EXECUTE), Err(Errno::EACCES));
            assert_eq!(syscall::path::truncate(&ctx, CWD, b"/work/f", 2), Ok(()));
            assert_eq!(syscall::path::truncate(&ctx, CWD, b"/work", 2), Err(Errno::EISDIR));
            let space = syscall::path::statfs(&ctx, CWD, b"/work/f").unwrap();
            assert_eq!(space.total_bytes, 64 << 20);
        })
        .await;
    assert_eq!(machine.read_file("/work/f"), "12");
}

#[tokio::test(start_paused = true)]
async fn the_working_directory_can_change() {
    Machine::new()
        .expect(|ctx| async move {
            syscall::path::change_dir(&ctx, b"work").unwrap();
            assert_eq!(&*ctx.cwd_path(), b"/work");
            let fd = open(&ctx, "f", OpenFlags::WRITE | OpenFlags::CREATE).await.unwrap();
            print(&ctx, fd, "x").await;
            assert_eq!(syscall::path::change_dir(&ctx, b"f"), Err(Errno::ENOTDIR));
            assert_eq!(syscall::path::change_dir(&ctx, b"missing"), Err(Errno::ENOENT));
            let bin = open(&ctx, "../bin", OpenFlags::READ).await.unwrap();
            syscall::path::change_dir_to(&ctx, bin).unwrap();
            assert_eq!(&*ctx.cwd_path(), b"/bin");
            assert_eq!(syscall::path::change_dir_to(&ctx, fd), Err(Errno::ENOTDIR));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_path_only_fd_is_not_for_reading() {
    let machine = Machine::new();
    machine.write_file("/work/f", "x", 0o000);
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", OpenFlags::PATH).await.unwrap();
            assert_eq!(crate::machine::read(&ctx, fd, 1).await, Err(Errno::EBADF));
            assert_eq!(syscall::file::stat(&ctx, fd).unwrap().size, 1);
        })
        .await;
}
