//! Processes as files.

use std::ops::ControlFlow;
use std::time::Duration;

use vm_abi::{Errno, FileType, OpenFlags};
use vm_kernel::context::ProcessContext;
use vm_kernel::syscall::{self, DirFd, Follow, SpawnAttributes, SpawnGroup, SpawnRequest};

use crate::machine::{Machine, open, read_to_end, request};

async fn content(ctx: &ProcessContext, path: &str) -> String {
    let fd = open(ctx, path, OpenFlags::READ).await.unwrap();
    let content = read_to_end(ctx, fd).await;
    syscall::file::close(ctx, fd).unwrap();
    content
}

async fn names(ctx: &ProcessContext, path: &str) -> Vec<String> {
    let fd = open(ctx, path, OpenFlags::READ | OpenFlags::DIRECTORY).await.unwrap();
    let mut names = Vec::new();
    syscall::file::read_dir(ctx, fd, 0, &mut |record| {
        names.push(String::from_utf8(record.name.to_vec()).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    syscall::file::close(ctx, fd).unwrap();
    names
}

fn link(ctx: &ProcessContext, path: &str) -> Result<String, Errno> {
    let target = syscall::path::read_link(ctx, DirFd::Cwd, path.as_bytes())?;
    Ok(String::from_utf8(target).unwrap())
}

#[tokio::test(start_paused = true)]
async fn oneself_is_who_asks() {
    let machine = Machine::new();
    machine
        .expect(|ctx| async move {
            assert_eq!(link(&ctx, "/proc/self").unwrap(), ctx.pid().to_string());
            assert_eq!(content(&ctx, "/proc/self/cmdline").await, "main\0");
            assert_eq!(content(&ctx, "/proc/self/comm").await, "main\n");
            assert_eq!(link(&ctx, "/proc/self/exe").unwrap(), "/bin/main");
            assert_eq!(link(&ctx, "/proc/self/cwd").unwrap(), "/");
        })
        .await;
    let self_of_host = machine.walk(|walk| walk.resolve(b"/proc/self/").map(drop));
    assert_eq!(self_of_host, Err(Errno::ENOENT.into()));
}

#[tokio::test(start_paused = true)]
async fn another_process_shows_its_state_and_relations() {
    let machine = Machine::new();
    machine.program("sleeper", |ctx| async move {
        syscall::time::sleep(&ctx, Duration::from_secs(10)).await.map_or(1, |()| 0)
    });
    machine
        .expect(|ctx| async move {
            let attributes = SpawnAttributes { group: SpawnGroup::Own, ..SpawnAttributes::default() };
            let request = SpawnRequest {
                attributes,
                cwd: Some(b"work".to_vec()),
                ..request(&ctx, &["sleeper", "a b"])
            };
            let child = syscall::process::spawn(&ctx, request).await.unwrap();
            assert_eq!(names(&ctx, "/proc").await.last().unwrap(), &child.to_string());
            assert_eq!(content(&ctx, &format!("/proc/{child}/cmdline")).await, "sleeper\0a b\0");
            let stat = content(&ctx, &format!("/proc/{child}/stat")).await;
            assert!(
                stat.starts_with(&format!("{child} (sleeper) S {} {child} {} ", ctx.pid(), ctx.pid())),
                "{stat}"
            );
            assert_eq!(stat.split(' ').count(), 52);
            let status = content(&ctx, &format!("/proc/{child}/status")).await;
            assert!(status.contains(&format!("PPid:\t{}\n", ctx.pid())), "{status}");
            assert!(status.starts_with("Name:\tsleeper\nUmask:\t0022\nState:\tS (sleeping)\n"), "{status}");
            assert_eq!(link(&ctx, &format!("/proc/{child}/cwd")).unwrap(), "/work");
            let target = syscall::KillTarget::Process(child);
            syscall::process::kill(&ctx, target, Some(vm_abi::Signal::SIGKILL)).await.unwrap();
            syscall::time::sleep(&ctx, Duration::from_secs(1)).await.unwrap();
            assert!(content(&ctx, &format!("/proc/{child}/stat")).await.contains(") Z "));
            crate::machine::wait(&ctx, child).await;
            assert_eq!(open(&ctx, &format!("/proc/{child}"), OpenFlags::READ).await, Err(Errno::ENOENT));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn open_files_are_links_to_what_they_are() {
    let machine = Machine::new();
    machine.write_file("/work/f", "content", 0o644);
    machine
        .expect(|ctx| async move {
            syscall::path::change_dir(&ctx, b"/work").unwrap();
            let file = open(&ctx, "./f", OpenFlags::READ).await.unwrap();
            let (reader, _writer) = syscall::pipe::pipe(&ctx, OpenFlags::empty()).unwrap();
            assert_eq!(link(&ctx, &format!("/proc/self/fd/{}", file.raw())).unwrap(), "/work/f");
            let ino = syscall::file::stat(&ctx, reader).unwrap().ino;
            assert_eq!(link(&ctx, &format!("/dev/fd/{}", reader.raw())).unwrap(), format!("pipe:[{ino}]"));
            assert_eq!(link(&ctx, "/proc/self/fd/0").unwrap(), "/dev/null");
            assert_eq!(link(&ctx, "/proc/self/fd/77"), Err(Errno::ENOENT));
            assert_eq!(names(&ctx, "/proc/self/fd").await, [".", "..", "0", "1", "2", "3", "4", "5", "6"]);
            let path = format!("/proc/self/fd/{}", reader.raw());
            let stat = |follow| syscall::path::stat(&ctx, DirFd::Cwd, path.as_bytes(), follow).unwrap();
            assert_eq!(stat(Follow::Yes).file_type(), FileType::Fifo);
            assert_eq!(stat(Follow::Yes).ino, ino);
            assert_eq!(stat(Follow::No).file_type(), FileType::Symlink);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_system_shows_what_it_has() {
    Machine::new()
        .expect(|ctx| async move {
            let mounts = content(&ctx, "/proc/mounts").await;
            let mounts: Vec<_> = mounts.lines().collect();
            assert!(mounts[0].starts_with("tmpfs / tmpfs rw"), "{mounts:?}");
            assert_eq!(mounts[1], "devtmpfs /dev devtmpfs ro,relatime 0 0");
            assert_eq!(mounts[2], "devpts /dev/pts devpts rw,relatime 0 0");
            assert_eq!(mounts[3], "proc /proc proc ro,relatime 0 0");
            assert!(content(&ctx, "/proc/meminfo").await.contains("MemTotal:        2097152 kB\n"));
            assert!(content(&ctx, "/proc/version").await.starts_with("Linux version"));
            for file in ["cpuinfo", "filesystems", "loadavg", "stat", "uptime"] {
                assert!(content(&ctx, &format!("/proc/{file}")).await.ends_with('\n'), "{file}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_in_it_can_be_changed() {
    Machine::new()
        .expect(|ctx| async move {
            assert_eq!(open(&ctx, "/proc/version", OpenFlags::WRITE).await, Err(Errno::EROFS));
            assert_eq!(syscall::path::unlink(&ctx, DirFd::Cwd, b"/proc/uptime"), Err(Errno::EROFS));
            assert_eq!(open(&ctx, "/proc/0002", OpenFlags::READ).await, Err(Errno::ENOENT));
            assert_eq!(open(&ctx, "/proc/self/missing", OpenFlags::READ).await, Err(Errno::ENOENT));
            let up = syscall::path::canonicalize(&ctx, DirFd::Cwd, b"/proc/self/fd/..").unwrap();
            assert_eq!(up, format!("/proc/{}", ctx.pid()).into_bytes());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_environment_of_others_is_private() {
    let machine = Machine::new();
    machine.program("nosy", |ctx| async move {
        let parent = syscall::process::parent(&ctx);
        assert_eq!(open(&ctx, &format!("/proc/{parent}/environ"), OpenFlags::READ).await, Err(Errno::EACCES));
        assert_eq!(open(&ctx, &format!("/proc/{parent}/fd"), OpenFlags::READ).await, Err(Errno::EACCES));
        let fd = open(&ctx, &format!("/proc/{parent}/fd/0"), OpenFlags::READ).await;
        assert_eq!(fd, Err(Errno::EACCES));
        0
    });
    machine
        .expect(|ctx| async move {
            assert!(content(&ctx, "/proc/self/environ").await.contains("PWD=/\0"));
            let ids =
                vm_kernel::syscall::IdChange { real: Some(vm_abi::Uid(5)), effective: None, saved: None };
            syscall::process::set_resuid(&ctx, ids).unwrap();
            let attributes = SpawnAttributes { ids: syscall::SpawnIds::Reset, ..SpawnAttributes::default() };
            let request = SpawnRequest { attributes, ..request(&ctx, &["nosy"]) };
            let child = syscall::process::spawn(&ctx, request).await.unwrap();
            assert_eq!(crate::machine::wait(&ctx, child).await, syscall::WaitStatus::Exited(0));
        })
        .await;
}
