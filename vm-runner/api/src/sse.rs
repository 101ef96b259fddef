//! Server-sent events, the part that Lodge uses: an `id` and `data` per message, comments as a heartbeat.

/// Writes one message. `data` must be a single line, which JSON is.
#[must_use]
pub fn encode(id: u64, data: &str) -> String {
    format!("id: {id}\ndata: {data}\n\n")
}

/// A comment that keeps the connection alive.
pub const HEARTBEAT: &str = ": \n\n";

/// The largest line that a [`Decoder`] keeps.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// A message was longer than [`MAX_LINE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a server-sent event is longer than {MAX_LINE_BYTES} bytes")
    }
}

impl std::error::Error for TooLong {}

/// One decoded message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The `id` field.
    pub id: Option<String>,
    /// The `data` lines, joined.
    pub data: String,
}

/// Turns chunks of a response body into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    message: Message,
    has_data: bool,
}

impl Decoder {
    /// Takes the next chunk and gives the messages that it completes.
    ///
    /// # Errors
    /// [`TooLong`] when a message exceeds its limit; the stream is of no use then.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for byte in chunk {
            if *byte != b'\n' {
                if self.buffer.len() + self.message.data.len() >= MAX_LINE_BYTES {
                    return Err(TooLong);
                }
                self.buffer.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.buffer);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if let Some(message) = self.line(&String::from_utf8_lossy(line)) {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.has_data = true;
                self.message.data.push_str(value);
            }
            "id" => self.message.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_however_they_are_cut() {
        let text = format!("{}{HEARTBEAT}{}", encode(1, "{\"a\":1}"), encode(2, "x: y"));
        for size in 1..text.len() {
            let mut decoder = Decoder::default();
            let mut messages = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                messages.extend(decoder.push(chunk).unwrap());
            }
            assert_eq!(messages.len(), 2, "chunks of {size}");
            assert_eq!(messages[1], Message { id: Some("2".to_owned()), data: "x: y".to_owned() });
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(&vec![b'x'; MAX_LINE_BYTES + 1]), Err(TooLong));
    }
}
