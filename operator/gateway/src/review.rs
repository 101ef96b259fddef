//! Asks the API server for reviews: of a token, of an access. Bounded in number and in time, so that a flood of unknown
//! tokens at the gateway never becomes a flood at the API server.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::metrics::{Metrics, ReviewKind};

/// Why there is no review.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// As many reviews as there may be are on their way.
    #[error("too many reviews at once")]
    Busy,
    /// The API server took too long.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// The API server cannot be reached or does not let the gateway ask.
    #[error("the API server did not review: {0}")]
    Failed(Arc<kube::Error>),
}

/// Asks for reviews.
#[derive(Clone)]
pub(crate) struct Reviewer {
    client: Client,
    slots: Arc<Semaphore>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Reviewer {
    pub(crate) fn new(client: Client, most_at_once: usize, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self { client, slots: Arc::new(Semaphore::new(most_at_once)), timeout, metrics }
    }

    /// Creates a review and gives it back with its status.
    pub(crate) async fn create<K>(&self, kind: ReviewKind, review: &K) -> Result<K, Error>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let outcome = self.ask(review).await;
        self.metrics.review(kind, outcome.is_ok());
        if let Err(error) = &outcome {
            tracing::warn!(kind = kind.as_str(), %error, "no review");
        }
        outcome
    }

    async fn ask<K>(&self, review: &K) -> Result<K, Error>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let _slot = self.slots.try_acquire().map_err(|_| Error::Busy)?;
        let api: Api<K> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = api.create(&params, review);
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(review)) => Ok(review),
            Ok(Err(error)) => Err(Error::Failed(Arc::new(error))),
            Err(_) => Err(Error::TimedOut),
        }
    }
}
