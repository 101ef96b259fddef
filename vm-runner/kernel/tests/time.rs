//! Clocks and sleeping.

use std::time::Duration;

use vm_abi::Timespec;
use vm_kernel::syscall::{self, ClockId};

use crate::machine::Machine;

#[tokio::test(start_paused = true)]
async fn time_passes_while_one_sleeps() {
    Machine::new()
        .expect(|ctx| async move {
            let before = syscall::time::now(&ctx, ClockId::Monotonic);
            syscall::time::sleep(&ctx, Duration::from_secs(3)).await.unwrap();
            let after = syscall::time::now(&ctx, ClockId::Monotonic);
            assert_eq!(after.as_nanos().saturating_sub(before.as_nanos()) / 1_000_000_000, 3);
            assert_eq!(syscall::time::resolution(ClockId::Realtime), Duration::from_nanos(1));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn one_can_sleep_until_a_time_and_past_ones_are_over() {
    Machine::new()
        .expect(|ctx| async move {
            let now = syscall::time::now(&ctx, ClockId::Monotonic);
            let later = Timespec { sec: now.sec + 5, ..now };
            syscall::time::sleep_until(&ctx, ClockId::Monotonic, later).await.unwrap();
            assert!(syscall::time::now(&ctx, ClockId::Monotonic) >= later);
            syscall::time::sleep_until(&ctx, ClockId::Monotonic, now).await.unwrap();
            syscall::time::sleep_until(&ctx, ClockId::Realtime, Timespec::EPOCH).await.unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_day_is_the_clocks() {
    struct Fixed;
    impl vm_kernel::Clock for Fixed {
        fn realtime(&self) -> Timespec {
            Timespec::from_secs(42)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_secs(7)
        }
        fn sleep_until(&self, _: Duration) -> futures::future::BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }
    Machine::with(|builder| builder.clock(std::sync::Arc::new(Fixed)))
        .expect(|ctx| async move {
            assert_eq!(syscall::time::now(&ctx, ClockId::Realtime), Timespec::from_secs(42));
            assert_eq!(syscall::time::now(&ctx, ClockId::Monotonic), Timespec::from_secs(7));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn randomness_is_the_injected_one() {
    struct Sevens;
    impl vm_kernel::Random for Sevens {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), vm_abi::Errno> {
            buffer.fill(7);
            Ok(())
        }
    }
    Machine::with(|builder| builder.random(std::sync::Arc::new(Sevens)))
        .expect(|ctx| async move {
            let mut buffer = [0; 5];
            syscall::random::fill(&ctx, &mut buffer).unwrap();
            assert_eq!(buffer, [7; 5]);
        })
        .await;
}
