//! Commands of the host, and the kernel's life.

use std::time::Duration;

use vm_abi::{Errno, Signal, SignalSet};
use vm_kernel::syscall::{self, ActionFlags, Disposition, Fd, SpawnAttributes, SpawnGroup, SpawnRequest};
use vm_kernel::{Command, ExitStatus, Pid, Stdio};

use crate::machine::{Machine, print, read_all, read_to_end, request, spawn};

fn with_sleep(machine: &Machine) {
    machine.program("sleep", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.unwrap();
        0
    });
    machine.program("tree", |ctx| async move {
        spawn(&ctx, &["sleep"]).await;
        spawn(&ctx, &["sleep"]).await;
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.unwrap();
        0
    });
}

#[tokio::test(start_paused = true)]
async fn output_and_errors_are_apart_unless_asked_otherwise() {
    let machine = Machine::new();
    machine.program("both", |ctx| async move {
        print(&ctx, Fd::STDOUT, "out ").await;
        print(&ctx, Fd::STDERR, "err").await;
        0
    });
    let command = Command::new("both").stdout(Stdio::Piped).stderr(Stdio::Piped);
    let mut process = machine.kernel.spawn(command).unwrap();
    assert_eq!(read_all(process.stdout.as_mut().unwrap()).await, "out ");
    assert_eq!(read_all(process.stderr.as_mut().unwrap()).await, "err");
    let output = machine.run(Command::new("both").stderr(Stdio::SameAsStdout)).await;
    assert_eq!(output.stdout, "out err");
}

#[tokio::test(start_paused = true)]
async fn standard_input_is_empty_or_what_was_given() {
    let machine = Machine::new();
    machine.program("cat", |ctx| async move {
        let text = read_to_end(&ctx, Fd::STDIN).await;
        print(&ctx, Fd::STDOUT, &format!("<{}>", text.len())).await;
        0
    });
    assert_eq!(machine.run(Command::new("cat")).await.stdout, "<0>");
    let much = Stdio::Bytes(vec![b'x'; 3 << 20].into());
    assert_eq!(machine.run(Command::new("cat").stdin(much)).await.stdout, "<3145728>");
}

#[tokio::test(start_paused = true)]
async fn every_command_leads_a_session_that_ends_as_one() {
    let machine = Machine::new();
    with_sleep(&machine);
    let one = machine.kernel.spawn(Command::new("tree")).unwrap();
    let other = machine.kernel.spawn(Command::new("sleep")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(machine.kernel.processes().len(), 4);
    assert_eq!(one.session(), one.pid().own_session());
    machine.kernel.kill_session(one.session(), Signal::SIGKILL).unwrap();
    assert_eq!(one.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(machine.kernel.processes().len(), 1);
    assert_eq!(other.try_wait(), None);
    assert_eq!(machine.kernel.kill_session(one.session(), Signal::SIGKILL), Err(Errno::ESRCH));
}

#[tokio::test(start_paused = true)]
async fn any_process_can_be_waited_for_by_its_number() {
    let machine = Machine::new();
    with_sleep(&machine);
    machine.program("exit", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(10)).await.unwrap();
        7
    });
    let tree = machine.kernel.spawn(Command::new("tree")).unwrap();
    let exit = machine.kernel.spawn(Command::new("exit")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let processes = machine.kernel.processes();
    let child = processes.iter().find(|process| process.parent == tree.pid().raw()).unwrap();
    // A process that another has started.
    let handle = machine.kernel.process(child.pid).unwrap();
    assert_eq!(handle.pid(), child.pid);
    assert!(handle.stdin.is_none() && handle.stdout.is_none() && handle.terminal.is_none());
    assert_eq!(handle.try_wait(), None);
    machine.kernel.kill(child.pid, Signal::SIGTERM).unwrap();
    assert_eq!(handle.wait().await, ExitStatus::Signaled(Signal::SIGTERM));
    // Two who wait are both told.
    let again = machine.kernel.process(exit.pid()).unwrap();
    assert_eq!(tokio::join!(exit.wait(), again.wait()), (ExitStatus::Exited(7), ExitStatus::Exited(7)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(machine.kernel.process(exit.pid()).is_none());
    assert!(machine.kernel.process(Pid::new(4000).unwrap()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_signal_to_the_group_of_a_process_reaches_all_of_it_and_nobody_else() {
    let machine = Machine::new();
    with_sleep(&machine);
    machine.program("jobs", |ctx| async move {
        let own = |group| SpawnAttributes { group, ..SpawnAttributes::default() };
        let start = |group| SpawnRequest { attributes: own(group), ..request(&ctx, &["sleep"]) };
        let leader = syscall::process::spawn(&ctx, start(SpawnGroup::Own)).await.unwrap();
        let join = SpawnGroup::Join(leader.own_group());
        syscall::process::spawn(&ctx, start(join)).await.unwrap();
        syscall::process::spawn(&ctx, start(SpawnGroup::Own)).await.unwrap();
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.unwrap();
        0
    });
    let jobs = machine.kernel.spawn(Command::new("jobs")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let living = || {
        let processes = machine.kernel.processes().into_iter();
        processes.filter(|process| process.ended.is_none()).map(|process| process.pid).collect::<Vec<_>>()
    };
    let all = living();
    assert_eq!(all.len(), 4);
    // By the number of a member that does not lead it.
    machine.kernel.kill_group_of(all[2], Signal::SIGTERM).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(living(), [all[0], all[3]]);
    machine.kernel.kill_group_of(jobs.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(jobs.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(living(), [all[3]]);
    assert_eq!(machine.kernel.kill_group_of(all[0], Signal::SIGTERM), Err(Errno::ESRCH));
}

#[tokio::test(start_paused = true)]
async fn a_background_process_outlives_its_command() {
    let machine = Machine::new();
    with_sleep(&machine);
    machine.program("background", |ctx| async move {
        spawn(&ctx, &["sleep"]).await;
        0
    });
    let process = machine.kernel.spawn(Command::new("background").stdout(Stdio::Piped)).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
    let left = machine.kernel.processes();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].session, process.session());
}

#[tokio::test(start_paused = true)]
async fn waiting_twice_tells_the_same_and_giving_up_loses_nothing() {
    let machine = Machine::new();
    machine.program("slow", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(2)).await.unwrap();
        5
    });
    let process = machine.kernel.spawn(Command::new("slow")).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), process.wait()).await.is_err());
    assert_eq!(process.wait().await, ExitStatus::Exited(5));
    assert_eq!(process.wait().await, ExitStatus::Exited(5));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_asks_first_and_insists_later() {
    let machine = Machine::new();
    with_sleep(&machine);
    machine.program("stubborn", |ctx| async move {
        syscall::signal::set_disposition(&ctx, Signal::SIGTERM, Disposition::Ignore).unwrap();
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.unwrap();
        0
    });
    machine.program("tidy", |ctx| async move {
        let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags: ActionFlags::empty() };
        syscall::signal::set_disposition(&ctx, Signal::SIGTERM, caught).unwrap();
        assert_eq!(syscall::time::sleep(&ctx, Duration::from_secs(1000)).await, Err(Errno::EINTR));
        3
    });
    let spawn = |name: &str| machine.kernel.spawn(Command::new(name)).unwrap();
    let (polite, stubborn, tidy) = (spawn("sleep"), spawn("stubborn"), spawn("tidy"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = tokio::time::Instant::now();
    machine.kernel.shutdown(Duration::from_secs(5)).await;
    assert!(start.elapsed() >= Duration::from_secs(5));
    assert_eq!(polite.try_wait(), Some(ExitStatus::Signaled(Signal::SIGTERM)));
    assert_eq!(stubborn.try_wait(), Some(ExitStatus::Signaled(Signal::SIGKILL)));
    assert_eq!(tidy.try_wait(), Some(ExitStatus::Exited(3)));
    assert_eq!(machine.kernel.spawn(Command::new("sleep")).err(), Some(Errno::EAGAIN));
    assert_eq!(machine.kernel.usage(), vm_kernel::Usage::default());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_kernel_takes_its_processes_along() {
    let dropped = std::sync::Arc::new(());
    let machine = Machine::new();
    let held = dropped.clone();
    machine.program("holder", move |ctx| {
        let held = held.clone();
        async move {
            let result = syscall::time::sleep(&ctx, Duration::from_secs(1000)).await;
            drop(held);
            u8::from(result.is_err())
        }
    });
    drop(machine.kernel.spawn(Command::new("holder")).unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(std::sync::Arc::strong_count(&dropped), 3);
    drop(machine);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(std::sync::Arc::strong_count(&dropped), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_still_waits_for_a_dropped_kernels_command_is_told() {
    let machine = Machine::new();
    with_sleep(&machine);
    let mut process = machine.kernel.spawn(Command::new("sleep").stdout(Stdio::Piped)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(machine);
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    assert_eq!(read_all(process.stdout.as_mut().unwrap()).await, "");
}

#[tokio::test(start_paused = true)]
async fn the_host_sees_what_runs() {
    let machine = Machine::new();
    with_sleep(&machine);
    let process = machine.kernel.spawn(Command::new("sleep").arg("forever")).unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let all = machine.kernel.processes();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].pid, all[0].parent, all[0].ended), (process.pid(), 0, None));
    assert_eq!(*all[0].argv, [b"sleep".to_vec(), b"forever".to_vec()]);
    assert!(all[0].age >= Duration::from_secs(7));
    machine.kernel.kill(process.pid(), Signal::SIGINT).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGINT));
    assert_eq!(machine.kernel.kill(process.pid(), Signal::SIGINT), Err(Errno::ESRCH));
}

#[tokio::test(start_paused = true)]
async fn a_missing_working_directory_is_an_error() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    assert_eq!(machine.kernel.spawn(Command::new("true").cwd("/missing")).err(), Some(Errno::ENOENT));
    assert_eq!(machine.kernel.spawn(Command::new("true").cwd("/bin/true")).err(), Some(Errno::ENOTDIR));
    assert_eq!(machine.kernel.usage(), vm_kernel::Usage::default());
}
