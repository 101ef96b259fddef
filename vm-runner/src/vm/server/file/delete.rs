//! `DELETE files/{path}`: a file, an empty directory, or with `?recursive` a directory with everything in it.

use http::StatusCode;
use vm_abi::Errno;
use vm_api::Problem;
use vm_vfs::{Follow, VfsResult, WalkContext};

use super::Target;
use crate::http::{self as web, Request, Response};
use crate::vm::server::errno::file_problem;
use crate::vm::server::query::Query;

/// Entries deleted before others get their turn.
const STEP: usize = 256;

/// Answers one request.
pub(super) async fn delete(target: Target<'_>, request: &Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["recursive"])?;
    let recursive = query.switch("recursive")?;
    let mut target = target;
    strip_slashes(&mut target.path);
    match target.path.rsplit(|byte| *byte == b'/').next() {
        None | Some(b"") => return Err(file_problem(Errno::EBUSY.into(), &target.path)),
        Some(b"." | b"..") => return Err(file_problem(Errno::EINVAL.into(), &target.path)),
        Some(_) => {}
    }
    let is_directory = target.act(is_directory)?;
    match (is_directory, recursive) {
        (false, _) => target.act(|walk, path| walk.unlink(path))?,
        (true, false) => target.act(|walk, path| walk.rmdir(path))?,
        (true, true) => delete_tree(&target).await?,
    }
    Ok(web::empty(StatusCode::NO_CONTENT))
}

/// Drops slashes at the end: they would make a link to a directory count as that directory.
fn strip_slashes(path: &mut Vec<u8>) {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
}

fn is_directory(walk: &WalkContext<'_>, path: &[u8]) -> VfsResult<bool> {
    Ok(walk.resolve_with(path, Follow::No)?.file_type().is_directory())
}

/// Deletes depth first. The memory it takes is one path per level.
async fn delete_tree(target: &Target<'_>) -> Result<(), Problem> {
    let mut stack = vec![target.path.clone()];
    let mut steps = 0;
    while let Some(directory) = stack.last().cloned() {
        let found = target.vm.walk(target.vm.credentials(), |walk| clear(walk, &directory));
        match found.map_err(|error| file_problem(error, &directory))? {
            Found::Directory(path) => stack.push(path),
            Found::More => {}
            Found::Empty => {
                let removed = target.vm.walk(target.vm.credentials(), |walk| walk.rmdir(&directory));
                match removed {
                    // Somebody put something in meanwhile: look again, but not for ever.
                    Err(error) if error == Errno::ENOTEMPTY && steps < 1 << 20 => {}
                    result => {
                        result.map_err(|error| file_problem(error, &directory))?;
                        stack.pop();
                    }
                }
            }
        }
        steps += 1;
        tokio::task::yield_now().await;
    }
    Ok(())
}

enum Found {
    /// A directory that has to be emptied first.
    Directory(Vec<u8>),
    /// There may be more entries.
    More,
    /// Nothing is left.
    Empty,
}

/// Deletes entries of a directory until one is a directory itself, or enough was done.
fn clear(walk: &WalkContext<'_>, directory: &[u8]) -> VfsResult<Found> {
    // A guest may put a link in the directory's place meanwhile: its target is not what was asked to be deleted.
    if !is_directory(walk, directory)? {
        return Err(Errno::ENOTDIR.into());
    }
    let entries = walk.read_dir(directory)?;
    let count = entries.len();
    for entry in entries.into_iter().take(STEP) {
        let path = [directory, b"/", entry.name.as_bytes()].concat();
        if entry.file_type.is_directory() {
            return Ok(Found::Directory(path));
        }
        match walk.unlink(&path) {
            Err(error) if error != Errno::ENOENT => return Err(error),
            _ => {}
        }
    }
    Ok(if count > STEP { Found::More } else { Found::Empty })
}
