//! Runs a history on both, the reference and a file system, and tells where they part.

use std::collections::BTreeMap;
use std::sync::Arc;

use vm_abi::Errno;
use vm_vfs::{FileSystem, Location, Name};

use super::operation::{Operation, SLOTS};
use super::reference::{Body, Id, Outcome, Reference};
use super::system::{Answer, System, facts, read};

/// A file system under test.
pub(crate) trait Subject {
    /// What is mounted.
    fn file_system(&self) -> Arc<dyn FileSystem>;

    /// Opens it again; nothing of it is held.
    fn reopen(&mut self);

    /// Opens it again as after the death of its process: what was not made durable may be lost.
    fn crash(&mut self) {
        self.reopen();
    }

    /// What is run instead of an operation, if this file system has no use for it as it is.
    fn adapt(&self, operation: &Operation) -> Option<Operation> {
        let _ = operation;
        None
    }

    /// Whether a crash may lose what came after the last `sync`.
    fn may_lose(&self) -> bool {
        false
    }

    /// Whether it answers this operation as it must, though not as the reference.
    fn is_excused(&self, operation: &Operation, answer: &Outcome<Answer>) -> bool {
        let _ = (operation, answer);
        false
    }
}

/// Runs a history.
///
/// # Errors
/// Where the file system differs from the reference.
pub(crate) fn run(subject: &mut dyn Subject, start: &Reference, history: &[Operation]) -> Result<(), String> {
    let mut reference = start.clone();
    // What a crash may bring back: the state after each step since the last one that made all durable.
    let mut durable = vec![reference.clone()];
    let mut system = System::new(subject.file_system());
    for (step, operation) in history.iter().enumerate() {
        let adapted = subject.adapt(operation);
        let operation = adapted.as_ref().unwrap_or(operation);
        let at = |what: String| format!("step {step}, {operation:?}: {what}");
        match operation {
            Operation::Reopen | Operation::Crash => {
                drop(system);
                (0..SLOTS).for_each(|slot| reference.drop_held(slot));
                if matches!(operation, Operation::Crash) && subject.may_lose() {
                    durable.push(reference);
                    subject.crash();
                    system = System::new(subject.file_system());
                    reference = survivor(&durable, &system).map_err(at)?;
                } else {
                    subject.reopen();
                    system = System::new(subject.file_system());
                    compare(&reference, &system.root).map_err(at)?;
                }
                durable = vec![reference.clone()];
                continue;
            }
            _ => {}
        }
        if is_pointless(&reference, operation) {
            continue;
        }
        let answer = system.run(operation);
        if subject.is_excused(operation, &answer) {
            continue;
        }
        if let Operation::Seek { path, offset } = operation {
            check_extents(&reference, path, *offset, &answer).map_err(at)?;
            continue;
        }
        let expected = expect(&mut reference, operation);
        if !is_same(&answer, &expected) {
            return Err(at(format!("{}, not {}", brief(&answer), brief(&expected))));
        }
        if subject.may_lose() {
            if matches!(operation, Operation::Sync) {
                durable.clear();
            }
            durable.push(reference.clone());
        }
    }
    compare(&reference, &system.root).map_err(|what| format!("at the end: {what}"))
}

/// Operations on nothing held, and those that no open file allows.
fn is_pointless(reference: &Reference, operation: &Operation) -> bool {
    let held = |slot: usize| reference.held[slot];
    match operation {
        Operation::WriteHeld(slot, ..) | Operation::TruncateHeld(slot, _) => {
            held(*slot).is_none_or(|held| !held.is_writable)
        }
        Operation::ReadHeld(slot) | Operation::SyncHeld(slot) | Operation::LinkHeld(slot, _) => {
            held(*slot).is_none()
        }
        _ => false,
    }
}

fn is_same(answer: &Outcome<Answer>, expected: &Outcome<Answer>) -> bool {
    match (answer, expected) {
        (Ok(Answer::Facts(found)), Ok(Answer::Facts(facts))) => found.are(facts),
        _ => answer == expected,
    }
}

/// What the reference answers.
fn expect(reference: &mut Reference, operation: &Operation) -> Outcome<Answer> {
    let nothing = |(): ()| Answer::Nothing;
    match operation {
        Operation::Mkdir(path, mode) => reference.mkdir(path, *mode).map(nothing),
        Operation::Fifo(path) => reference.make(path, Body::Fifo, 0o644).map(nothing),
        Operation::Symlink { target, path } if target.is_empty() => {
            let _ = path;
            Err(Errno::ENOENT)
        }
        Operation::Symlink { target, path } => {
            reference.make(path, Body::Symlink(target.clone()), 0o777).map(nothing)
        }
        Operation::Link(old, new) => reference.link(old, new).map(nothing),
        Operation::LinkHeld(slot, new) => {
            let held = reference.held[*slot].ok_or(Errno::EBADF)?;
            reference.link_inode(held.id, new).map(nothing)
        }
        Operation::Unlink(path) => reference.unlink(path).map(nothing),
        Operation::Rmdir(path) => reference.rmdir(path).map(nothing),
        Operation::Rename(old, new, flags) => reference.rename(old, new, *flags).map(nothing),
        Operation::Chmod(path, mode) => reference.chmod(path, *mode).map(nothing),
        Operation::Chown(path, uid, gid) => reference.chown(path, *uid, *gid).map(nothing),
        Operation::SetXattr { path, name, value, how } => {
            reference.set_xattr(path, name, value.expand(), *how).map(nothing)
        }
        Operation::RemoveXattr(path, name) => reference.remove_xattr(path, name).map(nothing),
        Operation::Sync => Ok(Answer::Nothing),
        Operation::Stat(path) => reference.resolve(path, true).map(|id| Answer::Facts(reference.facts(id))),
        Operation::Lstat(path) => reference.resolve(path, false).map(|id| Answer::Facts(reference.facts(id))),
        Operation::ReadLink(path) => reference.read_link(path).map(Answer::Bytes),
        Operation::ReadDir(path) => reference.read_dir(path).map(Answer::Entries),
        Operation::Canonicalize(path) => reference.canonicalize(path).map(Answer::Path),
        other => expect_content(reference, other),
    }
}

fn expect_content(reference: &mut Reference, operation: &Operation) -> Outcome<Answer> {
    let nothing = |(): ()| Answer::Nothing;
    match operation {
        Operation::Write { path, how, offset, bytes } => {
            let id = reference.open(path, *how)?;
            reference.write(id, *offset, &bytes.expand()).map(Answer::Count)
        }
        Operation::Append(path, bytes) => {
            let how = super::operation::Open { creates: true, is_exclusive: false, truncates: false };
            let id = reference.open(path, how)?;
            reference.append(id, &bytes.expand()).map(|(written, end)| Answer::Appended(written, end))
        }
        Operation::Truncate(path, size) => {
            let id = reference.resolve(path, true)?;
            reference.truncate(id, *size).map(nothing)
        }
        Operation::Allocate { path, offset, len, how } => {
            let id = reference.open_existing(path, true)?;
            reference.allocate(id, *offset, *len, *how).map(nothing)
        }
        Operation::Read { path, offset, len } => {
            let id = reference.open_existing(path, false)?;
            reference.read(id, *offset, *len).map(Answer::Bytes)
        }
        Operation::Hold { slot, path, is_writable } => {
            let id = reference.open_existing(path, *is_writable)?;
            reference.hold(*slot, id, *is_writable);
            Ok(Answer::Nothing)
        }
        Operation::Drop(slot) => {
            reference.drop_held(*slot);
            Ok(Answer::Nothing)
        }
        Operation::WriteHeld(slot, offset, bytes) => {
            let held = reference.held[*slot].ok_or(Errno::EBADF)?;
            reference.write(held.id, *offset, &bytes.expand()).map(Answer::Count)
        }
        Operation::TruncateHeld(slot, size) => {
            let held = reference.held[*slot].ok_or(Errno::EBADF)?;
            reference.truncate(held.id, *size).map(nothing)
        }
        Operation::ReadHeld(slot) => {
            let held = reference.held[*slot].ok_or(Errno::EBADF)?;
            reference.read(held.id, 0, usize::MAX / 2).map(Answer::Bytes)
        }
        Operation::SyncHeld(_) => Ok(Answer::Nothing),
        other => panic!("{other:?} is not about content"),
    }
}

/// Data may begin where bytes other than zero do, or earlier; a hole reads as zeros.
fn check_extents(
    reference: &Reference,
    path: &str,
    offset: u64,
    answer: &Outcome<Answer>,
) -> Result<(), String> {
    let content = reference.open_existing(path, false).and_then(|id| reference.read(id, 0, usize::MAX / 2));
    let (content, data, hole) = match (content, answer) {
        (Err(expected), Err(errno)) if *errno == expected => return Ok(()),
        // What has no content answers each question for itself.
        (Err(expected), Ok(Answer::Extents(Err(data), Err(hole))))
            if *data == expected && *hole == expected =>
        {
            return Ok(());
        }
        (Ok(content), Ok(Answer::Extents(data, hole))) => (content, *data, *hole),
        (content, answer) => return Err(format!("{answer:?}, not {:?}", content.map(|_| "extents"))),
    };
    let (start, size) = (offset as usize, content.len());
    if start >= size {
        let both = (Err(Errno::ENXIO), Err(Errno::ENXIO));
        return if (data, hole) == both {
            Ok(())
        } else {
            Err(format!("beyond the end: {data:?}, {hole:?}"))
        };
    }
    let data_start = match data {
        Ok(at) => at as usize,
        Err(Errno::ENXIO) => size,
        Err(errno) => return Err(format!("data: {errno:?}")),
    };
    let skipped =
        content.get(start..data_start).ok_or(format!("data at {data_start}, outside of the file"))?;
    if skipped.iter().any(|byte| *byte != 0) {
        return Err(format!("data at {data_start} though there is some before"));
    }
    let hole_start = hole.map_err(|errno| format!("hole: {errno:?}"))? as usize;
    let is_hole = hole_start >= start && (hole_start == size || content.get(hole_start) == Some(&0));
    if is_hole { Ok(()) } else { Err(format!("no hole at {hole_start}")) }
}

/// The state that a crash left: that of a moment since everything was durable last.
fn survivor(states: &[Reference], system: &System) -> Result<Reference, String> {
    let mut latest = String::new();
    for state in states.iter().rev() {
        match compare(state, &system.root) {
            Ok(()) => {
                let mut survivor = state.clone();
                (0..SLOTS).for_each(|slot| survivor.drop_held(slot));
                return Ok(survivor);
            }
            Err(what) if latest.is_empty() => latest = what,
            Err(_) => {}
        }
    }
    Err(format!("none of {} states survived; the latest differs: {latest}", states.len()))
}

/// Compares the whole trees: names, facts, content, attributes, and which names are one file.
fn compare(reference: &Reference, root: &Location) -> Result<(), String> {
    let mut numbers = BTreeMap::new();
    compare_inode(reference, reference.root(), root, "", &mut numbers)?;
    let mut files: Vec<u64> = numbers.values().copied().collect();
    files.sort_unstable();
    files.dedup();
    if files.len() == numbers.len() { Ok(()) } else { Err("two files have one inode number".to_owned()) }
}

fn compare_inode(
    reference: &Reference,
    id: Id,
    location: &Location,
    path: &str,
    numbers: &mut BTreeMap<Id, u64>,
) -> Result<(), String> {
    let fail = |what: &str, errno: vm_vfs::Error| format!("{path}/: {what}: {errno}");
    let found = facts(location).map_err(|error| fail("stat", error))?;
    if !found.are(&reference.facts(id)) {
        return Err(format!("{path}/: {found:?}, not {:?}", reference.facts(id)));
    }
    let number = location.inode().ino();
    if *numbers.entry(id).or_insert(number) != number {
        return Err(format!("{path}/: two names of one file have two inode numbers"));
    }
    let inode = reference.inode(id);
    let mut names = location.inode().list_xattr().map_err(|error| fail("xattrs", error))?;
    names.sort();
    if !names.iter().map(Vec::as_slice).eq(inode.xattrs.keys().map(String::as_bytes)) {
        return Err(format!("{path}/: {} extended attributes, not {}", names.len(), inode.xattrs.len()));
    }
    for (name, value) in &inode.xattrs {
        let found = location.inode().get_xattr(name.as_bytes()).map_err(|error| fail("xattr", error))?;
        if found != *value {
            return Err(format!("{path}/: another value of {name}"));
        }
    }
    match &inode.body {
        Body::File(content) => {
            let found = read(location, 0, content.len() + 1).map_err(|error| fail("read", error))?;
            match found.iter().zip(content).position(|(a, b)| a != b) {
                Some(at) => Err(format!("{path}/: byte {at} is {}, not {}", found[at], content[at])),
                None if found.len() != content.len() => Err(format!("{path}/: {} bytes", found.len())),
                None => Ok(()),
            }
        }
        Body::Symlink(target) => {
            let found = location.inode().read_link().map_err(|error| fail("readlink", error))?;
            if found == target.as_bytes() { Ok(()) } else { Err(format!("{path}/: another target")) }
        }
        Body::Fifo => Ok(()),
        Body::Directory { entries, parent: _ } => {
            let mut found = location.inode().read_dir().map_err(|error| fail("readdir", error))?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            if !found.iter().map(|entry| entry.name.as_bytes()).eq(entries.keys().map(String::as_bytes)) {
                return Err(format!("{path}/: entries {found:?}, not {:?}", entries.keys()));
            }
            for (entry, (name, child)) in found.iter().zip(entries) {
                let inode = Name::new(name.as_bytes()).and_then(|name| location.inode().lookup(name));
                let inode = inode.map_err(|error| fail(name, error))?;
                if (entry.ino, entry.file_type) != (inode.ino(), inode.file_type()) {
                    return Err(format!("{path}/{name}: the entry tells another file"));
                }
                compare_inode(
                    reference,
                    *child,
                    &location.with_inode(inode),
                    &format!("{path}/{name}"),
                    numbers,
                )?;
            }
            Ok(())
        }
    }
}

/// An answer, without all of its bytes.
fn brief(answer: &Outcome<Answer>) -> String {
    match answer {
        Ok(Answer::Bytes(bytes)) => format!("{} bytes {:?}…", bytes.len(), &bytes[..bytes.len().min(16)]),
        answer => format!("{answer:?}"),
    }
}
