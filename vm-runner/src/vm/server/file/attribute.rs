//! `PATCH files/{path}`: size, owner, permission bits and times.

use http::StatusCode;
use vm_abi::{Gid, Mode, Timespec, Uid};
use vm_api::{AttributesRequest, Problem, ProblemCode};
use vm_vfs::{Follow, SetTime};

use super::condition::Condition;
use super::{MAX_REQUEST_BYTES, Target, stat};
use crate::http::{self as web, Request, Response};
use crate::vm::server::query::{Query, parse_mode};

/// Answers one request.
pub(super) async fn patch(target: Target<'_>, request: &mut Request) -> Result<Response, Problem> {
    Query::parse(request.query(), &[])?;
    let condition = Condition::of(request.headers());
    let AttributesRequest { size, uid, gid, mode, accessed, modified } =
        request.read_json(MAX_REQUEST_BYTES).await?;
    let mode = mode.map(|mode| parse_mode(&mode, "mode")).transpose()?;
    let accessed = accessed.map(|text| parse_time(&text, "accessed")).transpose()?;
    let modified = modified.map(|text| parse_time(&text, "modified")).transpose()?;
    let location = {
        let _commit = target.vm.files().commit();
        let before = target.act(|walk, path| walk.stat(path, Follow::Yes))?;
        condition.check(&target.path, Some(&before))?;
        target.act(|walk, path| {
            if let Some(size) = size {
                walk.truncate(path, size)?;
            }
            if uid.is_some() || gid.is_some() {
                walk.chown(path, uid.map(Uid), gid.map(Gid), Follow::Yes)?;
            }
            if let Some(mode) = mode {
                walk.chmod(path, Mode::new(mode), Follow::Yes)?;
            }
            walk.set_times(path, accessed.map(SetTime::At), modified.map(SetTime::At), Follow::Yes)?;
            walk.resolve(path)
        })?
    };
    target.sync(&location).await?;
    let stat = target.act(|_, path| Ok(stat::describe(path, &location.stat()?, None)))?;
    Ok(web::json(StatusCode::OK, &stat))
}

fn parse_time(text: &str, field: &str) -> Result<Timespec, Problem> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let spec = time.and_then(|time| {
        let nanos = time.as_nanosecond();
        let sec = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        let nsec = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
        Timespec::new(sec, nsec)
    });
    spec.ok_or_else(|| {
        let detail =
            format!("{field}: {text:?} is no time; expected RFC 3339, such as 2026-11-22T16:00:00.5Z");
        Problem::new(ProblemCode::InvalidRequest, detail).with_field(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        let time = parse_time("1970-01-01T00:00:01.000000005Z", "modified").unwrap();
        assert_eq!((time.sec, time.nsec), (1, 5));
        let time = parse_time("1969-12-31T23:59:59.5Z", "modified").unwrap();
        assert_eq!((time.sec, time.nsec), (-1, 500_000_000));
        assert!(parse_time("yesterday", "modified").unwrap_err().detail.contains("RFC 3339"));
    }
}
