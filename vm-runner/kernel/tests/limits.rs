//! One test for each limit: what happens when it is reached, and that reaching it does no lasting harm. That of
//! `cpu_millis` is in `cpu.rs`.

use std::ops::ControlFlow;
use std::time::Duration;

use vm_abi::{Errno, Mode, OpenFlags, PollEvents};
use vm_kernel::syscall::{
    self, Blocking, Domain, Fd, FileAction, Flock, LockKind, LockRange, PollFd, SocketAddress, SocketType,
    SpawnRequest, UnixAddress,
};
use vm_kernel::{Command, ExitStatus, Limit, Limits, Stdio};

use crate::machine::{Machine, open, request, spawn, wait};

fn machine(limit: impl FnOnce(&mut Limits)) -> Machine {
    let mut limits = Limits::default();
    limit(&mut limits);
    Machine::with_limits(limits)
}

#[tokio::test(start_paused = true)]
async fn max_processes() {
    let machine = machine(|limits| limits.max_processes = 3);
    machine.program("sleep", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1)).await.map_or(1, |()| 0)
    });
    machine
        .expect(|ctx| async move {
            let children = [spawn(&ctx, &["sleep"]).await, spawn(&ctx, &["sleep"]).await];
            let refused = syscall::process::spawn(&ctx, request(&ctx, &["sleep"])).await;
            assert_eq!(refused, Err(Errno::EAGAIN));
            // A zombie counts until somebody has asked for it.
            syscall::time::sleep(&ctx, Duration::from_secs(5)).await.unwrap();
            let refused = syscall::process::spawn(&ctx, request(&ctx, &["sleep"])).await;
            assert_eq!(refused, Err(Errno::EAGAIN));
            wait(&ctx, children[0]).await;
            spawn(&ctx, &["sleep"]).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_fds() {
    machine(|limits| limits.max_fds = 5)
        .expect(|ctx| async move {
            open(&ctx, "/dev/null", OpenFlags::READ).await.unwrap();
            open(&ctx, "/dev/null", OpenFlags::READ).await.unwrap();
            assert_eq!(open(&ctx, "/dev/null", OpenFlags::READ).await, Err(Errno::EMFILE));
            syscall::file::close(&ctx, Fd::STDIN).unwrap();
            assert_eq!(open(&ctx, "/dev/null", OpenFlags::READ).await, Ok(Fd::STDIN));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_open_files() {
    let machine = machine(|limits| limits.max_open_files = 5);
    machine
        .expect(|ctx| async move {
            let one = open(&ctx, "/dev/null", OpenFlags::READ).await.unwrap();
            open(&ctx, "/dev/null", OpenFlags::READ).await.unwrap();
            assert_eq!(open(&ctx, "/dev/null", OpenFlags::READ).await, Err(Errno::ENFILE));
            // Duplicates are no further open files.
            syscall::file::dup(&ctx, one).unwrap();
        })
        .await;
    assert_eq!(machine.kernel.usage().open_files, 0);
}

#[tokio::test(start_paused = true)]
async fn max_pipes() {
    machine(|limits| limits.max_pipes = 2)
        .expect(|ctx| async move {
            // One is the command's standard output.
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            assert_eq!(syscall::pipe::pipe(&ctx, OpenFlags::empty()), Err(Errno::ENFILE));
            syscall::file::close(&ctx, reader).unwrap();
            syscall::file::close(&ctx, writer).unwrap();
            syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn pipe_capacity_bytes() {
    machine(|limits| limits.pipe_capacity_bytes = 100_000)
        .expect(|ctx| async move {
            let (_reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::NONBLOCK).unwrap();
            assert_eq!(syscall::file::write(&ctx, writer, &[0; 200_000]).await, Ok(100_000));
            assert_eq!(syscall::file::write(&ctx, writer, &[0; 1]).await, Err(Errno::EAGAIN));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_pipe_total_bytes() {
    let machine = machine(|limits| limits.max_pipe_total_bytes = 128 << 10);
    machine
        .expect(|ctx| async move {
            let (_one, first) = syscall::pipe::pipe(&ctx, OpenFlags::NONBLOCK).unwrap();
            let (two, second) = syscall::pipe::pipe(&ctx, OpenFlags::NONBLOCK).unwrap();
            let much = vec![0; 1 << 20];
            assert_eq!(syscall::file::write(&ctx, first, &much).await, Ok(192 << 10));
            // Every pipe has its 64 KiB, whatever the others hold.
            assert_eq!(syscall::file::write(&ctx, second, &much).await, Ok(64 << 10));
            assert_eq!(syscall::file::read(&ctx, two, &mut [0; 4096]).await, Ok(4096));
            assert_eq!(syscall::file::write(&ctx, second, &much).await, Ok(4096));
        })
        .await;
    assert_eq!(machine.kernel.usage().pipe_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn max_sockets() {
    let machine = machine(|limits| limits.max_sockets = 2);
    machine
        .expect(|ctx| async move {
            let pair = || syscall::socket::pair(&ctx, SocketType::Stream, OpenFlags::empty());
            let (one, other) = pair().unwrap();
            assert_eq!(pair(), Err(Errno::ENFILE));
            syscall::file::close(&ctx, one).unwrap();
            assert_eq!(pair(), Err(Errno::ENFILE));
            syscall::file::close(&ctx, other).unwrap();
            pair().unwrap();
        })
        .await;
    assert_eq!(machine.kernel.usage().sockets, 0);
}

#[tokio::test(start_paused = true)]
async fn socket_buffer_bytes() {
    machine(|limits| limits.socket_buffer_bytes = 1000)
        .expect(|ctx| async move {
            let (one, _other) = syscall::socket::pair(&ctx, SocketType::Stream, OpenFlags::NONBLOCK).unwrap();
            assert_eq!(syscall::file::write(&ctx, one, &[0; 5000]).await, Ok(1000));
            assert_eq!(syscall::file::write(&ctx, one, &[0]).await, Err(Errno::EAGAIN));
            let (one, _other) =
                syscall::socket::pair(&ctx, SocketType::SeqPacket, OpenFlags::NONBLOCK).unwrap();
            assert_eq!(syscall::file::write(&ctx, one, &[0; 5000]).await, Err(Errno::EMSGSIZE));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_socket_total_bytes() {
    let machine = machine(|limits| limits.max_socket_total_bytes = 32 << 10);
    machine
        .expect(|ctx| async move {
            let pair = |kind| syscall::socket::pair(&ctx, kind, OpenFlags::NONBLOCK).unwrap();
            let ((first, _one), (second, two)) = (pair(SocketType::Stream), pair(SocketType::Stream));
            let (packets, _other) = pair(SocketType::SeqPacket);
            let much = vec![0; 200 << 10];
            assert_eq!(syscall::file::write(&ctx, first, &much).await, Ok(48 << 10));
            // Every socket has its 16 KiB, whatever the others hold.
            assert_eq!(syscall::file::write(&ctx, second, &much).await, Ok(16 << 10));
            assert_eq!(syscall::file::read(&ctx, two, &mut [0; 4096]).await, Ok(4096));
            assert_eq!(syscall::file::write(&ctx, second, &much).await, Ok(4096 - 64));
            // Nobody would ever tell of more room.
            assert_eq!(syscall::file::write(&ctx, packets, &much).await, Err(Errno::ENOBUFS));
        })
        .await;
    assert_eq!(machine.kernel.limit_behind(Errno::ENOBUFS), Some(Limit::SocketBytes));
    assert_eq!(machine.kernel.usage().socket_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn max_listen_backlog() {
    machine(|limits| limits.max_listen_backlog = 2)
        .expect(|ctx| async move {
            let address = SocketAddress::Unix(UnixAddress::Abstract(b"busy".to_vec()));
            let new = || syscall::socket::socket(&ctx, Domain::Unix, SocketType::Stream, OpenFlags::empty());
            let listening = new().unwrap();
            syscall::socket::bind(&ctx, listening, &address).unwrap();
            syscall::socket::listen(&ctx, listening, 1000).unwrap();
            for expected in [Ok(()), Ok(()), Err(Errno::ECONNREFUSED)] {
                assert_eq!(syscall::socket::connect(&ctx, new().unwrap(), &address).await, expected);
            }
            syscall::socket::accept(&ctx, listening, OpenFlags::empty()).await.unwrap();
            let late = new().unwrap();
            assert_eq!(syscall::socket::connect(&ctx, late, &address).await, Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_terminals() {
    let machine = machine(|limits| limits.max_terminals = 1);
    machine
        .expect(|ctx| async move {
            let open = || syscall::tty::open_pty(&ctx, syscall::WindowSize::STANDARD, OpenFlags::empty());
            let (master, replica) = open().unwrap();
            assert_eq!(open(), Err(Errno::ENOSPC));
            syscall::file::close(&ctx, master).unwrap();
            assert_eq!(open(), Err(Errno::ENOSPC));
            syscall::file::close(&ctx, replica).unwrap();
            open().unwrap();
        })
        .await;
    assert_eq!(machine.kernel.usage().terminals, 0);
}

#[tokio::test(start_paused = true)]
async fn max_args_bytes() {
    let machine = machine(|limits| limits.max_args_bytes = 1000);
    machine.program("true", |_| async { 0 });
    assert_eq!(machine.kernel.spawn(Command::new("true").arg(vec![b'x'; 1000])).err(), Some(Errno::E2BIG));
    machine
        .expect(|ctx| async move {
            let long = SpawnRequest { envp: vec![vec![b'='; 1000]], ..request(&ctx, &["true"]) };
            assert_eq!(syscall::process::spawn(&ctx, long).await, Err(Errno::E2BIG));
            let many = SpawnRequest { argv: vec![Vec::new(); 200], ..request(&ctx, &["true"]) };
            assert_eq!(syscall::process::spawn(&ctx, many).await, Err(Errno::E2BIG));
            spawn(&ctx, &["true"]).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_file_actions() {
    let machine = machine(|limits| limits.max_file_actions = 10);
    machine.program("true", |_| async { 0 });
    machine
        .expect(|ctx| async move {
            let same = FileAction::Dup2 { source: Fd::STDIN, target: Fd::STDIN };
            let spawn = |count| {
                let request = SpawnRequest { actions: vec![same.clone(); count], ..request(&ctx, &["true"]) };
                syscall::process::spawn(&ctx, request)
            };
            assert_eq!(spawn(11).await, Err(Errno::E2BIG));
            assert!(spawn(10).await.is_ok());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_poll_fds() {
    machine(|limits| limits.max_poll_fds = 3)
        .expect(|ctx| async move {
            let stdin = PollFd { fd: Some(Fd::STDIN), events: PollEvents::IN, revents: PollEvents::empty() };
            assert_eq!(syscall::poll::poll(&ctx, &mut [stdin; 4], None, None).await, Err(Errno::EINVAL));
            assert_eq!(syscall::poll::poll(&ctx, &mut [stdin; 3], None, None).await, Ok(3));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn max_locks() {
    let machine = machine(|limits| limits.max_locks = 2);
    machine.write_file("/work/f", "", 0o644);
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
            let lock = |start| {
                let range = LockRange::new(start, 1).unwrap();
                syscall::file::lock_range(&ctx, fd, LockKind::Write, range, Blocking::Try)
            };
            assert_eq!(lock(0).await, Ok(()));
            assert_eq!(lock(2).await, Ok(()));
            assert_eq!(lock(4).await, Err(Errno::ENOLCK));
            let flock = || syscall::file::flock(&ctx, fd, Flock::Shared, Blocking::Try);
            assert_eq!(flock().await, Err(Errno::ENOLCK));
            syscall::file::unlock_range(&ctx, fd, LockRange::new(0, 0).unwrap()).unwrap();
            assert_eq!(flock().await, Ok(()));
        })
        .await;
    assert_eq!(machine.kernel.usage().locks, 0);
}

#[tokio::test(start_paused = true)]
async fn max_memory_bytes() {
    let machine = machine(|limits| limits.max_memory_bytes = 1 << 20);
    machine.program("greedy", |ctx| async move {
        assert_eq!(ctx.set_memory(600 << 10), Ok(()));
        u8::from(ctx.set_memory(2 << 20) != Err(Errno::ENOMEM))
    });
    machine
        .expect(|ctx| async move {
            ctx.set_memory(512 << 10).unwrap();
            let child = spawn(&ctx, &["greedy"]).await;
            assert_eq!(wait(&ctx, child).await, syscall::WaitStatus::Signaled(vm_abi::Signal::SIGABRT));
            ctx.set_memory(100 << 10).unwrap();
            let child = spawn(&ctx, &["greedy"]).await;
            assert_eq!(wait(&ctx, child).await, syscall::WaitStatus::Exited(0));
        })
        .await;
    assert_eq!(machine.kernel.usage().memory_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn arguments_lists_of_directories_and_full_pipes_are_memory() {
    let machine = machine(|limits| limits.max_memory_bytes = 1 << 20);
    machine.program("true", |_| async { 0 });
    let long = || Command::new("true").arg(vec![b'x'; 2 << 20]);
    assert_eq!(machine.kernel.spawn(long()).err(), Some(Errno::ENOMEM));
    assert_eq!(machine.kernel.limit_behind(Errno::ENOMEM), Some(Limit::Memory));
    for number in 0..2000 {
        machine.write_file(&format!("/work/{number:0>50}"), "", 0o644);
    }
    machine
        .expect(|ctx| async move {
            let list = async || {
                let fd = open(&ctx, "/work", OpenFlags::READ | OpenFlags::DIRECTORY).await.unwrap();
                syscall::file::read_dir(&ctx, fd, 0, &mut |_| ControlFlow::Continue(()))
            };
            let listed = async || {
                for count in 0.. {
                    if let Err(errno) = list().await {
                        return (count, errno);
                    }
                }
                unreachable!("lists are never refused")
            };
            let (count, errno) = listed().await;
            assert_eq!(errno, Errno::ENOMEM);
            assert!((2..10).contains(&count), "{count}");
            let (_reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::NONBLOCK).unwrap();
            let written = syscall::file::write(&ctx, writer, &vec![0; 2 << 20]).await.unwrap();
            assert!(written < 1 << 20, "{written}");
            syscall::file::close_from(&ctx, Fd::try_from(3).unwrap());
            assert_eq!(list().await, Ok(()));
        })
        .await;
    assert_eq!(machine.kernel.usage().memory_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn the_host_learns_which_limit_an_error_means() {
    let machine = machine(|limits| {
        limits.max_pipes = 1;
        limits.max_processes = 1;
        limits.max_args_bytes = 1000;
    });
    machine.program("wait", |ctx| async move {
        syscall::signal::pause(&ctx, None).await;
        0
    });
    let spawn = |command: Command| machine.kernel.spawn(command).err();
    assert_eq!(machine.kernel.limit_behind(Errno::ENFILE), None);
    let both = Command::new("wait").stdout(Stdio::Piped).stderr(Stdio::Piped);
    assert_eq!(spawn(both), Some(Errno::ENFILE));
    assert_eq!(machine.kernel.limit_behind(Errno::ENFILE), Some(Limit::Pipes));
    assert_eq!(spawn(Command::new("wait").arg([0; 1000])), Some(Errno::E2BIG));
    assert_eq!(machine.kernel.limit_behind(Errno::E2BIG), Some(Limit::Arguments));
    assert_eq!(spawn(Command::new("wait")), None);
    assert_eq!(spawn(Command::new("wait")), Some(Errno::EAGAIN));
    assert_eq!(machine.kernel.limit_behind(Errno::EAGAIN), Some(Limit::Processes));
    let hits = machine.kernel.limit_hits();
    assert!(hits.contains(&(Limit::Processes, 1)) && hits.contains(&(Limit::Sockets, 0)), "{hits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_defaults_let_ordinary_work_through() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    assert_eq!(
        machine.run(Command::new("true").arg(vec![b'x'; 100_000])).await.status,
        ExitStatus::Exited(0)
    );
    machine.walk(|walk| walk.mkdir(b"/work/d", Mode::new(0o755)).unwrap());
}
