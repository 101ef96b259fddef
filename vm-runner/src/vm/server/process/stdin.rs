//! `POST processes/{pid}/stdin`: what the process reads. The body streams as fast as the process takes it.

use std::sync::Arc;

use http::StatusCode;
use vm_api::{Problem, ProblemCode, StdinResponse};

use super::started::StartedProcess;
use crate::http::{self as web, Request, Response};
use crate::vm::server::query::Query;

/// Answers one request.
pub(crate) async fn write(process: &Arc<StartedProcess>, request: &mut Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["close"])?;
    let closes = query.switch("close")?;
    let mut stdin = process.take_stdin()?;
    let mut bytes = 0;
    while let Some(chunk) = request.chunk().await? {
        let count = chunk.len() as u64;
        stdin.write(chunk).await.map_err(|errno| {
            let detail = format!(
                "process {} has closed its standard input; it was given {bytes} bytes of this request before",
                process.pid
            );
            Problem::new(ProblemCode::StdinClosed, detail).with_errno(errno.name())
        })?;
        bytes += count;
    }
    if closes {
        stdin.close();
    }
    Ok(web::json(StatusCode::OK, &StdinResponse { bytes }))
}
