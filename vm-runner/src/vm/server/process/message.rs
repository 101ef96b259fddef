//! Output as messages: text where the bytes are UTF-8, exact bytes elsewhere.

use std::time::Duration;

use vm_api::OutputMessage;

use super::log::{LogReader, Piece, StreamKind};

/// How long the rest of a character is waited for.
const CHARACTER_PATIENCE: Duration = Duration::from_millis(20);
/// The longest part of a character that can lack its rest, or its beginning.
const MAX_PART_BYTES: usize = 3;

/// Gives a log's content as messages.
#[derive(Debug)]
pub(crate) struct MessageReader {
    reader: LogReader,
    /// To be told first.
    started: Option<i32>,
    /// Where the rest of a character was waited for already.
    waited_at: Option<u64>,
}

/// What to do with bytes.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// Tell so many of them now.
    Take(usize),
    /// They are the beginning of a character.
    Incomplete,
}

impl MessageReader {
    /// Goes on where the reader is.
    pub(crate) fn new(reader: LogReader) -> Self {
        Self { reader, started: None, waited_at: None }
    }

    /// Begins with the number of the process.
    pub(crate) fn beginning_with(mut self, pid: i32) -> Self {
        self.started = Some(pid);
        self
    }

    /// Where the next page begins.
    pub(crate) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Whether there is a message now.
    pub(crate) fn has_more(&mut self) -> bool {
        self.reader.peek().is_some()
    }

    /// The next message with its sequence number; `None` at the end. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Option<(u64, OutputMessage)> {
        loop {
            let is_patient = self.waited_at != Some(self.reader.position());
            if let Some(message) = self.take(is_patient) {
                return Some(message);
            }
            if self.reader.is_at_end() {
                return None;
            }
            if self.is_inside_character() && is_patient {
                let _ = tokio::time::timeout(CHARACTER_PATIENCE, self.reader.grown()).await;
                self.waited_at = Some(self.reader.position());
            } else {
                self.reader.grown().await;
            }
        }
    }

    /// The next message, if there is one now.
    pub(crate) fn try_next(&mut self) -> Option<(u64, OutputMessage)> {
        self.take(false)
    }

    fn is_inside_character(&mut self) -> bool {
        matches!(self.reader.peek(), Some(Piece::Bytes(_, bytes)) if cut(&bytes) == Cut::Incomplete)
    }

    fn take(&mut self, is_patient: bool) -> Option<(u64, OutputMessage)> {
        if let Some(pid) = self.started.take() {
            return Some((self.reader.position(), OutputMessage::Started { pid }));
        }
        let (count, message) = match self.reader.peek()? {
            Piece::Lost(bytes) => (bytes, OutputMessage::Lost { bytes }),
            Piece::Exited(exit) => (1, OutputMessage::Exited(exit)),
            Piece::Bytes(stream, mut bytes) => {
                match cut(&bytes) {
                    Cut::Take(count) => bytes.truncate(count),
                    Cut::Incomplete if is_patient => return None,
                    Cut::Incomplete => {}
                }
                let count = bytes.len() as u64;
                let message = match stream {
                    StreamKind::Stdout => OutputMessage::Stdout(bytes.into()),
                    StreamKind::Stderr => OutputMessage::Stderr(bytes.into()),
                };
                (count, message)
            }
        };
        self.reader.advance(count);
        Some((self.reader.position(), message))
    }
}

/// Cuts so that a character that arrives in two parts spoils no more than itself.
fn cut(bytes: &[u8]) -> Cut {
    let Err(error) = std::str::from_utf8(bytes) else { return Cut::Take(bytes.len()) };
    match (error.valid_up_to(), error.error_len()) {
        (0, None) => Cut::Incomplete,
        (valid, None) => Cut::Take(valid),
        (0, Some(_)) => {
            let is_rest = |byte: &&u8| (0x80..=0xbf).contains(*byte);
            let rest = bytes.iter().take(MAX_PART_BYTES).take_while(is_rest).count();
            let after = std::str::from_utf8(&bytes[rest..]);
            let is_text_after = after.is_ok_and(|text| !text.is_empty())
                || after.is_err_and(|error| error.error_len().is_none() && error.valid_up_to() > 0);
            if rest > 0 && is_text_after { Cut::Take(rest) } else { Cut::Take(bytes.len()) }
        }
        (_, Some(_)) => Cut::Take(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use vm_api::ProcessExit;

    use super::super::log::Log;
    use super::*;
    use crate::vm::buffers::Buffers;

    fn log() -> Arc<Log> {
        Arc::new(Log::new(1 << 20, Buffers::new(64 << 20).hold()))
    }

    async fn push(log: &Log, bytes: &'static [u8]) {
        log.push(StreamKind::Stdout, &mut Bytes::from_static(bytes), || false).await;
    }

    fn stdout(bytes: &[u8]) -> OutputMessage {
        OutputMessage::Stdout(bytes.to_vec().into())
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aä".as_bytes()), Cut::Take(3));
        assert_eq!(cut(b"a\xc3"), Cut::Take(1));
        assert_eq!(cut(b"\xe2\x82"), Cut::Incomplete);
        assert_eq!(cut(b"\x82\xacabc"), Cut::Take(2));
        assert_eq!(cut(b"\x82\xacabc\xc3"), Cut::Take(2));
        assert_eq!(cut(b"\xff\xfe\0a"), Cut::Take(4));
        assert_eq!(cut(b"a\xffb"), Cut::Take(3));
        assert_eq!(cut(b"\x80"), Cut::Take(1));
    }

    #[tokio::test]
    async fn messages_carry_the_position_behind_them() {
        let log = log();
        push(&log, b"abc").await;
        log.end(ProcessExit::default());
        let mut messages = MessageReader::new(log.read_after(0).unwrap()).beginning_with(7);
        assert_eq!(messages.next().await, Some((0, OutputMessage::Started { pid: 7 })));
        assert_eq!(messages.next().await, Some((3, stdout(b"abc"))));
        assert_eq!(messages.next().await, Some((4, OutputMessage::Exited(ProcessExit::default()))));
        assert_eq!(messages.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_character_in_two_parts_is_put_together() {
        let log = log();
        push(&log, b"\xe2\x82").await;
        let mut messages = MessageReader::new(log.read_after(0).unwrap());
        let ((), message) = tokio::join!(push(&log, b"\xac!"), messages.next());
        assert_eq!(message, Some((4, stdout("€!".as_bytes()))));
        push(&log, b"\xe2").await;
        // Nothing comes: the byte is told as it is.
        assert_eq!(messages.next().await, Some((5, stdout(b"\xe2"))));
    }
}
