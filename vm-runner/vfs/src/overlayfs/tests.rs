//! What an overlay shows, copies up and hides.

use std::collections::HashMap;
use std::sync::Arc;

use vm_abi::{DeviceNumber, Errno, FileType, Mode, Timespec};

use super::{OverlayFs, OverlayOptions};
use crate::conformance::machine::Machine;
use crate::file_system::FileSystem;
use crate::image::ImageBuilder;
use crate::inode::{Inode, NodeKind, Owner, RenameFlags, SetAttr, XattrSet};
use crate::tmpfs::{Tmpfs, TmpfsOptions};
use crate::{ContentId, Mapping, Name, VPath};

fn tmpfs(max_bytes: u64, max_inodes: u64) -> Arc<Tmpfs> {
    let (root_mode, root_owner) = (Mode::new(0o755), Owner::ROOT);
    let clock = Arc::new(|| Timespec::from_secs(1));
    Tmpfs::new(TmpfsOptions { max_bytes, max_inodes, root_mode, root_owner, clock })
}

fn overlay(lowers: &[Arc<dyn FileSystem>], upper: &Arc<Tmpfs>) -> Arc<OverlayFs> {
    let upper = Arc::clone(upper) as Arc<dyn FileSystem>;
    OverlayFs::new(OverlayOptions { lowers: lowers.to_vec(), upper, source: "test".to_owned() }).unwrap()
}

fn image(files: &[(&str, &[u8])]) -> Arc<dyn FileSystem> {
    let mut builder = ImageBuilder::new("image", "test");
    for (path, bytes) in files {
        let path = VPath::try_from(*path).unwrap();
        let content = Mapping::new(Arc::new(bytes.to_vec()));
        builder.file(&path, Mode::new(0o755), Timespec::EPOCH, content).unwrap();
    }
    builder.build().into_file_system()
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

fn find(file_system: &dyn FileSystem, path: &str) -> Arc<dyn Inode> {
    let path = VPath::try_from(path).unwrap();
    path.components().fold(file_system.root(), |at, name| at.lookup(name).unwrap())
}

fn names(directory: &dyn Inode) -> Vec<String> {
    directory.read_dir().unwrap().into_iter().map(|entry| entry.name.to_string()).collect()
}

fn read(inode: &dyn Inode) -> Vec<u8> {
    let mut bytes = vec![0; inode.stat().unwrap().size as usize];
    assert_eq!(inode.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// All paths with type, mode, size, owner and content, one a line.
fn dump(directory: &dyn Inode, path: &str, into: &mut Vec<String>) {
    for entry in directory.read_dir().unwrap() {
        let inode = directory.lookup(entry.name.as_name()).unwrap();
        let stat = inode.stat().unwrap();
        assert_eq!((entry.ino, entry.file_type), (stat.ino, stat.file_type()), "{path}/{}", entry.name);
        let path = format!("{path}/{}", entry.name);
        let content = match stat.file_type() {
            FileType::Regular => read(&*inode),
            FileType::Symlink => inode.read_link().unwrap(),
            _ => Vec::new(),
        };
        let links = if stat.file_type().is_directory() { 0 } else { stat.nlink };
        into.push(format!("{path} {:o} {links} {} {:?}", stat.mode, stat.uid, content));
        if stat.file_type().is_directory() {
            dump(&*inode, &path, into);
        }
    }
}

fn dumped(file_system: &dyn FileSystem) -> Vec<String> {
    let mut lines = Vec::new();
    dump(&*file_system.root(), "", &mut lines);
    lines
}

#[test]
fn content_identity_and_mapping_pass_through_until_the_first_write() {
    let overlay = overlay(&[image(&[("/bin/tool", b"program")])], &tmpfs(1 << 20, 100));
    let tool = find(&*overlay, "/bin/tool");
    assert_eq!(tool.content_id(), Some(ContentId::of(b"program")));
    let mapping = tool.map().unwrap();
    let ino = tool.ino();
    assert_eq!(tool.write_at(0, b"P").unwrap(), 1);
    assert_eq!((tool.content_id(), tool.map().is_none()), (None, true));
    assert_eq!(&*mapping, b"program");
    assert_eq!(read(&*tool), b"Program");
    drop(tool);
    let again = find(&*overlay, "/bin/tool");
    assert_eq!((again.ino(), again.stat().unwrap().ino), (ino, ino));
    assert_eq!(read(&*again), b"Program");
}

#[test]
fn the_first_layer_that_has_a_name_wins_and_directories_are_merged() {
    let layers = [
        image(&[("/bin/a", b"top"), ("/x/in-directory", b"")]),
        image(&[("/bin/a", b"middle"), ("/bin/b", b"middle"), ("/x", b"hides the next"), ("/y", b"file")]),
        image(&[("/bin/c", b"bottom"), ("/x/below-a-file", b""), ("/y/hidden", b"")]),
    ];
    let overlay = overlay(&layers, &tmpfs(1 << 20, 100));
    assert_eq!(names(&*find(&*overlay, "/bin")), ["a", "b", "c"]);
    assert_eq!(read(&*find(&*overlay, "/bin/a")), b"top");
    assert_eq!(read(&*find(&*overlay, "/bin/b")), b"middle");
    assert_eq!(names(&*find(&*overlay, "/x")), ["in-directory"]);
    assert_eq!(find(&*overlay, "/y").file_type(), FileType::Regular);
    let mut inos: Vec<_> =
        ["/bin", "/bin/a", "/bin/b", "/bin/c", "/x", "/y"].map(|path| find(&*overlay, path).ino()).into();
    inos.sort_unstable();
    inos.dedup();
    assert_eq!(inos.len(), 6);
}

#[test]
fn marks_in_the_upper_layer_are_those_of_linux_and_hidden_from_the_guest() {
    let upper = tmpfs(1 << 20, 100);
    let overlay = overlay(&[image(&[("/d/f", b"x"), ("/g", b"x")])], &upper);
    let root = overlay.root();
    root.unlink(name("g")).unwrap();
    find(&*overlay, "/d").unlink(name("f")).unwrap();
    root.rmdir(name("d")).unwrap();
    let whiteout = find(&*upper, "/g").stat().unwrap();
    assert_eq!((whiteout.file_type(), whiteout.rdev), (FileType::CharDevice, DeviceNumber::NONE));
    assert_eq!(names(&*upper.root()), ["d", "g"]);
    let made = root.create(name("d"), NodeKind::Directory, Mode::new(0o755), Owner::ROOT).unwrap();
    assert_eq!(find(&*upper, "/d").get_xattr(b"trusted.overlay.opaque").unwrap(), b"y");
    assert!(names(&*made).is_empty());
    assert!(made.list_xattr().unwrap().is_empty());
    assert_eq!(made.get_xattr(b"trusted.overlay.opaque").unwrap_err(), Errno::ENODATA);
    assert_eq!(made.set_xattr(b"trusted.overlay.opaque", b"n", XattrSet::Any).unwrap_err(), Errno::EPERM);
    assert_eq!(made.remove_xattr(b"trusted.overlay.opaque").unwrap_err(), Errno::ENODATA);
    let whiteout = NodeKind::CharDevice(DeviceNumber::NONE);
    assert_eq!(root.create(name("w"), whiteout, Mode::new(0), Owner::ROOT).err().unwrap(), Errno::EPERM);
}

#[test]
fn running_out_of_space_in_the_upper_layer_changes_nothing() {
    let bytes = vec![7; 100_000];
    let lower = image(&[("/d/big", &bytes), ("/d/e/small", b"x")]);
    let upper = tmpfs(50_000, 4);
    let overlay = overlay(&[lower], &upper);
    let before = dumped(&*overlay);
    let big = find(&*overlay, "/d/big");
    assert_eq!(big.write_at(0, b"x").unwrap_err(), Errno::ENOSPC);
    assert_eq!(upper.statfs().unwrap().free_bytes, upper.statfs().unwrap().total_bytes);
    assert_eq!(dumped(&*overlay), before);
    // Truncating needs no copy of the data.
    big.set_attr(&SetAttr { size: Some(3), ..SetAttr::default() }).unwrap();
    assert_eq!(read(&*big), [7; 3]);
    // Root, /d and /d/big are there now; /d/e and its whiteout no longer fit.
    let before = dumped(&*overlay);
    assert_eq!(find(&*overlay, "/d/e").unlink(name("small")).unwrap_err(), Errno::ENOSPC);
    assert_eq!(dumped(&*overlay), before);
    let root = overlay.root();
    assert_eq!(root.rename(name("d"), &root, name("n"), RenameFlags::empty()).unwrap_err(), Errno::ENOSPC);
    assert_eq!(dumped(&*overlay), before);
}

#[test]
fn names_of_one_lower_file_stay_one_file() {
    let lower = tmpfs(1 << 20, 100);
    let mut machine = Machine::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    assert_eq!(machine.run("write /a text"), "4");
    assert_eq!(machine.run("link /a /b"), "ok");
    let overlay = overlay(&[lower], &tmpfs(1 << 20, 100));
    let mut machine = Machine::new(overlay);
    for (command, outcome) in [
        ("same /a /b", "true"),
        ("append /a s", "1 5"),
        ("read /b", "texts"),
        ("same /a /b", "true"),
        ("append /b !", "1 6"),
        ("rename /b /c", "ok"),
        ("read /c", "texts!"),
        ("same /a /c", "true"),
        ("link /c /d", "ok"),
        ("unlink /a", "ok"),
        ("append /d !", "1 7"),
        ("read /c", "texts!!"),
        ("ls /", "c d"),
    ] {
        assert_eq!(machine.run(command), outcome, "{command}");
    }
}

#[test]
fn unusable_layers_are_refused() {
    let upper = tmpfs(1 << 20, 100) as Arc<dyn FileSystem>;
    let make = |lowers: Vec<Arc<dyn FileSystem>>, upper: &Arc<dyn FileSystem>| {
        OverlayFs::new(OverlayOptions { lowers, upper: Arc::clone(upper), source: String::new() }).err()
    };
    assert_eq!(make(Vec::new(), &image(&[])).unwrap(), Errno::EROFS);
    assert_eq!(make((0..32).map(|_| image(&[])).collect(), &upper).unwrap(), Errno::EINVAL);
    assert!(make((0..31).map(|_| image(&[])).collect(), &upper).is_none());
}

/// A small generator of repeatable randomness.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A path whose directories are likely to be there.
    fn path(&mut self) -> String {
        let directories: String =
            (0..self.below(3)).map(|_| format!("/{}", self.pick(&["a", "b"]))).collect();
        format!("{directories}/{}", self.pick(&["a", "b", "e", "f"]))
    }

    fn command(&mut self, with_links: bool) -> String {
        let (path, other) = (self.path(), self.path());
        match self.below(if with_links { 14 } else { 12 }) {
            0 | 1 => format!("mkdir {path}"),
            2 | 3 => format!("write {path} {}", self.pick(&["one", "three"])),
            4 => format!("append {path} more"),
            5 => format!("symlink {} {path}", self.pick(&["a", "/b", "../c"])),
            6 => format!("unlink {path}"),
            7 => format!("rmdir {path}"),
            8 | 9 => format!("rename {path} {other}"),
            10 => format!("rename {path} {other} {}", self.pick(&["noreplace", "exchange"])),
            11 => format!("chmod {path} {}", self.pick(&["700", "755"])),
            12 => format!("link {path} {other}"),
            _ => format!("truncate {path} 2"),
        }
    }
}

#[test]
fn random_histories_end_as_they_do_without_layers_and_survive_a_remount() {
    let mut succeeded = 0;
    for seed in 1..=200 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let plain = tmpfs(1 << 20, 1000);
        let layers = [tmpfs(1 << 20, 1000), tmpfs(1 << 20, 1000), tmpfs(1 << 20, 1000)];
        let [upper, top, bottom] = &layers;
        let mut reference = Machine::new(Arc::clone(&plain) as Arc<dyn FileSystem>);
        let mut history = Vec::new();
        // The past is made in two steps, so that the middle layer has whiteouts and opaque directories of its own.
        let lowers: [Arc<dyn FileSystem>; 2] = [Arc::clone(top) as _, Arc::clone(bottom) as _];
        let stages: [(Arc<dyn FileSystem>, bool); 3] = [
            (Arc::clone(bottom) as _, false),
            (overlay(&lowers[1..], top), false),
            (overlay(&lowers, upper), true),
        ];
        for (file_system, with_links) in stages {
            let mut layered = Machine::new(file_system);
            let tree = ["/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b"].map(|path| format!("mkdir {path}"));
            let commands = tree.into_iter().chain((0..40).map(|_| random.command(with_links)));
            for command in commands {
                let (expected, outcome) = (reference.run(&command), layered.run(&command));
                succeeded += usize::from(!outcome.starts_with('E'));
                history.push(command);
                assert_eq!(outcome, expected, "seed {seed}: {history:#?}");
            }
        }
        assert_eq!(dumped(&*overlay(&lowers, upper)), dumped(&*plain), "seed {seed}: {history:#?}");
    }
    assert!(succeeded > 8_000, "only {succeeded} of the operations did anything");
}

#[test]
fn threads_that_change_and_look_at_the_same_files_agree_in_the_end() {
    let files: Vec<(String, Vec<u8>)> =
        (0..20).map(|index| (format!("/d/e{}/f{index}", index % 3), vec![1; 5000])).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let overlay = overlay(&[image(&files)], &tmpfs(10 << 20, 1000));
    let open: HashMap<&str, Arc<dyn Inode>> =
        files.iter().map(|(path, _)| (*path, find(&*overlay, path))).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (overlay, open) = (&overlay, &open);
            scope.spawn(move || {
                let root = overlay.root();
                for inode in open.values() {
                    inode.append(&[thread; 10]).unwrap();
                }
                for round in 0..20 {
                    let (from, to) = if round % 2 == 0 { ("d", "n") } else { ("n", "d") };
                    let _ = root.rename(name(from), &root, name(to), RenameFlags::empty());
                    let _ = names(&*root);
                    let _ = root.lookup(name("d")).and_then(|d| d.lookup(name("e1"))).map(|e| names(&*e));
                }
            });
        }
    });
    for inode in open.values() {
        let bytes = read(&**inode);
        assert_eq!(bytes.len(), 5040);
        assert!((0..4).all(|thread| bytes[5000..].iter().filter(|&&byte| byte == thread).count() == 10));
    }
    assert_eq!(names(&*overlay.root()).len(), 1);
}

#[test]
fn directories_nested_deeper_than_the_hosts_stack_are_let_go() {
    let overlay = overlay(&[image(&[("/d/f", b"x")])], &tmpfs(1 << 30, 1 << 20));
    let mut at = overlay.root();
    for _ in 0..20_000 {
        at = at.create(name("deeper"), NodeKind::Directory, Mode::new(0o755), Owner::ROOT).unwrap();
    }
    drop(overlay);
    drop(at);
}
