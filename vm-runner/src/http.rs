//! Small parts of HTTP that supervisor and vm process share: bodies, JSON in and out, problem responses.
//!
//! Must never know a route.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_api::{Problem, ProblemCode};

/// A request as it arrives.
pub(crate) type Request = http::Request<Incoming>;
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

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(body_too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(body_too_large(limit)),
        Err(error) => {
            Err(Problem::new(ProblemCode::BodyIncomplete, format!("the request body ended early: {error}")))
        }
    }
}

fn body_too_large(limit: usize) -> Problem {
    let detail =
        format!("the request body is larger than {limit} bytes, the request body limit of this route");
    Problem::new(ProblemCode::BodyTooLarge, detail).with_limit("request body limit")
}

/// Reads a JSON document of at most `limit` bytes.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Incoming, limit: usize) -> Result<T, Problem> {
    parse_json(&read_body(body, limit).await?)
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
