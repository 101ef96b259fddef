//! What the host sees of who does what.

use std::time::Duration;

use vm_abi::{OpenFlags, PollEvents, Signal};
use vm_kernel::syscall::{self, Fd, PollFd};
use vm_kernel::{Command, HostTerminal, Kernel, Pid, ProcessHandle, ProcessState, WindowSize};

use crate::machine::{Machine, read, spawn};

fn machine() -> Machine {
    let machine = Machine::new();
    machine.program("shell", |ctx| async move {
        loop {
            match read(&ctx, Fd::STDIN, 100).await.unwrap().as_str() {
                "" => return 0,
                "poll\n" => {
                    let typed =
                        PollFd { fd: Some(Fd::STDIN), events: PollEvents::IN, revents: PollEvents::empty() };
                    syscall::poll::poll(&ctx, &mut [typed], None, None).await.unwrap();
                }
                "sleep\n" => drop(spawn(&ctx, &["sleep"]).await),
                "wait\n" => syscall::time::sleep(&ctx, Duration::from_secs(100)).await.unwrap(),
                _ => return 1,
            }
        }
    });
    machine.program("sleep", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(50)).await.map_or(1, |()| 0)
    });
    machine
}

async fn shell(machine: &Machine) -> (ProcessHandle, HostTerminal) {
    let command = Command::new("shell").terminal(WindowSize { columns: 80, rows: 24 });
    let mut process = machine.kernel.spawn(command).unwrap();
    let terminal = process.terminal.take().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    (process, terminal)
}

async fn say(terminal: &HostTerminal, line: &[u8]) {
    terminal.write(line).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn state(kernel: &Kernel, pid: Pid) -> ProcessState {
    kernel.processes().into_iter().find(|process| process.pid == pid).unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_shell_at_its_prompt_is_told_from_one_that_works() {
    let machine = machine();
    let kernel = &machine.kernel;
    assert_eq!(kernel.activity().processes, 0);
    let (process, terminal) = shell(&machine).await;
    assert_eq!(state(kernel, process.pid()), ProcessState::AtTerminal);
    let activity = kernel.activity();
    assert_eq!((activity.processes, activity.at_terminal, activity.sessions), (1, 1, 1));
    say(&terminal, b"poll\r").await;
    assert_eq!(state(kernel, process.pid()), ProcessState::AtTerminal);
    say(&terminal, b"sleep\r").await;
    let activity = kernel.activity();
    assert_eq!((activity.processes, activity.at_terminal, activity.sessions), (2, 1, 1));
    say(&terminal, b"wait\r").await;
    assert_eq!(state(kernel, process.pid()), ProcessState::Sleeping);
    kernel.kill(process.pid(), Signal::SIGSTOP).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(state(kernel, process.pid()), ProcessState::Stopped);
    // The child's zombie is no activity.
    assert_eq!((kernel.processes().len(), kernel.activity().processes), (2, 1));
    assert_eq!(kernel.processes()[1].state, ProcessState::Zombie);
}

#[tokio::test(start_paused = true)]
async fn idleness_lasts_since_somebody_ran() {
    let machine = machine();
    let (_process, terminal) = shell(&machine).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let idle_for = machine.kernel.activity().idle_for;
    assert!(idle_for >= Duration::from_secs(30) && idle_for < Duration::from_secs(31), "{idle_for:?}");
    say(&terminal, b"poll\r").await;
    assert!(machine.kernel.activity().idle_for < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_process_shows_its_name_user_and_files() {
    let machine = machine();
    machine.program("a-name-that-is-long", |ctx| async move {
        syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
        syscall::signal::pause(&ctx, None).await;
        0
    });
    let credentials = vm_abi::Credentials::new(vm_abi::Uid(1000), vm_abi::Gid(100));
    let command = Command::new("a-name-that-is-long").arg("x").credentials(credentials);
    machine.kernel.spawn(command).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let process = machine.kernel.processes().remove(0);
    assert_eq!(process.name, "a-name-that-is-");
    assert_eq!((process.uid.0, process.gid.0, process.open_fds), (1000, 100, 5));
    assert_eq!(process.argv.len(), 2);
    assert_eq!((process.parent, process.state), (0, ProcessState::Sleeping));
}
