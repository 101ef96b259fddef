//! What a command writes to one stream, kept until it has ended.

use bytes::{Bytes, BytesMut};
use vm_kernel::HostReader;

use crate::vm::buffers::{Held, LIMIT};

/// Output up to a limit; what follows is dropped and flagged.
pub(crate) struct Output {
    pub(crate) reader: Option<HostReader>,
    bytes: BytesMut,
    most_bytes: usize,
    held: Held,
    /// Which limit has cut the output, if one has.
    cut_by: Option<&'static str>,
}

impl Output {
    pub(crate) fn new(reader: Option<HostReader>, most_bytes: usize, held: Held) -> Self {
        Self { reader, bytes: BytesMut::new(), most_bytes, held, cut_by: None }
    }

    /// Reads until nobody can write any more. Cancelling loses nothing.
    pub(crate) async fn read_to_end(&mut self) {
        while let Some(reader) = &mut self.reader {
            match reader.read().await {
                Some(chunk) => self.keep(&chunk),
                None => self.reader = None,
            }
        }
    }

    /// Takes what is there now, until more would be dropped.
    pub(crate) fn take_available(&mut self) {
        while self.cut_by.is_none() {
            let Some(chunk) = self.reader.as_mut().and_then(HostReader::try_read) else { return };
            self.keep(&chunk);
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        if self.cut_by.is_some() || chunk.is_empty() {
            return;
        }
        let mut kept = chunk.len().min(self.most_bytes - self.bytes.len());
        if kept < chunk.len() {
            self.cut_by = Some("outputLimit");
        }
        if !self.held.try_grow_to(self.bytes.len() + kept) {
            kept = kept.min(self.held.bytes().saturating_sub(self.bytes.len()));
            self.cut_by = Some(LIMIT);
        }
        self.bytes.extend_from_slice(&chunk[..kept]);
    }

    /// Which limit has cut the output, if one has.
    pub(crate) fn cut_by(&self) -> Option<&'static str> {
        self.cut_by
    }

    /// The share of memory, for as long as the output is still somewhere.
    pub(crate) fn into_held(self) -> Held {
        self.held
    }

    /// What was kept.
    pub(crate) fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::buffers::Buffers;

    #[test]
    fn output_beyond_the_limit_is_dropped_and_flagged() {
        let mut output = Output::new(None, 5, Buffers::new(1 << 20).hold());
        output.keep(b"abc");
        assert_eq!(output.cut_by(), None);
        output.keep(b"defg");
        assert_eq!((&output.take()[..], output.cut_by()), (&b"abcde"[..], Some("outputLimit")));
    }

    #[test]
    fn output_that_ends_at_the_limit_is_whole() {
        let mut output = Output::new(None, 3, Buffers::new(1 << 20).hold());
        output.keep(b"abc");
        output.keep(b"");
        assert_eq!((&output.take()[..], output.cut_by()), (&b"abc"[..], None));
    }

    #[test]
    fn output_that_finds_no_memory_names_the_limit() {
        let buffers = Buffers::new(64 << 10);
        let mut output = Output::new(None, 1 << 20, buffers.hold());
        output.keep(&[1; 60 << 10]);
        output.keep(&[2; 10 << 10]);
        assert_eq!((output.take().len(), output.cut_by()), (64 << 10, Some(LIMIT)));
    }
}
