//! `DELETE files/{path}`: a file, an empty directory, or with `?recursive` a directory with everything in it.

use http::StatusCode;
use vm_abi::{Errno, Mode};
use vm_api::Problem;
use vm_vfs::{LastComponent, Location, NameBuf, VfsResult, WalkContext};

use super::condition::Condition;
use super::tree::{Step, Tree, child};
use super::{STEP, Target, problem_at};
use crate::http::{self as web, Request, Response};
use crate::vm::server::query::Query;

/// How often a directory is looked at again because somebody puts entries in while it is emptied.
const MAX_RETRIES: usize = 1000;

/// Answers one request.
pub(super) async fn delete(mut target: Target<'_>, request: &Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["recursive"])?;
    let recursive = query.switch("recursive")?;
    strip_slashes(&mut target.path);
    let parent = target.act(|walk, path| walk.resolve_parent(path))?;
    let LastComponent::Name(name) = parent.last else {
        let errno = if parent.last == LastComponent::Root { Errno::EBUSY } else { Errno::EINVAL };
        return Err(target.problem(errno.into()));
    };
    let condition = Condition::of(request.headers());
    let found = {
        let _commit = target.vm.files().commit();
        let found = target.act(|walk, _| child(walk, &parent.directory, &name))?;
        let stat = target.act(|_, _| found.stat())?;
        condition.check(&target.path, Some(&stat))?;
        if !found.file_type().is_directory() {
            target.act(|walk, _| walk.starting_at(&parent.directory).unlink(name.as_bytes()))?;
        } else if !recursive {
            target.act(|walk, _| walk.starting_at(&parent.directory).rmdir(name.as_bytes()))?;
        }
        found
    };
    if found.file_type().is_directory() && recursive {
        delete_tree(&target, &parent.directory, &name, found, Guarded::Refuse).await?;
    }
    target.sync(&parent.directory).await?;
    Ok(web::empty(StatusCode::NO_CONTENT))
}

/// Drops slashes at the end: they would make a link to a directory count as that directory.
fn strip_slashes(path: &mut Vec<u8>) {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
}

/// What to do with directories whose owner may not change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    /// Refuse, as `rm -r` does.
    Refuse,
    /// Let their owner change them first: nobody will need them any more.
    Open,
}

/// Deletes a directory with everything in it, depth first: the time it takes grows with the number of entries.
pub(super) async fn delete_tree(
    target: &Target<'_>,
    parent: &Location,
    name: &NameBuf,
    top: Location,
    guarded: Guarded,
) -> Result<(), Problem> {
    let mut retries = 0;
    loop {
        let mut deletion = Deletion { tree: Tree::default(), at: Vec::new(), guarded };
        let problem = |error, at: &[u8]| problem_at(target.vm, error, &[&target.path[..], at].concat());
        let entered = target.vm.walk(target.credentials(), |walk| deletion.enter(walk, top.clone(), b""));
        entered.map_err(|error| problem(error, b""))?;
        loop {
            let result = target.vm.walk(target.credentials(), |walk| deletion.some(walk));
            if result.map_err(|error| problem(error, &deletion.at))? {
                break;
            }
            tokio::task::yield_now().await;
        }
        let removed =
            target.vm.walk(target.credentials(), |walk| walk.starting_at(parent).rmdir(name.as_bytes()));
        match removed {
            // Somebody put something in meanwhile: look again, but not for ever.
            Err(error) if error == Errno::ENOTEMPTY && retries < MAX_RETRIES => retries += 1,
            result => return result.map_err(|error| target.problem(error)),
        }
    }
}

struct Deletion {
    tree: Tree,
    /// What is being deleted, with the slash before it.
    at: Vec<u8>,
    guarded: Guarded,
}

impl Deletion {
    /// Deletes some entries; tells whether those were the last.
    fn some(&mut self, walk: &WalkContext<'_>) -> VfsResult<bool> {
        for _ in 0..STEP {
            match self.tree.next() {
                Step::End => return Ok(true),
                Step::Entry { directory, entry } => {
                    let name = &entry.name;
                    self.note(name.as_bytes());
                    let result = if entry.file_type.is_directory() {
                        child(walk, &directory, name)
                            .and_then(|child| self.enter(walk, child, name.as_bytes()))
                    } else {
                        walk.starting_at(&directory).unlink(name.as_bytes())
                    };
                    gone(result)?;
                }
                Step::Left { directory: _, name } => {
                    self.note(&name);
                    let Some(parent) = self.tree.directory() else { return Ok(true) };
                    match walk.starting_at(parent).rmdir(&name) {
                        // Whoever deletes the directory above finds out.
                        Err(error) if error == Errno::ENOTEMPTY => {}
                        result => gone(result)?,
                    }
                }
            }
        }
        Ok(false)
    }

    fn enter(&mut self, walk: &WalkContext<'_>, directory: Location, name: &[u8]) -> VfsResult<()> {
        let mode = directory.stat()?.mode & 0o7777;
        if self.guarded == Guarded::Open && mode & 0o700 != 0o700 {
            directory.change_mode(walk.credentials, Mode::new(mode | 0o700))?;
        }
        self.tree.enter(walk, directory, name)
    }

    fn note(&mut self, name: &[u8]) {
        self.at.clear();
        self.at.push(b'/');
        self.at.extend(self.tree.path_of(name));
    }
}

/// What somebody else has deleted meanwhile is deleted.
fn gone(result: VfsResult<()>) -> VfsResult<()> {
    match result {
        Err(error) if error == Errno::ENOENT => Ok(()),
        result => result,
    }
}
