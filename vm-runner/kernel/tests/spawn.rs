//! Making processes.

use vm_abi::{Errno, Mode, OpenFlags, Signal, SignalSet, Uid};
use vm_kernel::Command;
use vm_kernel::syscall::{
    self, Disposition, Fd, FdFlags, FileAction, ProgramName, SpawnAttributes, SpawnIds, SpawnRequest,
    WaitStatus,
};

use crate::machine::{Machine, open, print, read, read_to_end, request, spawn, spawn_with, wait};

#[tokio::test(start_paused = true)]
async fn a_child_has_its_own_pid_and_its_arguments() {
    let machine = Machine::new();
    machine.program("child", |ctx| async move {
        let argv: Vec<_> = ctx.argv().iter().map(|a| String::from_utf8(a.clone()).unwrap()).collect();
        print(&ctx, Fd::STDOUT, &format!("{} {:?} {}", ctx.pid(), argv, syscall::process::parent(&ctx)))
            .await;
        7
    });
    let output = machine
        .expect(|ctx| async move {
            let child = spawn(&ctx, &["child", "a", "b c"]).await;
            assert_eq!((ctx.pid().raw(), child.raw()), (2, 3));
            assert_eq!(syscall::process::parent(&ctx), 0);
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(7));
        })
        .await;
    assert_eq!(output, r#"3 ["child", "a", "b c"] 2"#);
}

#[tokio::test(start_paused = true)]
async fn a_child_shares_the_offset_of_inherited_files() {
    let machine = Machine::new();
    machine.write_file("/work/f", "abcdef", 0o644);
    machine.program("child", |ctx| async move {
        u8::from(read(&ctx, Fd::try_from(3).unwrap(), 3).await.unwrap() != "abc")
    });
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", OpenFlags::READ).await.unwrap();
            assert_eq!(wait_child(&ctx, &["child"]).await, WaitStatus::Exited(0));
            assert_eq!(read(&ctx, fd, 9).await.unwrap(), "def");
        })
        .await;
}

async fn wait_child(ctx: &vm_kernel::context::ProcessContext, argv: &[&str]) -> WaitStatus {
    let child = spawn(ctx, argv).await;
    wait(ctx, child).await
}

#[tokio::test(start_paused = true)]
async fn fds_marked_close_on_exec_do_not_reach_the_child_but_serve_its_actions() {
    let machine = Machine::new();
    machine.write_file("/work/f", "abcdef", 0o644);
    machine.program("child", |ctx| async move {
        assert_eq!(syscall::file::tell(&ctx, Fd::try_from(3).unwrap()), Err(Errno::EBADF));
        assert_eq!(read_to_end(&ctx, Fd::STDIN).await, "abcdef");
        0
    });
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work/f", OpenFlags::READ | OpenFlags::CLOEXEC).await.unwrap();
            assert_eq!(syscall::file::fd_flags(&ctx, fd), Ok(FdFlags::CLOEXEC));
            let actions = vec![FileAction::Dup2 { source: fd, target: Fd::STDIN }];
            let child = spawn_with(&ctx, &["child"], actions).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn duplicating_an_fd_onto_itself_keeps_it_open_in_the_child() {
    let machine = Machine::new();
    machine.program("child", |ctx| async move {
        u8::from(syscall::file::fd_flags(&ctx, Fd::try_from(3).unwrap()) != Ok(FdFlags::empty()))
    });
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/dev/null", OpenFlags::READ | OpenFlags::CLOEXEC).await.unwrap();
            let child = spawn_with(&ctx, &["child"], vec![FileAction::Dup2 { source: fd, target: fd }]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
            assert_eq!(syscall::file::fd_flags(&ctx, fd), Ok(FdFlags::CLOEXEC));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn actions_happen_in_order_in_the_childs_own_directory() {
    let machine = Machine::new();
    machine.program("child", |ctx| async move {
        print(&ctx, Fd::STDOUT, std::str::from_utf8(&ctx.cwd_path()).unwrap()).await;
        assert_eq!(syscall::file::tell(&ctx, Fd::try_from(5).unwrap()), Err(Errno::EBADF));
        0
    });
    machine.walk(|walk| walk.mkdir(b"/work/d", Mode::new(0o777)).unwrap());
    machine
        .expect(|ctx| async move {
            let five = Fd::try_from(5).unwrap();
            let write = OpenFlags::WRITE | OpenFlags::CREATE;
            let actions = vec![
                FileAction::Dup2 { source: Fd::STDIN, target: five },
                FileAction::ChangeDir(b"work".to_vec()),
                FileAction::ChangeDir(b"d".to_vec()),
                FileAction::Open {
                    fd: Fd::STDOUT,
                    path: b"out".to_vec(),
                    flags: write,
                    mode: Mode::new(0o666),
                },
                FileAction::CloseFrom(five),
            ];
            let child = spawn_with(&ctx, &["child"], actions).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
    assert_eq!(machine.read_file("/work/d/out"), "/work/d");
    let mode = machine.walk(|walk| walk.stat(b"/work/d/out", vm_vfs::Follow::Yes).unwrap().mode);
    assert_eq!(mode, 0o100_644);
}

#[tokio::test(start_paused = true)]
async fn a_failing_action_makes_no_child() {
    let machine = Machine::new();
    machine.program("child", |_| async { 0 });
    machine
        .expect(|ctx| async move {
            let unopened = Fd::try_from(9).unwrap();
            let open = |path: &str| FileAction::Open {
                fd: unopened,
                path: path.into(),
                flags: OpenFlags::READ,
                mode: Mode::default(),
            };
            for (action, errno) in [
                (FileAction::Close(unopened), Errno::EBADF),
                (FileAction::Dup2 { source: unopened, target: Fd::STDIN }, Errno::EBADF),
                (open(""), Errno::ENOENT),
                (open("/missing"), Errno::ENOENT),
                (FileAction::ChangeDir(b"/missing".to_vec()), Errno::ENOENT),
                (FileAction::ChangeDirTo(Fd::STDIN), Errno::ENOTDIR),
            ] {
                let request = SpawnRequest { actions: vec![action], ..request(&ctx, &["child"]) };
                assert_eq!(syscall::process::spawn(&ctx, request).await, Err(errno));
            }
            let any = syscall::WaitTarget::Any;
            let none = syscall::process::wait(&ctx, any, syscall::WaitOptions::empty()).await;
            assert_eq!(none, Err(Errno::ECHILD));
        })
        .await;
    assert_eq!(machine.kernel.usage().open_files, 0);
}

#[tokio::test(start_paused = true)]
async fn a_relative_directory_starts_from_the_parents() {
    let machine = Machine::new();
    for path in [&b"/work/a"[..], b"/work/a/b"] {
        machine.walk(|walk| walk.mkdir(path, Mode::new(0o777)).unwrap());
    }
    machine.program("child", |ctx| async move {
        let pwd = ctx.envp().iter().find(|entry| entry.starts_with(b"PWD=")).cloned().unwrap();
        print(&ctx, Fd::STDOUT, &format!("{} ", String::from_utf8(pwd).unwrap())).await;
        0
    });
    machine.program("main", |ctx| async move {
        for cwd in ["./a//b/", "a/../a", "/work", "."] {
            let request = SpawnRequest { cwd: Some(cwd.into()), ..request(&ctx, &["child"]) };
            let child = syscall::process::spawn(&ctx, request).await.unwrap();
            wait(&ctx, child).await;
        }
        0
    });
    let output = machine.run(Command::new("main").cwd("/work")).await;
    assert_eq!(output.stdout, "PWD=/work/a/b PWD=/work/a PWD=/work PWD=/work ");
}

#[tokio::test(start_paused = true)]
async fn umask_and_ids_are_inherited_and_effective_ids_can_be_reset() {
    let machine = Machine::new();
    machine.program("child", |ctx| async move {
        let ids = syscall::process::credentials(&ctx);
        print(
            &ctx,
            Fd::STDOUT,
            &format!("{:o} {} {}\n", syscall::process::umask(&ctx, None), ids.uid, ids.euid),
        )
        .await;
        0
    });
    let output = machine
        .expect(|ctx| async move {
            let _ = syscall::process::umask(&ctx, Some(Mode::new(0o077)));
            syscall::process::set_reuid(&ctx, Some(Uid(5)), Some(Uid(0))).unwrap();
            for ids in [SpawnIds::Inherit, SpawnIds::Reset] {
                let attributes = SpawnAttributes { ids, ..SpawnAttributes::default() };
                let request = SpawnRequest { attributes, ..request(&ctx, &["child"]) };
                let child = syscall::process::spawn(&ctx, request).await.unwrap();
                wait(&ctx, child).await;
            }
        })
        .await;
    assert_eq!(output, "77 5 0\n77 5 5\n");
}

#[tokio::test(start_paused = true)]
async fn ignored_signals_stay_ignored_and_caught_ones_do_not_stay_caught() {
    let machine = Machine::new();
    machine.program("child", |ctx| async move {
        let of = |signal| format!("{:?} ", syscall::signal::disposition(&ctx, signal));
        let text = of(Signal::SIGHUP) + &of(Signal::SIGINT) + &of(Signal::SIGUSR1);
        print(&ctx, Fd::STDOUT, &format!("{text}{:?}", syscall::signal::mask(&ctx))).await;
        0
    });
    let output = machine
        .expect(|ctx| async move {
            let set = |signal, new| syscall::signal::set_disposition(&ctx, signal, new).unwrap();
            set(Signal::SIGHUP, Disposition::Ignore);
            set(Signal::SIGINT, Disposition::Ignore);
            let flags = syscall::ActionFlags::empty();
            set(Signal::SIGUSR1, Disposition::Caught { mask: SignalSet::EMPTY, flags });
            let attributes = SpawnAttributes {
                default_signals: SignalSet::EMPTY.with(Signal::SIGINT),
                mask: Some(SignalSet::EMPTY.with(Signal::SIGTERM).with(Signal::SIGKILL)),
                ..SpawnAttributes::default()
            };
            let request = SpawnRequest { attributes, ..request(&ctx, &["child"]) };
            let child = syscall::process::spawn(&ctx, request).await.unwrap();
            wait(&ctx, child).await;
        })
        .await;
    assert_eq!(output, "Ignore Default Default {SIGTERM}");
}

#[tokio::test(start_paused = true)]
async fn an_open_file_can_be_the_program() {
    let machine = Machine::new();
    machine.program("child", |_| async { 3 });
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/bin/child", OpenFlags::READ).await.unwrap();
            let request = SpawnRequest { program: ProgramName::Open(fd), ..request(&ctx, &["x"]) };
            let child = syscall::process::spawn(&ctx, request).await.unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(3));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_children_come_and_go() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    machine
        .expect(|ctx| async move {
            for _ in 0..100 {
                assert_eq!(wait_child(&ctx, &["true"]).await, WaitStatus::Exited(0));
            }
        })
        .await;
    assert_eq!(machine.kernel.usage().processes, 0);
}
