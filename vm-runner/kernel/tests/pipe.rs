//! Pipes and named pipes.

use vm_abi::{Errno, FileType, Mode, OpenFlags, Signal};
use vm_kernel::syscall::{self, DirFd, Disposition, Fd, FileAction, NodeKind, WaitStatus};
use vm_kernel::{Command, ExitStatus, Limits, Stdio};

use crate::machine::{Machine, open, print, read, read_all, read_to_end, spawn, spawn_with, wait};

fn pipe(ctx: &vm_kernel::context::ProcessContext) -> (Fd, Fd) {
    syscall::pipe::pipe(ctx, OpenFlags::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_written_comes_out_and_then_the_end() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            assert_eq!((reader.raw(), writer.raw()), (3, 4));
            print(&ctx, writer, "hello").await;
            syscall::file::close(&ctx, writer).unwrap();
            assert_eq!(read_to_end(&ctx, reader).await, "hello");
            assert_eq!(read(&ctx, reader, 1).await.unwrap(), "");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_a_writer_in_another_process() {
    let machine = Machine::new();
    machine.program("writer", |ctx| async move {
        syscall::time::sleep(&ctx, std::time::Duration::from_secs(3)).await.unwrap();
        print(&ctx, Fd::STDOUT, "late").await;
        0
    });
    machine
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            let actions = vec![FileAction::Dup2 { source: writer, target: Fd::STDOUT }];
            let child = spawn_with(&ctx, &["writer"], actions).await;
            syscall::file::close(&ctx, writer).unwrap();
            assert_eq!(read(&ctx, reader, 10).await.unwrap(), "late");
            // The end comes from the writer's exit, before anybody waits for it.
            assert_eq!(read(&ctx, reader, 10).await.unwrap(), "");
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_without_readers_dies_of_sigpipe() {
    let machine = Machine::new();
    machine.program("yes", |ctx| async move {
        loop {
            print(&ctx, Fd::STDOUT, "y\n").await;
        }
    });
    machine
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            let actions =
                vec![FileAction::Dup2 { source: writer, target: Fd::STDOUT }, FileAction::Close(reader)];
            let child = spawn_with(&ctx, &["yes"], actions).await;
            syscall::file::close(&ctx, writer).unwrap();
            assert_eq!(read(&ctx, reader, 2).await.unwrap(), "y\n");
            syscall::file::close(&ctx, reader).unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGPIPE));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_ignores_sigpipe_sees_epipe() {
    Machine::new()
        .expect(|ctx| async move {
            syscall::signal::set_disposition(&ctx, Signal::SIGPIPE, Disposition::Ignore).unwrap();
            let (reader, writer) = pipe(&ctx);
            syscall::file::close(&ctx, reader).unwrap();
            assert_eq!(syscall::file::write(&ctx, writer, b"x").await, Err(Errno::EPIPE));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pipe_grows_far_beyond_64_kib() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            let much = vec![b'a'; 5 << 20];
            assert_eq!(syscall::file::write(&ctx, writer, &much).await, Ok(much.len()));
            syscall::file::close(&ctx, writer).unwrap();
            assert_eq!(read_to_end(&ctx, reader).await.len(), much.len());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_oneself_is_a_deadlock_and_not_a_hang() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            assert_eq!(read(&ctx, reader, 1).await, Err(Errno::EDEADLK));
            let also = syscall::file::dup(&ctx, writer).unwrap();
            assert_eq!(read(&ctx, reader, 1).await, Err(Errno::EDEADLK));
            print(&ctx, also, "x").await;
            assert_eq!(read(&ctx, reader, 1).await.unwrap(), "x");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_pipe_that_only_the_writer_reads_is_a_deadlock() {
    let limits = Limits { pipe_capacity_bytes: 100, ..Limits::default() };
    Machine::with_limits(limits)
        .expect(|ctx| async move {
            let (_reader, writer) = pipe(&ctx);
            assert_eq!(syscall::file::write(&ctx, writer, &[0; 100]).await, Ok(100));
            assert_eq!(syscall::file::write(&ctx, writer, &[0; 1]).await, Err(Errno::EDEADLK));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_becomes_a_deadlock_when_the_last_other_writer_ends() {
    let machine = Machine::new();
    machine.program("holder", |ctx| async move {
        syscall::time::sleep(&ctx, std::time::Duration::from_secs(1)).await.unwrap();
        0
    });
    machine
        .expect(|ctx| async move {
            let (reader, _writer) = pipe(&ctx);
            spawn(&ctx, &["holder"]).await;
            assert_eq!(read(&ctx, reader, 1).await, Err(Errno::EDEADLK));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_non_blocking_end_never_waits() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) =
                syscall::pipe::pipe(&ctx, OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).unwrap();
            assert_eq!(read(&ctx, reader, 1).await, Err(Errno::EAGAIN));
            assert_eq!(syscall::file::fd_flags(&ctx, writer), Ok(syscall::FdFlags::CLOEXEC));
            let flags = syscall::file::status_flags(&ctx, writer).unwrap();
            assert_eq!(flags, OpenFlags::WRITE | OpenFlags::NONBLOCK);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn small_writes_are_atomic_and_large_ones_wait_for_room() {
    let machine = Machine::with_limits(Limits { pipe_capacity_bytes: 5000, ..Limits::default() });
    machine.program("reader", |ctx| async move {
        u8::from(read_to_end(&ctx, Fd::STDIN).await.len() != 4000 + 4096 + 20_000)
    });
    machine
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            assert_eq!(syscall::file::write(&ctx, writer, &[b'a'; 4000]).await, Ok(4000));
            let flags = syscall::file::status_flags(&ctx, writer).unwrap();
            syscall::file::set_status_flags(&ctx, writer, flags | OpenFlags::NONBLOCK).unwrap();
            assert_eq!(syscall::file::write(&ctx, writer, &[b'b'; 4096]).await, Err(Errno::EAGAIN));
            syscall::file::set_status_flags(&ctx, writer, flags).unwrap();
            let actions =
                vec![FileAction::Dup2 { source: reader, target: Fd::STDIN }, FileAction::Close(writer)];
            let child = spawn_with(&ctx, &["reader"], actions).await;
            syscall::file::close(&ctx, reader).unwrap();
            assert_eq!(syscall::file::write(&ctx, writer, &[b'b'; 4096]).await, Ok(4096));
            assert_eq!(syscall::file::write(&ctx, writer, &[b'c'; 20_000]).await, Ok(20_000));
            syscall::file::close(&ctx, writer).unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pipe_has_no_offset() {
    Machine::new()
        .expect(|ctx| async move {
            let (reader, writer) = pipe(&ctx);
            assert_eq!(syscall::file::tell(&ctx, reader), Err(Errno::ESPIPE));
            assert_eq!(syscall::file::pread(&ctx, reader, &mut [0], 0), Err(Errno::ESPIPE));
            assert_eq!(syscall::file::pwrite(&ctx, writer, &[0], 0), Err(Errno::ESPIPE));
            assert_eq!(read(&ctx, writer, 1).await, Err(Errno::EBADF));
            assert_eq!(syscall::file::write(&ctx, reader, b"x").await, Err(Errno::EBADF));
            let stat = syscall::file::stat(&ctx, reader).unwrap();
            assert_eq!(stat.file_type(), FileType::Fifo);
            assert_eq!(stat.mode, 0o010_600);
            assert_eq!(stat.ino, syscall::file::stat(&ctx, writer).unwrap().ino);
        })
        .await;
}

fn make_fifo(ctx: &vm_kernel::context::ProcessContext, path: &str) {
    syscall::path::mknod(ctx, DirFd::Cwd, path.as_bytes(), NodeKind::Fifo, Mode::new(0o666)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_named_pipe_wait_for_each_other() {
    let machine = Machine::new();
    machine.program("writer", |ctx| async move {
        let fd = open(&ctx, "/tmp/fifo", OpenFlags::WRITE).await.unwrap();
        print(&ctx, fd, "through the name").await;
        0
    });
    machine
        .expect(|ctx| async move {
            make_fifo(&ctx, "/tmp/fifo");
            let child = spawn(&ctx, &["writer"]).await;
            let fd = open(&ctx, "/tmp/fifo", OpenFlags::READ).await.unwrap();
            assert_eq!(read_to_end(&ctx, fd).await, "through the name");
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn opening_a_named_pipe_without_waiting() {
    Machine::new()
        .expect(|ctx| async move {
            make_fifo(&ctx, "/tmp/fifo");
            let flags = OpenFlags::WRITE | OpenFlags::NONBLOCK;
            assert_eq!(open(&ctx, "/tmp/fifo", flags).await, Err(Errno::ENXIO));
            let reader = open(&ctx, "/tmp/fifo", OpenFlags::READ | OpenFlags::NONBLOCK).await.unwrap();
            let writer = open(&ctx, "/tmp/fifo", flags).await.unwrap();
            print(&ctx, writer, "x").await;
            assert_eq!(read(&ctx, reader, 9).await.unwrap(), "x");
            let both = open(&ctx, "/tmp/fifo", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
            print(&ctx, both, "y").await;
            assert_eq!(read(&ctx, both, 9).await.unwrap(), "y");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_named_pipe_of_somebody_else_alone_is_no_deadlock() {
    let machine = Machine::new();
    machine.program("stuck", |ctx| async move {
        make_fifo(&ctx, "/tmp/fifo");
        let both = open(&ctx, "/tmp/fifo", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
        read(&ctx, both, 1).await.unwrap();
        0
    });
    let process = machine.kernel.spawn(Command::new("stuck")).unwrap();
    let timeout = tokio::time::timeout(std::time::Duration::from_secs(9), process.wait()).await;
    assert!(timeout.is_err(), "{timeout:?}");
}

#[tokio::test(start_paused = true)]
async fn the_host_feeds_and_reads_a_guest() {
    let machine = Machine::new();
    machine.program("cat", |ctx| async move {
        let text = read_to_end(&ctx, Fd::STDIN).await;
        print(&ctx, Fd::STDOUT, &text).await;
        0
    });
    let command = Command::new("cat").stdin(Stdio::Piped).stdout(Stdio::Piped);
    let mut process = machine.kernel.spawn(command).unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write("one ".into()).await.unwrap();
    stdin.write("two".into()).await.unwrap();
    drop(stdin);
    assert_eq!(read_all(process.stdout.as_mut().unwrap()).await, "one two");
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn the_host_learns_that_nobody_reads() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    let mut process = machine.kernel.spawn(Command::new("true").stdin(Stdio::Piped)).unwrap();
    process.wait().await;
    assert_eq!(process.stdin.as_mut().unwrap().write("x".into()).await, Err(Errno::EPIPE));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_hosts_reader_ends_the_writer() {
    let machine = Machine::new();
    machine.program("yes", |ctx| async move {
        loop {
            print(&ctx, Fd::STDOUT, "y\n").await;
        }
    });
    let mut process = machine.kernel.spawn(Command::new("yes").stdout(Stdio::Piped)).unwrap();
    assert!(process.stdout.as_mut().unwrap().read().await.is_some());
    process.stdout = None;
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGPIPE));
}

#[tokio::test(start_paused = true)]
async fn pipes_leave_nothing_behind() {
    let machine = Machine::new();
    machine
        .expect(|ctx| async move {
            for _ in 0..100 {
                let (reader, writer) = pipe(&ctx);
                print(&ctx, writer, "x").await;
                syscall::file::close(&ctx, reader).unwrap();
                syscall::file::close(&ctx, writer).unwrap();
            }
        })
        .await;
    let usage = machine.kernel.usage();
    assert_eq!((usage.pipes, usage.pipe_bytes, usage.open_files, usage.processes), (0, 0, 0, 0));
}
