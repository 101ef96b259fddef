//! The log of system calls.

use std::time::Duration;

use vm_abi::{Errno, OpenFlags, Signal};
use vm_kernel::syscall::{self, Fd, KillTarget};
use vm_kernel::{Command, Pid, Stdio, StraceReader};

use crate::machine::{Machine, open, print, read, spawn, wait};

/// Starts a program that waits for a line, and traces it from then on.
fn traced(machine: &Machine, follow_children: bool) -> (vm_kernel::ProcessHandle, StraceReader) {
    let process = machine.kernel.spawn(Command::new("main").stdin(Stdio::Piped)).unwrap();
    let reader = machine.kernel.strace(process.pid(), follow_children).unwrap();
    (process, reader)
}

async fn lines(mut reader: StraceReader) -> Vec<(Pid, String)> {
    let mut lines = Vec::new();
    while let Some(line) = reader.read().await {
        assert_eq!(line.lost, 0);
        let text = match line.text.rsplit_once(" <") {
            Some((text, took)) if took.ends_with('>') && took.starts_with("0.") => text.to_owned(),
            _ => line.text,
        };
        lines.push((line.pid, text));
    }
    lines
}

#[tokio::test(start_paused = true)]
async fn calls_are_shown_as_strace_shows_them() {
    let machine = Machine::new();
    machine.write_file("/work/f", "content\n", 0o644);
    machine.program("main", |ctx| async move {
        let fd = open(&ctx, "/work/f", OpenFlags::READ | OpenFlags::CLOEXEC).await.unwrap();
        read(&ctx, fd, 100).await.unwrap();
        syscall::file::close(&ctx, fd).unwrap();
        assert_eq!(syscall::file::close(&ctx, fd), Err(Errno::EBADF));
        print(&ctx, Fd::STDOUT, &"secret ".repeat(100)).await;
        syscall::path::mkdir(&ctx, syscall::DirFd::Cwd, b"/work/d\n", vm_abi::Mode::new(0o755)).unwrap();
        7
    });
    let (_process, reader) = traced(&machine, false);
    let lines: Vec<String> = lines(reader).await.into_iter().map(|(_, text)| text).collect();
    let shown = "secret ".repeat(100)[..64].to_owned();
    assert_eq!(
        lines,
        [
            r#"openat(AT_FDCWD, "/work/f", O_RDONLY|O_CLOEXEC, 0644) = 3</work/f>"#,
            r#"read(3</work/f>, "content\n", 100) = 8"#,
            "close(3</work/f>) = 0",
            "close(3) = -1 EBADF (Bad file descriptor)",
            &format!(r#"write(1</dev/null>, "{shown}"..., 700) = 700"#),
            r#"mkdirat(AT_FDCWD, "/work/d\n", 0755) = 0"#,
            "+++ exited with 7 +++",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn children_are_followed_if_asked_and_environments_stay_secret() {
    for follows in [false, true] {
        let machine = Machine::new();
        machine.program("child", |ctx| async move {
            let target = KillTarget::Process(ctx.pid());
            syscall::process::kill(&ctx, target, Some(Signal::SIGTERM)).await.unwrap();
            0
        });
        machine.program("main", |ctx| async move {
            let child = spawn(&ctx, &["child", "x"]).await;
            wait(&ctx, child).await;
            0
        });
        let (process, reader) = traced(&machine, follows);
        let lines = lines(reader).await;
        let own: Vec<_> =
            lines.iter().filter(|(pid, _)| *pid == process.pid()).map(|(_, text)| text).collect();
        assert!(own[0].starts_with(r#"posix_spawn("child", ["child", "x"], /* "#), "{own:?}");
        assert!(own[0].ends_with("vars */, []) = 3"), "{own:?}");
        assert_eq!(own[1], "wait4(3, 0) = 3 {killed by SIGTERM}");
        let childs: Vec<_> =
            lines.iter().filter(|(pid, _)| *pid != process.pid()).map(|(_, text)| text).collect();
        if follows {
            assert_eq!(childs, ["kill(3, Some(SIGTERM) <unfinished ...>", "+++ killed by SIGTERM +++"]);
        } else {
            assert!(childs.is_empty(), "{childs:?}");
        }
        assert!(lines.iter().all(|(_, text)| !text.contains("PATH=")), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_reading_stops_the_tracing() {
    let machine = Machine::new();
    machine.program("main", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(10)).await.map_or(1, |()| 0)
    });
    let process = machine.kernel.spawn(Command::new("main")).unwrap();
    let strace = || machine.kernel.strace(process.pid(), true);
    let readers: Vec<_> = (0..8).map(|_| strace().unwrap()).collect();
    assert_eq!(strace().err(), Some(Errno::EBUSY));
    drop(readers);
    let mut reader = strace().unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(reader.read().await.unwrap().text.starts_with("nanosleep(10s) = 0 <10.0"));
    assert_eq!(reader.read().await.unwrap().text, "+++ exited with 0 +++");
    assert_eq!(reader.read().await, None);
    assert_eq!(strace().err(), Some(Errno::ESRCH));
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_goes_away_ends_the_log() {
    let machine = Machine::new();
    machine.program("main", |ctx| async move {
        syscall::signal::pause(&ctx, None).await;
        0
    });
    let (_process, mut reader) = traced(&machine, true);
    machine.kernel.shutdown(Duration::ZERO).await;
    let mut last = None;
    while let Some(line) = reader.read().await {
        last = Some(line.text);
    }
    assert!(last.is_some_and(|last| last.starts_with("+++ killed by SIG")));
}
