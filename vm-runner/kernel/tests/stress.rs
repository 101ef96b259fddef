//! Many processes at once on several threads: no wake-up is lost, nothing is left behind.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vm_abi::{Errno, OpenFlags, Signal, SignalSet};
use vm_kernel::syscall::{self, ActionFlags, Disposition, Fd, FileAction, KillTarget, WaitStatus};
use vm_kernel::{Command, ExitStatus, Limit, Limits, Stdio, Usage};

use crate::machine::{Machine, open, print, read, read_to_end, request, spawn_with, wait};

/// A pipeline `source | relay | relay | (here)`, checked to its last byte.
async fn pipeline(ctx: &vm_kernel::context::ProcessContext) {
    let mut children = Vec::new();
    let mut input = None;
    for name in ["source", "relay", "relay"] {
        let (reader, writer) = syscall::pipe::pipe(ctx, OpenFlags::CLOEXEC).unwrap();
        let mut actions = vec![FileAction::Dup2 { source: writer, target: Fd::STDOUT }];
        actions.extend(input.map(|source| FileAction::Dup2 { source, target: Fd::STDIN }));
        children.push(spawn_with(ctx, &[name], actions).await);
        syscall::file::close(ctx, writer).unwrap();
        if let Some(input) = input.replace(reader) {
            syscall::file::close(ctx, input).unwrap();
        }
    }
    assert_eq!(read_to_end(ctx, input.unwrap()).await.len(), 300 * 100);
    for child in children {
        assert_eq!(wait(ctx, child).await, WaitStatus::Exited(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_pipelines_at_once() {
    let machine = Machine::new();
    machine.program("source", |ctx| async move {
        for _ in 0..300 {
            print(&ctx, Fd::STDOUT, &"x".repeat(100)).await;
        }
        0
    });
    machine.program("relay", |ctx| async move {
        loop {
            let part = read(&ctx, Fd::STDIN, 777).await.unwrap();
            if part.is_empty() {
                return 0;
            }
            print(&ctx, Fd::STDOUT, &part).await;
        }
    });
    machine.program("shell", |ctx| async move {
        for _ in 0..5 {
            pipeline(&ctx).await;
        }
        0
    });
    let shells: Vec<_> = (0..40).map(|_| machine.kernel.spawn(Command::new("shell")).unwrap()).collect();
    for shell in shells {
        assert_eq!(shell.wait().await, ExitStatus::Exited(0));
    }
    assert_eq!(machine.kernel.usage(), Usage::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killing_at_any_moment_leaves_nothing_behind() {
    let machine = Machine::new();
    machine.program("mirror", |ctx| async move {
        loop {
            let part = read(&ctx, Fd::STDIN, 777).await.unwrap();
            if part.is_empty() {
                return 0;
            }
            print(&ctx, Fd::STDOUT, &part).await;
        }
    });
    machine.program("victim", |ctx| async move {
        loop {
            let (reader, writer) = syscall::pipe::pipe(&ctx, OpenFlags::CLOEXEC).unwrap();
            let (from, to) = syscall::pipe::pipe(&ctx, OpenFlags::CLOEXEC).unwrap();
            let actions = vec![
                FileAction::Dup2 { source: reader, target: Fd::STDIN },
                FileAction::Dup2 { source: to, target: Fd::STDOUT },
            ];
            let child = spawn_with(&ctx, &["mirror"], actions).await;
            print(&ctx, writer, "x").await;
            read(&ctx, from, 1).await.unwrap();
            for fd in [reader, writer, from, to] {
                syscall::file::close(&ctx, fd).unwrap();
            }
            assert_eq!(wait(&ctx, child).await, WaitStatus::Exited(0));
        }
    });
    for round in 0..60 {
        let process = machine.kernel.spawn(Command::new("victim")).unwrap();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        machine.kernel.kill_session(process.session(), Signal::SIGKILL).unwrap();
        assert_eq!(process.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    }
    // What was killed takes a moment to be buried.
    for _ in 0..100_000 {
        if machine.kernel.usage() == Usage::default() {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(machine.kernel.usage(), Usage::default(), "left behind: {:?}", machine.kernel.processes());
}

/// Spawns itself for ever, as the shell's `:(){ :|:& };:` does.
fn bomb(machine: &Machine) {
    machine.program("bomb", |ctx| async move {
        loop {
            if syscall::process::spawn(&ctx, request(&ctx, &["bomb"])).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
    machine.program("true", |_| async { 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_fills_its_table_leaves_others_room_and_ends_at_once() {
    let machine = Machine::with_limits(Limits { max_processes: 256, ..Limits::default() });
    bomb(&machine);
    let first = machine.kernel.spawn(Command::new("bomb")).unwrap();
    while machine.kernel.usage().processes < 256 {
        tokio::task::yield_now().await;
    }
    assert_eq!(machine.kernel.spawn(Command::new("true")).err(), Some(Errno::EAGAIN));
    assert_eq!(machine.kernel.limit_behind(Errno::EAGAIN), Some(Limit::Processes));
    // Whoever is there answers: killing one makes room, which the bomb wants, too.
    assert_eq!(first.try_wait(), None);
    let start = Instant::now();
    machine.kernel.shutdown(Duration::from_secs(10)).await;
    // 100 ms on a machine that does nothing else; this is a debug build beside other tests.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(machine.kernel.usage(), Usage::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_runs_beside_a_crowd_that_computes() {
    let machine = Machine::with_limits(Limits { max_processes: 300, ..Limits::default() });
    machine.program("crowd", |ctx| async move {
        for _ in 0..100 {
            spawn_with(&ctx, &["spin"], Vec::new()).await;
        }
        0
    });
    let slices = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&slices);
    machine.program("spin", move |_| {
        let counted = Arc::clone(&counted);
        async move {
            loop {
                let slice = Instant::now();
                while slice.elapsed() < Duration::from_millis(1) {
                    std::hint::spin_loop();
                }
                counted.fetch_add(1, Ordering::Relaxed);
                yield_like_a_driver().await;
            }
        }
    });
    machine.program("true", |_| async { 0 });
    machine.kernel.spawn(Command::new("crowd")).unwrap().wait().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut meanwhile = Vec::new();
    for _ in 0..20 {
        let before = slices.load(Ordering::Relaxed);
        machine.kernel.spawn(Command::new("true")).unwrap().wait().await;
        meanwhile.push(slices.load(Ordering::Relaxed) - before);
    }
    // In the runtime's queue it would always be behind a hundred slices. Counted, and the best of many, since the host
    // may be busy with something else for any time.
    assert!(meanwhile.iter().min().is_some_and(|least| *least < 20), "{meanwhile:?}");
    machine.kernel.shutdown(Duration::ZERO).await;
}

async fn yield_like_a_driver() {
    let mut has_yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_signals_leaves_one_of_each_pending_and_everybody_alive() {
    let machine = Machine::new();
    machine.program("target", |ctx| async move {
        let caught = Disposition::Caught { mask: SignalSet::EMPTY, flags: ActionFlags::empty() };
        syscall::signal::set_disposition(&ctx, Signal::SIGUSR1, caught).unwrap();
        print(&ctx, Fd::STDOUT, "ready").await;
        let mut handled = 0;
        loop {
            syscall::signal::pause(&ctx, None).await;
            while let Some(delivery) = syscall::signal::take_deliverable(&ctx) {
                handled += 1;
                syscall::signal::finish_delivery(&ctx, delivery).await;
            }
            if handled >= 100 {
                return 0;
            }
        }
    });
    machine.program("sender", |ctx| async move {
        let target = KillTarget::from_raw(String::from_utf8(ctx.argv()[1].clone()).unwrap().parse().unwrap());
        while syscall::process::kill(&ctx, target, Some(Signal::SIGUSR1)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        0
    });
    let mut target = machine.kernel.spawn(Command::new("target").stdout(Stdio::Piped)).unwrap();
    target.stdout.as_mut().unwrap().read().await.unwrap();
    let pid = target.pid().to_string();
    let senders: Vec<_> =
        (0..8).map(|_| machine.kernel.spawn(Command::new("sender").arg(&*pid)).unwrap()).collect();
    assert_eq!(target.wait().await, ExitStatus::Exited(0));
    for sender in senders {
        assert_eq!(sender.wait().await, ExitStatus::Exited(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pipes_stops_at_the_limits_and_is_forgotten() {
    let limits = Limits { max_memory_bytes: 64 << 20, max_pipes: 200, ..Limits::default() };
    let machine = Machine::with_limits(limits);
    machine.program("flood", |ctx| async move {
        let much = vec![0; 4 << 20];
        while let Ok((_reader, writer)) = syscall::pipe::pipe(&ctx, OpenFlags::NONBLOCK) {
            let _ = syscall::file::write(&ctx, writer, &much).await;
        }
        syscall::signal::pause(&ctx, None).await;
        0
    });
    machine.kernel.spawn(Command::new("flood")).unwrap();
    while machine.kernel.usage().pipes < 200 {
        tokio::task::yield_now().await;
    }
    let usage = machine.kernel.usage();
    assert!(usage.memory_bytes <= 64 << 20 && usage.pipe_bytes <= usage.memory_bytes, "{usage:?}");
    machine.kernel.shutdown(Duration::ZERO).await;
    assert_eq!(machine.kernel.usage(), Usage::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_directory_is_read_in_small_pieces_in_linear_time() {
    let machine = Machine::new();
    for number in 0..9_000 {
        machine.write_file(&format!("/work/{number}"), "", 0o644);
    }
    machine
        .expect(|ctx| async move {
            let fd = open(&ctx, "/work", OpenFlags::READ | OpenFlags::DIRECTORY).await.unwrap();
            let (mut cookie, mut names) = (0, Vec::new());
            loop {
                let before = names.len();
                syscall::file::read_dir(&ctx, fd, cookie, &mut |record| {
                    names.push(record.name.to_vec());
                    cookie = record.next_cookie;
                    if names.len() == before + 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .unwrap();
                if names.len() == before {
                    break;
                }
            }
            assert_eq!(names[..2], [b".".to_vec(), b"..".to_vec()]);
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 9_002);
        })
        .await;
}

/// A machine whose program `sync` waits until the disk may end.
fn machine_with_a_slow_disk() -> (Machine, Arc<SlowDisk>) {
    let disk = Arc::new(SlowDisk::default());
    let machine = Machine::new();
    let path = vm_vfs::VPath::try_from("/work").unwrap();
    let file_system = Arc::clone(&disk) as Arc<dyn vm_vfs::FileSystem>;
    machine.kernel.namespace().mount(&path, file_system, vm_vfs::MountFlags::empty()).unwrap();
    machine.program("sync", |ctx| async move {
        let fd = open(&ctx, "/work", OpenFlags::READ).await.unwrap();
        syscall::file::sync(&ctx, fd, syscall::SyncScope::Everything).unwrap();
        0
    });
    (machine, disk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_waits_for_the_disk_holds_up_nobody() {
    let (machine, disk) = machine_with_a_slow_disk();
    machine.program("true", |_| async { 0 });
    let slow = machine.kernel.spawn(Command::new("sync")).unwrap();
    while !disk.is_syncing.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    // The only worker thread is in the middle of a sync.
    assert_eq!(machine.run(Command::new("true")).await.status, ExitStatus::Exited(0));
    assert_eq!(slow.try_wait(), None);
    disk.may_end.store(true, Ordering::SeqCst);
    assert_eq!(slow.wait().await, ExitStatus::Exited(0));
    assert!(machine.kernel.cpu_time() < Duration::from_millis(500), "{:?}", machine.kernel.cpu_time());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_waits_for_the_disk_than_are_given_threads_all_end() {
    let (machine, disk) = machine_with_a_slow_disk();
    let all: Vec<_> = (0..30).map(|_| machine.kernel.spawn(Command::new("sync")).unwrap()).collect();
    while !disk.is_syncing.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    disk.may_end.store(true, Ordering::SeqCst);
    for sync in all {
        assert_eq!(sync.wait().await, ExitStatus::Exited(0));
    }
}

/// A file whose sync takes until it is told to end.
#[derive(Clone, Default)]
struct SlowDisk {
    is_syncing: Arc<AtomicBool>,
    may_end: Arc<AtomicBool>,
}

impl vm_vfs::FileSystem for SlowDisk {
    fn kind(&self) -> &'static str {
        "slow"
    }

    fn root(&self) -> Arc<dyn vm_vfs::Inode> {
        Arc::new(self.clone())
    }
}

impl vm_vfs::Inode for SlowDisk {
    fn ino(&self) -> u64 {
        1
    }

    fn file_type(&self) -> vm_abi::FileType {
        vm_abi::FileType::Directory
    }

    fn stat(&self) -> vm_vfs::VfsResult<vm_abi::Stat> {
        Ok(vm_abi::Stat {
            dev: 0,
            ino: 1,
            mode: 0o040_755,
            nlink: 1,
            uid: vm_abi::Uid::ROOT,
            gid: vm_abi::Gid::ROOT,
            rdev: vm_abi::DeviceNumber::NONE,
            size: 0,
            blocks: 0,
            atime: vm_abi::Timespec::EPOCH,
            mtime: vm_abi::Timespec::EPOCH,
            ctime: vm_abi::Timespec::EPOCH,
        })
    }

    fn sync(&self, _scope: vm_vfs::SyncScope) -> vm_vfs::VfsResult<()> {
        self.is_syncing.store(true, Ordering::SeqCst);
        while !self.may_end.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(())
    }
}
