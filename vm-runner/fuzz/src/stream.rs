//! Server-sent events, as the operator and the command line read them.

use vm_api::sse::{Decoder, MAX_LINE_BYTES, Message, TooLong, encode};

/// Reads a stream whole and in pieces.
///
/// # Panics
/// If the two differ, or a message that was encoded is not decoded.
pub fn stream(data: &[u8]) {
    let mut rest = data;
    let size = usize::from(crate::take(&mut rest)).max(1);
    let whole = read(rest, rest.len().max(1));
    assert_eq!(whole, read(rest, size), "cut into pieces of {size} bytes");
    let line: String =
        String::from_utf8_lossy(rest).chars().filter(|character| !"\r\n".contains(*character)).collect();
    if line.len() < MAX_LINE_BYTES / 2 {
        let expected = Message { id: Some("7".to_owned()), data: line.clone() };
        assert_eq!(read(encode(7, &line).as_bytes(), size), Ok(vec![expected]));
    }
}

fn read(stream: &[u8], size: usize) -> Result<Vec<Message>, TooLong> {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for chunk in stream.chunks(size) {
        messages.extend(decoder.push(chunk)?);
    }
    Ok(messages)
}
