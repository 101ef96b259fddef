//! Questions that programs ask their terminal in what they show, such as where the cursor is (ECMA-48, DSR and DA).
//!
//! Whoever shows the output answers by typing. Two things follow. A question must not be shown again when output is
//! replayed, for it would be answered again, to whoever reads then. And with nobody attached somebody has to answer: the
//! published shell gives up when it is not told the cursor's position. What is answered here is what a plain terminal
//! with the cursor at the bottom left would say.

use vm_kernel::WindowSize;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
/// Longer sequences are no questions.
const MAX_QUESTION_BYTES: usize = 64;

/// Tells questions from what is shown, also where they are cut.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The beginning of what may be a question.
    begun: Vec<u8>,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Where the cursor is.
    Cursor,
    /// Whether the terminal works.
    Status,
    /// What the terminal is.
    Kind,
    /// Another one, which only a real terminal can answer.
    Other,
}

/// What a sequence is, as far as it is there.
enum Sequence {
    Unfinished,
    Question(Question),
    Shown,
}

impl Scanner {
    /// Splits output into what is shown and questions.
    pub(crate) fn scan(&mut self, bytes: &[u8], mut ask: impl FnMut(Question)) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.begun.is_empty() && byte != ESCAPE {
                let plain = rest.iter().position(|byte| *byte == ESCAPE).unwrap_or(rest.len());
                shown.extend_from_slice(&rest[..plain]);
                rest = &rest[plain..];
                continue;
            }
            if byte == ESCAPE && !self.begun.is_empty() && !self.begun.starts_with(b"\x1b]") {
                // What had begun was no question.
                shown.append(&mut self.begun);
            }
            self.begun.push(byte);
            rest = after;
            match sequence(&self.begun) {
                Sequence::Unfinished => {}
                Sequence::Shown => shown.append(&mut self.begun),
                Sequence::Question(question) => {
                    self.begun.clear();
                    ask(question);
                }
            }
        }
        shown
    }

    /// What has begun, and does not go on.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.begun)
    }
}

fn sequence(bytes: &[u8]) -> Sequence {
    match bytes {
        _ if bytes.len() > MAX_QUESTION_BYTES => Sequence::Shown,
        [ESCAPE] => Sequence::Unfinished,
        [ESCAPE, b'[', parameters @ ..] => match parameters.split_last() {
            Some((last @ 0x40..=0x7e, parameters)) => control_sequence(parameters, *last),
            Some((0x20..=0x3f, _)) | None => Sequence::Unfinished,
            Some(_) => Sequence::Shown,
        },
        [ESCAPE, b']', text @ ..] => {
            match text.strip_suffix(&[BELL]).or_else(|| text.strip_suffix(b"\x1b\\")) {
                Some(text) if text.ends_with(b";?") => Sequence::Question(Question::Other),
                Some(_) => Sequence::Shown,
                None => Sequence::Unfinished,
            }
        }
        _ => Sequence::Shown,
    }
}

fn control_sequence(parameters: &[u8], last: u8) -> Sequence {
    Sequence::Question(match (parameters, last) {
        (b"6" | b"?6", b'n') => Question::Cursor,
        (b"5", b'n') => Question::Status,
        (b"" | b"0", b'c') => Question::Kind,
        (_, b'n' | b'c') | (b"?", b'u') => Question::Other,
        (_, b'p') if parameters.ends_with(b"$") => Question::Other,
        (_, b'q') if parameters.starts_with(b">") => Question::Other,
        (b"11" | b"13" | b"14" | b"15" | b"16" | b"18" | b"19" | b"20" | b"21", b't') => Question::Other,
        _ => return Sequence::Shown,
    })
}

impl Question {
    /// What a plain terminal says.
    pub(crate) fn answer(self, window: WindowSize) -> Option<Vec<u8>> {
        match self {
            Self::Cursor => Some(format!("\x1b[{};1R", window.rows).into_bytes()),
            Self::Status => Some(b"\x1b[0n".to_vec()),
            Self::Kind => Some(b"\x1b[?62;22c".to_vec()),
            Self::Other => None,
        }
    }
}

/// Whether what was typed is a terminal's answer rather than somebody's typing.
pub(crate) fn is_answer(typed: &[u8]) -> bool {
    let is_parameter = |byte: &u8| byte.is_ascii_digit() || b";?>$".contains(byte);
    match typed.strip_prefix(b"\x1b[").and_then(|rest| rest.split_last()) {
        Some((last, parameters)) => {
            b"Rncty".contains(last) && !parameters.is_empty() && parameters.iter().all(is_parameter)
        }
        None => typed.starts_with(b"\x1b]") && typed.windows(4).any(|window| window == b"rgb:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Question>) {
        let (mut scanner, mut questions) = (Scanner::default(), Vec::new());
        let mut shown = Vec::new();
        for piece in pieces {
            shown.extend(scanner.scan(piece, |question| questions.push(question)));
        }
        shown.extend(scanner.finish());
        (shown, questions)
    }

    #[test]
    fn questions_are_taken_out_and_everything_else_is_shown() {
        let text =
            b"a\x1b[?2004h\x1b[6n$ \x1b[31mred\x1b[0m\x1b[c\x1b]0;title\x07\x1b]11;?\x1b\\b\x1b[5n\x1b(B\n";
        let (shown, questions) = scan(&[text]);
        assert_eq!(shown, b"a\x1b[?2004h$ \x1b[31mred\x1b[0m\x1b]0;title\x07b\x1b(B\n");
        assert_eq!(questions, [Question::Cursor, Question::Kind, Question::Other, Question::Status]);
        for size in 1..text.len() {
            let pieces: Vec<_> = text.chunks(size).collect();
            assert_eq!(scan(&pieces).0, shown, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_sequence_is_shown_as_it_is() {
        for text in [
            &b"\x1b"[..],
            b"\x1b[",
            b"\x1b\x1b[31m",
            b"\x1b[12\x1b[0m",
            b"\x1b[\xff",
            &[b'\x1b', b'[', b'1'].repeat(40),
        ] {
            assert_eq!(scan(&[text]), (text.to_vec(), Vec::new()), "{text:?}");
        }
        let long = [&b"\x1b["[..], &[b'1'; 100], b"n"].concat();
        assert_eq!(scan(&[&long]).0, long);
    }

    #[test]
    fn an_answer_is_told_from_typing() {
        for answer in [&b"\x1b[24;80R"[..], b"\x1b[?1;2c", b"\x1b[0n", b"\x1b]11;rgb:0000/0000/0000\x1b\\"] {
            assert!(is_answer(answer), "{answer:?}");
        }
        for typed in [&b"R"[..], b"\x1b[A", b"\x1b[R", b"\x1b", b"ls\r", b"\x1b[200~n"] {
            assert!(!is_answer(typed), "{typed:?}");
        }
        let window = WindowSize { columns: 80, rows: 24 };
        assert!(Question::Cursor.answer(window).is_some_and(|answer| is_answer(&answer)));
        assert!(Question::Kind.answer(window).is_some_and(|answer| is_answer(&answer)));
    }
}
