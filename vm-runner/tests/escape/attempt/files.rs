//! Files of the host, of the supervisor and of other workspaces.
#![expect(clippy::disallowed_methods, reason = "an escaped guest does not ask")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};

use super::{Attempt, HERE, bounded, call, granted, killed, refused, text, tried};

pub(super) fn attempts() -> impl Iterator<Item = Attempt> {
    others().into_iter().chain(planted()).chain(metadata()).chain(needed())
}

/// What is not its own.
fn others() -> Vec<Attempt> {
    vec![
        bounded("read /etc/passwd", |_| fs::read("/etc/passwd").map(drop)),
        bounded("read /etc/passwd over a link of /proc", |_| {
            fs::read("/proc/self/root/etc/passwd").map(drop)
        }),
        bounded("climb out of the software folder", |scene| {
            let up = "../".repeat(20);
            fs::read(scene.software.join(up).join("etc/passwd")).map(drop)
        }),
        bounded("climb out of an open folder", |scene| {
            let folder = File::open(&scene.software)?;
            let path = text("../../../../../../../../etc/passwd");
            tried(libc::SYS_openat, &[folder.as_raw_fd() as usize, path.as_ptr() as usize, 0])
        }),
        bounded("read the environment of the first process", |_| fs::read("/proc/1/environ").map(drop)),
        bounded("read its own start environment", |_| fs::read("/proc/self/environ").map(drop)),
        bounded("read the supervisor's environment", |scene| {
            fs::read(format!("/proc/{}/environ", scene.supervisor)).map(drop)
        }),
        bounded("open the supervisor's memory", |scene| {
            File::open(format!("/proc/{}/mem", scene.supervisor)).map(drop)
        }),
        bounded("take a descriptor of the supervisor", |scene| {
            File::open(format!("/proc/{}/fd/0", scene.supervisor)).map(drop)
        }),
        bounded("list the processes of the host", |_| fs::read_dir("/proc").map(drop)),
        bounded("list the workspaces of the supervisor", |scene| fs::read_dir(&scene.data).map(drop)),
        bounded("read a neighbour's files", |scene| fs::read(&scene.secret).map(drop)),
        bounded("change a neighbour's files", |scene| fs::write(&scene.secret, "changed")),
        bounded("empty a neighbour's files", |scene| {
            let path = text(&scene.secret);
            tried(libc::SYS_openat, &[HERE, path.as_ptr() as usize, libc::O_TRUNC as usize])
        }),
        bounded("remove a neighbour's files", |scene| fs::remove_file(&scene.secret)),
        bounded("write the supervisor's state", |scene| fs::write(scene.data.join("planted"), "x")),
        bounded("change the software of all workspaces", |scene| {
            OpenOptions::new().write(true).open(scene.program()).map(drop)
        }),
        bounded("add a program to the software", |scene| fs::write(scene.software.join("planted"), "x")),
        bounded("write shared memory of the host", |_| fs::write("/dev/shm/planted", "x")),
        bounded("write temporary files of the host", |_| fs::write("/tmp/planted-by-an-escaped-guest", "x")),
        bounded("read the host's memory", |_| File::open("/dev/mem").map(drop)),
        bounded("open a terminal", |_| File::open("/dev/ptmx").map(drop)),
        bounded("change a kernel parameter", |_| {
            OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern").map(drop)
        }),
        bounded("escape its standing with the out-of-memory killer", |_| {
            fs::write("/proc/self/oom_score_adj", "-1000")
        }),
        bounded("leave its control group", |_| fs::write("/sys/fs/cgroup/cgroup.procs", "0")),
        killed("open a file by its handle", |_| {
            tried(libc::SYS_open_by_handle_at, &[HERE, [0_u8; 128].as_ptr() as usize, 0])
        }),
        killed("ask for a handle of a file", |_| {
            let path = text("/etc/passwd");
            let (handle, mount) = ([0_u8; 136], [0_u8; 8]);
            let arguments =
                [HERE, path.as_ptr() as usize, handle.as_ptr() as usize, mount.as_ptr() as usize, 0];
            tried(libc::SYS_name_to_handle_at, &arguments)
        }),
    ]
}

/// What the supervisor could stumble over later.
fn planted() -> Vec<Attempt> {
    vec![
        refused("make a folder that looks like another workspace's", |scene| {
            fs::create_dir(scene.slot.join("another-uid"))
        }),
        refused("make a link in its slot", |scene| symlink("/etc", scene.slot.join("link"))),
        refused("make a hard link out of its slot", |scene| {
            fs::write(scene.slot.join("own"), "x")?;
            fs::hard_link(scene.slot.join("own"), scene.data.join("own"))
        }),
        refused("make a hard link to the software", |scene| {
            fs::hard_link(scene.program(), scene.slot.join("program"))
        }),
        refused("make a device", |scene| {
            let path = text(scene.slot.join("device"));
            tried(libc::SYS_mknodat, &[HERE, path.as_ptr() as usize, libc::S_IFBLK as usize | 0o600, 0x800])
        }),
        refused("move a file out of its slot", |scene| {
            fs::write(scene.slot.join("own"), "x")?;
            fs::rename(scene.slot.join("own"), scene.data.join("own"))
        }),
        bounded("put its file in place of a neighbour's", |scene| {
            fs::write(scene.slot.join("own"), "x")?;
            fs::rename(scene.slot.join("own"), &scene.secret)
        }),
        bounded("exchange its file with a neighbour's", |scene| {
            fs::write(scene.slot.join("own"), "x")?;
            let (own, secret) = (text(scene.slot.join("own")), text(&scene.secret));
            let exchange = libc::RENAME_EXCHANGE as usize;
            tried(
                libc::SYS_renameat2,
                &[HERE, own.as_ptr() as usize, HERE, secret.as_ptr() as usize, exchange],
            )
        }),
        bounded("rename its slot", |scene| fs::rename(&scene.slot, scene.slot.with_extension("moved"))),
        bounded("remove its slot", |scene| fs::remove_dir(&scene.slot)),
    ]
}

/// Metadata, which landlock does not know.
fn metadata() -> Vec<Attempt> {
    vec![
        refused("take rights from a neighbour's files", |scene| {
            let path = text(&scene.secret);
            tried(libc::SYS_fchmodat, &[HERE, path.as_ptr() as usize, 0])
        }),
        refused("take rights from the software", |scene| {
            let program = File::open(scene.program())?;
            tried(libc::SYS_fchmod, &[program.as_raw_fd() as usize, 0])
        }),
        refused("give a neighbour's files away", |scene| {
            let path = text(&scene.secret);
            tried(libc::SYS_fchownat, &[HERE, path.as_ptr() as usize, 1, 1, 0])
        }),
        refused("change the times of a neighbour's files", |scene| {
            let path = text(&scene.secret);
            tried(libc::SYS_utimensat, &[HERE, path.as_ptr() as usize, 0, 0])
        }),
        refused("mark a neighbour's files", |scene| {
            let (path, name) = (text(&scene.secret), text("user.mark"));
            tried(
                libc::SYS_setxattr,
                &[path.as_ptr() as usize, name.as_ptr() as usize, name.as_ptr() as usize, 1, 0],
            )
        }),
        refused("truncate a neighbour's files by name", |scene| {
            let path = text(&scene.secret);
            tried(libc::SYS_truncate, &[path.as_ptr() as usize, 0])
        }),
        refused("watch the host's files", |_| tried(libc::SYS_inotify_init1, &[0])),
        killed("watch all files of a mount", |_| tried(libc::SYS_fanotify_init, &[0, 0])),
        refused("open more files than its limit", |scene| {
            let files: io::Result<Vec<File>> = (0..5000).map(|_| File::open(scene.program())).collect();
            files.map(drop)
        }),
        refused("change its working folder", |_| {
            let path = text("/etc");
            tried(libc::SYS_chdir, &[path.as_ptr() as usize])
        }),
    ]
}

/// What the work of a vm process needs.
fn needed() -> Vec<Attempt> {
    vec![
        granted("read the software", |scene| fs::read(scene.program()).map(drop)),
        granted("work with a file in its slot", |scene| {
            let path = scene.slot.join("work");
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o666)
                .open(&path)?;
            file.write_all(b"hello")?;
            file.sync_all()?;
            file.set_len(3)?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions());
            fs::rename(&path, scene.slot.join("worked"))?;
            let mut content = String::new();
            File::open(scene.slot.join("worked"))?.read_to_string(&mut content)?;
            fs::remove_file(scene.slot.join("worked"))?;
            if content == "hel" && mode & 0o077 == 0 {
                Ok(())
            } else {
                Err(io::Error::other(format!("{mode:o}")))
            }
        }),
        granted("lock a part of a file", |scene| {
            let file = File::create(scene.slot.join("lock"))?;
            let lock =
                libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 1, l_pid: 0 };
            let fd = file.as_raw_fd() as usize;
            let pointer = std::ptr::from_ref(&lock) as usize;
            call(libc::SYS_fcntl, &[fd, libc::F_SETLK as usize, pointer]).map(drop)
        }),
    ]
}
