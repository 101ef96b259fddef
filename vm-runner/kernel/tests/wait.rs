//! Waiting for children.

use std::time::Duration;

use vm_abi::{Errno, Signal, SignalSet};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{
    self, ActionFlags, Disposition, KillTarget, SpawnAttributes, SpawnGroup, SpawnRequest, WaitOptions,
    WaitResult, WaitStatus, WaitTarget,
};

use crate::machine::{Machine, request, spawn, wait};

async fn wait_for(
    ctx: &ProcessContext,
    target: WaitTarget,
    options: WaitOptions,
) -> Result<Option<WaitResult>, Errno> {
    syscall::process::wait(ctx, target, options).await
}

fn with_sleepers(machine: &Machine) {
    machine.program("sleep", |ctx| async move {
        let seconds = String::from_utf8(ctx.argv()[1].clone()).unwrap().parse().unwrap();
        syscall::time::sleep(&ctx, Duration::from_secs(seconds)).await.unwrap();
        u8::try_from(seconds).unwrap()
    });
}

#[tokio::test(start_paused = true)]
async fn any_child_that_ends_first_is_told_first_and_once() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine
        .expect(|ctx| async move {
            let slow = spawn(&ctx, &["sleep", "9"]).await;
            let fast = spawn(&ctx, &["sleep", "4"]).await;
            for (pid, code) in [(fast, 4), (slow, 9)] {
                let result = wait_for(&ctx, WaitTarget::Any, WaitOptions::empty()).await;
                assert_eq!(result, Ok(Some(WaitResult { pid, status: WaitStatus::Exited(code) })));
            }
            assert_eq!(wait_for(&ctx, WaitTarget::Any, WaitOptions::empty()).await, Err(Errno::ECHILD));
            assert_eq!(
                wait_for(&ctx, WaitTarget::Child(slow), WaitOptions::NOHANG).await,
                Err(Errno::ECHILD)
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_news_parks_shortly_but_wakes_at_once_for_news() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine.program("blink", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_micros(300)).await.unwrap();
        0
    });
    machine
        .expect(|ctx| async move {
            let child = spawn(&ctx, &["sleep", "1"]).await;
            let start = tokio::time::Instant::now();
            assert_eq!(wait_for(&ctx, WaitTarget::Child(child), WaitOptions::NOHANG).await, Ok(None));
            let parked = start.elapsed();
            assert!(parked >= Duration::from_millis(1) && parked <= Duration::from_millis(4), "{parked:?}");
            wait(&ctx, child).await;
            let child = spawn(&ctx, &["blink"]).await;
            let result = wait_for(&ctx, WaitTarget::Child(child), WaitOptions::NOHANG).await;
            assert_eq!(result, Ok(Some(WaitResult { pid: child, status: WaitStatus::Exited(0) })));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn children_are_told_apart_by_group() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine
        .expect(|ctx| async move {
            let own = spawn(&ctx, &["sleep", "5"]).await;
            let attributes = SpawnAttributes { group: SpawnGroup::Own, ..SpawnAttributes::default() };
            let request = SpawnRequest { attributes, ..request(&ctx, &["sleep", "1"]) };
            let other = syscall::process::spawn(&ctx, request).await.unwrap();
            let result = wait_for(&ctx, WaitTarget::OwnGroup, WaitOptions::empty()).await.unwrap().unwrap();
            assert_eq!(result.pid, own);
            assert_eq!(wait_for(&ctx, WaitTarget::OwnGroup, WaitOptions::empty()).await, Err(Errno::ECHILD));
            let target = WaitTarget::Group(other.own_group());
            assert_eq!(wait_for(&ctx, target, WaitOptions::empty()).await.unwrap().unwrap().pid, other);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn stops_and_continuations_are_told_on_demand() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine
        .expect(|ctx| async move {
            let child = spawn(&ctx, &["sleep", "60"]).await;
            let kill = |signal| syscall::process::kill(&ctx, KillTarget::Process(child), Some(signal));
            let all = WaitOptions::UNTRACED | WaitOptions::CONTINUED;
            kill(Signal::SIGSTOP).await.unwrap();
            assert_eq!(wait_for(&ctx, WaitTarget::Any, WaitOptions::NOHANG).await, Ok(None));
            let stopped = wait_for(&ctx, WaitTarget::Any, all).await.unwrap().unwrap();
            assert_eq!(stopped.status, WaitStatus::Stopped(Signal::SIGSTOP));
            assert_eq!(wait_for(&ctx, WaitTarget::Any, all | WaitOptions::NOHANG).await, Ok(None));
            kill(Signal::SIGCONT).await.unwrap();
            let continued = wait_for(&ctx, WaitTarget::Any, all).await.unwrap().unwrap();
            assert_eq!(continued.status, WaitStatus::Continued);
            kill(Signal::SIGKILL).await.unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGKILL));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_ready_status_wins_over_a_signal() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    machine
        .expect(|ctx| async move {
            let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags: ActionFlags::empty() };
            syscall::signal::set_disposition(&ctx, Signal::SIGCHLD, caught).unwrap();
            let child = spawn(&ctx, &["true"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
            assert!(ctx.has_deliverable());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_caught_signal_interrupts_a_wait() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine.program("interrupter", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1)).await.unwrap();
        let parent = KillTarget::from_raw(syscall::process::parent(&ctx));
        syscall::process::kill(&ctx, parent, Some(Signal::SIGUSR1)).await.unwrap();
        0
    });
    machine
        .expect(|ctx| async move {
            let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags: ActionFlags::RESTART };
            syscall::signal::set_disposition(&ctx, Signal::SIGUSR1, caught).unwrap();
            let slow = spawn(&ctx, &["sleep", "60"]).await;
            spawn(&ctx, &["interrupter"]).await;
            assert_eq!(
                wait_for(&ctx, WaitTarget::Child(slow), WaitOptions::empty()).await,
                Err(Errno::EINTR)
            );
            let delivery = syscall::signal::take_deliverable(&ctx).unwrap();
            assert_eq!((delivery.signal, delivery.restart), (Signal::SIGUSR1, true));
            syscall::signal::finish_delivery(&ctx, delivery).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn ignoring_sigchld_leaves_no_zombies() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine
        .expect(|ctx| async move {
            syscall::signal::set_disposition(&ctx, Signal::SIGCHLD, Disposition::Ignore).unwrap();
            let child = spawn(&ctx, &["sleep", "1"]).await;
            // The wait lasts until the last child is gone, then there is none.
            assert_eq!(
                wait_for(&ctx, WaitTarget::Child(child), WaitOptions::empty()).await,
                Err(Errno::ECHILD)
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn orphans_are_adopted_and_reaped() {
    let machine = Machine::new();
    with_sleepers(&machine);
    machine.program("parent", |ctx| async move {
        spawn(&ctx, &["sleep", "5"]).await;
        0
    });
    machine.kernel.spawn(vm_kernel::Command::new("parent")).unwrap().wait().await;
    let orphans = machine.kernel.processes();
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].parent, 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(machine.kernel.processes().is_empty());
}

#[test]
fn raw_statuses_are_linuxs() {
    assert_eq!(WaitStatus::Exited(3).raw(), 0x300);
    assert_eq!(WaitStatus::Signaled(Signal::SIGTERM).raw(), 15);
    assert_eq!(WaitStatus::Stopped(Signal::SIGSTOP).raw(), 0x137f);
    assert_eq!(WaitStatus::Continued.raw(), 0xffff);
}
