//! The body of an answer on its way to the client: the runner's as it comes, or the gateway's own. Tells how it ended, and
//! ends early when the stream's lease is over.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::forward::Inbound;
use crate::lease::{Parting, Running};

/// What the client gets.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// As it comes from the runner.
    Runner(Inbound),
    /// All of it, in memory.
    Whole(Full<Bytes>),
}

impl AnswerBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Runner(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Runner(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Runner(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error<E> {
    /// The runner's did.
    #[error(transparent)]
    Runner(E),
    /// The user may no longer have it.
    #[error("the user may no longer have this answer")]
    Withdrawn,
}

/// How an answer's body ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Bytes handed to the client's connection.
    pub(crate) bytes: u64,
    /// Whether that was all.
    pub(crate) is_complete: bool,
    /// Why the gateway ended it, if it did.
    pub(crate) parting: Option<Parting>,
}

/// A lease on an answer, and whether the answer just ends when it is over (a stream that is resumed elsewhere) or breaks
/// off (bytes of which some would be missing).
pub(crate) struct Term {
    pub(crate) lease: Running,
    pub(crate) just_ends: bool,
}

/// An answer's body that tells when it is over, however it ends.
pub(crate) struct Observed<B, F: FnOnce(Ending)> {
    inner: B,
    term: Option<Term>,
    ending: Ending,
    done: Option<F>,
}

impl<B: Body, F: FnOnce(Ending)> Observed<B, F> {
    pub(crate) fn new(inner: B, term: Option<Term>, done: F) -> Self {
        let ending = Ending { is_complete: inner.is_end_stream(), ..Ending::default() };
        Self { inner, term, ending, done: Some(done) }
    }

    /// Whether and how the lease is over.
    fn poll_term(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(term) = &mut self.term else { return Poll::Pending };
        let parting = ready!(term.lease.as_mut().poll(cx));
        let just_ends = term.just_ends;
        self.term = None;
        self.ending.parting = Some(parting);
        Poll::Ready(just_ends)
    }
}

impl<B: Body<Data = Bytes> + Unpin, F: FnOnce(Ending) + Unpin> Body for Observed<B, F> {
    type Data = Bytes;
    type Error = Error<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error<B::Error>>>> {
        if self.ending.parting.is_some() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(just_ends) = self.poll_term(cx) {
            return Poll::Ready(if just_ends { None } else { Some(Err(Error::Withdrawn)) });
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.ending.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        self.ending.is_complete =
            frame.is_none() || (matches!(frame, Some(Ok(_))) && self.inner.is_end_stream());
        Poll::Ready(frame.map(|frame| frame.map_err(Error::Runner)))
    }

    fn is_end_stream(&self) -> bool {
        self.ending.parting.is_some() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A stream that may end early says nothing about its length that might turn out wrong.
        match &self.term {
            Some(term) if term.just_ends => SizeHint::default(),
            Some(_) | None => self.inner.size_hint(),
        }
    }
}

impl<B, F: FnOnce(Ending)> Drop for Observed<B, F> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(self.ending);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::mpsc;

    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::body::tests::{Chunks, chunks};

    #[tokio::test]
    async fn the_end_of_an_answer_is_told_however_it_ends() {
        let (told, heard) = mpsc::channel();
        let observed = |body: Chunks| {
            let told = told.clone();
            Observed::new(body, None, move |ending| told.send(ending).unwrap())
        };
        observed(chunks(&["ab", "c"])).collect().await.unwrap();
        assert_eq!(heard.recv().unwrap(), Ending { bytes: 3, is_complete: true, parting: None });
        let mut broken_off = observed(chunks(&["ab", "c"]));
        broken_off.frame().await.unwrap().unwrap();
        drop(broken_off);
        assert_eq!(heard.recv().unwrap(), Ending { bytes: 2, is_complete: false, parting: None });
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_lease_and_other_answers_break_off() {
        for just_ends in [true, false] {
            let (told, heard) = mpsc::channel();
            let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
            let term = Term { lease: Box::pin(async { Parting::Withdrawn }), just_ends };
            let mut body = Observed::new(endless, Some(term), move |ending| told.send(ending).unwrap());
            match body.frame().await {
                None => assert!(just_ends),
                Some(Err(Error::Withdrawn)) => assert!(!just_ends),
                other => panic!("{other:?}"),
            }
            drop(body);
            let ending = Ending { bytes: 0, is_complete: false, parting: Some(Parting::Withdrawn) };
            assert_eq!(heard.recv().unwrap(), ending);
        }
    }
}
