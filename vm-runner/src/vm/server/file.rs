//! `files/…`: the workspace's files, with POSIX's rules for the workspace's user.
//!
//! Every action runs on the same path walk as the guests' system calls. Work is done in small steps, so that a large
//! tree does not keep a VM's other requests waiting.

mod delete;
mod list;
mod read;
mod stat;
mod write;

use std::sync::Arc;

use http::{Method, StatusCode};
use vm_abi::{Errno, Mode};
use vm_api::{MkdirRequest, MoveRequest, Problem, ProblemCode};
use vm_vfs::{Follow, RenameFlags, VfsResult, WalkContext};

use super::errno::file_problem;
use super::query::parse_mode;
use crate::area::{check_path, guest_path};
use crate::http::{self as web, Request, Response};
use crate::vm::boot::Vm;

/// Largest body of mkdir and move.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Permission bits of new directories.
const DIRECTORY_MODE: u32 = 0o755;

/// A path of a request, and on whose machine.
pub(super) struct Target<'a> {
    pub(super) vm: &'a Vm,
    pub(super) path: Vec<u8>,
}

impl Target<'_> {
    /// Acts as the workspace's user; an error becomes a problem with this path.
    pub(super) fn act<T>(
        &self,
        act: impl FnOnce(&WalkContext<'_>, &[u8]) -> VfsResult<T>,
    ) -> Result<T, Problem> {
        let result = self.vm.walk(self.vm.credentials(), |walk| act(walk, &self.path));
        result.map_err(|error| file_problem(error, &self.path))
    }
}

/// Answers a request to `files/{path}`.
pub(crate) async fn file(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let area = vm_api::route::split_runner_path(request.path()).map_or("", |(_, area)| area);
    let target = Target { vm, path: guest_path(area)? };
    match *request.method() {
        Method::PUT => write::put(target, request).await,
        Method::DELETE => delete::delete(target, request).await,
        _ => read::get(vm, target, request).await,
    }
}

/// Answers `POST files:mkdir`.
pub(crate) async fn mkdir(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let MkdirRequest { path, path_encoded: _, parents, mode } = request.read_json(MAX_REQUEST_BYTES).await?;
    let mode = mode.map_or(Ok(DIRECTORY_MODE), |mode| parse_mode(&mode, "mode"))?;
    let target = Target { vm, path: path.into_bytes() };
    check_path(&target.path)?;
    if parents {
        make_parents(&target)?;
    }
    let made = target.act(|walk, path| match walk.mkdir(path, Mode::new(mode)) {
        Ok(_) => Ok(true),
        Err(error) if parents && error == Errno::EEXIST && is_directory(walk, path) => Ok(false),
        Err(error) => Err(error),
    })?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(web::json(status, &stat::stat(&target)?))
}

/// Answers `POST files:move`.
pub(crate) async fn rename(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let MoveRequest { from, from_encoded: _, to, to_encoded: _, overwrite, parents } = request.read_json(MAX_REQUEST_BYTES).await?;
    let source = Target { vm, path: from.into_bytes() };
    let target = Target { vm, path: to.into_bytes() };
    check_path(&source.path)?;
    check_path(&target.path)?;
    // First, so that a missing source is told as such.
    source.act(|walk, path| walk.stat(path, Follow::No))?;
    if parents {
        make_parents(&target)?;
    }
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    target.act(|walk, path| walk.rename(&source.path, walk, path, flags)).map_err(|problem| {
        if !overwrite && problem.is(ProblemCode::PathExists) {
            let detail = format!("{}; overwrite: true replaces it", problem.detail);
            return Problem::new(ProblemCode::PathExists, detail).with_errno(Errno::EEXIST.name());
        }
        problem
    })?;
    Ok(web::json(StatusCode::OK, &stat::stat(&target)?))
}

/// Makes the directories above a path.
pub(super) fn make_parents(target: &Target<'_>) -> Result<(), Problem> {
    target.act(|walk, path| {
        let trimmed = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        for end in (1..trimmed).filter(|index| path[*index] == b'/' && path[*index - 1] != b'/') {
            let parent = &path[..end];
            match walk.mkdir(parent, Mode::new(DIRECTORY_MODE)) {
                Ok(_) => {}
                // Whatever refuses it: what counts is whether there is a directory.
                Err(_) if is_directory(walk, parent) => {}
                Err(error) if error == Errno::EEXIST => return Err(Errno::ENOTDIR.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

fn is_directory(walk: &WalkContext<'_>, path: &[u8]) -> bool {
    walk.resolve(path).is_ok_and(|location| location.file_type().is_directory())
}
