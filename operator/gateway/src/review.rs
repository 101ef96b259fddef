//! Asks the API server for reviews: of a token, of an access. Bounded in number and in time, so that a flood of unknown
//! tokens at the gateway never becomes a flood at the API server.
//!
//! Each kind has places of its own: anybody can have a token reviewed, only who came with one that was good before has it
//! reviewed again, and only who is authenticated has an access reviewed; so that strangers never take the places of users
//! who are known.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::metrics::{Metrics, ReviewKind};
use crate::review_cache::Failure;

/// Reviews that may wait for each place. A place is free again after milliseconds; and those who wait hold a request each,
/// so that they must stay few against the gateway's requests.
const WAITING_PER_PLACE: usize = 4;

/// Why there is no review.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// As many reviews as there may be are on their way, and no place became free in time or as many wait as may.
    #[error("too many reviews at once")]
    Busy,
    /// The API server took too long.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// The API server cannot be reached or does not let the gateway ask.
    #[error("the API server did not review: {0}")]
    Failed(Arc<kube::Error>),
}

impl Failure for Error {
    fn is_outage(&self) -> bool {
        match self {
            Self::Busy => false,
            Self::TimedOut => true,
            // Only a review is an answer. An API server that has just begun refuses whoever asks for one (401, 403) until it
            // knows the accounts and roles of its cluster; only what it says of the question itself is not its trouble.
            Self::Failed(error) => match &**error {
                kube::Error::Api(status) => !matches!(status.code, 400 | 413 | 422),
                _ => true,
            },
        }
    }
}

/// Asks for reviews.
#[derive(Clone)]
pub(crate) struct Reviewer {
    client: Client,
    new_tokens: Arc<Places>,
    tokens: Arc<Places>,
    accesses: Arc<Places>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    /// Whether the last review that was asked for was not answered.
    is_silent: Arc<AtomicBool>,
}

/// Where reviews of one kind take place, and where they wait for it.
struct Places {
    /// One for each review that is on its way or waits.
    admitted: Semaphore,
    /// One for each review that is on its way.
    free: Semaphore,
}

/// The right to ask for one review.
struct Place<'a> {
    _admitted: SemaphorePermit<'a>,
    _taken: SemaphorePermit<'a>,
}

impl Places {
    fn new(most_at_once: usize) -> Self {
        let semaphore = |permits: usize| Semaphore::new(permits.min(Semaphore::MAX_PERMITS));
        let admitted = most_at_once.saturating_mul(WAITING_PER_PLACE + 1);
        Self { admitted: semaphore(admitted), free: semaphore(most_at_once) }
    }

    /// Waits for a place, first come, first served.
    async fn take(&self, deadline: Instant) -> Result<Place<'_>, Error> {
        let admitted = self.admitted.try_acquire().map_err(|_| Error::Busy)?;
        match tokio::time::timeout_at(deadline, self.free.acquire()).await {
            Ok(Ok(taken)) => Ok(Place { _admitted: admitted, _taken: taken }),
            Ok(Err(_)) | Err(_) => Err(Error::Busy),
        }
    }
}

impl Reviewer {
    /// A reviewer that asks for `most_at_once` reviews of each kind. One takes no longer than `timeout`, its wait for a
    /// place included.
    pub(crate) fn new(client: Client, most_at_once: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let places = || Arc::new(Places::new(most_at_once));
        let (new_tokens, tokens, accesses) = (places(), places(), places());
        Self { client, new_tokens, tokens, accesses, timeout, metrics, is_silent: Arc::default() }
    }

    /// Creates a review and gives it back with its status.
    pub(crate) async fn create<K>(&self, kind: ReviewKind, review: &K) -> Result<K, Error>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let outcome = self.ask(kind, review).await;
        self.metrics.review(kind, outcome.is_ok());
        if let Err(error) = &outcome {
            tracing::warn!(kind = kind.as_str(), %error, "no review");
        }
        outcome
    }

    async fn ask<K>(&self, kind: ReviewKind, review: &K) -> Result<K, Error>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let places = match kind {
            ReviewKind::NewToken => &self.new_tokens,
            ReviewKind::Token => &self.tokens,
            ReviewKind::Access => &self.accesses,
        };
        let deadline = Instant::now() + self.timeout;
        let _place =
            places.take(deadline).await.map_err(|busy| match self.is_silent.load(Ordering::Relaxed) {
                // There are too many because nobody answers them.
                true => Error::TimedOut,
                false => busy,
            })?;
        let api: Api<K> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = api.create(&params, review);
        let outcome = match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(review)) => Ok(review),
            Ok(Err(error)) => Err(Error::Failed(Arc::new(error))),
            Err(_) => Err(Error::TimedOut),
        };
        let is_silent = outcome.as_ref().is_err_and(Error::is_outage);
        self.is_silent.store(is_silent, Ordering::Relaxed);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::FutureExt as _;
    use http::{Request, Response};
    use http_body_util::{BodyExt as _, Full};
    use k8s_openapi::api::authentication::v1::TokenReview;
    use k8s_openapi::api::authorization::v1::SubjectAccessReview;
    use kube::client::Body;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// An API server that answers a TokenReview for each permit of `answers`, and every other review at once.
    fn reviewer(most_at_once: usize, answers: &Arc<Semaphore>) -> Reviewer {
        let answers = answers.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answers = answers.clone();
            async move {
                if request.uri().path().ends_with("/tokenreviews") {
                    answers.acquire().await.unwrap().forget();
                }
                let review = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::new(review)))
            }
        });
        Reviewer::new(Client::new(service, "default"), most_at_once, TIMEOUT, Arc::new(Metrics::new()))
    }

    async fn review_token(reviewer: &Reviewer) -> Result<TokenReview, Error> {
        reviewer.create(ReviewKind::NewToken, &TokenReview::default()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_tokens_never_keeps_a_known_user_waiting() {
        let answers = Arc::new(Semaphore::new(0));
        let reviewer = reviewer(1, &answers);
        let mut flood = futures::future::join_all((0..100).map(|_| review_token(&reviewer))).boxed();
        assert!((&mut flood).now_or_never().is_none());
        let asked = Instant::now();
        let access = SubjectAccessReview::default();
        assert!(reviewer.create(ReviewKind::Access, &access).await.is_ok());
        assert_eq!(asked.elapsed(), Duration::ZERO);
        answers.add_permits(2);
        let known = reviewer.create(ReviewKind::Token, &TokenReview::default()).await;
        assert!(known.is_ok(), "who was good before does not wait behind strangers: {known:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_waits_until_a_place_is_free() {
        let answers = Arc::new(Semaphore::new(0));
        let reviewer = reviewer(1, &answers);
        let mut first = review_token(&reviewer).boxed();
        let mut second = review_token(&reviewer).boxed();
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        answers.add_permits(2);
        assert!(first.await.is_ok());
        assert!(second.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_that_finds_no_place_in_time_is_refused() {
        let reviewer = reviewer(1, &Arc::new(Semaphore::new(1)));
        let began = Instant::now();
        let place = reviewer.new_tokens.take(began + TIMEOUT).await.unwrap();
        let refused = review_token(&reviewer).await;
        assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
        // Timers are rounded up to a millisecond.
        assert!((TIMEOUT..TIMEOUT + Duration::from_millis(2)).contains(&began.elapsed()));
        drop(place);
        assert!(review_token(&reviewer).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_reviews_of_a_silent_api_server_are_its_silence() {
        let reviewer = reviewer(1, &Arc::new(Semaphore::new(0)));
        assert!(matches!(review_token(&reviewer).await, Err(Error::TimedOut)));
        let mut admitted: Vec<_> = (0..=WAITING_PER_PLACE).map(|_| review_token(&reviewer).boxed()).collect();
        assert!(admitted.iter_mut().all(|review| review.now_or_never().is_none()));
        let one_more = review_token(&reviewer).await;
        assert!(matches!(&one_more, Err(error @ Error::TimedOut) if error.is_outage()), "{one_more:?}");
    }

    #[test]
    fn only_a_review_or_what_is_wrong_with_the_question_is_an_answer() {
        let failed = |code: u16| {
            let status = kube::core::Status::failure("no", "Reason").with_code(code);
            Error::Failed(Arc::new(kube::Error::Api(Box::new(status))))
        };
        for code in [401, 403, 404, 409, 429, 500, 503, 504] {
            assert!(failed(code).is_outage(), "{code}");
        }
        for code in [400, 413, 422] {
            assert!(!failed(code).is_outage(), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_reviews_than_may_wait_are_refused_at_once() {
        let reviewer = reviewer(2, &Arc::new(Semaphore::new(0)));
        let mut admitted: Vec<_> =
            (0..2 * (WAITING_PER_PLACE + 1)).map(|_| review_token(&reviewer).boxed()).collect();
        assert!(admitted.iter_mut().all(|review| review.now_or_never().is_none()));
        assert!(matches!(review_token(&reviewer).now_or_never(), Some(Err(Error::Busy))));
        drop(admitted.pop());
        assert!(review_token(&reviewer).now_or_never().is_none());
    }

    #[tokio::test]
    async fn no_number_of_places_is_too_large() {
        assert!(Places::new(usize::MAX).take(Instant::now() + TIMEOUT).await.is_ok());
        assert!(matches!(Places::new(0).take(Instant::now() + TIMEOUT).await, Err(Error::Busy)));
    }
}
