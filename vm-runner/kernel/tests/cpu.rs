//! CPU time: charged to who used it, limited, and shared.
//!
//! Tokio's paused clock is the time: programs "compute" by advancing it, and it jumps on while everybody waits.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use vm_abi::{Signal, Timespec};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, ClockId};
use vm_kernel::{Clock, Command, ExitStatus, Kernel, Limits, Pid, SystemClock};

use crate::machine::{Machine, spawn, wait};

/// The host's clock, where all time is CPU time.
pub(crate) struct ComputingClock(SystemClock);

impl ComputingClock {
    pub(crate) fn new() -> Self {
        Self(SystemClock::new())
    }
}

impl Clock for ComputingClock {
    fn realtime(&self) -> Timespec {
        self.0.realtime()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn sleep_until(&self, instant: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep_until(instant)
    }
}

fn machine(cpu_millis: u32) -> Machine {
    let limits = Limits { cpu_millis, ..Limits::default() };
    let clock = Arc::new(ComputingClock::new());
    let machine = Machine::with(|builder| builder.limits(limits).clock(clock));
    machine.program("spin", |_| async move {
        loop {
            compute(1).await;
        }
    });
    machine.program("compute", |ctx| async move {
        let millis = String::from_utf8(ctx.argv()[1].clone()).unwrap().parse().unwrap();
        for _ in 0..millis {
            compute(1).await;
        }
        0
    });
    machine.program("spins", |ctx| async move {
        for _ in 0..9 {
            spawn(&ctx, &["spin"]).await;
        }
        loop {
            compute(1).await;
        }
    });
    machine
}

/// Uses CPU time, then returns from the poll, as a driver does at the end of a slice.
pub(crate) async fn compute(millis: u64) {
    // Tokio's own would yield until nobody else wants to run, which no driver does.
    let _ = futures::poll!(std::pin::pin!(tokio::time::advance(Duration::from_millis(millis))));
    let mut has_yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn used(kernel: &Kernel, pid: Pid) -> Duration {
    kernel.processes().into_iter().find(|process| process.pid == pid).unwrap().cpu_time
}

fn assert_near(value: Duration, millis: u64, tolerance: u64) {
    let difference = value.abs_diff(Duration::from_millis(millis));
    assert!(difference <= Duration::from_millis(tolerance), "{value:?} instead of {millis} ms");
}

#[tokio::test(start_paused = true)]
async fn a_process_is_charged_for_what_it_computes_and_not_for_waiting() {
    machine(0)
        .expect(|ctx| async move {
            compute(3).await;
            syscall::time::sleep(&ctx, Duration::from_secs(5)).await.unwrap();
            compute(2).await;
            let own = syscall::time::now(&ctx, ClockId::Process);
            assert_eq!(own.as_nanos() / 1_000_000, 5);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_host_knows_what_a_command_used_after_its_end() {
    let machine = machine(0);
    let command = machine.kernel.spawn(Command::new("compute").arg("30")).unwrap();
    assert_eq!(command.wait().await, ExitStatus::Exited(0));
    assert_near(command.cpu_time(&machine.kernel), 30, 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_children_is_known_once_they_were_waited_for() {
    let machine = machine(0);
    let kernel = machine.kernel.clone();
    machine
        .expect(move |ctx| {
            let kernel = kernel.clone();
            async move {
                let child = spawn(&ctx, &["compute", "70"]).await;
                wait(&ctx, child).await;
                assert_near(kernel.cpu_time(), 70, 1);
                assert_eq!(used(&kernel, ctx.pid()).as_millis(), 0);
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn cpu_millis() {
    let machine = machine(250);
    machine.kernel.spawn(Command::new("spin")).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_near(machine.kernel.cpu_time(), 2_500, 30);
    machine.kernel.set_cpu_millis(500);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_near(machine.kernel.cpu_time(), 7_500, 80);
    machine.kernel.set_cpu_millis(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_near(machine.kernel.cpu_time(), 8_500, 200);
}

#[tokio::test(start_paused = true)]
async fn what_a_driver_used_on_behalf_of_a_program_is_paid_while_the_vm_goes_on() {
    let machine = machine(500);
    machine.program("owe", |ctx| async move {
        syscall::time::owe(&ctx, Duration::from_secs(1));
        assert_eq!(syscall::time::now(&ctx, ClockId::Process).as_nanos() / 1_000_000, 1000);
        0
    });
    assert_eq!(machine.run(Command::new("owe")).await.status, ExitStatus::Exited(0));
    assert_near(machine.kernel.cpu_time(), 1_000, 1);
    // Half of the quota goes into it for 4 s: 250 ms of each second.
    machine.kernel.spawn(Command::new("spin")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_near(machine.kernel.cpu_time(), 1_500, 60);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_near(machine.kernel.cpu_time(), 2_000, 60);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_near(machine.kernel.cpu_time(), 3_000, 60);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_is_paid_by_what_nobody_uses() {
    let machine = machine(500);
    machine.program("owe", |ctx| async move {
        syscall::time::owe(&ctx, Duration::from_secs(1));
        0
    });
    machine.run(Command::new("owe")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    machine.kernel.spawn(Command::new("spin")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_near(machine.kernel.cpu_time(), 2_000, 60);
}

#[tokio::test(start_paused = true)]
async fn what_was_overdrawn_is_missing_later() {
    let machine = machine(100);
    machine.program("hog", |_| async move {
        loop {
            // Ten periods' quota without a pause.
            compute(100).await;
        }
    });
    machine.kernel.spawn(Command::new("hog")).unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(machine.kernel.cpu_time() < Duration::from_millis(10_600), "{:?}", machine.kernel.cpu_time());
}

#[tokio::test(start_paused = true)]
async fn many_processes_of_one_command_get_no_more_than_another_commands_one() {
    let machine = machine(0);
    let single = machine.kernel.spawn(Command::new("spin")).unwrap();
    machine.kernel.spawn(Command::new("spins")).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let all = machine.kernel.cpu_time();
    assert_near(used(&machine.kernel, single.pid()), u64::try_from(all.as_millis()).unwrap() / 2, 200);
}

#[tokio::test(start_paused = true)]
async fn processes_of_one_command_share_alike() {
    let machine = machine(500);
    machine.kernel.spawn(Command::new("spins")).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    for process in machine.kernel.processes() {
        assert_near(process.cpu_time, 1_000, 150);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_computes_little_does_not_wait_for_those_who_compute_much() {
    for millis in [0, 300] {
        let machine = machine(millis);
        machine.kernel.spawn(Command::new("spins")).unwrap();
        machine.kernel.spawn(Command::new("spins")).unwrap();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        let start = Instant::now();
        let light = machine.kernel.spawn(Command::new("compute").arg("2")).unwrap();
        // In a task, since Tokio looks after a test's own future only now and then.
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            light.wait().await;
            start.elapsed()
        });
        let elapsed = tasks.join_next().await.unwrap().unwrap();
        assert!(elapsed <= Duration::from_millis(8), "{millis}: {elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_waits_for_its_share_can_be_killed_and_stopped() {
    let machine = machine(10);
    let first = machine.kernel.spawn(Command::new("spin")).unwrap();
    let second = machine.kernel.spawn(Command::new("spin")).unwrap();
    tokio::time::sleep(Duration::from_millis(510)).await;
    machine.kernel.kill(second.pid(), Signal::SIGSTOP).unwrap();
    let start = Instant::now();
    machine.kernel.kill(first.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(first.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    assert!(start.elapsed() < Duration::from_millis(5));
    // A stopped process keeps nobody from running.
    let before = machine.kernel.cpu_time();
    let third = machine.kernel.spawn(Command::new("spin")).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_near(used(&machine.kernel, third.pid()), 50, 20);
    machine.kernel.kill(second.pid(), Signal::SIGCONT).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_near(machine.kernel.cpu_time() - before, 100, 20);
    let stopped = used(&machine.kernel, second.pid());
    assert!(stopped > Duration::from_millis(10), "{stopped:?}");
}

#[tokio::test(start_paused = true)]
async fn a_driver_with_threads_says_itself_what_its_guest_used() {
    let machine = machine(100);
    let kernel = machine.kernel.clone();
    machine
        .expect(move |ctx: ProcessContext| {
            let kernel = kernel.clone();
            async move {
                let start = Instant::now();
                for _ in 0..20 {
                    syscall::time::preempt(&ctx, Duration::from_millis(5)).await.unwrap();
                }
                assert_near(kernel.cpu_time(), 100, 1);
                assert!(start.elapsed() >= Duration::from_millis(800), "{:?}", start.elapsed());
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_load_average_counts_who_runs_and_who_wants_to() {
    let machine = machine(500);
    for _ in 0..3 {
        machine.kernel.spawn(Command::new("spin")).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    let [one, ..] = machine.kernel.load_averages();
    assert!((2.5..3.5).contains(&one), "{one}");
}
