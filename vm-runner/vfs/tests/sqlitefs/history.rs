//! Repeatable histories: the same seed does the same to any file system, one change at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use vm_abi::{FileType, Mode, Timespec};
use vm_vfs::tmpfs::{Tmpfs, TmpfsOptions};
use vm_vfs::{Allocation, Error, FileClock, Inode, NodeKind, Owner, RenameFlags, SetAttr, XattrSet};

use crate::name;

/// A small generator of repeatable randomness.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn name(&mut self) -> &'static str {
        ["a", "b", "c", "d", "e", "f"][self.below(6) as usize]
    }
}

/// A clock that somebody sets.
#[derive(Default)]
pub(crate) struct SetClock(pub(crate) AtomicI64);

impl FileClock for SetClock {
    fn now(&self) -> Timespec {
        Timespec::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A file system in memory, to compare with.
pub(crate) fn reference(clock: Arc<dyn FileClock>) -> Arc<Tmpfs> {
    let (root_mode, root_owner) = (Mode::new(0o755), Owner::ROOT);
    Tmpfs::new(TmpfsOptions { max_bytes: 1 << 40, max_inodes: 1 << 30, root_mode, root_owner, clock })
}

/// One change, or an attempt.
pub(crate) fn step(root: &Arc<dyn Inode>, random: &mut Random) {
    let done = try_step(root, random);
    assert!(!matches!(&done, Err(error) if error.errno() == vm_abi::Errno::EIO), "{done:?}");
}

fn try_step(root: &Arc<dyn Inode>, random: &mut Random) -> Result<(), Error> {
    let (at, other_at) = (directory(root, random), directory(root, random));
    let (text, other) = (random.name(), random.name());
    let (kind, number) = (random.below(20), random.below(100_000));
    let bytes = vec![number as u8 | 1; random.below(40_000) as usize / if number % 4 == 0 { 1 } else { 50 }];
    let create = |kind| at.create(name(text), kind, Mode::new(0o755), Owner::ROOT).map(drop);
    match kind {
        0..3 => create(NodeKind::Regular),
        3 => create(NodeKind::Directory),
        4 => create(NodeKind::Symlink(b"somewhere")),
        5..9 => at.lookup(name(text))?.write_at(number, &bytes).map(drop),
        9..11 => at.lookup(name(text))?.append(&bytes).map(drop),
        11 => {
            let size = Some(number / 2);
            at.lookup(name(text))?.set_attr(&SetAttr { size, ..SetAttr::default() })
        }
        12 => at.lookup(name(text))?.allocate(number / 3, 30_000, Allocation::PunchHole),
        13 => at.lookup(name(text))?.allocate(number, 50_000, Allocation::Extend),
        14 => at.unlink(name(text)),
        15 => at.rmdir(name(text)),
        16 => at.rename(name(text), &other_at, name(other), RenameFlags::empty()),
        17 => at.rename(name(text), &other_at, name(other), RenameFlags::EXCHANGE),
        18 => other_at.link(name(other), &at.lookup(name(text))?),
        _ => at.lookup(name(text))?.set_xattr(b"user.x", &bytes[..bytes.len().min(9)], XattrSet::Any),
    }
}

/// One of the directories, not far down.
fn directory(root: &Arc<dyn Inode>, random: &mut Random) -> Arc<dyn Inode> {
    let mut at = Arc::clone(root);
    for _ in 0..random.below(3) {
        match at.lookup(name(random.name())) {
            Ok(next) if next.file_type().is_directory() => at = next,
            Ok(_) | Err(_) => break,
        }
    }
    at
}

/// All that can be seen of a tree, by path.
pub(crate) fn dump(root: &Arc<dyn Inode>) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let mut waiting = vec![(String::new(), Arc::clone(root))];
    while let Some((path, inode)) = waiting.pop() {
        let stat = inode.stat().unwrap();
        let content = match inode.file_type() {
            FileType::Regular => {
                let mut bytes = vec![0; stat.size as usize];
                assert_eq!(inode.read_at(0, &mut bytes).unwrap(), bytes.len());
                format!("{:?}", vm_vfs::ContentId::of(&bytes))
            }
            FileType::Symlink => format!("{:?}", inode.read_link().unwrap()),
            _ => String::new(),
        };
        let xattr = inode.get_xattr(b"user.x").ok();
        let blocks = if inode.file_type().is_regular() { 0 } else { stat.blocks };
        let facts = (stat.mode, stat.nlink, stat.size, blocks, stat.mtime.sec, stat.ctime.sec, xattr);
        shown.insert(path.clone(), format!("{facts:?} {content}"));
        if inode.file_type().is_directory() {
            for entry in inode.read_dir().unwrap() {
                let child = inode.lookup(entry.name.as_name()).unwrap();
                assert_eq!((child.ino(), child.file_type()), (entry.ino, entry.file_type));
                waiting.push((format!("{path}/{}", entry.name), child));
            }
        }
    }
    shown
}
