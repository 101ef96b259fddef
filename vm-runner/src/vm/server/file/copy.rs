//! `POST files:copy`: a file, or a directory with everything in it.
//!
//! The copy is made beside its place and put there at once, so that it is there as a whole or not at all. Hard links
//! among what is copied stay links, holes stay holes; owners stay where the user may set them.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use vm_abi::{Errno, FileType, Mode, OpenFlags, Stat};
use vm_api::{CopyRequest, CopyResponse, Problem, ProblemCode};
use vm_vfs::{
    Extent, FileId, Follow, LastComponent, Location, NameBuf, NodeKind, RenameFlags, SetTime, VfsResult,
    WalkContext, XattrSet,
};

use super::delete::{Guarded, delete_tree};
use super::made_up::{is_made_up, read_to_copy};
use super::tree::{Step, Tree, child};
use super::upload::{free_name, write_all};
use super::{MAX_REQUEST_BYTES, Target, make_parents, overwrite_hint, problem_at, stat};
use crate::http::{self as web, Request, Response};
use crate::vm::boot::Vm;

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Entries and chunks that are copied before others get their turn.
const STEP: usize = 8;
/// Short pieces of a file with holes that are copied before others get their turn.
const PIECES: usize = 64;
/// Most files with several names whose copies are linked as they are.
const MAX_LINKED: usize = 100_000;

/// Answers one request.
pub(crate) async fn copy(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let CopyRequest { from, from_encoded, to, to_encoded, overwrite, parents } =
        request.read_json(MAX_REQUEST_BYTES).await?;
    let source = Target::new(vm, &from, from_encoded.as_deref(), "from")?;
    let mut target = Target::new(vm, &to, to_encoded.as_deref(), "to")?;
    while target.path.len() > 1 && target.path.ends_with(b"/") {
        target.path.pop();
    }
    let top = source.act(|walk, path| walk.resolve_with(path, Follow::No))?;
    if parents {
        make_parents(&target)?;
    }
    check_place(&source, &target, &top, overwrite)?;
    let mut draft = Draft { target: Target { vm, path: free_name(&target) }, is_made: false };
    let copied = copy_to(&source, &draft.target, &target, top, &mut draft.is_made).await;
    let copied = match copied {
        Ok(copied) => place(&draft.target, &target, overwrite).await.map(|()| copied),
        Err(problem) => Err(problem),
    };
    // Whatever is there now under the draft's name: what failed, or what was replaced.
    draft.remove().await;
    let copied = copied?;
    target.sync_parent().await?;
    let CopyState { entries, bytes, .. } = copied;
    let response = CopyResponse { stat: stat::stat(&target)?, entries, bytes };
    Ok(web::json(StatusCode::CREATED, &response))
}

/// Refuses early what would fail late.
fn check_place(
    source: &Target<'_>,
    target: &Target<'_>,
    top: &Location,
    overwrite: bool,
) -> Result<(), Problem> {
    let parent = target.act(|walk, path| walk.resolve_parent(path))?;
    if !matches!(parent.last, LastComponent::Name(_)) {
        return Err(target.problem(Errno::EEXIST.into()));
    }
    if !overwrite && target.act(|walk, path| Ok(walk.stat(path, Follow::No).is_ok()))? {
        return Err(overwrite_hint(false)(target.problem(Errno::EEXIST.into())));
    }
    if top.file_type().is_directory() {
        let inside = source.act(|walk, _| {
            let (top, place) = (walk.path_of(top), walk.path_of(&parent.directory));
            Ok(top.zip(place).is_some_and(|(top, place)| place.starts_with(&top)))
        })?;
        if inside {
            let detail = "a directory cannot be copied into itself";
            return Err(Problem::new(ProblemCode::InvalidPath, detail).with_field("to").with_errno("EINVAL"));
        }
    }
    Ok(())
}

/// What is not in its place yet.
struct Draft<'a> {
    target: Target<'a>,
    is_made: bool,
}

impl Draft<'_> {
    async fn remove(&mut self) {
        if !std::mem::take(&mut self.is_made) {
            return;
        }
        if let Ok((directory, name, found)) = entry(&self.target) {
            // Nothing can be done about a failure here, and what was asked for is known already.
            if found.file_type().is_directory() {
                let _ = delete_tree(&self.target, &directory, &name, found, Guarded::Open).await;
            } else {
                let _ = self.target.act(|walk, path| walk.unlink(path));
            }
        }
    }
}

/// The client went away: nobody waits for the rest, so it is cut down by a task that the VM owns.
impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.is_made) {
            let (vm, path) = (Arc::clone(self.target.vm), self.target.path.clone());
            self.target.vm.files().lingering.clean_up(async move {
                Draft { target: Target { vm: &vm, path }, is_made: true }.remove().await;
            });
        }
    }
}

fn entry(target: &Target<'_>) -> Result<(Location, NameBuf, Location), Problem> {
    target.act(|walk, path| {
        let parent = walk.resolve_parent(path)?;
        let LastComponent::Name(name) = parent.last else { return Err(Errno::EINVAL.into()) };
        let found = child(walk, &parent.directory, &name)?;
        Ok((parent.directory, name, found))
    })
}

/// Puts the draft into its place; what it replaces takes the draft's name.
async fn place(draft: &Target<'_>, target: &Target<'_>, overwrite: bool) -> Result<(), Problem> {
    let _commit = target.vm.files().commit();
    target
        .act(|walk, path| {
            match walk.rename(&draft.path, walk, path, RenameFlags::NOREPLACE) {
                Err(error) if error == Errno::EEXIST && overwrite => {}
                result => return result,
            }
            walk.rename(&draft.path, walk, path, RenameFlags::EXCHANGE)
        })
        .map_err(overwrite_hint(overwrite))
}

/// What was copied so far.
#[derive(Default)]
struct CopyState {
    entries: u64,
    bytes: u64,
    linked: HashMap<FileId, Location>,
    /// The entry that is being copied, with the slash before it.
    at: Vec<u8>,
}

async fn copy_to(
    source: &Target<'_>,
    draft: &Target<'_>,
    target: &Target<'_>,
    top: Location,
    is_made: &mut bool,
) -> Result<CopyState, Problem> {
    let mut state = CopyState::default();
    let result = copy_tree(source.vm, draft, top, &mut state, is_made).await;
    match result {
        Ok(()) => Ok(state),
        // What is full is the destination; what cannot be read is the source.
        Err(error) if matches!(error.errno(), Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => {
            Err(problem_at(source.vm, error, &[&target.path[..], &state.at].concat()))
        }
        Err(error) => Err(problem_at(source.vm, error, &[&source.path[..], &state.at].concat())),
    }
}

async fn copy_tree(
    vm: &Arc<Vm>,
    target: &Target<'_>,
    top: Location,
    state: &mut CopyState,
    is_made: &mut bool,
) -> VfsResult<()> {
    let act =
        |act: &mut dyn FnMut(&WalkContext<'_>) -> VfsResult<()>| vm.walk(vm.credentials(), |walk| act(walk));
    let mut made = None;
    let root = vm.kernel().namespace().root();
    act(&mut |walk| {
        made = make(walk, &root, &target.path, &top, state)?;
        *is_made = true;
        Ok(())
    })?;
    if let Some(file) = made.take_if(|made| made.file_type().is_regular()) {
        return copy_content(vm, &top, &file, state).await;
    }
    let Some(place) = made else { return Ok(()) };
    let mut tree = Tree::default();
    let mut places = vec![place];
    act(&mut |walk| tree.enter(walk, top.clone(), b""))?;
    for step in 0_usize.. {
        let next = tree.next();
        let Some(place) = places.last().cloned() else { return Ok(()) };
        match next {
            Step::End => {
                act(&mut |walk| keep_attributes(walk, &top, &place))?;
                return Ok(());
            }
            Step::Left { directory, name: _ } => {
                act(&mut |walk| keep_attributes(walk, &directory, &place))?;
                places.pop();
            }
            Step::Entry { directory, entry } => {
                let name = entry.name.as_bytes();
                state.at = [b"/", &tree.path_of(name)[..]].concat();
                let (mut found, mut made) = (None, None);
                act(&mut |walk| {
                    let source = child(walk, &directory, &entry.name)?;
                    made = make(walk, &place, name, &source, state)?;
                    if source.file_type().is_directory() {
                        tree.enter(walk, source.clone(), name)?;
                    }
                    found = Some(source);
                    Ok(())
                })?;
                match (found, made) {
                    (Some(source), Some(copy)) if source.file_type().is_regular() => {
                        copy_content(vm, &source, &copy, state).await?;
                    }
                    (Some(_), Some(copy)) => places.push(copy),
                    _ => {}
                }
            }
        }
        if step % STEP == STEP - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Makes the copy of an entry; tells it if something is still to be put into it.
fn make(
    walk: &WalkContext<'_>,
    place: &Location,
    name: &[u8],
    source: &Location,
    state: &mut CopyState,
) -> VfsResult<Option<Location>> {
    let there = walk.starting_at(place);
    let stat = source.stat()?;
    state.entries += 1;
    let known = state.linked.get(&source.file_id());
    if let Some(known) = known.filter(|_| stat.nlink > 1) {
        there.link_location(known, &there, name)?;
        return Ok(None);
    }
    let made = match source.file_type() {
        FileType::Directory => {
            let made = there.mkdir(name, Mode::new(0o700))?;
            return Ok(Some(made));
        }
        FileType::Regular => {
            // Whether the user may read it is asked here.
            walk.open_existing(source.clone(), OpenFlags::READ)?;
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCL;
            there.open(name, flags, Mode::new(0o600))?.location
        }
        FileType::Symlink => there.symlink(&source.inode().read_link_for(walk.caller)?, name)?,
        FileType::Fifo => there.mknod(name, NodeKind::Fifo, stat.permissions())?,
        FileType::Socket => there.mknod(name, NodeKind::Socket, stat.permissions())?,
        FileType::CharDevice => there.mknod(name, NodeKind::CharDevice(stat.rdev), stat.permissions())?,
        FileType::BlockDevice => there.mknod(name, NodeKind::BlockDevice(stat.rdev), stat.permissions())?,
    };
    if stat.nlink > 1 && state.linked.len() < MAX_LINKED {
        state.linked.insert(source.file_id(), made.clone());
    }
    if made.file_type().is_regular() {
        return Ok(Some(made));
    }
    keep_attributes(walk, source, &made)?;
    Ok(None)
}

/// Copies the bytes of a file, but not its holes, and then its attributes.
async fn copy_content(vm: &Vm, source: &Location, copy: &Location, state: &mut CopyState) -> VfsResult<()> {
    if is_made_up(source) {
        let content = read_to_copy(source)?;
        write_all(copy, 0, &content)?;
        state.bytes += content.len() as u64;
        return vm.walk(vm.credentials(), |walk| keep_attributes(walk, source, copy));
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut offset, mut pieces) = (0, 0_usize);
    loop {
        match source.inode().seek_extent(offset, Extent::Data) {
            Ok(data) => offset = data,
            Err(error) if error == Errno::ENXIO => break,
            Err(error) => return Err(error),
        }
        let end = source.inode().seek_extent(offset, Extent::Hole)?;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let count = source.inode().read_at(offset, &mut buffer[..most])?;
            if count == 0 {
                break;
            }
            write_all(copy, offset, &buffer[..count])?;
            offset += count as u64;
            state.bytes += count as u64;
            pieces += 1;
            if count == CHUNK_BYTES || pieces.is_multiple_of(PIECES) {
                tokio::task::yield_now().await;
            }
        }
    }
    let size = source.stat()?.size;
    if copy.stat()?.size != size {
        copy.set_size(size)?;
    }
    vm.walk(vm.credentials(), |walk| keep_attributes(walk, source, copy))
}

/// Gives a copy the attributes of what it is a copy of.
fn keep_attributes(walk: &WalkContext<'_>, source: &Location, copy: &Location) -> VfsResult<()> {
    let stat = source.stat()?;
    for name in source.list_xattr(walk.credentials).unwrap_or_default() {
        if let Ok(value) = source.get_xattr(walk.credentials, &name) {
            permitted(copy.set_xattr(walk.credentials, &name, &value, XattrSet::Any))?;
        }
    }
    give(walk, &stat, copy)?;
    if !copy.file_type().is_symlink() {
        copy.change_mode(walk.credentials, stat.permissions())?;
    }
    copy.set_times(walk.credentials, Some(SetTime::At(stat.atime)), Some(SetTime::At(stat.mtime)))
}

/// Gives a file to its owner, if the user may.
pub(super) fn give(walk: &WalkContext<'_>, owner: &Stat, file: &Location) -> VfsResult<()> {
    let is = file.stat()?;
    if (is.uid, is.gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    permitted(file.change_owner(walk.credentials, Some(owner.uid), Some(owner.gid)))
}

fn permitted(result: VfsResult<()>) -> VfsResult<()> {
    match result {
        Err(error) if matches!(error.errno(), Errno::EPERM | Errno::EACCES | Errno::ENOTSUP) => Ok(()),
        result => result,
    }
}
