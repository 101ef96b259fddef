//! `POST files:batchRead` and `files:batchWrite`: many small files at once, each with a result of its own.

use std::sync::Arc;

use http::StatusCode;
use vm_api::file_batch::{MAX_BATCH_BYTES, MAX_BATCH_FILES};
use vm_api::{
    Base64, BatchReadFile, BatchReadRequest, BatchReadResponse, BatchReadResult, BatchWriteFile,
    BatchWriteRequest, BatchWriteResponse, BatchWriteResult, FileStat, Problem, ProblemCode,
};
use vm_vfs::Location;

use super::condition::Condition;
use super::made_up::{self, is_made_up};
use super::{Target, make_parents, read as content, stat, write as put};
use crate::http::{self as web, Request, Response};
use crate::vm::boot::Vm;
use crate::vm::buffers::Held;
use crate::vm::server::errno::shown;
use crate::vm::server::query::parse_mode;

/// Largest body: contents in base64, and paths.
const MAX_REQUEST_BYTES: usize = 32 << 20;
/// Largest body with paths only.
const MAX_PATHS_BYTES: usize = 8 << 20;
/// Files that are worked on before others get their turn.
const STEP: usize = 16;

/// Answers `POST files:batchRead`.
pub(crate) async fn read(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let mut held = vm.buffers().hold();
    let body = request.read_body_as_allowed(MAX_PATHS_BYTES, |bytes| held.grow_to(bytes)).await?;
    let BatchReadRequest { files } = web::parse_json(&body)?;
    check_count(files.len())?;
    let mut left = MAX_BATCH_BYTES;
    let mut results = Vec::with_capacity(files.len());
    for (index, BatchReadFile { path, path_encoded }) in files.into_iter().enumerate() {
        let name = path_encoded.clone().unwrap_or_else(|| path.clone());
        let result = Target::new(vm, &path, path_encoded.as_deref(), "path")
            .and_then(|target| read_one(&target, &mut left, &mut held));
        results.push(match result {
            Ok((stat, bytes)) => {
                let (content, content_base64) = match String::from_utf8(bytes) {
                    Ok(text) => (Some(text), None),
                    Err(error) => (None, Some(Base64(error.into_bytes()))),
                };
                BatchReadResult { path: name, stat: Some(stat), content, content_base64, problem: None }
            }
            Err(problem) => {
                BatchReadResult { path: name, problem: Some(problem), ..BatchReadResult::default() }
            }
        });
        if index % STEP == STEP - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(web::json(StatusCode::OK, &BatchReadResponse { results }))
}

fn check_count(count: usize) -> Result<(), Problem> {
    if count > MAX_BATCH_FILES {
        let detail = format!("files: a batch has at most {MAX_BATCH_FILES} files, and this one has {count}");
        return Err(Problem::new(ProblemCode::InvalidRequest, detail).with_field("files"));
    }
    Ok(())
}

fn read_one(target: &Target<'_>, left: &mut u64, held: &mut Held) -> Result<(FileStat, Vec<u8>), Problem> {
    let (location, before) = content::open(target)?;
    if is_made_up(&location) {
        let used = MAX_BATCH_BYTES - *left;
        let bytes = made_up::read_whole(target, &location, |room| {
            held.grow_to(usize::try_from(2 * (used + room as u64)).unwrap_or(usize::MAX))
        })?;
        check_left(target, bytes.len() as u64, *left)?;
        *left -= bytes.len() as u64;
        return Ok((stat::describe_found(&target.path, &location, &before, None), bytes));
    }
    check_left(target, before.size, *left)?;
    // Content and the answer that is made of it.
    held.grow_to(usize::try_from(2 * (MAX_BATCH_BYTES - *left + before.size)).unwrap_or(usize::MAX))?;
    let mut bytes = vec![0; usize::try_from(before.size).unwrap_or_default()];
    let mut length = 0;
    while length < bytes.len() {
        let count = target.act(|_, _| location.inode().read_at(length as u64, &mut bytes[length..]))?;
        if count == 0 {
            break;
        }
        length += count;
    }
    bytes.truncate(length);
    *left -= length as u64;
    Ok((stat::describe(&target.path, &before, None), bytes))
}

fn check_left(target: &Target<'_>, bytes: u64, left: u64) -> Result<(), Problem> {
    if bytes <= left {
        return Ok(());
    }
    let detail = format!(
        "{} has {bytes} bytes, and {left} of the {MAX_BATCH_BYTES} bytes of a batch are left; read it by itself",
        shown(&target.path)
    );
    Err(Problem::new(ProblemCode::ResponseTooLarge, detail).with_path(&target.path))
}

/// Answers `POST files:batchWrite`.
pub(crate) async fn write(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    let mut held = vm.buffers().hold();
    let body = request.read_body_as_allowed(MAX_REQUEST_BYTES, |bytes| held.grow_to(bytes)).await?;
    let BatchWriteRequest { files, parents } = web::parse_json(&body)?;
    check_count(files.len())?;
    let mut results = Vec::with_capacity(files.len());
    // One of each file system that was written to.
    let mut written: Vec<Location> = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let name = file.path_encoded.clone().unwrap_or_else(|| file.path.clone());
        let result = Target::new(vm, &file.path, file.path_encoded.as_deref(), "path")
            .and_then(|target| write_one(target, file, parents));
        results.push(match result {
            Ok((location, created, stat)) => {
                if !written.iter().any(|other| Arc::ptr_eq(other.mount(), location.mount())) {
                    written.push(location);
                }
                BatchWriteResult { path: name, created, stat: Some(stat), problem: None }
            }
            Err(problem) => {
                BatchWriteResult { path: name, problem: Some(problem), ..BatchWriteResult::default() }
            }
        });
        if index % STEP == STEP - 1 {
            tokio::task::yield_now().await;
        }
    }
    for location in &written {
        let synced = vm.files().sync(vm, location).await;
        synced.map_err(|error| super::problem_at(vm, error, b"/"))?;
    }
    let failed = results.iter().filter(|result| result.problem.is_some()).count() as u64;
    Ok(web::json(StatusCode::OK, &BatchWriteResponse { results, failed }))
}

fn write_one(
    mut target: Target<'_>,
    file: BatchWriteFile,
    parents: bool,
) -> Result<(Location, bool, FileStat), Problem> {
    let BatchWriteFile { path: _, path_encoded: _, content, content_base64, mode, if_match, if_none_match } =
        file;
    let bytes = match (content, content_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(Base64(bytes))) => bytes,
        (Some(_), Some(_)) | (None, None) => {
            let detail = format!("{}: give either content or contentBase64", shown(&target.path));
            return Err(Problem::new(ProblemCode::InvalidRequest, detail).with_field("content"));
        }
    };
    let mode = mode.map(|mode| parse_mode(&mode, "mode")).transpose()?;
    let condition = Condition::new(if_match, if_none_match);
    if parents {
        make_parents(&target)?;
    }
    let existing = put::find_existing(&mut target)?;
    condition.check(&target.path, existing.as_ref())?;
    let upload = put::begin(&target, mode, existing.as_ref())?;
    upload.write(0, &bytes).map_err(|error| target.problem(error))?;
    let location = upload.location.clone();
    let created = upload.finish(&target, &condition)?.is_none();
    Ok((location, created, stat::stat(&target)?))
}
