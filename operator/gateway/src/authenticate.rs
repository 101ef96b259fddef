//! Who asks: by client certificate, or by bearer token and the API server's TokenReview.
//!
//! The order is the API server's: a certificate that counts wins; if it does not count, the token decides. Tokens are
//! never kept, logged or forwarded: they are remembered as their hash.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vm_api::ProblemCode;

use crate::audience::{API_SERVER_MEMORY, Audiences};
use crate::client_ca::{self, ClientCa};
use crate::config::{Rate, Timeouts};
use crate::metrics::ReviewKind;
use crate::peer::Peer;
use crate::problem::Refusal;
use crate::rate::{Excess, Meters, network};
use crate::review::{self, Reviewer};
use crate::review_cache::{Review, ReviewCache, Reviewed};
use crate::spawn::Spawner;
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
    /// Too many from this address did not count.
    #[error("too many requests from your address came without credentials that count")]
    TooMany(Duration),
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
            Error::TooMany(wait) => Self::new(ProblemCode::LimitUserRequests, format!("{error}; {WAYS_IN}"))
                .with_limit("--max-strangers-per-second")
                .retry_after(wait.as_secs().saturating_add(1).try_into().unwrap_or(u32::MAX)),
            Error::Anonymous | Error::Malformed | Error::TokenRefused | Error::CertificateRefused(_) => {
                Self::new(ProblemCode::Unauthenticated, format!("{error}; {WAYS_IN}"))
            }
        }
    }
}

/// Who came with a token that is good.
#[derive(Clone)]
struct Known {
    user: Arc<User>,
    /// The audiences that it was good for.
    meant: Arc<[String]>,
}

/// Finds out who asks.
pub(crate) struct Authenticator {
    reviewer: Reviewer,
    audiences: Arc<Audiences>,
    timeouts: Timeouts,
    tokens: ReviewCache<Option<Known>, review::Error>,
    client_ca: Arc<ClientCa>,
    /// Those who are not known yet, by address.
    strangers: Meters<IpAddr>,
}

impl Authenticator {
    pub(crate) fn new(
        reviewer: Reviewer,
        audiences: &[String],
        timeouts: Timeouts,
        capacity: usize,
        client_ca: Arc<ClientCa>,
        stranger_rate: Rate,
        spawner: Spawner,
    ) -> Self {
        let audiences = Arc::new(Audiences::new(audiences));
        let strangers = Meters::new(stranger_rate, usize::MAX);
        let tokens = ReviewCache::new(capacity, spawner);
        Self { reviewer, audiences, timeouts, tokens, client_ca, strangers }
    }

    /// The user behind a request, as an answer of the API server says that is no older than that.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        most_age: Duration,
    ) -> Result<Arc<User>, Error> {
        match peer.certificate.as_ref().map(|certificate| certificate.user(&self.client_ca)) {
            Some(Ok(user)) => Ok(user),
            Some(Err(error)) if !headers.contains_key(AUTHORIZATION) => {
                self.admit_stranger(peer)?;
                Err(error.into())
            }
            Some(Err(_)) | None => self.by_token(headers, peer, most_age).await,
        }
    }

    async fn by_token(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        most_age: Duration,
    ) -> Result<Arc<User>, Error> {
        let token = match bearer_token(headers) {
            Ok(token) => token,
            Err(error) => {
                self.admit_stranger(peer)?;
                return Err(error);
            }
        };
        let key = Sha256::digest(token).into();
        if let Some(Some(known)) = self.tokens.get(&key, most_age) {
            return Ok(known.user);
        }
        let last = self.tokens.last(&key).flatten();
        let is_known = last.is_some();
        if !is_known {
            // A place, until they turn out to be somebody.
            self.admit_stranger(peer)?;
        }
        let known = self.tokens.get_or_ask(key, most_age, || self.review(token, last)).await?;
        if known.is_some() && !is_known {
            self.strangers.give_back(&network(peer.address));
        }
        known.map(|known| known.user).ok_or(Error::TokenRefused)
    }

    fn admit_stranger(&self, peer: &Peer) -> Result<(), Error> {
        self.strangers.take(network(peer.address)).map_err(|excess| match excess {
            Excess::Rate(wait) => Error::TooMany(wait),
            Excess::AtOnce => Error::TooMany(Duration::ZERO),
        })
    }

    fn review(
        &self,
        token: &str,
        last: Option<Known>,
    ) -> impl Future<Output = Review<Option<Known>, review::Error>> + Send + use<> {
        let kind = if last.is_some() { ReviewKind::Token } else { ReviewKind::NewToken };
        let wanted = self.audiences.wanted(last.as_ref().map_or(&[], |known| &*known.meant));
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: wanted.in_review() },
            ..TokenReview::default()
        };
        let (reviewer, audiences, timeouts) =
            (self.reviewer.clone(), self.audiences.clone(), self.timeouts.clone());
        async move {
            let status = reviewer.create(kind, &review).await?.status.unwrap_or_default();
            let meant = status.audiences.clone().unwrap_or_default().into();
            let known = accepted_user(status, &wanted.real).map(|user| Known { user: Arc::new(user), meant });
            let (ttl, grace) = match (&known, kind) {
                (Some(_), _) => (timeouts.token, timeouts.outage_grace),
                // The API server may remember that it was good, and say so to whoever asks as for a new one.
                (None, ReviewKind::Token) if audiences.are_its_own() => {
                    (timeouts.refused_token.max(API_SERVER_MEMORY), Duration::ZERO)
                }
                (None, _) => (timeouts.refused_token, Duration::ZERO),
            };
            Ok(Reviewed { answer: known, ttl, grace })
        }
    }
}

/// What a client came with, to be reviewed again.
#[derive(Clone)]
pub(crate) struct Credentials(Option<HeaderValue>);

impl Credentials {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        // Who was let in came with one, or with a certificate.
        Self(headers.get(AUTHORIZATION).cloned())
    }

    /// As they came.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.0.iter().map(|value| (AUTHORIZATION, value.clone())).collect()
    }

    /// Whether they are a token that says itself that its time is over.
    pub(crate) fn have_expired(&self) -> bool {
        let expiry = bearer_token(&self.headers()).ok().and_then(expiry);
        expiry.is_some_and(|expiry| expiry <= SystemTime::now())
    }
}

/// When a JSON Web Token expires, as it says itself. Trusted by nobody: it only tells why a review says no.
fn expiry(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(exp))
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
fn accepted_user(status: TokenReviewStatus, wanted: &[String]) -> Option<User> {
    if status.authenticated != Some(true) {
        return None;
    }
    let meant = status.audiences.unwrap_or_default();
    if !wanted.is_empty() && !wanted.iter().any(|audience| meant.contains(audience)) {
        return None;
    }
    let UserInfo { extra, groups, uid, username } = status.user?;
    let name = username.filter(|name| !name.is_empty())?;
    Some(User::new(name, uid, groups.unwrap_or_default(), extra.unwrap_or_default(), Proof::Token))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_token_tells_when_it_expires() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let at = expiry(&token(r#"{"sub":"a","exp":1700000000}"#));
        assert_eq!(at, Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        for other in ["opaque", "a.b.c", &token("{}"), &token(r#"{"exp":-1}"#), &token("x")] {
            assert_eq!(expiry(other), None, "{other}");
        }
        let credentials = |claims: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {}", token(claims)).try_into().unwrap());
            Credentials::of(&headers)
        };
        assert!(credentials(r#"{"exp":1700000000}"#).have_expired());
        assert!(!credentials(r#"{"exp":99999999999}"#).have_expired());
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
        assert!(accepted_user(status(&["lodge"]), &wanted).is_some());
        assert!(accepted_user(status(&["vault"]), &wanted).is_none());
        assert!(accepted_user(status(&["https://kubernetes.default.svc"]), &[]).is_some());
    }

    #[test]
    fn a_review_that_does_not_say_yes_means_no() {
        assert!(accepted_user(TokenReviewStatus { authenticated: None, ..status(&[]) }, &[]).is_none());
        assert!(accepted_user(TokenReviewStatus { user: None, ..status(&[]) }, &[]).is_none());
        let nameless = TokenReviewStatus { user: Some(UserInfo::default()), ..status(&[]) };
        assert!(accepted_user(nameless, &[]).is_none());
    }
}
