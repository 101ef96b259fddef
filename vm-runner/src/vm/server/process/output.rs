//! `GET processes/{pid}/output`: a stream of what a process has written and writes, or one page of it.

use std::sync::Arc;

use http::StatusCode;
use vm_api::{OutputPage, Problem, ProblemCode};

use super::log::{LogReader, Refusal};
use super::message::MessageReader;
use super::started::StartedProcess;
use crate::http::{self as web, Request, Response};
use crate::vm::server::event::stream::{self, Messages};
use crate::vm::server::query::Query;

/// How much output a page holds.
const MAX_PAGE_BYTES: u64 = 1 << 20;

/// Answers one request.
pub(crate) fn output(process: &Arc<StartedProcess>, request: &Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["after"])?;
    let after = stream::after(&query, request.headers())?;
    if stream::is_wanted(request.headers()) { follow(process, after) } else { page(process, after) }
}

/// A stream of the output after a position, or from the beginning.
pub(crate) fn follow(process: &Arc<StartedProcess>, after: Option<u64>) -> Result<Response, Problem> {
    let messages = MessageReader::new(read_after(process, after)?);
    let messages = match after {
        Some(_) => messages,
        None => messages.beginning_with(process.pid.raw()),
    };
    Ok(stream::response(messages))
}

fn page(process: &Arc<StartedProcess>, after: Option<u64>) -> Result<Response, Problem> {
    let mut reader = MessageReader::new(read_after(process, after)?);
    let first = reader.position();
    let mut page = OutputPage::default();
    while reader.position() < first.saturating_add(MAX_PAGE_BYTES) {
        match reader.try_next() {
            Some((_, message)) => page.messages.push(message),
            None => break,
        }
    }
    page.next = reader.position();
    page.has_more = reader.has_more();
    Ok(web::json(StatusCode::OK, &page))
}

fn read_after(process: &StartedProcess, after: Option<u64>) -> Result<LogReader, Problem> {
    process.log.read_after(after.unwrap_or(0)).map_err(|refusal| match refusal {
        Refusal::Beyond(last) => {
            let detail = format!("after={}: the output ends at {last}", after.unwrap_or(0));
            Problem::new(ProblemCode::InvalidQuery, detail).with_field("after")
        }
        Refusal::TooManyReaders(most) => stream::too_many_readers("the output of a process", most),
    })
}

impl Messages for MessageReader {
    async fn next(&mut self) -> Option<(u64, String)> {
        let (number, message) = MessageReader::next(self).await?;
        // Strings and numbers only: cannot fail.
        Some((number, serde_json::to_string(&message).unwrap_or_default()))
    }
}
