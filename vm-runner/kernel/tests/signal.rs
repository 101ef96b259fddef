//! Signals.

use std::time::Duration;

use vm_abi::{Credentials, Errno, Gid, OpenFlags, PollEvents, Signal, SignalSet, Uid};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{
    self, ActionFlags, Disposition, Fd, Itimer, KillTarget, MaskChange, PollFd, WaitStatus,
};
use vm_kernel::{Command, ExitStatus};

use crate::machine::{Machine, read, spawn, wait};

fn catch(ctx: &ProcessContext, signal: Signal, flags: ActionFlags) {
    let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags };
    syscall::signal::set_disposition(ctx, signal, caught).unwrap();
}

async fn kill_self(ctx: &ProcessContext, signal: Signal) {
    syscall::process::kill(ctx, KillTarget::Process(ctx.pid()), Some(signal)).await.unwrap();
}

fn set(signals: &[Signal]) -> SignalSet {
    signals.iter().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn a_fatal_signal_to_oneself_does_not_return() {
    let machine = Machine::new();
    machine.program("suicidal", |ctx| async move {
        kill_self(&ctx, Signal::SIGTERM).await;
        panic!("still alive");
    });
    assert_eq!(machine.run(Command::new("suicidal")).await.status, ExitStatus::Signaled(Signal::SIGTERM));
}

#[tokio::test(start_paused = true)]
async fn a_signal_reaches_a_process_wherever_it_waits() {
    let machine = Machine::new();
    machine.program("reader", |ctx| async move {
        let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
        spawn(&ctx, &["sleeper"]).await;
        let _keep = writer;
        read(&ctx, reader, 1).await.map_or(1, |_| 0)
    });
    machine.program("sleeper", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.map_or(1, |()| 0)
    });
    machine.program("waiter", |ctx| async move {
        let child = spawn(&ctx, &["sleeper"]).await;
        wait(&ctx, child).await;
        0
    });
    for name in ["reader", "sleeper", "waiter"] {
        let process = machine.kernel.spawn(Command::new(name)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        machine.kernel.kill(process.pid(), Signal::SIGKILL).unwrap();
        assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_computing_process_is_killed_when_it_yields() {
    let machine = Machine::new();
    machine.program("busy", |_| async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let process = machine.kernel.spawn(Command::new("busy")).unwrap();
    tokio::task::yield_now().await;
    machine.kernel.kill(process.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
}

#[tokio::test(start_paused = true)]
async fn handlers_run_in_order_of_number_and_under_their_mask() {
    Machine::new()
        .expect(|ctx| async move {
            catch(&ctx, Signal::SIGUSR2, ActionFlags::empty());
            catch(&ctx, Signal::SIGUSR1, ActionFlags::empty());
            kill_self(&ctx, Signal::SIGUSR2).await;
            kill_self(&ctx, Signal::SIGUSR1).await;
            kill_self(&ctx, Signal::SIGUSR1).await;
            assert!(ctx.has_deliverable());
            let first = syscall::signal::take_deliverable(&ctx).unwrap();
            assert_eq!(first.signal, Signal::SIGUSR1);
            assert_eq!(syscall::signal::mask(&ctx), set(&[Signal::SIGUSR1]));
            syscall::signal::finish_delivery(&ctx, first).await;
            let second = syscall::signal::take_deliverable(&ctx).unwrap();
            assert_eq!(second.signal, Signal::SIGUSR2);
            syscall::signal::finish_delivery(&ctx, second).await;
            assert_eq!(syscall::signal::take_deliverable(&ctx), None);
            assert!(!ctx.has_deliverable());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_blocked_signal_waits_until_it_is_unblocked() {
    let machine = Machine::new();
    machine.program("victim", |ctx| async move {
        syscall::signal::change_mask(&ctx, MaskChange::Block, set(&[Signal::SIGTERM])).await;
        kill_self(&ctx, Signal::SIGTERM).await;
        assert_eq!(syscall::signal::pending(&ctx), set(&[Signal::SIGTERM]));
        syscall::signal::change_mask(&ctx, MaskChange::Unblock, set(&[Signal::SIGTERM])).await;
        panic!("still alive");
    });
    assert_eq!(machine.run(Command::new("victim")).await.status, ExitStatus::Signaled(Signal::SIGTERM));
}

#[tokio::test(start_paused = true)]
async fn changing_the_mask_tells_the_old_one() {
    Machine::new()
        .expect(|ctx| async move {
            let (hup, int) = (set(&[Signal::SIGHUP]), set(&[Signal::SIGINT]));
            let change = |change, signals| syscall::signal::change_mask(&ctx, change, signals);
            assert_eq!(change(MaskChange::Set, hup).await, SignalSet::EMPTY);
            assert_eq!(change(MaskChange::Block, int).await, hup);
            assert_eq!(change(MaskChange::Unblock, hup).await, hup.union(int));
            assert_eq!(change(MaskChange::Set, SignalSet::ALL).await, int);
            assert_eq!(syscall::signal::mask(&ctx), SignalSet::ALL.difference(SignalSet::UNBLOCKABLE));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn kill_and_stop_have_no_other_disposition() {
    Machine::new()
        .expect(|ctx| async move {
            for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
                let ignore = syscall::signal::set_disposition(&ctx, signal, Disposition::Ignore);
                assert_eq!(ignore, Err(Errno::EINVAL));
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_does_nothing_until_it_is_continued() {
    let machine = Machine::new();
    machine.program("ticker", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(2)).await.unwrap();
        0
    });
    let process = machine.kernel.spawn(Command::new("ticker")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    machine.kernel.kill(process.pid(), Signal::SIGSTOP).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(process.try_wait(), None);
    machine.kernel.kill(process.pid(), Signal::SIGCONT).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_can_be_killed() {
    let machine = Machine::new();
    machine.program("stopper", |ctx| async move {
        kill_self(&ctx, Signal::SIGSTOP).await;
        0
    });
    let process = machine.kernel.spawn(Command::new("stopper")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(process.try_wait(), None);
    machine.kernel.kill(process.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_dies_of_other_signals_only_when_it_is_continued() {
    let machine = Machine::new();
    machine.program("stopper", |ctx| async move {
        kill_self(&ctx, Signal::SIGSTOP).await;
        0
    });
    let process = machine.kernel.spawn(Command::new("stopper")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    machine.kernel.kill(process.pid(), Signal::SIGTERM).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(process.try_wait(), None);
    machine.kernel.kill(process.pid(), Signal::SIGCONT).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGTERM));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_group_that_becomes_orphaned_is_hung_up() {
    let machine = Machine::new();
    machine.program("stopper", |ctx| async move {
        kill_self(&ctx, Signal::SIGSTOP).await;
        0
    });
    machine.program("parent", |ctx| async move {
        let group = syscall::SpawnGroup::Own;
        let attributes = syscall::SpawnAttributes { group, ..Default::default() };
        let child = syscall::SpawnRequest { attributes, ..crate::machine::request(&ctx, &["stopper"]) };
        syscall::process::spawn(&ctx, child).await.unwrap();
        syscall::time::sleep(&ctx, Duration::from_secs(1)).await.map_or(1, |()| 0)
    });
    let process = machine.kernel.spawn(Command::new("parent")).unwrap();
    assert_eq!(process.wait().await, ExitStatus::Exited(0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(machine.kernel.processes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_itself_goes_on_where_it_was() {
    let machine = Machine::new();
    machine.program("stopper", |ctx| async move {
        kill_self(&ctx, Signal::SIGSTOP).await;
        6
    });
    machine
        .expect(|ctx| async move {
            let child = spawn(&ctx, &["stopper"]).await;
            let options = syscall::WaitOptions::UNTRACED;
            let stopped = syscall::process::wait(&ctx, syscall::WaitTarget::Child(child), options).await;
            assert_eq!(stopped.unwrap().unwrap().status, WaitStatus::Stopped(Signal::SIGSTOP));
            let target = KillTarget::Process(child);
            syscall::process::kill(&ctx, target, Some(Signal::SIGCONT)).await.unwrap();
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(6));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_terminal_stop_does_nothing_to_an_orphaned_group() {
    let machine = Machine::new();
    machine.program("leader", |ctx| async move {
        kill_self(&ctx, Signal::SIGTSTP).await;
        0
    });
    assert_eq!(machine.run(Command::new("leader")).await.status, ExitStatus::Exited(0));
}

#[tokio::test(start_paused = true)]
async fn only_the_mighty_signal_others() {
    let machine = Machine::new();
    machine.program("sleeper", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.map_or(1, |()| 0)
    });
    machine.program("killer", |ctx| async move {
        let target = KillTarget::from_raw(String::from_utf8(ctx.argv()[1].clone()).unwrap().parse().unwrap());
        match syscall::process::kill(&ctx, target, None).await {
            Ok(()) => 0,
            Err(Errno::EPERM) => 1,
            Err(_) => 2,
        }
    });
    let user = |uid| Credentials::new(Uid(uid), Gid(uid));
    let victim = machine.kernel.spawn(Command::new("sleeper").credentials(user(5))).unwrap();
    let pid = victim.pid().to_string();
    let kill = |uid, target: &str| machine.run(Command::new("killer").arg(target).credentials(user(uid)));
    assert_eq!(kill(5, &pid).await.status, ExitStatus::Exited(0));
    assert_eq!(kill(0, &pid).await.status, ExitStatus::Exited(0));
    assert_eq!(kill(6, &pid).await.status, ExitStatus::Exited(1));
    assert_eq!(kill(6, &format!("-{pid}")).await.status, ExitStatus::Exited(1));
    assert_eq!(kill(6, "99").await.status, ExitStatus::Exited(2));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_signalled_as_one() {
    let machine = Machine::new();
    machine.program("member", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(1000)).await.map_or(1, |()| 0)
    });
    machine
        .expect(|ctx| async move {
            catch(&ctx, Signal::SIGTERM, ActionFlags::empty());
            let children = [spawn(&ctx, &["member"]).await, spawn(&ctx, &["member"]).await];
            syscall::process::kill(&ctx, KillTarget::OwnGroup, Some(Signal::SIGTERM)).await.unwrap();
            let delivery = syscall::signal::take_deliverable(&ctx).unwrap();
            syscall::signal::finish_delivery(&ctx, delivery).await;
            for child in children {
                assert_eq!(wait(&ctx, child).await, WaitStatus::Signaled(Signal::SIGTERM));
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_rings_once_or_again_and_again() {
    Machine::new()
        .expect(|ctx| async move {
            catch(&ctx, Signal::SIGALRM, ActionFlags::empty());
            let second = Duration::from_secs(1);
            let old = syscall::process::set_itimer(&ctx, Itimer { remaining: second, interval: 2 * second });
            assert_eq!(old, Itimer::default());
            let start = tokio::time::Instant::now();
            for expected in [1, 3, 5] {
                assert_eq!(syscall::time::sleep(&ctx, 100 * second).await, Err(Errno::EINTR));
                let elapsed = start.elapsed().as_millis();
                assert!((expected * 1000..expected * 1000 + 100).contains(&elapsed), "{elapsed}");
                let delivery = syscall::signal::take_deliverable(&ctx).unwrap();
                assert_eq!(delivery.signal, Signal::SIGALRM);
                syscall::signal::finish_delivery(&ctx, delivery).await;
            }
            let old = syscall::process::set_itimer(&ctx, Itimer::default());
            assert_eq!(old.interval, 2 * second);
            assert!(old.remaining <= 2 * second);
            assert_eq!(syscall::time::sleep(&ctx, 100 * second).await, Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_nobody_catches_kills() {
    let machine = Machine::new();
    machine.program("bomb", |ctx| async move {
        let timer = Itimer { remaining: Duration::from_secs(1), interval: Duration::ZERO };
        let _ = syscall::process::set_itimer(&ctx, timer);
        loop {
            tokio::task::yield_now().await;
            syscall::time::sleep(&ctx, Duration::from_millis(1)).await.unwrap();
        }
    });
    assert_eq!(machine.run(Command::new("bomb")).await.status, ExitStatus::Signaled(Signal::SIGALRM));
}

#[tokio::test(start_paused = true)]
async fn a_poll_with_a_mask_lets_a_blocked_signal_through() {
    Machine::new()
        .expect(|ctx| async move {
            catch(&ctx, Signal::SIGUSR1, ActionFlags::empty());
            let blocked = set(&[Signal::SIGUSR1]);
            syscall::signal::change_mask(&ctx, MaskChange::Set, blocked).await;
            kill_self(&ctx, Signal::SIGUSR1).await;
            let (reader, _writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            let mut files =
                [PollFd { fd: Some(reader), events: PollEvents::IN, revents: PollEvents::empty() }];
            let second = Some(Duration::from_secs(1));
            assert_eq!(syscall::poll::poll(&ctx, &mut files, second, None).await, Ok(0));
            let interrupted = syscall::poll::poll(&ctx, &mut files, second, Some(SignalSet::EMPTY)).await;
            assert_eq!(interrupted, Err(Errno::EINTR));
            let delivery = syscall::signal::take_deliverable(&ctx).unwrap();
            syscall::signal::finish_delivery(&ctx, delivery).await;
            assert_eq!(syscall::signal::mask(&ctx), blocked);
            assert_eq!(syscall::poll::poll(&ctx, &mut files, second, Some(SignalSet::EMPTY)).await, Ok(0));
            assert_eq!(syscall::signal::mask(&ctx), blocked);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_a_handler() {
    Machine::new()
        .expect(|ctx| async move {
            catch(&ctx, Signal::SIGALRM, ActionFlags::empty());
            let timer = Itimer { remaining: Duration::from_secs(1), interval: Duration::ZERO };
            let _ = syscall::process::set_itimer(&ctx, timer);
            assert_eq!(syscall::signal::pause(&ctx, None).await, Errno::EINTR);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_child_is_signalled() {
    let machine = Machine::new();
    machine.program("true", |_| async { 0 });
    machine
        .expect(|ctx| async move {
            catch(&ctx, Signal::SIGCHLD, ActionFlags::empty());
            spawn(&ctx, &["true"]).await;
            assert_eq!(syscall::time::sleep(&ctx, Duration::from_secs(10)).await, Err(Errno::EINTR));
            let delivery = syscall::signal::take_deliverable(&ctx).unwrap();
            assert_eq!(delivery.signal, Signal::SIGCHLD);
            assert!(!delivery.restart);
            syscall::signal::finish_delivery(&ctx, delivery).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn existence_can_be_asked_for() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(syscall::process::kill(&ctx, KillTarget::Process(ctx.pid()), None).await, Ok(()));
            assert_eq!(syscall::process::kill(&ctx, KillTarget::from_raw(99), None).await, Err(Errno::ESRCH));
            assert_eq!(
                syscall::process::kill(&ctx, KillTarget::from_raw(-99), None).await,
                Err(Errno::ESRCH)
            );
            assert_eq!(syscall::file::stat(&ctx, Fd::STDIN).map(|_| ()), Ok(()));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_member_does_not_hang_up_its_stopped_group() {
    let machine = Machine::new();
    machine.program("brief", |_| async { 0 });
    machine.program("leader", |ctx| async move {
        spawn(&ctx, &["brief"]).await;
        let me = syscall::KillTarget::Process(ctx.pid());
        syscall::process::kill(&ctx, me, Some(Signal::SIGSTOP)).await.unwrap();
        0
    });
    // Nobody could continue the group from the start: no end of a member makes it so.
    let leader = machine.kernel.spawn(Command::new("leader")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(leader.try_wait(), None);
    machine.kernel.kill(leader.pid(), Signal::SIGCONT).unwrap();
    assert_eq!(leader.wait().await, ExitStatus::Exited(0));
}
