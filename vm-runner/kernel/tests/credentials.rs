//! Users and groups of processes.

use vm_abi::{Credentials, Errno, Gid, Mode, OpenFlags, Uid};
use vm_kernel::syscall::{self, IdChange};
use vm_kernel::{Command, ExitStatus};

use crate::machine::{Machine, open, spawn, wait};

fn uids(ctx: &vm_kernel::context::ProcessContext) -> (u32, u32, u32) {
    let ids = syscall::process::credentials(ctx);
    (ids.uid.0, ids.euid.0, ids.suid.0)
}

#[tokio::test(start_paused = true)]
async fn root_can_become_anybody_but_not_root_again() {
    Machine::new()
        .expect(|ctx| async move {
            syscall::process::set_groups(&ctx, vec![Gid(4), Gid(27)]).unwrap();
            syscall::process::set_gid(&ctx, Gid(5)).unwrap();
            syscall::process::set_uid(&ctx, Uid(5)).unwrap();
            assert_eq!(uids(&ctx), (5, 5, 5));
            assert_eq!(syscall::process::set_uid(&ctx, Uid(0)), Err(Errno::EPERM));
            assert_eq!(syscall::process::set_gid(&ctx, Gid(0)), Err(Errno::EPERM));
            assert_eq!(syscall::process::set_groups(&ctx, Vec::new()), Err(Errno::EPERM));
            assert_eq!(syscall::process::credentials(&ctx).groups, [Gid(4), Gid(27)]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn root_can_lower_itself_for_a_while() {
    Machine::new()
        .expect(|ctx| async move {
            syscall::process::set_euid(&ctx, Uid(5)).unwrap();
            assert_eq!(uids(&ctx), (0, 5, 0));
            syscall::process::set_euid(&ctx, Uid(0)).unwrap();
            let all = IdChange { real: Some(Uid(1)), effective: Some(Uid(2)), saved: Some(Uid(3)) };
            syscall::process::set_resuid(&ctx, all).unwrap();
            assert_eq!(uids(&ctx), (1, 2, 3));
            syscall::process::set_reuid(&ctx, None, Some(Uid(3))).unwrap();
            let foreign = IdChange { real: None, effective: Some(Uid(9)), saved: None };
            assert_eq!(syscall::process::set_resuid(&ctx, foreign), Err(Errno::EPERM));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn group_ids_change_by_the_same_rules() {
    Machine::new()
        .expect(|ctx| async move {
            syscall::process::set_regid(&ctx, Some(Gid(1)), Some(Gid(2))).unwrap();
            let ids = syscall::process::credentials(&ctx);
            assert_eq!((ids.gid, ids.egid, ids.sgid), (Gid(1), Gid(2), Gid(2)));
            let all = IdChange { real: Some(Gid(7)), effective: Some(Gid(8)), saved: None };
            syscall::process::set_resgid(&ctx, all).unwrap();
            syscall::process::set_egid(&ctx, Gid(7)).unwrap();
            assert_eq!(syscall::process::credentials(&ctx).egid, Gid(7));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn files_are_the_effective_users() {
    let machine = Machine::new();
    machine.write_file("/work/private", "x", 0o600);
    machine.program("child", |ctx| async move {
        u8::from(open(&ctx, "/work/private", OpenFlags::READ).await != Err(Errno::EACCES))
    });
    machine
        .expect(|ctx| async move {
            syscall::process::set_euid(&ctx, Uid(5)).unwrap();
            open(&ctx, "/work/mine", OpenFlags::WRITE | OpenFlags::CREATE).await.unwrap();
            assert_eq!(open(&ctx, "/work/private", OpenFlags::READ).await, Err(Errno::EACCES));
            let child = spawn(&ctx, &["child"]).await;
            assert_eq!(wait(&ctx, child).await, syscall::WaitStatus::Exited(0));
        })
        .await;
    let owner = machine.walk(|walk| walk.stat(b"/work/mine", vm_vfs::Follow::Yes).unwrap().uid);
    assert_eq!(owner, Uid(5));
}

#[tokio::test(start_paused = true)]
async fn access_can_be_asked_for_the_real_user() {
    let machine = Machine::new();
    machine.write_file("/work/private", "x", 0o600);
    machine
        .expect(|ctx| async move {
            let real = IdChange { real: Some(Uid(5)), effective: None, saved: None };
            syscall::process::set_resuid(&ctx, real).unwrap();
            let access = |ids| {
                let wanted = vm_abi::Access::READ;
                let follow = syscall::Follow::Yes;
                syscall::path::access(&ctx, syscall::DirFd::Cwd, b"/work/private", wanted, ids, follow)
            };
            assert_eq!(access(syscall::AccessIds::Effective), Ok(()));
            assert_eq!(access(syscall::AccessIds::Real), Err(Errno::EACCES));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_as_whom_the_host_says() {
    let machine = Machine::new();
    machine.program("who", |ctx| async move {
        assert_eq!(uids(&ctx), (1000, 1000, 1000));
        open(&ctx, "f", OpenFlags::WRITE | OpenFlags::CREATE).await.unwrap();
        0
    });
    let command = Command::new("who")
        .credentials(Credentials::new(Uid(1000), Gid(100)))
        .cwd("/work")
        .umask(Mode::new(0o077));
    assert_eq!(machine.run(command).await.status, ExitStatus::Exited(0));
    let stat = machine.walk(|walk| walk.stat(b"/work/f", vm_vfs::Follow::Yes).unwrap());
    assert_eq!((stat.uid, stat.gid, stat.permissions()), (Uid(1000), Gid(100), Mode::new(0o600)));
}

#[tokio::test(start_paused = true)]
async fn accounts_are_found_by_name_number_and_place() {
    Machine::new()
        .expect(|ctx| async move {
            let root = syscall::account::user(&ctx, Uid(0)).unwrap();
            assert_eq!(root.to_line(), "root:x:0:0:root:/root:/bin/sh");
            assert_eq!(syscall::account::user_named(&ctx, b"root"), Ok(root));
            assert_eq!(syscall::account::user_at(&ctx, 0), Ok(root));
            assert_eq!(syscall::account::user_at(&ctx, 1), Err(Errno::ENOENT));
            assert_eq!(syscall::account::user(&ctx, Uid(9)), Err(Errno::ENOENT));
            let group = syscall::account::group(&ctx, Gid(0)).unwrap();
            assert_eq!(group.to_line(), "root:x:0:");
            assert_eq!(syscall::account::group_named(&ctx, b"root"), Ok(group));
            assert_eq!(syscall::account::group_at(&ctx, 7), Err(Errno::ENOENT));
            assert_eq!(syscall::account::hostname(&ctx), "localhost");
        })
        .await;
}
