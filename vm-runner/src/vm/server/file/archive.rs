//! `files:archive`: a tree as a tar archive, out with `GET` and in with `PUT`. Both stream: no archive is ever held.
//!
//! ```text
//!  GET   tree walk ──▶ encode ──▶ body, as the client takes it
//!  PUT   body ──▶ decode ──▶ extract, entry by entry
//! ```

mod decode;
mod encode;
mod extract;
mod pack;

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use vm_abi::Mode;
use vm_api::{Problem, ProblemCode, file_archive};
use vm_vfs::Follow;

use super::{DIRECTORY_MODE, Target, make_parents};
use crate::guest_path::check_path;
use crate::http::{self as web, Body, Request, Response};
use crate::vm::boot::Vm;
use crate::vm::server::query::Query;

/// Answers one request.
pub(crate) async fn archive(vm: &Arc<Vm>, request: &mut Request) -> Result<Response, Problem> {
    if *request.method() == Method::PUT {
        let query = Query::parse(request.query(), &["path", "parents"])?;
        return unpack(target(vm, &query)?, query.switch("parents")?, request).await;
    }
    let query = Query::parse(request.query(), &["path", "exclude"])?;
    let target = target(vm, &query)?;
    let top = target.act(|walk, path| walk.resolve_with(path, Follow::No))?;
    let packing = pack::Packing::begin(&target, top, query.excludes()?)?;
    let mut response = Response::new(Body::new(packing));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(file_archive::MEDIA_TYPE));
    Ok(response)
}

fn target<'a>(vm: &'a Arc<Vm>, query: &Query) -> Result<Target<'a>, Problem> {
    let Some(path) = query.bytes("path") else {
        let detail = "give the path of the tree: ?path=/home/agent";
        return Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("path"));
    };
    check_path(path)?;
    Ok(Target { vm, path: path.to_vec() })
}

async fn unpack(target: Target<'_>, parents: bool, request: &mut Request) -> Result<Response, Problem> {
    if parents {
        make_parents(&target)?;
        target.act(|walk, path| match walk.mkdir(path, Mode::new(DIRECTORY_MODE)) {
            Err(error) if error == vm_abi::Errno::EEXIST => Ok(()),
            result => result.map(drop),
        })?;
    }
    let top = target.act(|walk, path| {
        let top = walk.resolve(path)?;
        if top.file_type().is_directory() { Ok(top) } else { Err(vm_abi::Errno::ENOTDIR.into()) }
    })?;
    let mut decoder = decode::Decoder::default();
    let mut extraction = extract::Extraction::new(&target, top.clone());
    let result = receive(&mut decoder, &mut extraction, request).await;
    // Also what was extracted before a failure is durable: the problem tells that it is in place.
    let finished = extraction.finish();
    target.sync(&top).await?;
    result?;
    Ok(web::json(StatusCode::OK, &finished?))
}

async fn receive(
    decoder: &mut decode::Decoder,
    extraction: &mut extract::Extraction<'_>,
    request: &mut Request,
) -> Result<(), Problem> {
    let mut steps = 0_usize;
    while let Some(chunk) = request.chunk().await? {
        decoder.push(chunk);
        while let Some(item) = decoder.next().map_err(|error| extraction.invalid(&error))? {
            extraction.take(item)?;
            steps += 1;
            if steps.is_multiple_of(32) {
                tokio::task::yield_now().await;
            }
        }
    }
    decoder.end().map_err(|error| extraction.invalid(&error))
}
