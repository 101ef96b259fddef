//! `?list`: the entries of a directory, down to a depth.

use std::sync::Arc;

use http::StatusCode;
use vm_api::file::{MAX_LIST_DEPTH, MAX_LIST_ENTRIES};
use vm_api::{DirEntry, ListResponse, Problem};
use vm_vfs::{Follow, VfsResult, WalkContext};

use super::{Target, stat};
use crate::http::{self as web, Response};
use crate::vm::boot::Vm;
use crate::vm::server::errno::file_problem;
use crate::vm::server::query::{Query, matches};

/// A directory that is still to be listed, with its depth.
struct Pending {
    /// Below the directory that was asked for; empty for itself.
    relative: Vec<u8>,
    depth: u32,
}

/// Answers one request.
pub(super) async fn list(vm: &Arc<Vm>, target: Target<'_>, query: &Query) -> Result<Response, Problem> {
    let depth = query.number("depth", 1, MAX_LIST_DEPTH)?;
    let excluded: Vec<&str> = query.all("exclude").flat_map(|list| list.split(',')).collect();
    let mut base = target.path.clone();
    while base.ends_with(b"/") {
        base.pop();
    }
    let mut listing = Listing { base, excluded, entries: Vec::new(), is_truncated: false };
    // Depth first, in order: the last of the stack is the next.
    let mut stack = vec![Pending { relative: Vec::new(), depth }];
    let mut is_first = true;
    while let Some(pending) = stack.pop() {
        if pending.depth == 0 || listing.is_truncated {
            break;
        }
        let found = vm.walk(vm.credentials(), |walk| listing.add(walk, &pending));
        match found {
            Ok(directories) => stack.extend(directories),
            // Below the top, what cannot be read is shown without its entries.
            Err(error) if is_first => return Err(file_problem(error, &target.path)),
            Err(_) => {}
        }
        is_first = false;
        tokio::task::yield_now().await;
    }
    let Listing { base: _, excluded: _, mut entries, is_truncated } = listing;
    // `/` sorts before every character of a name, so that what is in a directory follows it at once.
    entries.sort_by(|a, b| a.name.split('/').cmp(b.name.split('/')));
    let path = String::from_utf8_lossy(&target.path).into_owned();
    Ok(web::json(StatusCode::OK, &ListResponse { path, entries, truncated: is_truncated, next: None }))
}

struct Listing<'a> {
    /// The directory that was asked for, without a slash at the end.
    base: Vec<u8>,
    excluded: Vec<&'a str>,
    entries: Vec<DirEntry>,
    is_truncated: bool,
}

impl Listing<'_> {
    /// Adds the entries of one directory; answers the directories among them that are to be listed.
    fn add(&mut self, walk: &WalkContext<'_>, pending: &Pending) -> VfsResult<Vec<Pending>> {
        let directory = if pending.relative.is_empty() {
            [&self.base[..], b"/"].concat()
        } else {
            [&self.base[..], b"/", &pending.relative[..]].concat()
        };
        let mut directories = Vec::new();
        let mut found = walk.read_dir(&directory)?;
        found.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        for entry in found {
            let name = entry.name.as_bytes();
            if self.excluded.iter().any(|pattern| matches(pattern.as_bytes(), name)) {
                continue;
            }
            if self.entries.len() >= MAX_LIST_ENTRIES {
                self.is_truncated = true;
                break;
            }
            let relative = match &pending.relative[..] {
                b"" => name.to_vec(),
                above => [above, b"/", name].concat(),
            };
            let path = [&self.base[..], b"/", &relative[..]].concat();
            // Deleted since it was read: not there any more.
            let Ok(attributes) = walk.stat(&path, Follow::No) else { continue };
            let link = entry.file_type.is_symlink().then(|| walk.read_link(&path).ok()).flatten();
            self.entries.push(DirEntry {
                name: String::from_utf8_lossy(&relative).into_owned(),
                stat: stat::describe(&path, &attributes, link),
            });
            if entry.file_type.is_directory() && pending.depth > 1 {
                directories.push(Pending { relative, depth: pending.depth - 1 });
            }
        }
        directories.reverse();
        Ok(directories)
    }
}
