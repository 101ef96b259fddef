//! Finding programs: paths, `PATH`, `#!` lines, drivers.

use vm_abi::{Credentials, Errno, Gid, Mode, Signal, Uid};
use vm_kernel::driver::ProgramEnd;
use vm_kernel::syscall::{self, Fd, ProgramName, SpawnRequest};
use vm_kernel::{Command, ExitStatus};

use crate::machine::{Machine, print, request};

/// A machine whose `sh` and `show` print their arguments.
fn machine() -> Machine {
    let machine = Machine::new();
    for name in ["sh", "show"] {
        machine.program(name, |ctx| async move {
            let argv: Vec<_> = ctx.argv().iter().map(|a| String::from_utf8(a.clone()).unwrap()).collect();
            print(&ctx, Fd::STDOUT, &format!("{argv:?}")).await;
            0
        });
    }
    machine
}

#[tokio::test(start_paused = true)]
async fn a_script_is_run_by_its_interpreter() {
    let machine = machine();
    machine.write_file("/work/script", "#!/bin/show -x  y \nrest", 0o755);
    let output = machine.run(Command::new("/work/script").args(["a", "b"])).await;
    assert_eq!(output.stdout, r#"["/bin/show", "-x  y", "/work/script", "a", "b"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_script_without_a_mark_is_the_shells() {
    let machine = machine();
    machine.write_file("/work/script", "echo hi\n", 0o755);
    let output = machine.run(Command::new("./script").arg("a").cwd("/work")).await;
    assert_eq!(output.stdout, r#"["/bin/sh", "./script", "a"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_a_shell_does_not_run_texts() {
    let machine = Machine::new();
    machine.write_file("/work/script", "echo hi\n", 0o755);
    assert_eq!(machine.kernel.spawn(Command::new("/work/script")).err(), Some(Errno::ENOEXEC));
}

#[tokio::test(start_paused = true)]
async fn interpreters_may_be_scripts_but_not_without_end() {
    let machine = machine();
    machine.write_file("/work/s0", "#!/bin/show\n", 0o755);
    for n in 1..6 {
        machine.write_file(&format!("/work/s{n}"), format!("#!/work/s{}\n", n - 1), 0o755);
    }
    let output = machine.run(Command::new("/work/s3")).await;
    assert_eq!(output.stdout, r#"["/bin/show", "/work/s0", "/work/s1", "/work/s2", "/work/s3"]"#);
    assert_eq!(machine.kernel.spawn(Command::new("/work/s5")).err(), Some(Errno::ELOOP));
}

#[tokio::test(start_paused = true)]
async fn a_script_found_in_path_gets_the_path_it_was_found_at() {
    let machine = machine();
    machine.write_file("/work/script", "#!/bin/show\n", 0o755);
    let output = machine.run(Command::new("script").env("PATH", "/nowhere:/work")).await;
    assert_eq!(output.stdout, r#"["/bin/show", "/work/script"]"#);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_run_says_why() {
    let machine = machine();
    machine.write_file("/work/plain", "#!/bin/show\n", 0o644);
    machine.write_file("/work/binary", "\x7fELF\0\0", 0o755);
    machine.write_file("/work/orphan", "#!/bin/missing\n", 0o755);
    for (name, errno) in [
        ("missing", Errno::ENOENT),
        ("", Errno::ENOENT),
        ("/work/plain", Errno::EACCES),
        ("/work", Errno::EACCES),
        ("/work/binary", Errno::ENOEXEC),
        ("/work/orphan", Errno::ENOENT),
        ("/work/binary/x", Errno::ENOTDIR),
    ] {
        assert_eq!(machine.kernel.spawn(Command::new(name)).err(), Some(errno), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_search_goes_on_after_a_denial_and_remembers_it() {
    let machine = machine();
    machine.walk(|walk| walk.mkdir(b"/work/first", Mode::new(0o755)).unwrap());
    machine.write_file("/work/first/show", "#!/bin/sh\n", 0o644);
    machine.write_file("/work/first/denied", "#!/bin/sh\n", 0o644);
    let path = |name: &str| Command::new(name).env("PATH", "/work/first:/bin");
    assert_eq!(machine.run(path("show")).await.stdout, r#"["show"]"#);
    assert_eq!(machine.kernel.spawn(path("denied")).err(), Some(Errno::EACCES));
}

#[tokio::test(start_paused = true)]
async fn an_exact_list_replaces_path_and_empty_entries_are_the_working_directory() {
    let machine = machine();
    machine.write_file("/work/here", "#!/bin/show\n", 0o755);
    machine.program("main", |ctx| async move {
        let spawn = |program| {
            let ctx = &ctx;
            async move { syscall::process::spawn(ctx, SpawnRequest { program, ..request(ctx, &["here"]) }).await }
        };
        let search = |name: &str, list: &str| ProgramName::Search { name: name.into(), path_list: list.into() };
        assert!(spawn(search("here", "")).await.is_ok());
        assert!(spawn(search("here", "/nowhere:")).await.is_ok());
        assert!(spawn(ProgramName::Path(b"here".to_vec())).await.is_ok());
        assert_eq!(spawn(search("here", "/bin")).await, Err(Errno::ENOENT));
        assert_eq!(spawn(search("show", "")).await, Err(Errno::ENOENT));
        assert_eq!(spawn(ProgramName::Path(b"show".to_vec())).await, Err(Errno::ENOENT));
        0
    });
    assert_eq!(machine.run(Command::new("main").cwd("/work")).await.status, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn permission_to_execute_is_the_users() {
    let machine = machine();
    machine.write_file("/work/mine", "#!/bin/show\n", 0o700);
    let somebody = Command::new("/work/mine").credentials(Credentials::new(Uid(7), Gid(7)));
    assert_eq!(machine.kernel.spawn(somebody).err(), Some(Errno::EACCES));
    assert_eq!(machine.run(Command::new("/work/mine")).await.status, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn a_trap_ends_the_process_by_its_signal() {
    let machine = Machine::new();
    machine.raw_program("trap", |_| async {
        ProgramEnd::Trapped { signal: Signal::SIGSEGV, message: "out of bounds".to_owned() }
    });
    assert_eq!(machine.run(Command::new("trap")).await.status, ExitStatus::Signaled(Signal::SIGSEGV));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_driver_costs_its_process_only() {
    let machine = Machine::new();
    machine.program("panic", |_| async { panic!("on purpose") });
    machine.program("true", |_| async { 0 });
    assert_eq!(machine.run(Command::new("panic")).await.status, ExitStatus::Signaled(Signal::SIGABRT));
    assert_eq!(machine.run(Command::new("true")).await.status, ExitStatus::Exited(0));
    assert_eq!(machine.kernel.usage().processes, 0);
}
