//! What a history is made of, and how histories are drawn.
//!
//! Few names and short paths, so that operations meet each other; sizes and offsets around the units in which file
//! systems keep content. Strategies are boxed: unboxed, one drawn history takes more than a thread's stack.

use proptest::prelude::*;
use vm_vfs::{Allocation, RenameFlags, XattrSet};

/// How many files a history can hold open.
pub(crate) const SLOTS: usize = 3;

/// One step of a history. Paths start at the root.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Mkdir(String, u32),
    Fifo(String),
    Symlink {
        target: String,
        path: String,
    },
    Link(String, String),
    /// Gives a held file another name.
    LinkHeld(usize, String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, RenameFlags),
    /// Opens, writes, closes.
    Write {
        path: String,
        how: Open,
        offset: u64,
        bytes: Bytes,
    },
    Append(String, Bytes),
    Truncate(String, u64),
    Allocate {
        path: String,
        offset: u64,
        len: u64,
        how: Allocation,
    },
    Read {
        path: String,
        offset: u64,
        len: usize,
    },
    /// Asks where data or a hole is.
    Seek {
        path: String,
        offset: u64,
    },
    Chmod(String, u32),
    Chown(String, u32, u32),
    SetXattr {
        path: String,
        name: &'static str,
        value: Bytes,
        how: XattrSet,
    },
    RemoveXattr(String, &'static str),
    Stat(String),
    Lstat(String),
    ReadLink(String),
    ReadDir(String),
    Canonicalize(String),
    /// Keeps a file open, for reading and writing or for reading only.
    Hold {
        slot: usize,
        path: String,
        is_writable: bool,
    },
    Drop(usize),
    WriteHeld(usize, u64, Bytes),
    TruncateHeld(usize, u64),
    ReadHeld(usize),
    SyncHeld(usize),
    Sync,
    /// Closes everything held and opens the file system again.
    Reopen,
    /// As after the death of the process that had it open.
    Crash,
}

/// How a file to write is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) creates: bool,
    pub(crate) is_exclusive: bool,
    pub(crate) truncates: bool,
}

/// Content that a history can print: this many bytes, counted up from the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    pub(crate) first: u8,
    pub(crate) len: usize,
}

impl Bytes {
    pub(crate) fn expand(self) -> Vec<u8> {
        // A period that is no power of two, so that no page looks like its neighbour; never 0, which a hole reads as.
        (0..self.len)
            .map(|index| (usize::from(self.first) + index * 7) % 251)
            .map(|byte| byte as u8 + 1)
            .collect()
    }
}

/// A history of at most this many steps.
pub(crate) fn history(steps: usize) -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..=steps)
}

fn operation() -> BoxedStrategy<Operation> {
    prop_oneof![
        10 => entries(),
        8 => removals(),
        12 => contents(),
        5 => attributes(),
        6 => questions(),
        8 => held(),
        2 => prop_oneof![2 => Just(Operation::Sync), 1 => Just(Operation::Reopen), 1 => Just(Operation::Crash)],
    ]
    .boxed()
}

fn entries() -> BoxedStrategy<Operation> {
    prop_oneof![
        4 => (path(), mode()).prop_map(|(path, mode)| Operation::Mkdir(path, mode)),
        1 => path().prop_map(Operation::Fifo),
        2 => (target(), path()).prop_map(|(target, path)| Operation::Symlink { target, path }),
        2 => (path(), path()).prop_map(|(old, new)| Operation::Link(old, new)),
    ]
    .boxed()
}

fn removals() -> BoxedStrategy<Operation> {
    let flags = prop_oneof![
        6 => Just(RenameFlags::empty()),
        1 => Just(RenameFlags::NOREPLACE),
        2 => Just(RenameFlags::EXCHANGE),
    ];
    prop_oneof![
        2 => path().prop_map(Operation::Unlink),
        2 => path().prop_map(Operation::Rmdir),
        5 => (path(), path(), flags).prop_map(|(old, new, flags)| Operation::Rename(old, new, flags)),
    ]
    .boxed()
}

fn contents() -> BoxedStrategy<Operation> {
    let open = prop_oneof![
        4 => Just((true, false, false)),
        3 => Just((true, false, true)),
        1 => Just((true, true, false)),
        2 => Just((false, false, false)),
        1 => Just((false, false, true)),
    ];
    let open = open.prop_map(|(creates, is_exclusive, truncates)| Open { creates, is_exclusive, truncates });
    let how = prop_oneof![
        Just(Allocation::Extend),
        Just(Allocation::KeepSize),
        Just(Allocation::PunchHole),
        Just(Allocation::Zero),
    ];
    prop_oneof![
        6 => (path(), open, offset(), bytes())
            .prop_map(|(path, how, offset, bytes)| Operation::Write { path, how, offset, bytes }),
        2 => (path(), bytes()).prop_map(|(path, bytes)| Operation::Append(path, bytes)),
        2 => (path(), offset()).prop_map(|(path, size)| Operation::Truncate(path, size)),
        2 => (path(), offset(), 1_u64..90_000, how)
            .prop_map(|(path, offset, len, how)| Operation::Allocate { path, offset, len, how }),
    ]
    .boxed()
}

fn attributes() -> BoxedStrategy<Operation> {
    let name = || prop_oneof![Just("user.a"), Just("user.b")];
    let how =
        prop_oneof![3 => Just(XattrSet::Any), 1 => Just(XattrSet::Create), 1 => Just(XattrSet::Replace)];
    let value = (any::<u8>(), 0_usize..300).prop_map(|(first, len)| Bytes { first, len });
    prop_oneof![
        2 => (path(), mode()).prop_map(|(path, mode)| Operation::Chmod(path, mode)),
        1 => (path(), 0_u32..3, 0_u32..3).prop_map(|(path, uid, gid)| Operation::Chown(path, uid, gid)),
        2 => (path(), name(), value, how)
            .prop_map(|(path, name, value, how)| Operation::SetXattr { path, name, value, how }),
        1 => (path(), name()).prop_map(|(path, name)| Operation::RemoveXattr(path, name)),
    ]
    .boxed()
}

fn questions() -> BoxedStrategy<Operation> {
    prop_oneof![
        2 => (path(), offset(), 0_usize..100_000)
            .prop_map(|(path, offset, len)| Operation::Read { path, offset, len }),
        1 => (path(), offset()).prop_map(|(path, offset)| Operation::Seek { path, offset }),
        1 => path().prop_map(Operation::Stat),
        1 => path().prop_map(Operation::Lstat),
        1 => path().prop_map(Operation::ReadLink),
        1 => path().prop_map(Operation::ReadDir),
        1 => path().prop_map(Operation::Canonicalize),
    ]
    .boxed()
}

fn held() -> BoxedStrategy<Operation> {
    let slot = || 0..SLOTS;
    prop_oneof![
        4 => (slot(), path(), any::<bool>())
            .prop_map(|(slot, path, is_writable)| Operation::Hold { slot, path, is_writable }),
        1 => slot().prop_map(Operation::Drop),
        2 => (slot(), offset(), bytes())
            .prop_map(|(slot, offset, bytes)| Operation::WriteHeld(slot, offset, bytes)),
        1 => (slot(), offset()).prop_map(|(slot, size)| Operation::TruncateHeld(slot, size)),
        2 => slot().prop_map(Operation::ReadHeld),
        1 => slot().prop_map(Operation::SyncHeld),
        1 => (slot(), path()).prop_map(|(slot, path)| Operation::LinkHeld(slot, path)),
    ]
    .boxed()
}

fn component() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just("a"), 8 => Just("b"), 5 => Just("c"), 1 => Just("."), 1 => Just("..")]
}

fn path() -> BoxedStrategy<String> {
    let components = prop_oneof![
        6 => prop::collection::vec(component(), 1),
        6 => prop::collection::vec(component(), 2),
        3 => prop::collection::vec(component(), 3),
        1 => prop::collection::vec(component(), 4),
    ];
    (components, prop::bool::weighted(0.05))
        .prop_map(|(components, has_slash)| {
            format!("/{}{}", components.join("/"), if has_slash { "/" } else { "" })
        })
        .boxed()
}

/// Where a symbolic link points: to a path of the history, from the root or from where it is.
fn target() -> BoxedStrategy<String> {
    (path(), any::<bool>())
        .prop_map(
            |(path, is_absolute)| if is_absolute { path } else { path.trim_start_matches('/').to_owned() },
        )
        .boxed()
}

fn mode() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0o755), Just(0o644), Just(0o700), Just(0o1777), Just(0o600)]
}

fn offset() -> BoxedStrategy<u64> {
    prop_oneof![
        4 => Just(0_u64),
        2 => 0_u64..64,
        2 => prop_oneof![Just(4095_u64), Just(4096), Just(4097), Just(8192)],
        2 => prop_oneof![Just(65_535_u64), Just(65_536), Just(65_537), Just(131_072)],
        1 => 0_u64..300_000,
    ]
    .boxed()
}

fn bytes() -> BoxedStrategy<Bytes> {
    let len = prop_oneof![
        1 => Just(0_usize),
        6 => 1_usize..40,
        3 => prop_oneof![Just(4096_usize), Just(4095), Just(5000)],
        1 => 1_usize..150_000,
    ];
    (any::<u8>(), len).prop_map(|(first, len)| Bytes { first, len }).boxed()
}
