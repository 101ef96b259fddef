//! Terminals: what a remote user types and sees, and job control.

use std::time::Duration;

use vm_abi::{Errno, FileType, OpenFlags, PollEvents, Signal, SignalSet};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{
    self, ActionFlags, DirFd, Disposition, Fd, FileKind, PollFd, SpawnAttributes, SpawnGroup, SpawnRequest,
    Termios, TtyMode, WaitStatus, WindowSize,
};
use vm_kernel::{Command, ExitStatus, HostTerminal, Limits, ProcessHandle};

use crate::machine::{Machine, open, print, read, request, spawn, wait};

const SIZE: WindowSize = WindowSize { columns: 100, rows: 30 };

fn start(machine: &Machine, name: &str) -> (ProcessHandle, HostTerminal) {
    let mut process = machine.kernel.spawn(Command::new(name).terminal(SIZE)).unwrap();
    let terminal = process.terminal.take().unwrap();
    (process, terminal)
}

async fn seen(terminal: &HostTerminal) -> String {
    String::from_utf8(terminal.read().await.unwrap().to_vec()).unwrap()
}

fn catch(ctx: &ProcessContext, signal: Signal) {
    let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags: ActionFlags::empty() };
    syscall::signal::set_disposition(ctx, signal, caught).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_command_has_a_terminal_that_shows_and_asks() {
    let machine = Machine::new();
    machine.program("ask", |ctx| async move {
        assert_eq!(syscall::file::is_terminal(&ctx, Fd::STDIN), Ok(true));
        assert_eq!(syscall::file::kind(&ctx, Fd::STDERR), Ok(FileKind::Terminal));
        assert_eq!(syscall::tty::window_size(&ctx, Fd::STDOUT), Ok(SIZE));
        print(&ctx, Fd::STDOUT, "name?\n").await;
        let name = read(&ctx, Fd::STDIN, 100).await.unwrap();
        print(&ctx, Fd::STDERR, &format!("hello {name}")).await;
        0
    });
    let (process, terminal) = start(&machine, "ask");
    assert_eq!(seen(&terminal).await, "name?\r\n");
    terminal.write(b"ad").await.unwrap();
    assert_eq!(seen(&terminal).await, "ad");
    terminal.write(b"a\r").await.unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
    assert_eq!(seen(&terminal).await, "a\r\nhello ada\r\n");
    assert_eq!(terminal.read().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_interrupt_key_reaches_the_foreground() {
    let machine = Machine::new();
    machine.program("cat", |ctx| async move {
        loop {
            let line = read(&ctx, Fd::STDIN, 100).await.unwrap();
            if line.is_empty() {
                return 0;
            }
        }
    });
    let (process, terminal) = start(&machine, "cat");
    terminal.write(b"\x03").await.unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGINT));
    let (process, terminal) = start(&machine, "cat");
    terminal.write(b"some\r\x04").await.unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn a_raw_terminal_gives_keys_as_they_come_and_within_a_time() {
    let machine = Machine::new();
    machine.program("keys", |ctx| async move {
        syscall::tty::set_mode(&ctx, Fd::STDIN, TtyMode::Raw).unwrap();
        print(&ctx, Fd::STDOUT, "\x1b[6n").await;
        let mut key = [0; 1];
        let second = Some(Duration::from_secs(1));
        assert_eq!(syscall::tty::read_timeout(&ctx, Fd::STDIN, &mut key, second).await, Ok(1));
        assert_eq!(key, [3]);
        assert_eq!(syscall::tty::read_timeout(&ctx, Fd::STDIN, &mut key, second).await, Ok(0));
        assert_eq!(syscall::tty::read_timeout(&ctx, Fd::STDIN, &mut key, Some(Duration::ZERO)).await, Ok(0));
        syscall::tty::set_mode(&ctx, Fd::STDIN, TtyMode::Cooked).unwrap();
        assert_eq!(syscall::tty::attributes(&ctx, Fd::STDIN), Ok(Termios::COOKED));
        0
    });
    let (process, terminal) = start(&machine, "keys");
    assert_eq!(seen(&terminal).await, "\x1b[6n");
    terminal.write(b"\x03").await.unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn a_new_window_size_is_told() {
    let machine = Machine::new();
    machine.program("watch", |ctx| async move {
        catch(&ctx, Signal::SIGWINCH);
        print(&ctx, Fd::STDOUT, "ready").await;
        assert_eq!(read(&ctx, Fd::STDIN, 1).await, Err(Errno::EINTR));
        let window = syscall::tty::window_size(&ctx, Fd::STDIN).unwrap();
        u8::from(window != WindowSize { columns: 7, rows: 5 })
    });
    let (process, terminal) = start(&machine, "watch");
    assert_eq!(seen(&terminal).await, "ready");
    terminal.resize(SIZE);
    terminal.resize(WindowSize { columns: 7, rows: 5 });
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
    assert_eq!(terminal.window(), WindowSize { columns: 7, rows: 5 });
}

#[tokio::test(start_paused = true)]
async fn hanging_up_ends_the_session() {
    let machine = Machine::new();
    machine.program("shell", |ctx| async move {
        let _ = read(&ctx, Fd::STDIN, 1).await;
        0
    });
    let (process, terminal) = start(&machine, "shell");
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(terminal);
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGHUP));
    assert_eq!(machine.kernel.usage(), vm_kernel::Usage::default());
}

#[tokio::test(start_paused = true)]
async fn a_background_reader_is_stopped_until_it_is_in_front() {
    let machine = Machine::new();
    machine
        .program("reader", |ctx| async move { u8::from(read(&ctx, Fd::STDIN, 9).await.unwrap() != "x\n") });
    machine.program("shell", |ctx| async move {
        let attributes = SpawnAttributes { group: SpawnGroup::Own, ..SpawnAttributes::default() };
        let child = SpawnRequest { attributes, ..request(&ctx, &["reader"]) };
        let child = syscall::process::spawn(&ctx, child).await.unwrap();
        let options = syscall::WaitOptions::UNTRACED;
        let stopped = syscall::process::wait(&ctx, syscall::WaitTarget::Child(child), options).await;
        assert_eq!(stopped.unwrap().unwrap().status, WaitStatus::Stopped(Signal::SIGTTIN));
        let own = syscall::tty::foreground(&ctx, Fd::STDIN).unwrap();
        assert_eq!(own, ctx.pid().own_group());
        syscall::tty::set_foreground(&ctx, Fd::STDIN, child.own_group()).unwrap();
        let group = syscall::KillTarget::Group(child.own_group());
        syscall::process::kill(&ctx, group, Some(Signal::SIGCONT)).await.unwrap();
        print(&ctx, Fd::STDOUT, "type").await;
        assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        0
    });
    let (process, terminal) = start(&machine, "shell");
    assert_eq!(seen(&terminal).await, "type");
    terminal.write(b"x\r").await.unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn the_controlling_terminal_is_found_by_its_name() {
    let machine = Machine::new();
    machine.program("named", |ctx| async move {
        let tty = open(&ctx, "/dev/tty", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
        print(&ctx, tty, "by name").await;
        assert_eq!(syscall::tty::session(&ctx, tty), Ok(ctx.pid().own_session()));
        let link = syscall::path::read_link(&ctx, DirFd::Cwd, b"/proc/self/fd/0").unwrap();
        assert_eq!(link, b"/dev/pts/0");
        let numbered = open(&ctx, "/dev/pts/0", OpenFlags::WRITE).await.unwrap();
        print(&ctx, numbered, " and number").await;
        let stat = syscall::file::stat(&ctx, Fd::STDIN).unwrap();
        assert_eq!((stat.file_type(), stat.permissions().bits()), (FileType::CharDevice, 0o620));
        assert_eq!(syscall::file::tell(&ctx, tty), Err(Errno::ESPIPE));
        0
    });
    let (process, terminal) = start(&machine, "named");
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
    assert_eq!(seen(&terminal).await, "by name and number");
}

#[tokio::test(start_paused = true)]
async fn a_guest_makes_terminals_for_others() {
    let machine = Machine::new();
    machine.program("inner", |ctx| async move {
        // The leader of a session without a terminal gets the first it opens.
        syscall::process::set_session(&ctx).unwrap();
        let tty = open(&ctx, "/dev/pts/0", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
        assert_eq!(syscall::tty::foreground(&ctx, tty), Ok(ctx.pid().own_group()));
        let line = read(&ctx, tty, 100).await.unwrap();
        print(&ctx, tty, &line.to_uppercase()).await;
        0
    });
    machine
        .expect(|ctx| async move {
            let (master, replica) = syscall::tty::open_pty(&ctx, SIZE, OpenFlags::CLOEXEC).unwrap();
            assert_eq!(syscall::tty::window_size(&ctx, master), Ok(SIZE));
            let child = spawn(&ctx, &["inner"]).await;
            print(&ctx, master, "hi\n").await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
            assert_eq!(read(&ctx, master, 100).await.unwrap(), "hi\r\nHI\r\n");
            let mut files =
                [PollFd { fd: Some(replica), events: PollEvents::IN, revents: PollEvents::empty() }];
            assert_eq!(syscall::poll::poll(&ctx, &mut files, Some(Duration::ZERO), None).await, Ok(0));
            syscall::file::close(&ctx, master).unwrap();
            assert_eq!(read(&ctx, replica, 100).await.unwrap(), "");
            assert_eq!(syscall::file::write(&ctx, replica, b"x").await, Err(Errno::EIO));
            assert_eq!(open(&ctx, "/dev/pts/0", OpenFlags::READ).await, Err(Errno::ENOENT));
            let ptmx = open(&ctx, "/dev/ptmx", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
            let replica = open(&ctx, "/dev/pts/0", OpenFlags::READ | OpenFlags::WRITE).await.unwrap();
            syscall::file::close(&ctx, replica).unwrap();
            assert_eq!(read(&ctx, ptmx, 1).await, Err(Errno::EIO));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn other_files_are_no_terminals() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(syscall::tty::window_size(&ctx, Fd::STDIN), Err(Errno::ENOTTY));
            assert_eq!(syscall::tty::set_mode(&ctx, Fd::STDIN, TtyMode::Raw), Err(Errno::ENOTTY));
            assert_eq!(syscall::tty::read_timeout(&ctx, Fd::STDIN, &mut [0], None).await, Err(Errno::ENOTTY));
            assert_eq!(syscall::tty::foreground(&ctx, Fd::STDIN), Err(Errno::ENOTTY));
            assert_eq!(syscall::tty::window_size(&ctx, Fd::try_from(99).unwrap()), Err(Errno::EBADF));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_terminal_nobody_looks_at_holds_its_writer_up() {
    let machine = Machine::with_limits(Limits::default());
    machine.program("yes", |ctx| async move {
        loop {
            print(&ctx, Fd::STDOUT, "y\n").await;
        }
    });
    let (process, terminal) = start(&machine, "yes");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut total = 0;
    while total < 200_000 {
        total += terminal.read().await.unwrap().len();
    }
    machine.kernel.kill_session(process.session(), Signal::SIGKILL).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_is_taken_bit_by_bit_and_signals_once() {
    Machine::new()
        .expect(|ctx| async move {
            let (master, replica) = syscall::tty::open_pty(&ctx, SIZE, OpenFlags::NONBLOCK).unwrap();
            syscall::tty::set_controlling(&ctx, replica).unwrap();
            catch(&ctx, Signal::SIGINT);
            let flood = vec![3; 10 << 20];
            let taken = syscall::file::write(&ctx, master, &flood).await.unwrap();
            assert!((1..=64 << 10).contains(&taken), "{taken} keys at once");
            assert!(ctx.has_deliverable());
        })
        .await;
}
