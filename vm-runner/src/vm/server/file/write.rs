//! `PUT files/{path}`: the whole content, at once or not at all; or with `?append` or `?offset=` a part of it, in place.
//!
//! The bytes of a whole go into a new file, which replaces what is there when the last byte has come. A reader sees the
//! old content or the new one; an interrupted upload leaves nothing. A link is followed; permission bits stay.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue};
use vm_abi::{Access, Errno, Mode, OpenFlags, Stat};
use vm_api::{FileStat, Problem, ProblemCode};
use vm_vfs::{Follow, Location};

use super::condition::Condition;
use super::upload::{Upload, write_all};
use super::{Target, make_parents, stat};
use crate::http::{self as web, Request, Response, header_text};
use crate::vm::boot::Vm;
use crate::vm::server::errno::shown;
use crate::vm::server::query::Query;

/// Permission bits of new files.
const FILE_MODE: u32 = 0o644;

/// Answers one request.
pub(super) async fn put(mut target: Target<'_>, request: &mut Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["parents", "mode", "append", "offset"])?;
    let mode = query.mode("mode")?;
    let condition = Condition::of(request.headers());
    check_length(target.vm, request.headers())?;
    if query.switch("parents")? {
        make_parents(&target)?;
    }
    let part = match (query.switch("append")?, query.optional_number("offset", i64::MAX as u64)?) {
        (false, None) => None,
        (true, None) => Some(Part::Append),
        (false, Some(offset)) => Some(Part::At(offset)),
        (true, Some(_)) => {
            let detail = "give either append or offset, not both";
            return Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("offset"));
        }
    };
    let existing = find_existing(&mut target)?;
    condition.check(&target.path, existing.as_ref())?;
    let (location, created) = match part {
        None => {
            let upload = begin(&target, mode, existing.as_ref())?;
            receive(&target, request, |offset, chunk| upload.write(offset, chunk)).await?;
            let location = upload.location.clone();
            (location, upload.finish(&target, &condition)?.is_none())
        }
        Some(part) => write_part(&target, request, part, mode, &condition).await?,
    };
    target.sync(&location).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(written(status, &stat::stat(&target)?))
}

/// Begins the upload of a whole file.
pub(super) fn begin<'a>(
    target: &Target<'a>,
    mode: Option<u32>,
    existing: Option<&Stat>,
) -> Result<Upload<'a>, Problem> {
    let mode = mode.or(existing.map(|stat| stat.mode & 0o7777)).unwrap_or(FILE_MODE);
    Upload::begin(target, Mode::new(mode))
}

fn written(status: StatusCode, stat: &FileStat) -> Response {
    let mut response = web::json(status, stat);
    if let Some(tag) = stat.etag.as_deref().and_then(|tag| HeaderValue::try_from(tag).ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// What can never fit is refused before it is sent.
fn check_length(vm: &Vm, headers: &HeaderMap) -> Result<(), Problem> {
    let length = header_text(headers, &CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length > vm.storage_bytes() => {
            let most = vm.storage_bytes();
            let detail = format!("the file has {length} bytes, and spec.storage.size is {most}; raise it");
            Err(Problem::new(ProblemCode::BodyTooLarge, detail).with_limit("spec.storage.size"))
        }
        _ => Ok(()),
    }
}

/// What is at the path now. Follows a link there, so that its target is replaced and not the link.
pub(super) fn find_existing(target: &mut Target<'_>) -> Result<Option<Stat>, Problem> {
    let found = target.vm.walk(target.credentials(), |walk| {
        let location = walk.resolve(&target.path)?;
        let stat = location.stat()?;
        if location.file_type().is_regular() {
            location.check_access(walk.credentials, Access::WRITE)?;
        }
        Ok((location.file_type(), stat, walk.canonicalize(&target.path)?))
    });
    match found {
        Ok((file_type, stat, path)) if file_type.is_regular() => {
            target.path = path.as_bytes().to_vec();
            Ok(Some(stat))
        }
        Ok((file_type, ..)) if file_type.is_directory() => Err(target.problem(Errno::EISDIR.into())),
        Ok(_) => {
            let detail = format!("{}: only regular files can be written", shown(&target.path));
            Err(Problem::new(ProblemCode::UnsupportedFileType, detail).with_path(&target.path))
        }
        Err(error) if error == Errno::ENOENT => {
            if target.path.ends_with(b"/") {
                return Err(target.problem(Errno::EISDIR.into()));
            }
            match target.act(|walk, path| walk.stat(path, Follow::No)) {
                Ok(_) => {
                    let detail = format!("{}: a symbolic link to nothing", shown(&target.path));
                    let problem = Problem::new(ProblemCode::PathNotFound, detail);
                    Err(problem.with_errno("ENOENT").with_path(&target.path))
                }
                Err(_) => Ok(None),
            }
        }
        Err(error) => Err(target.problem(error)),
    }
}

/// Where the bytes of a part go.
#[derive(Clone, Copy)]
enum Part {
    Append,
    At(u64),
}

/// Writes as the bytes come; makes the file if it is missing. What has come stays if the request ends early.
async fn write_part(
    target: &Target<'_>,
    request: &mut Request,
    part: Part,
    mode: Option<u32>,
    condition: &Condition,
) -> Result<(Location, bool), Problem> {
    let (location, is_new) = {
        let _commit = target.vm.files().commit();
        let now = target.act(|walk, path| match walk.stat(path, Follow::Yes) {
            Err(error) if error == Errno::ENOENT => Ok(None),
            result => result.map(Some),
        })?;
        condition.check(&target.path, now.as_ref())?;
        target.act(|walk, path| {
            let flags = OpenFlags::WRITE | OpenFlags::CREATE;
            let opened = walk.open(path, flags, Mode::new(mode.unwrap_or(FILE_MODE)))?;
            if let Some(mode) = mode {
                opened.location.change_mode(walk.credentials, Mode::new(mode))?;
            }
            Ok((opened.location, opened.is_new))
        })?
    };
    if !location.file_type().is_regular() {
        return Err(target.problem(Errno::EINVAL.into()));
    }
    receive(target, request, |done, chunk| match part {
        Part::At(start) => {
            let offset = start.checked_add(done).ok_or(Errno::EFBIG)?;
            write_all(&location, offset, chunk)
        }
        Part::Append => {
            let mut rest = chunk;
            while !rest.is_empty() {
                match location.append(rest)?.written {
                    0 => return Err(Errno::ENOSPC.into()),
                    count => rest = &rest[count..],
                }
            }
            Ok(())
        }
    })
    .await?;
    Ok((location, is_new))
}

/// Takes the body as it comes. `write` gets how many bytes came before.
async fn receive(
    target: &Target<'_>,
    request: &mut Request,
    write: impl Fn(u64, &[u8]) -> vm_vfs::VfsResult<()>,
) -> Result<(), Problem> {
    let mut offset = 0;
    while let Some(chunk) = request.chunk().await? {
        write(offset, &chunk).map_err(|error| target.problem(error))?;
        offset += chunk.len() as u64;
    }
    Ok(())
}
