//! `GET files/{path}`: content with ranges, or `?stat`, or `?list`, or `?watch`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use vm_abi::{OpenFlags, Stat};
use vm_api::{Problem, ProblemCode};
use vm_vfs::{Inode, Location, Mapping};

use super::condition::{Condition, etag};
use super::made_up::is_made_up;
use super::{Target, list, made_up, stat, watch};
use crate::http::{self as web, Body, BodyError, Request, Response, header_text};
use crate::vm::buffers::Held;
use crate::vm::server::errno::shown;
use crate::vm::server::query::Query;

/// Bytes read at once.
pub(super) const CHUNK_BYTES: u64 = 64 << 10;

/// Answers one request.
pub(super) async fn get(target: Target<'_>, request: &Request) -> Result<Response, Problem> {
    let known = ["stat", "list", "depth", "exclude", "limit", "after", "watch", "recursive"];
    let query = Query::parse(request.query(), &known)?;
    if query.switch("stat")? {
        return Ok(web::json(StatusCode::OK, &stat::stat(&target)?));
    }
    if query.switch("list")? {
        return list::list(target, &query).await;
    }
    if query.switch("watch")? {
        return watch::watch(&target, &query, request.headers());
    }
    content(&target, request)
}

fn content(target: &Target<'_>, request: &Request) -> Result<Response, Problem> {
    let (location, stat) = open(target)?;
    if is_made_up(&location) {
        return made_up(target, request, &location);
    }
    let tag = etag(&stat);
    let headers = request.headers();
    let condition = Condition::of(headers);
    if condition.is_not_modified(Some(&tag)) {
        let mut response = web::empty(StatusCode::NOT_MODIFIED);
        set(response.headers_mut(), ETAG, &tag);
        return Ok(response);
    }
    condition.check(&target.path, Some(&stat))?;
    let (range, status) = match wanted_range(headers, stat.size, &tag) {
        Wanted::All => (0..stat.size, StatusCode::OK),
        Wanted::Part(range) => (range, StatusCode::PARTIAL_CONTENT),
        Wanted::Impossible => return Ok(not_satisfiable(target, stat.size)),
    };
    let length = range.end - range.start;
    let body = if *request.method() == Method::HEAD {
        web::full(Bytes::new())
    } else {
        read_range(&target.path, &location, range.clone())
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    head.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    set(head, ETAG, &tag);
    if let Ok(modified) =
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&stat::timestamp(stat.mtime))
    {
        set(head, LAST_MODIFIED, &modified);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        set(head, CONTENT_RANGE, &format!("bytes {}-{}/{}", range.start, range.end - 1, stat.size));
    }
    Ok(response)
}

/// Answers with a file that has no length and no state before it is read: all of it, without an entity tag. What HEAD tells
/// does not depend on what a reading would bring.
fn made_up(target: &Target<'_>, request: &Request, location: &Location) -> Result<Response, Problem> {
    let condition = Condition::of(request.headers());
    if condition.is_not_modified(None) {
        return Ok(web::empty(StatusCode::NOT_MODIFIED));
    }
    condition.check_untagged(&target.path)?;
    let body = if *request.method() == Method::HEAD {
        Body::new(UnknownBody(None))
    } else {
        let mut held = target.vm.buffers().hold();
        let bytes = made_up::read_whole(target, location, |room| held.grow_to(room))?;
        Body::new(UnknownBody((!bytes.is_empty()).then(|| (Bytes::from(bytes), held))))
    };
    let mut response = Response::new(body);
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    head.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    Ok(response)
}

/// Content whose length is not told before, and the share of memory that it takes.
struct UnknownBody(Option<(Bytes, Held)>);

impl http_body::Body for UnknownBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(|(bytes, _held)| Ok(Frame::data(bytes))))
    }
}

/// Finds a regular file and checks that the user may read it.
pub(super) fn open(target: &Target<'_>) -> Result<(Location, Stat), Problem> {
    let location = target.act(|walk, path| walk.resolve(path))?;
    let file_type = location.file_type();
    if file_type.is_directory() {
        let detail = format!("{}: is a directory; ?list lists it", shown(&target.path));
        let problem = Problem::new(ProblemCode::IsADirectory, detail);
        return Err(problem.with_errno("EISDIR").with_path(&target.path));
    }
    if !file_type.is_regular() {
        let detail =
            format!("{}: is neither a file nor a directory; ?stat tells what it is", shown(&target.path));
        return Err(Problem::new(ProblemCode::UnsupportedFileType, detail).with_path(&target.path));
    }
    target.act(|walk, _| {
        let opened = walk.open_existing(location.clone(), OpenFlags::READ)?;
        let stat = opened.location.stat()?;
        Ok((opened.location, stat))
    })
}

fn not_satisfiable(target: &Target<'_>, size: u64) -> Response {
    let detail = format!("{} has {size} bytes; the range lies outside", shown(&target.path));
    let mut response = web::problem(&Problem::new(ProblemCode::RangeNotSatisfiable, detail));
    set(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(std::ops::Range<u64>),
    Impossible,
}

/// One range is served; several at once, and what is no range of bytes, are answered with everything (RFC 9110, 14.2).
/// With an `If-Range` that does not name this content, everything is wanted.
fn wanted_range(headers: &HeaderMap, size: u64, tag: &str) -> Wanted {
    if headers.contains_key(IF_RANGE) && header_text(headers, &IF_RANGE) != Some(tag) {
        return Wanted::All;
    }
    let text = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some(spec) = text.and_then(|text| text.strip_prefix("bytes=")) else { return Wanted::All };
    let Some((first, last)) = spec.split_once('-') else { return Wanted::All };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Wanted::All,
        (Ok(first), _) if first >= size => Wanted::Impossible,
        (Ok(first), Ok(last)) => Wanted::Part(first..last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.trim().is_empty() => Wanted::Part(first..size),
        (Err(_), Ok(0)) if first.trim().is_empty() => Wanted::Impossible,
        (Err(_), Ok(_)) if first.trim().is_empty() && size == 0 => Wanted::Impossible,
        (Err(_), Ok(count)) if first.trim().is_empty() => Wanted::Part(size.saturating_sub(count)..size),
        _ => Wanted::All,
    }
}

/// The bytes of a file: without a copy if it is mapped, at once if it is small, else as they are asked for.
fn read_range(path: &[u8], location: &Location, range: std::ops::Range<u64>) -> Body {
    let length = range.end - range.start;
    if let Some(bytes) = location.inode().map().and_then(|mapping| slice(&mapping, &range)) {
        return web::full(bytes);
    }
    let mut body = FileBody { path: shown(path), inode: Arc::clone(location.inode()), range };
    if length > CHUNK_BYTES {
        return Body::new(body);
    }
    match body.next() {
        Some(Ok(bytes)) if bytes.len() as u64 == length => web::full(bytes),
        None => web::full(Bytes::new()),
        Some(Ok(_)) => Body::new(FailedBody(Some(body.short()))),
        Some(Err(error)) => Body::new(FailedBody(Some(error))),
    }
}

fn slice(mapping: &Mapping, range: &std::ops::Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    let part = mapping.slice(start, end.checked_sub(start)?)?;
    Some(Bytes::from_owner(Owned(part)))
}

/// A mapping that [`Bytes`] can hold.
struct Owned(Mapping);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A file that is read as its reader asks for it.
struct FileBody {
    path: String,
    inode: Arc<dyn Inode>,
    range: std::ops::Range<u64>,
}

impl FileBody {
    fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let length = (self.range.end - self.range.start).min(CHUNK_BYTES);
        if length == 0 {
            return None;
        }
        let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
        match self.inode.read_at(self.range.start, &mut buffer) {
            // Cut shorter by somebody while it is read: the length was promised already.
            Ok(0) => Some(Err(self.short())),
            Ok(count) => {
                buffer.truncate(count);
                self.range.start += count as u64;
                Some(Ok(Bytes::from(buffer)))
            }
            Err(error) => Some(Err(BodyError::File { path: self.path.clone(), errno: error.errno().name() })),
        }
    }

    fn short(&self) -> BodyError {
        BodyError::File { path: self.path.clone(), errno: "EIO" }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.next().map(|result| result.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.range.end - self.range.start)
    }
}

/// A body that only fails, so that the connection ends instead of a wrong length being served.
struct FailedBody(Option<BodyError>);

impl http_body::Body for FailedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &'static str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(text));
        wanted_range(&headers, size, "\"tag\"")
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        assert_eq!(range("bytes=0-4", 10), Wanted::Part(0..5));
        assert_eq!(range("bytes=5-", 10), Wanted::Part(5..10));
        assert_eq!(range("bytes=-3", 10), Wanted::Part(7..10));
        assert_eq!(range("bytes=-30", 10), Wanted::Part(0..10));
        assert_eq!(range("bytes=8-18446744073709551615", 10), Wanted::Part(8..10));
    }

    #[test]
    fn a_range_outside_of_the_file_cannot_be_satisfied() {
        assert_eq!(range("bytes=10-", 10), Wanted::Impossible);
        assert_eq!(range("bytes=-0", 10), Wanted::Impossible);
        assert_eq!(range("bytes=0-0", 0), Wanted::Impossible);
        assert_eq!(range("bytes=-1", 0), Wanted::Impossible);
    }

    #[test]
    fn what_is_no_single_range_is_answered_with_everything() {
        for text in ["bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x-y", "bytes=", "bytes=-"] {
            assert_eq!(range(text, 10), Wanted::All, "{text}");
        }
    }

    #[test]
    fn a_range_of_other_content_is_answered_with_everything() {
        for (tag, expected) in
            [("\"tag\"", Wanted::Part(0..5)), ("\"old\"", Wanted::All), ("W/\"tag\"", Wanted::All)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static("bytes=0-4"));
            headers.insert(IF_RANGE, HeaderValue::from_static(tag));
            assert_eq!(wanted_range(&headers, 10, "\"tag\""), expected, "{tag}");
        }
    }
}
