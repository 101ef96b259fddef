//! Clients' bodies on their way to runners: never collected, except for small ones that a request may have to be sent with again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

/// Why a client's body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// It is longer than it may be.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// Nothing came for too long.
    #[error("the client sent nothing of the body for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The connection broke, or the client broke HTTP.
    #[error("the body ended early")]
    Incomplete,
}

/// A client's body, with its limit and the patience that there is with the client.
#[derive(Debug)]
pub(crate) struct ClientBody<B = Incoming> {
    inner: B,
    left: u64,
    limit: u64,
    /// None: somebody may think between two bytes.
    patience: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> ClientBody<B> {
    pub(crate) fn new(inner: B, limit: u64, patience: Option<Duration>) -> Self {
        Self { inner, left: limit, limit, patience, timer: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin> ClientBody<B> {
    fn take(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        let taken = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.left = self.left.checked_sub(taken).ok_or(Error::TooLarge(self.limit))?;
        Ok(())
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(patience) = self.patience else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Error::Stalled(patience))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ClientBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.timer = None;
                let Some(frame) = frame else { return Poll::Ready(None) };
                let frame = frame.map_err(|_| Error::Incomplete);
                Poll::Ready(Some(frame.and_then(|frame| self.take(&frame).map(|()| frame))))
            }
            Poll::Pending => self.poll_patience(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a request to a runner.
#[derive(Debug)]
pub(crate) enum OutboundBody<B = ClientBody> {
    /// All of it, in memory.
    Whole(Full<Bytes>),
    /// As it comes from the client.
    Streamed(Streamed<B>),
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for OutboundBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// What is kept of a body while its request may have to be sent again.
#[derive(Debug)]
pub(crate) enum Source<B = ClientBody> {
    /// All of it: can be sent any number of times.
    Whole(Bytes),
    /// Only as a stream: can be sent again as long as nobody has read from it.
    Streamed(Slot<B>),
}

/// A body until somebody reads from it.
type Slot<B> = Arc<Mutex<State<B>>>;

#[derive(Debug)]
pub(crate) enum State<B> {
    Untouched(Box<B>),
    Taken,
    Failed(Error),
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Source<B> {
    /// Keeps a body: in memory if it says that it is at most `most_kept` bytes long.
    pub(crate) async fn new(body: B, most_kept: u64) -> Result<Self, Error> {
        if body.is_end_stream() {
            return Ok(Self::Whole(Bytes::new()));
        }
        if body.size_hint().upper().is_some_and(|size| size <= most_kept) {
            return Ok(Self::Whole(body.collect().await?.to_bytes()));
        }
        Ok(Self::Streamed(Arc::new(Mutex::new(State::Untouched(Box::new(body))))))
    }

    /// The body for one more attempt, unless it is gone.
    pub(crate) fn attempt(&self) -> Option<OutboundBody<B>> {
        match self {
            Self::Whole(bytes) => Some(OutboundBody::Whole(Full::new(bytes.clone()))),
            Self::Streamed(slot) => {
                let state = slot.lock().unwrap_or_else(PoisonError::into_inner);
                let State::Untouched(body) = &*state else { return None };
                let size = body.size_hint();
                Some(OutboundBody::Streamed(Streamed { slot: slot.clone(), reading: None, size }))
            }
        }
    }

    /// Whether there can be one more attempt.
    pub(crate) fn is_replayable(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Streamed(slot) => {
                matches!(&*slot.lock().unwrap_or_else(PoisonError::into_inner), State::Untouched(_))
            }
        }
    }

    /// Why the client's body could not be read, if that is what went wrong.
    pub(crate) fn failure(&self) -> Option<Error> {
        match self {
            Self::Whole(_) => None,
            Self::Streamed(slot) => match &*slot.lock().unwrap_or_else(PoisonError::into_inner) {
                State::Failed(error) => Some(*error),
                State::Untouched(_) | State::Taken => None,
            },
        }
    }
}

/// One attempt at sending a streamed body. Takes the body with the first read.
#[derive(Debug)]
pub(crate) struct Streamed<B> {
    slot: Slot<B>,
    reading: Option<Box<B>>,
    size: SizeHint,
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Streamed<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.reading.is_none() {
            let mut state = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = std::mem::replace(&mut *state, State::Taken);
            drop(state);
            let State::Untouched(body) = taken else { return Poll::Ready(Some(Err(Error::Incomplete))) };
            self.reading = Some(body);
        }
        let Some(body) = &mut self.reading else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(Err(error)) = &frame {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = State::Failed(*error);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.reading.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.reading.as_ref().map_or_else(|| self.size, |body| body.size_hint())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::StreamBody;

    use super::*;

    pub(crate) type Chunks = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

    pub(crate) fn chunks(list: &[&'static str]) -> Chunks {
        let frames: Vec<_> =
            list.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))).collect();
        StreamBody::new(stream::iter(frames))
    }

    fn patient<B>(inner: B, limit: u64) -> ClientBody<B> {
        ClientBody::new(inner, limit, Some(Duration::from_secs(60)))
    }

    #[tokio::test]
    async fn a_body_ends_where_its_limit_is() {
        assert_eq!(patient(chunks(&["abc", "de"]), 5).collect().await.unwrap().to_bytes(), "abcde");
        assert_eq!(patient(chunks(&["abc", "de"]), 4).collect().await.unwrap_err(), Error::TooLarge(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_not_waited_for() {
        let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let error = patient(silent, 5).collect().await.unwrap_err();
        assert_eq!(error, Error::Stalled(Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn a_small_body_can_be_sent_any_number_of_times() {
        let source = Source::new(patient(Full::new(Bytes::from_static(b"small")), 99), 99).await.unwrap();
        for _ in 0..2 {
            let sent = source.attempt().unwrap().collect().await.unwrap();
            assert_eq!(sent.to_bytes(), "small");
        }
    }

    #[tokio::test]
    async fn a_streamed_body_can_be_sent_again_until_somebody_has_read_from_it() {
        let source = Source::new(patient(chunks(&["a", "b"]), 99), 99).await.unwrap();
        drop(source.attempt().unwrap());
        assert!(source.is_replayable());
        let mut attempt = source.attempt().unwrap();
        attempt.frame().await.unwrap().unwrap();
        assert!(!source.is_replayable());
        assert!(source.attempt().is_none());
        assert_eq!(attempt.collect().await.unwrap().to_bytes(), "b");
        assert_eq!(source.failure(), None);
    }

    #[tokio::test]
    async fn why_a_streamed_body_broke_off_is_known_afterwards() {
        let source = Source::new(patient(chunks(&["a", "b"]), 1), 0).await.unwrap();
        assert!(source.attempt().unwrap().collect().await.is_err());
        assert_eq!(source.failure(), Some(Error::TooLarge(1)));
    }
}
