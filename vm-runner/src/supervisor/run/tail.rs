//! The end of what a command writes.

use vm_api::run::MAX_TAIL_BYTES;

/// The last bytes of output.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Takes more output.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(MAX_TAIL_BYTES)..];
        let over = (self.0.len() + bytes.len()).saturating_sub(MAX_TAIL_BYTES);
        self.0.drain(..over);
        self.0.extend_from_slice(bytes);
    }

    /// As text, which is no longer than the most either.
    pub(super) fn text(&self) -> String {
        // A character that was cut in two at the beginning is no fault of the command's.
        let is_rest = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let cut = if self.0.len() == MAX_TAIL_BYTES {
            self.0.iter().take(3).take_while(is_rest).count()
        } else {
            0
        };
        let text = String::from_utf8_lossy(&self.0[cut..]);
        last_of(&text).to_owned()
    }
}

/// The end of a text, as long as a tail may be.
pub(super) fn last_of(text: &str) -> &str {
    let mut start = text.len().saturating_sub(MAX_TAIL_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_output_is_kept() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("{number}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.len() <= MAX_TAIL_BYTES && text.ends_with("9998\n9999\n"), "{}", text.len());
        tail.push(&[b'x'; 2 * MAX_TAIL_BYTES]);
        assert_eq!(tail.text(), "x".repeat(MAX_TAIL_BYTES));
    }

    #[test]
    fn bytes_that_are_no_text_make_it_no_longer() {
        let mut tail = Tail::default();
        tail.push(&[0xff; MAX_TAIL_BYTES]);
        assert!(tail.text().len() <= MAX_TAIL_BYTES);
        let mut tail = Tail::default();
        tail.push("é".repeat(MAX_TAIL_BYTES).as_bytes());
        tail.push(b"x");
        let text = tail.text();
        assert!(text.starts_with('é') && text.ends_with("éx"), "{text}");
    }
}
