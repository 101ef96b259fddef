//! `PUT files/{path}`: the whole content, at once or not at all.
//!
//! The bytes go into a new file beside the target, which replaces it when the last byte is there. A reader sees the old
//! content or the new one; an interrupted upload leaves nothing. A link is followed; permission bits stay.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, IF_MATCH, IF_NONE_MATCH};
use vm_abi::{Access, Errno, Mode, OpenFlags, Stat};
use vm_api::{Problem, ProblemCode};
use vm_vfs::{Follow, Location, RenameFlags, VfsResult};

use super::read::{etag, tag_matches};
use super::{Target, make_parents, stat};
use crate::http::{self as web, Request, Response, header_text};
use crate::vm::boot::Vm;
use crate::vm::server::errno::{file_problem, shown};
use crate::vm::server::query::Query;

/// Permission bits of new files.
const FILE_MODE: u32 = 0o644;
/// Names of files that are being uploaded.
const UPLOAD_PREFIX: &[u8] = b".lodge-upload-";

/// Answers one request.
pub(super) async fn put(mut target: Target<'_>, request: &mut Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["parents", "mode"])?;
    let mode = query.mode("mode")?;
    check_length(target.vm, request.headers())?;
    if query.switch("parents")? {
        make_parents(&target)?;
    }
    let existing = find_existing(&mut target)?;
    check_conditions(&target, request.headers(), existing.as_ref())?;
    let mode = mode.or(existing.as_ref().map(|stat| stat.mode & 0o7777)).unwrap_or(FILE_MODE);
    let upload = Upload::begin(&target, Mode::new(mode))?;
    upload.receive(request).await?;
    upload.finish(&target)?;
    let status = if existing.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(web::json(status, &stat::stat(&target)?))
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
fn find_existing(target: &mut Target<'_>) -> Result<Option<Stat>, Problem> {
    let found = target.vm.walk(target.vm.credentials(), |walk| {
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
        Ok((file_type, ..)) if file_type.is_directory() => {
            Err(file_problem(Errno::EISDIR.into(), &target.path))
        }
        Ok(_) => {
            let detail = format!("{}: only regular files can be written", shown(&target.path));
            Err(Problem::new(ProblemCode::UnsupportedFileType, detail))
        }
        Err(error) if error == Errno::ENOENT => {
            if target.path.ends_with(b"/") {
                return Err(file_problem(Errno::EISDIR.into(), &target.path));
            }
            match target.act(|walk, path| walk.stat(path, Follow::No)) {
                Ok(_) => {
                    let detail = format!("{}: a symbolic link to nothing", shown(&target.path));
                    Err(Problem::new(ProblemCode::PathNotFound, detail).with_errno("ENOENT"))
                }
                Err(_) => Ok(None),
            }
        }
        Err(error) => Err(file_problem(error, &target.path)),
    }
}

fn check_conditions(
    target: &Target<'_>,
    headers: &HeaderMap,
    existing: Option<&Stat>,
) -> Result<(), Problem> {
    let tag = existing.map(etag);
    let must_match = headers.get(IF_MATCH);
    let must_differ = headers.get(IF_NONE_MATCH);
    let matches = must_match.is_none_or(|wanted| tag.as_deref().is_some_and(|tag| tag_matches(wanted, tag)));
    let differs =
        must_differ.is_none_or(|wanted| !tag.as_deref().is_some_and(|tag| tag_matches(wanted, tag)));
    if matches && differs {
        return Ok(());
    }
    let now = tag.as_deref().unwrap_or("nothing");
    let detail = format!("{} is {now} now, which the request's condition excludes", shown(&target.path));
    Err(Problem::new(ProblemCode::PreconditionFailed, detail))
}

/// A file that is being uploaded. Removed when dropped before it is finished.
struct Upload<'a> {
    vm: &'a Vm,
    path: Vec<u8>,
    location: Location,
    is_finished: bool,
}

impl<'a> Upload<'a> {
    fn begin(target: &Target<'a>, mode: Mode) -> Result<Self, Problem> {
        let directory = target.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCL;
        loop {
            let number = target.vm.next_upload().to_string();
            let path = [&target.path[..directory], UPLOAD_PREFIX, number.as_bytes()].concat();
            let opened = target.vm.walk(target.vm.credentials(), |walk| {
                // The requested mode, whatever the opening would make of it.
                let opened = walk.open(&path, flags, Mode::new(0o600))?;
                opened.location.change_mode(walk.credentials, mode)?;
                Ok(opened)
            });
            match opened {
                // Left by an earlier VM: its number is taken.
                Err(error) if error == Errno::EEXIST => {}
                Err(error) => return Err(file_problem(error, &target.path)),
                Ok(opened) => {
                    return Ok(Self { vm: target.vm, path, location: opened.location, is_finished: false });
                }
            }
        }
    }

    async fn receive(&self, request: &mut Request) -> Result<(), Problem> {
        let mut offset = 0;
        while let Some(chunk) = request.chunk().await? {
            write_all(&self.location, offset, &chunk).map_err(|error| file_problem(error, &self.path))?;
            offset += chunk.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self, target: &Target<'_>) -> Result<(), Problem> {
        target.act(|walk, path| walk.rename(&self.path, walk, path, RenameFlags::empty()))?;
        self.is_finished = true;
        Ok(())
    }
}

fn write_all(location: &Location, mut offset: u64, chunk: &Bytes) -> VfsResult<()> {
    let mut rest = &chunk[..];
    while !rest.is_empty() {
        let count = location.inode().write_at(offset, rest)?;
        if count == 0 {
            return Err(Errno::ENOSPC.into());
        }
        offset += count as u64;
        rest = &rest[count..];
    }
    Ok(())
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nothing can be done about a failure here, and nobody asked.
            let _ = self.vm.walk(self.vm.credentials(), |walk| walk.unlink(&self.path));
        }
    }
}
