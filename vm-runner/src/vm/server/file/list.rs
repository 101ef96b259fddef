//! `?list`: the entries of a directory, down to a depth, a page at a time.

use std::collections::VecDeque;

use http::StatusCode;
use vm_api::file::{MAX_LIST_DEPTH, MAX_LIST_ENTRIES};
use vm_api::{DirEntry, ListResponse, Problem, ProblemCode};
use vm_vfs::{VfsResult, WalkContext};

use super::stat::describe_found;
use super::tree::{Step, Tree, child};
use super::{STEP, Target};
use crate::http::{self as web, Response};
use crate::vm::server::query::{Excludes, Query};

/// Answers one request.
pub(super) async fn list(target: Target<'_>, query: &Query) -> Result<Response, Problem> {
    let most = u32::try_from(MAX_LIST_ENTRIES).unwrap_or(u32::MAX);
    let mut base = target.path.clone();
    while base.ends_with(b"/") {
        base.pop();
    }
    let mut listing = Listing {
        base,
        depth: query.number("depth", 1, MAX_LIST_DEPTH)? as usize,
        limit: query.number("limit", most, most)? as usize,
        excludes: query.excludes()?,
        after: query.bytes("after").map_or(Ok(VecDeque::new()), names)?,
        tree: Tree::default(),
        entries: Vec::new(),
        last: Vec::new(),
        is_truncated: false,
    };
    target.act(|walk, path| {
        let top = walk.resolve(path)?;
        listing.tree.enter(walk, top, b"")
    })?;
    while listing.depth > 0 && !target.act(|walk, _| listing.some(walk))? {
        tokio::task::yield_now().await;
    }
    let path = String::from_utf8_lossy(&target.path).into_owned();
    let next = listing.is_truncated.then(|| token(&listing.last));
    let Listing { entries, is_truncated, .. } = listing;
    Ok(web::json(StatusCode::OK, &ListResponse { path, entries, truncated: is_truncated, next }))
}

/// A page's last entry as a token that a query takes as it is: its bytes in hexadecimal digits.
fn token(path: &[u8]) -> String {
    path.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names in a token.
fn names(token: &[u8]) -> Result<VecDeque<Vec<u8>>, Problem> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = token.chunks(2).map(digits).collect();
    match bytes {
        Some(path) if token.len().is_multiple_of(2) => {
            Ok(path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
        }
        _ => {
            let detail = "after: expected what an earlier listing gave as next";
            Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("after"))
        }
    }
}

struct Listing {
    /// The directory that was asked for, without a slash at the end.
    base: Vec<u8>,
    depth: usize,
    limit: usize,
    excludes: Excludes,
    /// The names of the last entry of the page before, as far as they lie below the directory that is read now. Empty
    /// once it is passed.
    after: VecDeque<Vec<u8>>,
    tree: Tree,
    entries: Vec<DirEntry>,
    /// The path of the last entry.
    last: Vec<u8>,
    is_truncated: bool,
}

impl Listing {
    /// Lists some entries; tells whether those were the last.
    fn some(&mut self, walk: &WalkContext<'_>) -> VfsResult<bool> {
        for _ in 0..STEP {
            match self.tree.next() {
                Step::End => return Ok(true),
                // Whatever comes now comes after the page before.
                Step::Left { .. } => self.after.clear(),
                Step::Entry { directory, entry } => {
                    let name = entry.name.as_bytes();
                    let place = self.after.front().map(|after| name.cmp(after.as_slice()));
                    let is_seen = match place {
                        Some(std::cmp::Ordering::Less) => continue,
                        Some(std::cmp::Ordering::Equal) => {
                            self.after.pop_front();
                            true
                        }
                        Some(std::cmp::Ordering::Greater) => {
                            self.after.clear();
                            false
                        }
                        None => false,
                    };
                    let relative = self.tree.path_of(name);
                    if self.excludes.matches(&relative) {
                        self.after.clear();
                        continue;
                    }
                    // Deleted since it was read: not there any more.
                    let Ok(location) = child(walk, &directory, &entry.name) else { continue };
                    if !is_seen && !self.add(walk, &relative, &location)? {
                        return Ok(true);
                    }
                    if location.file_type().is_directory() && self.tree.depth() < self.depth {
                        // What cannot be read is shown without its entries.
                        let _ = self.tree.enter(walk, location, name);
                    } else {
                        self.after.clear();
                    }
                }
            }
        }
        Ok(false)
    }

    /// Adds an entry, unless the page is full.
    fn add(
        &mut self,
        walk: &WalkContext<'_>,
        relative: &[u8],
        location: &vm_vfs::Location,
    ) -> VfsResult<bool> {
        if self.entries.len() >= self.limit {
            self.is_truncated = true;
            return Ok(false);
        }
        let Ok(stat) = location.stat() else { return Ok(true) };
        let path = [&self.base[..], b"/", relative].concat();
        let link = if stat.file_type().is_symlink() {
            location.inode().read_link_for(walk.caller).ok()
        } else {
            None
        };
        self.entries.push(DirEntry {
            name: String::from_utf8_lossy(relative).into_owned(),
            stat: describe_found(&path, location, &stat, link),
        });
        self.last = relative.to_vec();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_names() {
        let names = names(token(b"a/b c/\xff%41").as_bytes()).unwrap();
        assert_eq!(names, [&b"a"[..], b"b c", b"\xff%41"]);
        for wrong in [&b"abc"[..], b"zz", b"\xff\xff"] {
            assert!(super::names(wrong).is_err());
        }
    }
}
