//! Process groups and sessions.

use std::time::Duration;

use vm_abi::Errno;
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, Fd, Pgid, Pid, SpawnAttributes, SpawnGroup, SpawnRequest, WaitStatus};

use crate::machine::{Machine, print, request, spawn, wait};

async fn spawn_into(ctx: &ProcessContext, group: SpawnGroup, argv: &[&str]) -> Result<Pid, Errno> {
    let attributes = SpawnAttributes { group, ..SpawnAttributes::default() };
    syscall::process::spawn(ctx, SpawnRequest { attributes, ..request(ctx, argv) }).await
}

fn machine() -> Machine {
    let machine = Machine::new();
    machine.program("ids", |ctx| async move {
        let group = syscall::process::group(&ctx, None).unwrap();
        let session = syscall::process::session(&ctx, None).unwrap();
        print(&ctx, Fd::STDOUT, &format!("{}:{group}:{session} ", ctx.pid())).await;
        0
    });
    machine.program("sleeper", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(10)).await.map_or(1, |()| 0)
    });
    machine
}

#[tokio::test(start_paused = true)]
async fn a_child_joins_the_group_it_is_put_into() {
    let output = machine()
        .expect(|ctx| async move {
            for group in [SpawnGroup::Inherit, SpawnGroup::Own, SpawnGroup::OwnSession] {
                let child = spawn_into(&ctx, group, &["ids"]).await.unwrap();
                wait(&ctx, child).await;
            }
            let leader = spawn_into(&ctx, SpawnGroup::Own, &["sleeper"]).await.unwrap();
            let member = spawn_into(&ctx, SpawnGroup::Join(leader.own_group()), &["ids"]).await.unwrap();
            wait(&ctx, member).await;
            let nobodys = SpawnGroup::Join(Pgid::new(4000).unwrap());
            assert_eq!(spawn_into(&ctx, nobodys, &["ids"]).await, Err(Errno::EPERM));
        })
        .await;
    assert_eq!(output, "3:2:2 4:4:2 5:5:5 7:6:2 ");
}

#[tokio::test(start_paused = true)]
async fn processes_are_moved_between_groups_of_their_session_only() {
    machine()
        .expect(|ctx| async move {
            let set = |pid, group| syscall::process::set_group(&ctx, pid, group);
            // A session leader stays where it is.
            assert_eq!(set(None, None), Err(Errno::EPERM));
            let child = spawn(&ctx, &["sleeper"]).await;
            assert_eq!(set(Some(child), None), Ok(()));
            assert_eq!(syscall::process::group(&ctx, Some(child)), Ok(child.own_group()));
            assert_eq!(set(Some(child), Pgid::new(ctx.pid().raw())), Ok(()));
            assert_eq!(set(Some(child), Pgid::new(999)), Err(Errno::EPERM));
            assert_eq!(set(Pid::new(999), None), Err(Errno::ESRCH));
            let other = spawn_into(&ctx, SpawnGroup::OwnSession, &["sleeper"]).await.unwrap();
            assert_eq!(set(Some(other), None), Err(Errno::EPERM));
            assert_eq!(syscall::process::session(&ctx, Some(other)), Ok(other.own_session()));
            assert_eq!(syscall::process::group(&ctx, Pid::new(999)), Err(Errno::ESRCH));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_session_needs_a_process_that_leads_no_group() {
    let machine = machine();
    machine.program("daemon", |ctx| async move {
        assert_eq!(syscall::process::set_session(&ctx), Ok(ctx.pid().own_session()));
        assert_eq!(syscall::process::set_session(&ctx), Err(Errno::EPERM));
        assert_eq!(syscall::process::group(&ctx, None), Ok(ctx.pid().own_group()));
        0
    });
    machine
        .expect(|ctx| async move {
            assert_eq!(syscall::process::set_session(&ctx), Err(Errno::EPERM));
            let child = spawn(&ctx, &["daemon"]).await;
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        })
        .await;
}
