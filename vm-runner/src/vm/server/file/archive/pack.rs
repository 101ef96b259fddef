//! A tree as the body of an answer: entries are read as the client takes them.
//!
//! Sockets are left out, and what is in directories that the kernel makes up (`/proc`, `/dev`), unless one of their files
//! is asked for by name. A file that cannot be read ends the answer
//! early, which the client sees as a broken transfer: an archive never lacks something silently.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tar::EntryType;
use vm_abi::{Errno, FileType, OpenFlags, Stat};
use vm_api::Problem;
use vm_vfs::{FileId, Inode, Location, VfsResult, WalkContext};

use super::super::made_up::{is_made_up, read_to_copy};
use super::super::tree::{Step, Tree, child};
use super::super::{Target, read};
use super::decode::BLOCK_BYTES;
use super::encode;
use crate::http::BodyError;
use crate::vm::boot::Vm;
use crate::vm::server::errno::shown;
use crate::vm::server::query::Excludes;

/// Bytes that are gathered before they are sent.
const BATCH_BYTES: usize = 64 << 10;
/// Most entries and pieces that are read before others get their turn.
const MAX_STEPS: usize = 64;
/// Most files with several names that become links.
const MAX_LINKED: usize = 100_000;

/// An archive on its way out.
pub(super) struct Packing {
    vm: Arc<Vm>,
    /// What was asked for, for messages.
    path: Vec<u8>,
    top: Option<Location>,
    tree: Tree,
    excludes: Excludes,
    /// Names in the archive of files that have several.
    linked: HashMap<FileId, Vec<u8>>,
    content: Option<Content>,
    /// The entry that is read, below the top.
    at: Vec<u8>,
    is_done: bool,
}

/// A file whose header is written.
struct Content {
    inode: Arc<dyn Inode>,
    offset: u64,
    size: u64,
}

impl Packing {
    pub(super) fn begin(target: &Target<'_>, top: Location, excludes: Excludes) -> Result<Self, Problem> {
        let mut tree = Tree::default();
        if top.file_type().is_directory() {
            target.act(|walk, _| tree.enter(walk, top.clone(), b""))?;
        } else if top.file_type().is_regular() {
            target.act(|walk, _| walk.open_existing(top.clone(), OpenFlags::READ).map(drop))?;
        }
        Ok(Self {
            vm: Arc::clone(target.vm),
            path: target.path.clone(),
            top: Some(top),
            tree,
            excludes,
            linked: HashMap::new(),
            content: None,
            at: Vec::new(),
            is_done: false,
        })
    }

    fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.is_done {
            return None;
        }
        let vm = Arc::clone(&self.vm);
        let mut out = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4);
        let result = vm.walk(vm.credentials(), |walk| self.fill(walk, &mut out));
        Some(match result {
            Ok(()) => Ok(Bytes::from(out)),
            Err(error) => {
                self.is_done = true;
                let path = shown(&[&self.path[..], b"/", &self.at[..]].concat());
                tracing::warn!(path, errno = error.errno().name(), "an archive ends early");
                Err(BodyError::File { path, errno: error.errno().name() })
            }
        })
    }

    fn fill(&mut self, walk: &WalkContext<'_>, out: &mut Vec<u8>) -> VfsResult<()> {
        if let Some(top) = self.top.take() {
            let name = if top.file_type().is_directory() { b"./".to_vec() } else { last_name(&self.path) };
            self.add(walk, out, &name, top)?;
        }
        let mut steps = 0;
        while out.len() < BATCH_BYTES && steps < MAX_STEPS {
            steps += 1;
            if self.content.is_some() {
                self.read_some(out)?;
                continue;
            }
            match self.tree.next() {
                Step::Left { .. } => {}
                Step::End => {
                    encode::end(out);
                    self.is_done = true;
                    return Ok(());
                }
                Step::Entry { directory, entry } => {
                    let name = entry.name.as_bytes();
                    let mut relative = self.tree.path_of(name);
                    if self.excludes.matches(&relative) {
                        continue;
                    }
                    self.at.clone_from(&relative);
                    let found = match child(walk, &directory, &entry.name) {
                        // Deleted since it was read: not there any more.
                        Err(error) if error == Errno::ENOENT => continue,
                        found => found?,
                    };
                    if found.file_type().is_directory() {
                        relative.push(b'/');
                        let is_made_up =
                            matches!(found.mount().file_system().kind(), "proc" | "devtmpfs" | "devpts");
                        if !is_made_up {
                            self.tree.enter(walk, found.clone(), name)?;
                        }
                    }
                    self.add(walk, out, &relative, found)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the header of an entry.
    fn add(
        &mut self,
        walk: &WalkContext<'_>,
        out: &mut Vec<u8>,
        name: &[u8],
        found: Location,
    ) -> VfsResult<()> {
        let stat = found.stat()?;
        let plain = |out: &mut Vec<u8>, kind, link: &[u8], size| {
            encode::header(out, &encode::Entry { name, kind, stat: &stat, link, size });
        };
        match found.file_type() {
            FileType::Directory => plain(out, EntryType::Directory, b"", 0),
            FileType::Symlink => {
                plain(out, EntryType::Symlink, &found.inode().read_link_for(walk.caller)?, 0);
            }
            FileType::Fifo => plain(out, EntryType::Fifo, b"", 0),
            FileType::CharDevice => plain(out, EntryType::Char, b"", 0),
            FileType::BlockDevice => plain(out, EntryType::Block, b"", 0),
            FileType::Socket => {}
            FileType::Regular => {
                if let Some(first) = self.linked.get(&found.file_id()) {
                    plain(out, EntryType::Link, first, 0);
                    return Ok(());
                }
                if stat.nlink > 1 && self.linked.len() < MAX_LINKED {
                    self.linked.insert(found.file_id(), name.to_vec());
                }
                let opened = walk.open_existing(found, OpenFlags::READ)?;
                if is_made_up(&opened.location) {
                    let content = read_to_copy(&opened.location)?;
                    plain(out, EntryType::Regular, b"", content.len() as u64);
                    out.extend_from_slice(&content);
                    fill_block(out, content.len() as u64);
                    return Ok(());
                }
                plain(out, EntryType::Regular, b"", stat.size);
                self.content = content(&opened.location, &stat);
            }
        }
        Ok(())
    }

    fn read_some(&mut self, out: &mut Vec<u8>) -> VfsResult<()> {
        let Some(content) = &mut self.content else { return Ok(()) };
        let most = (content.size - content.offset).min(read::CHUNK_BYTES);
        let start = out.len();
        out.resize(start + usize::try_from(most).unwrap_or_default(), 0);
        let count = content.inode.read_at(content.offset, &mut out[start..])?;
        if count == 0 {
            // Cut shorter by somebody while it is read: the length was promised already.
            return Err(Errno::EIO.into());
        }
        out.truncate(start + count);
        content.offset += count as u64;
        if content.offset == content.size {
            fill_block(out, content.size);
            self.content = None;
        }
        Ok(())
    }
}

/// Appends what is missing to whole blocks after so many bytes of content.
fn fill_block(out: &mut Vec<u8>, size: u64) {
    let past = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or_default();
    if past > 0 {
        out.resize(out.len() + BLOCK_BYTES - past, 0);
    }
}

fn content(file: &Location, stat: &Stat) -> Option<Content> {
    (stat.size > 0).then(|| Content { inode: Arc::clone(file.inode()), offset: 0, size: stat.size })
}

fn last_name(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty()).unwrap_or(b".").to_vec()
}

impl http_body::Body for Packing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.next() {
            // Nothing to tell of these entries: on after the others' turn.
            Some(Ok(bytes)) if bytes.is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            next => Poll::Ready(next.map(|result| result.map(Frame::data))),
        }
    }
}
