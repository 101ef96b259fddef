//! Nothing leads out of a host folder, whatever is in it and whatever happens to it meanwhile.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests put things into host folders behind a guest's back"
)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags as HostRename, renameat_with};
use vm_abi::{Errno, FileType, Mode, OpenFlags};

use super::super::host::Opener;
use super::super::{HostFs, HostFsOptions, OpenError};
use super::{Guest, options};
use crate::inode::{NodeKind, NodeOpen, RenameFlags};
use crate::walk::Follow;

/// A folder with `inside/` to serve and, beside it, `outside/secret`.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["inside", "outside"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("outside/secret"), b"outside").unwrap();
        Self { folder }
    }

    fn inside(&self) -> PathBuf {
        self.folder.path().join("inside")
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    fn guests(&self) -> [Guest; 2] {
        [Guest::open(&self.inside()), Guest::stepwise(&self.inside())]
    }

    fn is_untouched(&self) -> bool {
        let names: Vec<_> =
            std::fs::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names == ["secret"] && std::fs::read(self.outside().join("secret")).unwrap() == b"outside"
    }
}

#[test]
fn dot_dot_stops_at_the_folder() {
    let ground = Ground::new();
    std::fs::create_dir(ground.inside().join("d")).unwrap();
    for guest in ground.guests() {
        for path in ["/../outside/secret", "/d/../../outside/secret", "../outside/secret"] {
            assert_eq!(guest.read(path).unwrap_err(), Errno::ENOENT, "{path}");
        }
        assert_eq!(guest.walk().canonicalize(b"/d/../../..").unwrap().to_string(), "/");
    }
}

#[test]
fn links_are_walked_in_the_guests_namespace() {
    let ground = Ground::new();
    let secret = ground.outside().join("secret");
    for (name, target) in [
        ("absolute", secret.as_path()),
        ("relative", Path::new("../outside/secret")),
        ("folder", ground.outside().as_path()),
        ("deep", Path::new("../../../../../../../../../../etc/passwd")),
    ] {
        symlink(target, ground.inside().join(name)).unwrap();
    }
    for guest in ground.guests() {
        for path in ["/absolute", "/relative", "/folder/secret", "/deep"] {
            assert_eq!(guest.read(path).unwrap_err(), Errno::ENOENT, "{path}");
            assert_eq!(guest.write(path, "x").err().unwrap(), Errno::ENOENT, "{path}");
        }
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCL;
        let opened = guest.walk().open(b"/absolute", flags, Mode::new(0o644));
        assert_eq!(opened.err().unwrap(), Errno::EEXIST);
        assert_eq!(guest.walk().chmod(b"/relative", Mode::new(0), Follow::Yes).unwrap_err(), Errno::ENOENT);
        assert_eq!(guest.walk().truncate(b"/relative", 0).unwrap_err(), Errno::ENOENT);
        // A hard link to a link is a second link, not a name of its target.
        guest.walk().link(b"/absolute", Follow::No, b"/second").unwrap();
        assert_eq!(guest.walk().stat(b"/second", Follow::No).unwrap().file_type(), FileType::Symlink);
        guest.walk().unlink(b"/second").unwrap();
    }
    assert!(ground.is_untouched());
}

#[test]
fn links_that_a_guest_makes_lead_it_nowhere_either() {
    let ground = Ground::new();
    for guest in ground.guests() {
        guest.walk().symlink(ground.outside().to_str().unwrap().as_bytes(), b"/way").unwrap();
        assert_eq!(guest.read("/way/secret").unwrap_err(), Errno::ENOENT);
        assert_eq!(guest.walk().link(b"/way/secret", Follow::Yes, b"/mine").unwrap_err(), Errno::ENOENT);
        assert_eq!(
            guest.walk().rename(b"/way/secret", &guest.walk(), b"/mine", RenameFlags::empty()).unwrap_err(),
            Errno::ENOENT
        );
        guest.walk().unlink(b"/way").unwrap();
    }
    assert!(ground.is_untouched());
}

#[test]
fn links_of_proc_are_text() {
    for guest in [Guest::open(Path::new("/proc/self")), Guest::stepwise(Path::new("/proc/self"))] {
        for name in ["/root/etc/passwd", "/cwd/Cargo.toml", "/exe", "/fd/0"] {
            assert!(guest.read(name).is_err(), "{name}");
        }
        assert_eq!(guest.walk().stat(b"/exe", Follow::No).unwrap().file_type(), FileType::Symlink);
        assert_eq!(guest.walk().read_link(b"/root").unwrap(), b"/");
    }
}

#[test]
fn other_mounts_below_the_folder_are_not_entered() {
    let options = HostFsOptions { read_only: true, ..options(Path::new("/")) };
    for opener in [Opener::default(), Opener::stepwise()] {
        let guest = Guest::new(HostFs::open_with(&options, opener).unwrap());
        assert_eq!(guest.read("/proc/self/status").unwrap_err(), Errno::EXDEV);
        assert_eq!(guest.walk().stat(b"/proc", Follow::Yes).unwrap_err(), Errno::EXDEV);
        assert!(guest.walk().stat(b"/etc", Follow::Yes).is_ok());
    }
}

#[test]
fn devices_are_neither_made_nor_opened() {
    let ground = Ground::new();
    let device = vm_abi::DeviceNumber::new(1, 3);
    for guest in ground.guests() {
        for kind in [NodeKind::CharDevice(device), NodeKind::BlockDevice(device)] {
            assert_eq!(guest.walk().mknod(b"/d", kind, Mode::new(0o666)).err().unwrap(), Errno::EPERM);
        }
    }
    let options = HostFsOptions { read_only: true, ..options(Path::new("/dev")) };
    let guest = Guest::new(HostFs::open(&options).unwrap());
    let null = guest.walk().resolve(b"/null").unwrap();
    assert_eq!(null.file_type(), FileType::CharDevice);
    assert_eq!(null.stat().unwrap().rdev, device);
    assert_eq!(guest.read("/null").unwrap_err(), Errno::EACCES);
    assert_eq!(null.inode().read_at(0, &mut [0]).unwrap_err(), Errno::EINVAL);
    assert_eq!(null.inode().write_at(0, b"x").unwrap_err(), Errno::EINVAL);
}

#[test]
fn fifos_and_sockets_of_the_host_are_never_opened() {
    let ground = Ground::new();
    rustix::fs::mkfifoat(CWD, ground.inside().join("fifo"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(ground.inside().join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    for guest in ground.guests() {
        // A blocking open would hang here: nobody has the other end.
        let opened = guest.walk().open(b"/fifo", OpenFlags::WRITE, Mode::new(0)).unwrap();
        assert!(matches!(opened.node, NodeOpen::Fifo));
        assert_eq!(opened.location.inode().write_at(0, b"x").unwrap_err(), Errno::EINVAL);
        let socket = guest.walk().open(b"/socket", OpenFlags::READ, Mode::new(0));
        assert_eq!(socket.err().unwrap(), Errno::ENXIO);
        assert_eq!(guest.walk().chmod(b"/fifo", Mode::new(0), Follow::Yes).unwrap_err(), Errno::ENOTSUP);
        guest.walk().mknod(b"/mine", NodeKind::Fifo, Mode::new(0o600)).unwrap();
        guest.walk().unlink(b"/mine").unwrap();
    }
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn set_id_bits_reach_the_host_neither_way() {
    let ground = Ground::new();
    let guest = Guest::open(&ground.inside());
    guest.write("/f", "x").unwrap();
    guest.walk().chmod(b"/f", Mode::new(0o6755), Follow::Yes).unwrap();
    let host_mode = |name: &str| {
        let facts = std::fs::metadata(ground.inside().join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o7777
    };
    assert_eq!(host_mode("f"), 0o755);
    guest.walk().open(b"/g", OpenFlags::WRITE | OpenFlags::CREATE, Mode::new(0o4711)).unwrap();
    assert_eq!(host_mode("g"), 0o711);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(ground.inside().join("f"), mode).unwrap();
    assert_eq!(guest.walk().stat(b"/f", Follow::Yes).unwrap().mode & 0o7777, 0o755);
}

/// Swaps two names until told to stop.
fn swap(a: &Path, b: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        renameat_with(CWD, a, CWD, b, HostRename::EXCHANGE).unwrap();
    }
}

/// What a guest may see while a directory and a link to the outside change places: its own file, or an error.
#[test]
fn a_directory_that_becomes_a_link_while_it_is_walked_leads_nowhere() {
    let ground = Ground::new();
    let (directory, link) = (ground.inside().join("d"), ground.inside().join("l"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("secret"), b"inside").unwrap();
    symlink(ground.outside(), &link).unwrap();
    for guest in ground.guests() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| swap(&directory, &link, &stop));
            let mut seen = 0;
            for round in 0..4000 {
                match guest.read("/d/secret") {
                    Ok(bytes) => {
                        assert_eq!(bytes, b"inside");
                        seen += 1;
                    }
                    Err(error) => assert!([Errno::ENOENT, Errno::ESTALE].contains(&error.errno()), "{error}"),
                }
                let name = format!("/d/new{round}");
                if guest.write(&name, "x").is_ok() {
                    let _ = guest.walk().chmod(name.as_bytes(), Mode::new(0o600), Follow::Yes);
                    let _ = guest.walk().rename(
                        name.as_bytes(),
                        &guest.walk(),
                        b"/d/moved",
                        RenameFlags::empty(),
                    );
                    let _ = guest.walk().link(b"/d/moved", Follow::Yes, b"/d/linked");
                    let _ = guest.walk().unlink(b"/d/linked");
                    let _ = guest.walk().unlink(name.as_bytes());
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(seen > 0);
        });
        assert!(ground.is_untouched());
    }
}

/// As before, with the file itself: found as a file, opened as what it has become.
#[test]
fn a_file_that_becomes_a_link_or_a_fifo_before_it_is_opened_is_stale() {
    let ground = Ground::new();
    let (file, other) = (ground.inside().join("f"), ground.inside().join("other"));
    for guest in ground.guests() {
        for kind in ["link", "fifo", "file", "folder", "nothing"] {
            std::fs::write(&file, b"inside").unwrap();
            let found = guest.walk().resolve(b"/f").unwrap();
            match kind {
                "link" => symlink(ground.outside().join("secret"), &other).unwrap(),
                "fifo" => rustix::fs::mkfifoat(CWD, &other, rustix::fs::Mode::from_raw_mode(0o666)).unwrap(),
                "file" => std::fs::write(&other, b"other").unwrap(),
                "folder" => std::fs::create_dir(&other).unwrap(),
                _ => {}
            }
            std::fs::remove_file(&file).unwrap();
            if kind != "nothing" {
                std::fs::rename(&other, &file).unwrap();
            }
            assert_eq!(found.inode().read_at(0, &mut [0; 9]).unwrap_err(), Errno::ESTALE, "{kind}");
            assert_eq!(found.inode().write_at(0, b"x").unwrap_err(), Errno::ESTALE, "{kind}");
            let _ = std::fs::remove_file(&file);
            let _ = std::fs::remove_dir(&file);
        }
    }
    assert!(ground.is_untouched());
}

#[test]
fn directories_moved_into_what_was_below_them_make_no_circle() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.inside().join("a/b")).unwrap();
    let guest = Guest::open(&ground.inside());
    let a = guest.walk().resolve(b"/a").unwrap();
    let b = guest.walk().resolve(b"/a/b").unwrap();
    std::fs::rename(ground.inside().join("a/b"), ground.inside().join("b")).unwrap();
    std::fs::rename(ground.inside().join("a"), ground.inside().join("b/a")).unwrap();
    // Seen from `b`, which still believes to be below `a`.
    let found = guest.walk().starting_at(&b).resolve(b"a").unwrap();
    assert_eq!(found.file_id(), a.file_id());
    assert!(guest.walk().path_of(&found).is_none(), "nobody knows where b is");
    assert_eq!(guest.walk().canonicalize(b"/b/a").unwrap().to_string(), "/b/a");
    assert_eq!(guest.walk().starting_at(&found).canonicalize(b"..").unwrap().to_string(), "/b");
}

#[test]
fn a_directory_moved_out_of_the_folder_gives_nothing_beside_it() {
    let ground = Ground::new();
    std::fs::create_dir(ground.inside().join("d")).unwrap();
    let guest = Guest::open(&ground.inside());
    let held = guest.walk().resolve(b"/d").unwrap();
    std::fs::rename(ground.inside().join("d"), ground.outside().join("d")).unwrap();
    let inside = guest.walk().starting_at(&held).resolve(b"../secret");
    assert_eq!(inside.err().unwrap(), Errno::ENOENT);
    assert_eq!(guest.walk().starting_at(&held).canonicalize(b"..").unwrap().to_string(), "/");
}

#[test]
fn a_sub_path_stays_within_the_folder() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.inside().join("v1")).unwrap();
    std::fs::write(ground.inside().join("v1/key"), b"value").unwrap();
    symlink("v1", ground.inside().join("..data")).unwrap();
    symlink("..data/key", ground.inside().join("key")).unwrap();
    symlink(ground.outside(), ground.inside().join("out")).unwrap();
    let open = |path: &str| {
        HostFs::open(&HostFsOptions { sub_path: Some(path.into()), ..options(&ground.inside()) })
            .map(Guest::new)
    };
    assert_eq!(open("..data").unwrap().read("/key").unwrap(), b"value");
    let file = open("key").unwrap();
    assert_eq!(super::read(&file.root).unwrap(), b"value");
    file.root.inode().append(b"!").unwrap();
    assert_eq!(std::fs::read(ground.inside().join("v1/key")).unwrap(), b"value!");
    for path in ["../outside", "out", "v1/../../outside", "/../outside"] {
        let error = open(path).err().unwrap();
        assert!(matches!(error, OpenError::SubPath { .. }), "{path}: {error}");
        assert!(error.to_string().contains("outside") || error.to_string().contains("out"), "{error}");
    }
    let missing = HostFs::open(&options(&ground.inside().join("none"))).err().unwrap();
    assert!(missing.to_string().contains("none"), "{missing}");
}
