//! Answers of the gateway itself: problem documents with the headers that belong to them.
//!
//! A problem names the thing and the way out. It must never hold a token, a body, or whether something exists that the
//! client may not see.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use vm_api::problem::MEDIA_TYPE;
use vm_api::{Problem, ProblemCode};

/// A problem and the headers of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    retry_after_seconds: Option<u32>,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self::from(Problem::new(code, detail))
    }

    /// Names the gateway's own limit that was hit, by its argument.
    pub(crate) fn with_limit(mut self, argument: &str) -> Self {
        *self.problem = self.problem.with_limit(format!("gateway {argument}"));
        self
    }

    /// Replaces the status that usually comes with the code.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.problem.status = status.as_u16();
        self
    }

    pub(crate) fn with_instance(mut self, path: &str) -> Self {
        *self.problem = self.problem.with_instance(path);
        self
    }

    /// Tells the client when to come again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Tells the client which methods there are.
    pub(crate) fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let status = self.status();
        let mut response = Response::new(Full::new(Bytes::from(self.problem.to_json())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lodge\""));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), retry_after_seconds: None, allow: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_says_how_to_authenticate() {
        let response = Refusal::new(ProblemCode::Unauthenticated, "no token").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"lodge\"");
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
    }

    #[test]
    fn a_passing_problem_says_when_to_come_again() {
        let response = Refusal::new(ProblemCode::WorkspaceNotBound, "later").retry_after(2).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }
}
