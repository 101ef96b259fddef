//! `files/…` and `files:…`: the workspace's files, with POSIX's rules for the workspace's user.
//!
//! Every action runs on the same path walk as the guests' system calls. Work is done in small steps, so that a large
//! tree does not keep a VM's other requests waiting. What a write is answered for is durable: it survives the end of
//! the vm process and of the machine. Names are bytes; what cannot be said in JSON is percent-encoded.

mod archive;
mod attribute;
mod batch;
mod condition;
mod copy;
mod delete;
mod list;
mod made_up;
mod read;
mod shared;
mod stat;
mod tree;
mod upload;
mod watch;
mod write;

use std::sync::Arc;

use http::{Method, StatusCode};
use vm_abi::{Credentials, Errno, Mode};
use vm_api::{LinkRequest, MkdirRequest, MoveRequest, Problem, ProblemCode, route};
use vm_vfs::{Follow, Location, RenameFlags, VfsResult, WalkContext};

pub(crate) use self::archive::archive;
pub(crate) use self::batch::{read as batch_read, write as batch_write};
pub(crate) use self::copy::copy;
pub(crate) use self::shared::FileShared;
use super::errno::file_problem;
use super::query::parse_mode;
use crate::guest_path::{check_path, guest_path};
use crate::http::{self as web, Request, Response};
use crate::vm::boot::Vm;

/// Largest body of requests that hold paths only.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Permission bits of new directories.
const DIRECTORY_MODE: u32 = 0o755;
/// Names of files that are not in their place yet.
const UPLOAD_PREFIX: &[u8] = b".lodge-upload-";
/// Entries that are worked on before others get their turn.
const STEP: usize = 256;

/// A path of a request, and on whose machine.
pub(super) struct Target<'a> {
    pub(super) vm: &'a Arc<Vm>,
    pub(super) path: Vec<u8>,
}

impl<'a> Target<'a> {
    /// A path in a JSON document: as text, or as percent-encoded bytes.
    fn new(vm: &'a Arc<Vm>, text: &str, encoded: Option<&str>, field: &str) -> Result<Self, Problem> {
        let path = path_bytes(text, encoded, field)?;
        check_path(&path)?;
        Ok(Self { vm, path })
    }

    /// Acts as the workspace's user; an error becomes a problem with this path.
    pub(super) fn act<T>(
        &self,
        act: impl FnOnce(&WalkContext<'_>, &[u8]) -> VfsResult<T>,
    ) -> Result<T, Problem> {
        let result = self.vm.walk(self.credentials(), |walk| act(walk, &self.path));
        result.map_err(|error| self.problem(error))
    }

    pub(super) fn credentials(&self) -> &'a Credentials {
        self.vm.credentials()
    }

    /// What an error at this path means.
    pub(super) fn problem(&self, error: vm_vfs::Error) -> Problem {
        problem_at(self.vm, error, &self.path)
    }

    /// Makes everything durable that was done in the file system of `location`.
    pub(super) async fn sync(&self, location: &Location) -> Result<(), Problem> {
        self.vm.files().sync(self.vm, location).await.map_err(|error| self.problem(error))
    }

    /// As [`sync`](Self::sync), for the directory that holds the path.
    async fn sync_parent(&self) -> Result<(), Problem> {
        let parent = self.act(|walk, path| walk.resolve_parent(path))?;
        self.sync(&parent.directory).await
    }
}

/// What an error at a path means.
pub(super) fn problem_at(vm: &Vm, error: vm_vfs::Error, path: &[u8]) -> Problem {
    file_problem(error, path, || vm.files().storage(vm, path))
}

/// The bytes of a path that a document gives in one of two forms.
fn path_bytes(text: &str, encoded: Option<&str>, field: &str) -> Result<Vec<u8>, Problem> {
    match (text, encoded) {
        ("", None) => {
            let detail = format!("give {field}, or {field}Encoded for a name that is not UTF-8");
            Err(Problem::new(ProblemCode::InvalidRequest, detail).with_field(field))
        }
        (text, None) => Ok(text.as_bytes().to_vec()),
        ("", Some(encoded)) => Ok(route::decode_guest_path(encoded)),
        (_, Some(_)) => {
            let detail = format!("give either {field} or {field}Encoded, not both");
            Err(Problem::new(ProblemCode::InvalidRequest, detail).with_field(field))
        }
    }
}

/// Answers a request to `files/{path}`.
pub(crate) async fn file(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let area = route::split_runner_path(request.path()).map_or("", |(_, area)| area);
    let target = Target { vm, path: guest_path(area)? };
    match *request.method() {
        Method::PUT => write::put(target, request).await,
        Method::PATCH => attribute::patch(target, request).await,
        Method::DELETE => delete::delete(target, request).await,
        _ => read::get(target, request).await,
    }
}

/// Answers `POST files:mkdir`.
pub(crate) async fn mkdir(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let MkdirRequest { path, path_encoded, parents, mode } = request.read_json(MAX_REQUEST_BYTES).await?;
    let mode = mode.map_or(Ok(DIRECTORY_MODE), |mode| parse_mode(&mode, "mode"))?;
    let target = Target::new(vm, &path, path_encoded.as_deref(), "path")?;
    if parents {
        make_parents(&target)?;
    }
    let made = target.act(|walk, path| match walk.mkdir(path, Mode::new(mode)) {
        Ok(_) => Ok(true),
        Err(error) if parents && error == Errno::EEXIST && is_directory(walk, path) => Ok(false),
        Err(error) => Err(error),
    })?;
    target.sync_parent().await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok(web::json(status, &stat::stat(&target)?))
}

/// Answers `POST files:move`.
pub(crate) async fn rename(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let MoveRequest { from, from_encoded, to, to_encoded, overwrite, parents } =
        request.read_json(MAX_REQUEST_BYTES).await?;
    let source = Target::new(vm, &from, from_encoded.as_deref(), "from")?;
    let target = Target::new(vm, &to, to_encoded.as_deref(), "to")?;
    // First, so that a missing source is told as such.
    source.act(|walk, path| walk.stat(path, Follow::No))?;
    if parents {
        make_parents(&target)?;
    }
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    target
        .act(|walk, path| walk.rename(&source.path, walk, path, flags))
        .map_err(overwrite_hint(overwrite))?;
    // Both names are in one file system.
    target.sync_parent().await?;
    Ok(web::json(StatusCode::OK, &stat::stat(&target)?))
}

/// Answers `POST files:link`.
pub(crate) async fn link(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let LinkRequest { path, path_encoded, target, target_encoded, hard, parents } =
        request.read_json(MAX_REQUEST_BYTES).await?;
    let place = Target::new(vm, &path, path_encoded.as_deref(), "path")?;
    let text = path_bytes(&target, target_encoded.as_deref(), "target")?;
    if hard {
        check_path(&text)?;
        let existing = Target { vm, path: text.clone() };
        existing.act(|walk, path| walk.stat(path, Follow::No))?;
    } else if text.contains(&0) {
        let detail = "the target of the link contains a NUL byte";
        return Err(Problem::new(ProblemCode::InvalidPath, detail).with_field("target"));
    }
    if parents {
        make_parents(&place)?;
    }
    place.act(
        |walk, path| {
            if hard { walk.link(&text, Follow::No, path) } else { walk.symlink(&text, path).map(drop) }
        },
    )?;
    place.sync_parent().await?;
    Ok(web::json(StatusCode::CREATED, &stat::stat(&place)?))
}

/// Says how to replace what exists already.
fn overwrite_hint(overwrite: bool) -> impl Fn(Problem) -> Problem {
    move |mut problem| {
        if !overwrite && problem.is(ProblemCode::PathExists) {
            problem.detail.push_str("; overwrite: true replaces it");
        }
        problem
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_comes_in_one_of_two_forms() {
        assert_eq!(path_bytes("/a b", None, "path").unwrap(), b"/a b");
        assert_eq!(path_bytes("", Some("/a%FF"), "path").unwrap(), b"/a\xff");
        for (text, encoded) in [("", None), ("/a", Some("/a"))] {
            let problem = path_bytes(text, encoded, "from").unwrap_err();
            assert_eq!(problem.field.as_deref(), Some("from"));
        }
    }
}
