//! Who asks: by client certificate, or by bearer token and the API server's TokenReview.
//!
//! The order is the API server's: a certificate that counts wins; if it does not count, the token decides. Tokens are
//! never kept, logged or forwarded: they are remembered as their hash.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use sha2::{Digest as _, Sha256};
use vm_api::ProblemCode;

use crate::client_ca::{self, ClientCa, PeerCertificate};
use crate::config::Timeouts;
use crate::metrics::ReviewKind;
use crate::problem::Refusal;
use crate::review::{self, Reviewer};
use crate::review_cache::{Review, ReviewCache};
use crate::user::{Proof, User};

/// Largest token; the API server takes no larger one in a header either.
const MAX_TOKEN_BYTES: usize = 32 * 1024;
const WAYS_IN: &str = "send a Kubernetes token (Authorization: Bearer …, for instance from `kubectl create token`) or \
                       use a client certificate of the cluster; `kubectl lodge` does it for you";

/// Why nobody is known to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Neither token nor certificate.
    #[error("the request has neither a bearer token nor a client certificate")]
    Anonymous,
    /// The header is there and holds no bearer token.
    #[error("the Authorization header does not hold a bearer token")]
    Malformed,
    /// The API server does not know the token.
    #[error(
        "the cluster did not accept the bearer token: it is expired, revoked, or for another cluster or audience"
    )]
    TokenRefused,
    /// The certificate does not count, and there is no token.
    #[error("{0}")]
    CertificateRefused(#[from] client_ca::Error),
    /// The API server cannot be asked.
    #[error("the bearer token cannot be checked now: {0}")]
    Unavailable(#[from] review::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(review::Error::Busy) => {
                Self::new(ProblemCode::AuthenticationUnavailable, error.to_string())
                    .with_limit("--max-reviews")
                    .retry_after(1)
            }
            Error::Unavailable(review::Error::TimedOut | review::Error::Failed(_)) => Self::new(
                ProblemCode::AuthenticationUnavailable,
                "the bearer token cannot be checked now: the cluster's API server does not answer; try again",
            )
            .retry_after(1),
            Error::Anonymous | Error::Malformed | Error::TokenRefused | Error::CertificateRefused(_) => {
                Self::new(ProblemCode::Unauthenticated, format!("{error}; {WAYS_IN}"))
            }
        }
    }
}

/// Finds out who asks.
pub(crate) struct Authenticator {
    reviewer: Reviewer,
    audiences: Option<Vec<String>>,
    timeouts: Timeouts,
    tokens: ReviewCache<Option<Arc<User>>, review::Error>,
    client_ca: Arc<ClientCa>,
}

impl Authenticator {
    pub(crate) fn new(
        reviewer: Reviewer,
        audiences: &[String],
        timeouts: Timeouts,
        capacity: usize,
        client_ca: Arc<ClientCa>,
    ) -> Self {
        let audiences = (!audiences.is_empty()).then(|| audiences.to_vec());
        Self { reviewer, audiences, timeouts, tokens: ReviewCache::new(capacity), client_ca }
    }

    /// The user behind a request.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Arc<User>, Error> {
        let by_certificate = certificate.map(|certificate| certificate.user(&self.client_ca));
        match by_certificate {
            Some(Ok(user)) => Ok(user),
            Some(Err(error)) if !headers.contains_key(AUTHORIZATION) => Err(error.into()),
            Some(Err(_)) | None => self.by_token(headers).await,
        }
    }

    async fn by_token(&self, headers: &HeaderMap) -> Result<Arc<User>, Error> {
        let token = bearer_token(headers)?;
        let key = Sha256::digest(token).into();
        let known = self.tokens.get_or_ask(key, || self.review(token)).await?;
        known.ok_or(Error::TokenRefused)
    }

    fn review(
        &self,
        token: &str,
    ) -> impl Future<Output = Review<Option<Arc<User>>, review::Error>> + Send + use<> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: self.audiences.clone() },
            ..TokenReview::default()
        };
        let (reviewer, audiences, timeouts) =
            (self.reviewer.clone(), self.audiences.clone(), self.timeouts.clone());
        async move {
            let reviewed = reviewer.create(ReviewKind::Token, &review).await?;
            let user = reviewed.status.and_then(|status| accepted_user(status, audiences.as_deref()));
            let ttl = if user.is_some() { timeouts.token } else { timeouts.refused_token };
            Ok((user.map(Arc::new), ttl))
        }
    }
}

/// The token of the one `Authorization` header.
fn bearer_token(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Error::Anonymous)?;
    if values.next().is_some() {
        return Err(Error::Malformed);
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Error::Malformed)?;
    let token = token.trim();
    let is_token = !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && !token.contains(' ');
    if scheme.eq_ignore_ascii_case("bearer") && is_token { Ok(token) } else { Err(Error::Malformed) }
}

/// The user of a review, if it says that the token counts, and for us.
fn accepted_user(status: TokenReviewStatus, audiences: Option<&[String]>) -> Option<User> {
    if status.authenticated != Some(true) {
        return None;
    }
    if let Some(wanted) = audiences {
        let meant = status.audiences.unwrap_or_default();
        if !wanted.iter().any(|audience| meant.contains(audience)) {
            return None;
        }
    }
    let UserInfo { extra, groups, uid, username } = status.user?;
    let name = username.filter(|name| !name.is_empty())?;
    Some(User::new(name, uid, groups.unwrap_or_default(), extra.unwrap_or_default(), Proof::Token))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_scheme_of_a_bearer_token_is_read_in_any_case() {
        assert_eq!(bearer_token(&headers(&["bearer abc"])).unwrap(), "abc");
        assert_eq!(bearer_token(&headers(&["Bearer  abc"])).unwrap(), "abc");
    }

    #[test]
    fn what_is_not_one_bearer_token_is_refused() {
        assert!(matches!(bearer_token(&headers(&[])), Err(Error::Anonymous)));
        for values in
            [&["Basic abc"][..], &["Bearer "], &["Bearer"], &["Bearer a b"], &["Bearer a", "Bearer b"]]
        {
            assert!(matches!(bearer_token(&headers(values)), Err(Error::Malformed)), "{values:?}");
        }
    }

    fn status(audiences: &[&str]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: Some(UserInfo { username: Some("jane".to_owned()), ..UserInfo::default() }),
            error: None,
        }
    }

    #[test]
    fn a_token_for_another_audience_counts_for_nothing() {
        let wanted = ["lodge".to_owned()];
        assert!(accepted_user(status(&["lodge"]), Some(&wanted)).is_some());
        assert!(accepted_user(status(&["vault"]), Some(&wanted)).is_none());
        assert!(accepted_user(status(&["https://kubernetes.default.svc"]), None).is_some());
    }

    #[test]
    fn a_review_that_does_not_say_yes_means_no() {
        assert!(accepted_user(TokenReviewStatus { authenticated: None, ..status(&[]) }, None).is_none());
        assert!(accepted_user(TokenReviewStatus { user: None, ..status(&[]) }, None).is_none());
        let nameless = TokenReviewStatus { user: Some(UserInfo::default()), ..status(&[]) };
        assert!(accepted_user(nameless, None).is_none());
    }
}
