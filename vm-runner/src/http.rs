//! Small parts of HTTP that supervisor and vm process share: bodies, JSON in and out, problem responses.
//!
//! Must never know a route.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_api::{Problem, ProblemCode};

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Request {
    head: Parts,
    /// What was not read or given away yet.
    body: Option<Incoming>,
}

/// Most bytes of a refused request's body that are read for the sake of its answer.
const MAX_DISCARDED_BYTES: u64 = 64 << 20;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A response as it leaves.
pub(crate) type Response = http::Response<Body>;
/// A response's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The vm process went away or its connection broke.
    #[error("the vm process ended the response early")]
    Upstream(#[source] hyper::Error),
    /// A file could not be read to its end.
    #[error("reading {path}: {errno}")]
    File {
        /// Guest path.
        path: String,
        /// Name of the error.
        errno: &'static str,
    },
}

impl From<Infallible> for BodyError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(BodyError::from).boxed_unsync()
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A response with a JSON document.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes),
        Err(error) => problem(&Problem::new(
            ProblemCode::Internal,
            format!("the answer cannot be written as JSON: {error}"),
        )),
    }
}

/// A response with text of any type.
pub(crate) fn with_type(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A problem document. Problems that pass by themselves say when to come back.
pub(crate) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_type(status, vm_api::problem::MEDIA_TYPE, problem.to_json());
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The problem of a method that a route does not have.
pub(crate) fn method_not_allowed(method: &http::Method, path: &str, allowed: &'static str) -> Response {
    let detail = format!("{path} does not take {method}; it takes {allowed}");
    let mut response = problem(&Problem::new(ProblemCode::MethodNotAllowed, detail));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The problem of a route that does not exist.
pub(crate) fn route_not_found(path: &str) -> Problem {
    Problem::new(ProblemCode::RouteNotFound, format!("there is no route {path}"))
}

impl Request {
    /// A request as hyper gives it.
    pub(crate) fn new(request: http::Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        Self { head, body: Some(body) }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The request for somebody else to answer; what is left here has no body and no headers.
    pub(crate) fn take(&mut self) -> Option<http::Request<Incoming>> {
        let body = self.body.take()?;
        let mut request = http::Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = std::mem::take(&mut self.head.headers);
        Some(request)
    }

    /// The connection itself, for a request that asks for another protocol (RFC 9110, section 7.8). It can be had once a
    /// response with status 101 has been sent.
    pub(crate) fn take_upgrade(&mut self) -> Option<hyper::upgrade::OnUpgrade> {
        let asks = header_text(self.headers(), &CONNECTION)
            .is_some_and(|list| list.split(',').any(|name| name.trim().eq_ignore_ascii_case("upgrade")));
        if !asks || !self.headers().contains_key(UPGRADE) {
            return None;
        }
        self.head.extensions.remove()
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(body) = &mut self.body else { return Ok(None) };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::new(ProblemCode::BodyIncomplete, format!("the request body ended early: {error}"))
            })?;
            // Trailers say nothing to us.
            if let Ok(chunk) = frame.into_data() {
                return Ok(Some(chunk));
            }
        }
        self.body = None;
        Ok(None)
    }

    /// Reads a body of at most `limit` bytes.
    pub(crate) async fn read_body(&mut self, limit: usize) -> Result<Bytes, Problem> {
        self.read_body_as_allowed(limit, |_| Ok(())).await
    }

    /// Reads a body of at most `limit` bytes. `allow` is asked before so many bytes are held.
    pub(crate) async fn read_body_as_allowed(
        &mut self,
        limit: usize,
        mut allow: impl FnMut(usize) -> Result<(), Problem>,
    ) -> Result<Bytes, Problem> {
        if self.body.as_ref().is_some_and(|body| body.size_hint().lower() > limit as u64) {
            return Err(body_too_large(limit));
        }
        // Nearly always there is one chunk, which then needs no copy.
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        allow(first.len())?;
        let Some(second) = self.chunk().await? else { return within(first, limit) };
        let mut all = BytesMut::from(&first[..]);
        all.extend_from_slice(&second);
        while all.len() <= limit {
            allow(all.len())?;
            match self.chunk().await? {
                Some(chunk) => all.extend_from_slice(&chunk),
                None => break,
            }
        }
        within(all.freeze(), limit)
    }

    /// Reads a JSON document of at most `limit` bytes.
    pub(crate) async fn read_json<T: DeserializeOwned>(&mut self, limit: usize) -> Result<T, Problem> {
        parse_json(&self.read_body(limit).await?)
    }

    /// Reads and throws away what is left of the body, within limits. A client that still sends would not see the
    /// answer if the connection were closed before.
    pub(crate) async fn discard_rest(&mut self) {
        let Some(body) = &self.body else { return };
        if body.size_hint().lower() > MAX_DISCARDED_BYTES {
            return;
        }
        let discard = async {
            let mut count = 0;
            while let Ok(Some(chunk)) = self.chunk().await {
                count += chunk.len() as u64;
                if count > MAX_DISCARDED_BYTES {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard).await;
    }
}

fn within(bytes: Bytes, limit: usize) -> Result<Bytes, Problem> {
    if bytes.len() > limit { Err(body_too_large(limit)) } else { Ok(bytes) }
}

fn body_too_large(limit: usize) -> Problem {
    let detail =
        format!("the request body is larger than {limit} bytes, the request body limit of this route");
    Problem::new(ProblemCode::BodyTooLarge, detail).with_limit("request body limit")
}

/// Parses a JSON document; says where it breaks.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => ProblemCode::InvalidRequest,
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => ProblemCode::MalformedJson,
        };
        // The error's text ends with its line and column.
        Problem::new(code, format!("request body: {error}"))
    })
}

/// A header's value, if it is text.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use vm_api::ExecRequest;

    use super::*;

    #[test]
    fn malformed_json_is_answered_with_its_position() {
        let problem = parse_json::<ExecRequest>(b"{\"command\": \"true\",\n  oops}").unwrap_err();
        assert!(problem.is(ProblemCode::MalformedJson));
        assert!(problem.detail.contains("line 2 column 3"), "{}", problem.detail);
    }

    #[test]
    fn a_wrong_field_is_told_apart_from_malformed_json() {
        let problem = parse_json::<ExecRequest>(b"{\"comand\": \"true\"}").unwrap_err();
        assert!(problem.is(ProblemCode::InvalidRequest));
        assert!(problem.detail.contains("unknown field `comand`"), "{}", problem.detail);
    }

    #[test]
    fn a_problem_that_passes_by_itself_says_when_to_come_back() {
        let response = problem(&Problem::new(ProblemCode::LimitRunnerRequests, "busy"));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], vm_api::problem::MEDIA_TYPE);
    }

    #[test]
    fn a_wrong_method_is_answered_with_the_right_ones() {
        let response = method_not_allowed(&http::Method::GET, "/x", "POST");
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "POST");
    }
}
