//! A response body that holds its share of memory until it is on its way.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::BodyError;
use crate::vm::buffers::Held;

/// How much is given away at once.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes, and the shares of memory that they count for.
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    pub(crate) _held: [Held; 2],
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let count = self.bytes.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::vm::buffers::Buffers;

    #[tokio::test]
    async fn a_body_comes_whole_and_its_memory_is_free_after_it() {
        let buffers = Buffers::new(64 << 10);
        let mut held = buffers.hold();
        assert!(held.try_grow_to(64 << 10));
        let bytes = Bytes::from(vec![7; 200 << 10]);
        let body = HeldBody { bytes: bytes.clone(), _held: [held, buffers.hold()] };
        assert_eq!(body.size_hint().exact(), Some(200 << 10));
        assert!(!buffers.hold().try_grow_to(1));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
        assert!(buffers.hold().try_grow_to(1));
    }
}
