//! Executing another program in a process.

use vm_abi::{Errno, OpenFlags, Signal, SignalSet};
use vm_kernel::context::ProcessContext;
use vm_kernel::driver::ProgramEnd;
use vm_kernel::syscall::{self, Disposition, ExecRequest, Fd, ProgramName, WaitStatus};
use vm_kernel::{Command, ExitStatus};

use crate::machine::{Machine, open, print, spawn, wait};

fn exec_request(ctx: &ProcessContext, argv: &[&str]) -> ExecRequest {
    ExecRequest {
        program: ProgramName::SearchEnv(argv[0].as_bytes().to_vec()),
        argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
        envp: ctx.envp().to_vec(),
        close: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_new_program_has_the_old_ones_pid_and_its_own_arguments() {
    let machine = Machine::new();
    machine.program("new", |ctx| async move {
        let argument = String::from_utf8(ctx.argv()[1].clone()).unwrap();
        print(&ctx, Fd::STDOUT, &format!("{} {argument}", ctx.pid())).await;
        4
    });
    machine.raw_program("old", |ctx| async move {
        print(&ctx, Fd::STDOUT, &format!("{} ", ctx.pid())).await;
        let request = exec_request(&ctx, &["new", "hello"]);
        let _replaced = syscall::process::exec(&ctx, request).await.unwrap();
        ProgramEnd::Replaced
    });
    let output = machine.run(Command::new("old")).await;
    assert_eq!((output.status, &*output.stdout), (ExitStatus::Exited(4), "2 2 hello"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_exec_changes_nothing() {
    let machine = Machine::new();
    machine.write_file("/work/noise", "\x7fELF\0", 0o755);
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/dev/null", OpenFlags::READ | OpenFlags::CLOEXEC).await.unwrap();
            for (name, errno) in
                [("missing", Errno::ENOENT), ("/work", Errno::EACCES), ("/work/noise", Errno::ENOEXEC)]
            {
                let request = ExecRequest { close: vec![fd], ..exec_request(&ctx, &[name]) };
                assert_eq!(syscall::process::exec(&ctx, request).await, Err(errno));
            }
            assert!(syscall::file::stat(&ctx, fd).is_ok());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn exec_closes_what_is_marked_or_listed_and_keeps_the_rest() {
    let machine = Machine::new();
    machine.program("new", |ctx| async move {
        let is_open = |fd: u32| syscall::file::stat(&ctx, Fd::try_from(fd).unwrap()).is_ok();
        let open: Vec<_> = (0..8).filter(|fd| is_open(*fd)).collect();
        assert_eq!(open, [0, 1, 2, 5]);
        0
    });
    machine.raw_program("old", |ctx| async move {
        let marked = open(&ctx, "/dev/null", OpenFlags::READ | OpenFlags::CLOEXEC).await.unwrap();
        let listed = open(&ctx, "/dev/null", OpenFlags::READ).await.unwrap();
        let kept = open(&ctx, "/dev/null", OpenFlags::READ).await.unwrap();
        assert_eq!((marked.raw(), listed.raw(), kept.raw()), (3, 4, 5));
        let close = vec![listed, Fd::try_from(77).unwrap()];
        let request = ExecRequest { close, ..exec_request(&ctx, &["new"]) };
        let _replaced = syscall::process::exec(&ctx, request).await.unwrap();
        ProgramEnd::Replaced
    });
    assert_eq!(machine.run(Command::new("old")).await.status, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn handlers_are_reset_and_mask_pending_and_children_are_kept() {
    let machine = Machine::new();
    machine.program("true", |_| async { 9 });
    machine.program("new", |ctx| async move {
        assert_eq!(syscall::signal::disposition(&ctx, Signal::SIGUSR1), Disposition::Default);
        assert_eq!(syscall::signal::disposition(&ctx, Signal::SIGUSR2), Disposition::Ignore);
        assert_eq!(syscall::signal::mask(&ctx), SignalSet::EMPTY.with(Signal::SIGTERM));
        assert_eq!(syscall::signal::pending(&ctx), SignalSet::EMPTY.with(Signal::SIGTERM));
        let child =
            syscall::process::wait(&ctx, syscall::WaitTarget::Any, syscall::WaitOptions::empty()).await;
        assert_eq!(child.unwrap().unwrap().status, WaitStatus::Exited(9));
        0
    });
    machine.raw_program("old", |ctx| async move {
        let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags: syscall::ActionFlags::empty() };
        syscall::signal::set_disposition(&ctx, Signal::SIGUSR1, caught).unwrap();
        syscall::signal::set_disposition(&ctx, Signal::SIGUSR2, Disposition::Ignore).unwrap();
        let term = SignalSet::EMPTY.with(Signal::SIGTERM);
        syscall::signal::change_mask(&ctx, syscall::MaskChange::Block, term).await;
        let own = syscall::KillTarget::Process(ctx.pid());
        syscall::process::kill(&ctx, own, Some(Signal::SIGTERM)).await.unwrap();
        spawn(&ctx, &["true"]).await;
        let _replaced = syscall::process::exec(&ctx, exec_request(&ctx, &["new"])).await.unwrap();
        ProgramEnd::Replaced
    });
    assert_eq!(machine.run(Command::new("old")).await.status, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn an_absolute_pwd_is_the_new_working_directory() {
    let machine = Machine::new();
    machine.program("new", |ctx| async move {
        print(&ctx, Fd::STDOUT, std::str::from_utf8(&ctx.cwd_path()).unwrap()).await;
        0
    });
    machine.raw_program("old", |ctx| async move {
        let envp = vec![b"PWD=/work".to_vec(), b"PATH=/bin".to_vec()];
        let request = ExecRequest { envp, ..exec_request(&ctx, &["new"]) };
        let _replaced = syscall::process::exec(&ctx, request).await.unwrap();
        ProgramEnd::Replaced
    });
    assert_eq!(machine.run(Command::new("old")).await.stdout, "/work");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_only_claims_to_be_replaced_dies() {
    let machine = Machine::new();
    machine.raw_program("liar", |_| async { ProgramEnd::Replaced });
    machine
        .expect(|ctx| async move {
            let child = spawn(&ctx, &["liar"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGABRT));
        })
        .await;
}
