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

/// The words of a line of a file that has `name value ...` lines.
fn values<'a>(content: &'a str, name: &str) -> Vec<&'a str> {
    let line = content.lines().find(|line| line.split_whitespace().next() == Some(name));
    assert!(line.is_some(), "{name} in {content}");
    line.unwrap().split_whitespace().skip(1).collect()
}

#[tokio::test(start_paused = true)]
async fn stat_has_the_fields_of_linux() {
    let limits = vm_kernel::Limits { cpu_millis: 2000, ..vm_kernel::Limits::default() };
    Machine::with_limits(limits)
        .expect(|ctx| async move {
            ctx.set_memory(40_960_000).unwrap();
            let stat = content(&ctx, "/proc/self/stat").await;
            let (head, rest) = stat.rsplit_once(") ").unwrap();
            assert_eq!(head, format!("{} (main", ctx.pid()));
            let fields: Vec<&str> = rest.split_whitespace().collect();
            // proc(5): the fields from the third on.
            assert_eq!(fields.len(), 50);
            let field = |number: usize| fields[number - 3];
            assert_eq!((field(3), field(4), field(7), field(8)), ("R", "0", "0", "-1"));
            assert_eq!((field(18), field(19), field(20)), ("20", "0", "1"));
            assert_eq!((field(23), field(24)), ("40960000", "10000"));
            assert!(fields[1..].iter().all(|field| field.parse::<i128>().is_ok()), "{stat}");
            let statm = content(&ctx, "/proc/self/statm").await;
            assert_eq!(statm, "10000 10000 0 0 0 10000 0\n");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_system_s_numbers_are_where_tools_look_for_them() {
    let limits = vm_kernel::Limits { cpu_millis: 1000, ..vm_kernel::Limits::default() };
    Machine::with_limits(limits)
        .expect(|ctx| async move {
            syscall::time::sleep(&ctx, Duration::from_secs(100)).await.unwrap();
            // uptime(1): seconds up, seconds idle.
            let uptime = content(&ctx, "/proc/uptime").await;
            let words: Vec<&str> = uptime.split_whitespace().collect();
            assert_eq!((words.len(), words[0], words[1].split_once('.').unwrap().1.len()), (2, "100.00", 2));
            // top(1): ten times of all CPUs, then of each.
            let stat = content(&ctx, "/proc/stat").await;
            assert_eq!(values(&stat, "cpu").len(), 10);
            assert_eq!(values(&stat, "cpu")[3], "10000");
            assert_eq!(values(&stat, "cpu0").len(), 10);
            assert!(!stat.contains("cpu1 "));
            assert_eq!(values(&stat, "processes"), ["1"]);
            assert_eq!(values(&stat, "procs_running"), ["1"]);
            assert_eq!(values(&stat, "btime").len(), 1);
            // free(1).
            let memory = content(&ctx, "/proc/meminfo").await;
            for name in
                ["MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapTotal:", "SwapFree:"]
            {
                let value = values(&memory, name);
                assert_eq!(value[1], "kB");
                value[0].parse::<u64>().unwrap();
            }
            // w(1): three averages, running/all, the newest pid.
            let load = content(&ctx, "/proc/loadavg").await;
            let words: Vec<&str> = load.split_whitespace().collect();
            assert_eq!(words[3..], ["1/1", &ctx.pid().to_string()]);
            assert!(words[..3].iter().all(|average| average.split_once('.').unwrap().1.len() == 2), "{load}");
            assert_eq!(content(&ctx, "/proc/cpuinfo").await.matches("processor\t: ").count(), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn status_and_limits_read_as_on_linux() {
    Machine::new()
        .expect(|ctx| async move {
            let status = content(&ctx, "/proc/self/status").await;
            for line in status.lines() {
                let (name, value) = line.split_once(":\t").unwrap();
                assert!(!name.is_empty() && (name == "Groups" || !value.is_empty()), "{line:?}");
            }
            assert_eq!(values(&status, "State:"), ["R", "(running)"]);
            assert_eq!(values(&status, "Uid:"), ["0", "0", "0", "0"]);
            assert_eq!(values(&status, "SigCgt:")[0].len(), 16);
            assert_eq!(values(&status, "VmRSS:")[1], "kB");
            syscall::process::set_open_files_limit(&ctx, syscall::Rlimit { soft: 77, hard: 99 }).unwrap();
            let limits = content(&ctx, "/proc/self/limits").await;
            assert_eq!(limits.lines().count(), 17);
            let open_files = format!("{:<25} {:<20} {:<20} {:<10}", "Max open files", 77, 99, "files");
            assert_eq!(limits.lines().nth(8), Some(&open_files[..]));
            assert!(
                limits
                    .starts_with("Limit                     Soft Limit           Hard Limit           Units")
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn mountinfo_names_parents_and_df_finds_every_file_system() {
    Machine::new()
        .expect(|ctx| async move {
            let mounts = content(&ctx, "/proc/self/mountinfo").await;
            let lines: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
            let find = |path: &str| lines.iter().find(|line| line[4] == path).unwrap();
            for line in &lines {
                // proc(5): id, parent, major:minor, root, point, options, separator, type, source, options.
                assert_eq!((line.len(), line[6], line[3]), (10, "-", "/"), "{line:?}");
            }
            assert_eq!(find("/dev")[1], find("/")[0]);
            assert_eq!(find("/dev/pts")[1], find("/dev")[0]);
            assert_eq!(&find("/dev/pts")[7..], ["devpts", "devpts", "rw"]);
            for path in ["/", "/dev", "/dev/pts", "/proc"] {
                syscall::path::statfs(&ctx, DirFd::Cwd, path.as_bytes()).unwrap();
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn settings_are_files_in_a_tree() {
    Machine::with(|builder| builder.hostname("ada"))
        .expect(|ctx| async move {
            assert_eq!(content(&ctx, "/proc/sys/kernel/hostname").await, "ada\n");
            assert_eq!(content(&ctx, "/proc/sys/kernel/ostype").await, "Linux\n");
            assert_eq!(content(&ctx, "/proc/sys/kernel/pid_max").await, "4194304\n");
            assert!(content(&ctx, "/proc/sys/net/core/somaxconn").await.ends_with('\n'));
            assert_eq!(names(&ctx, "/proc/sys").await, [".", "..", "kernel", "fs", "vm", "net"]);
            assert!(!names(&ctx, "/proc").await.iter().any(|name| name.contains("net-of-self")));
            let up = syscall::path::canonicalize(&ctx, DirFd::Cwd, b"/proc/sys/net/core/../..").unwrap();
            assert_eq!(up, b"/proc/sys");
            // Every entry that is listed can be found, with the number it is listed with.
            for directory in ["/proc", "/proc/sys/kernel", "/proc/self", "/proc/self/fdinfo", "/proc/net"] {
                let fd = open(&ctx, directory, OpenFlags::READ | OpenFlags::DIRECTORY).await.unwrap();
                let mut entries = Vec::new();
                syscall::file::read_dir(&ctx, fd, 0, &mut |record| {
                    entries.push((String::from_utf8(record.name.to_vec()).unwrap(), record.ino));
                    ControlFlow::Continue(())
                })
                .unwrap();
                for (name, ino) in entries.iter().skip(2) {
                    let path = format!("{directory}/{name}");
                    let found = syscall::path::stat(&ctx, DirFd::Cwd, path.as_bytes(), Follow::No).unwrap();
                    assert_eq!(found.ino, *ino, "{path}");
                }
                syscall::file::close(&ctx, fd).unwrap();
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn open_files_and_sockets_show_their_state() {
    let machine = Machine::new();
    machine.write_file("/work/f", "content", 0o644);
    machine
        .expect(|ctx| async move {
            let file =
                open(&ctx, "/work/f", OpenFlags::READ | OpenFlags::WRITE | OpenFlags::APPEND).await.unwrap();
            crate::machine::read(&ctx, file, 4).await.unwrap();
            let info = content(&ctx, &format!("/proc/self/fdinfo/{}", file.raw())).await;
            assert!(info.starts_with("pos:\t4\nflags:\t02002\nmnt_id:\t"), "{info}");
            let io = content(&ctx, "/proc/self/io").await;
            assert_eq!(values(&io, "rchar:"), [(4 + info.len()).to_string()]);
            let socket = syscall::socket::socket(
                &ctx,
                syscall::Domain::Inet,
                syscall::SocketType::Stream,
                OpenFlags::empty(),
            );
            let address = syscall::SocketAddress::Inet("127.0.0.1:8080".parse().unwrap());
            syscall::socket::bind(&ctx, socket.unwrap(), &address).unwrap();
            syscall::socket::listen(&ctx, socket.unwrap(), 5).unwrap();
            let tcp = content(&ctx, "/proc/net/tcp").await;
            let line = values(&tcp, "0:");
            assert_eq!(line[..3], ["0100007F:1F90", "00000000:0000", "0A"]);
            let ino = syscall::file::stat(&ctx, socket.unwrap()).unwrap().ino;
            assert_eq!(line[8], ino.to_string());
            let devices = content(&ctx, "/proc/net/dev").await;
            assert_eq!(values(&devices, "lo:").len(), 16);
        })
        .await;
}
