//! Keys that leave a terminal of a workspace without ending what runs in it, written as docker writes them.

use std::str::FromStr;

/// Docker's.
pub(crate) const DEFAULT: &str = "ctrl-p,ctrl-q";
/// More keys than this nobody remembers.
const MAX_KEYS: usize = 16;

/// A sequence of keys; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "none" {
            return Ok(Self::default());
        }
        let keys: Option<Vec<u8>> = text.split(',').map(parse_key).collect();
        keys.filter(|keys| keys.len() <= MAX_KEYS).map(Self).ok_or_else(|| {
            format!(
                "expected up to {MAX_KEYS} keys with commas between them, each a character or ctrl- and one of a to z, @, \
                 [, \\, ], ^ and _; such as {DEFAULT}, or none"
            )
        })
    }
}

fn parse_key(text: &str) -> Option<u8> {
    let (is_control, key) = match text.strip_prefix("ctrl-") {
        Some(key) => (true, key),
        None => (false, text),
    };
    let [byte] = key.as_bytes() else { return None };
    match (is_control, byte.to_ascii_lowercase()) {
        (true, letter @ b'a'..=b'z') => Some(letter - b'a' + 1),
        (true, other @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')) => Some(other - b'@'),
        (false, 0x20..=0x7e) => Some(*byte),
        _ => None,
    }
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(crate) struct Scanner {
    keys: Vec<u8>,
    /// How many of them were typed last; these are not sent yet.
    typed: usize,
}

impl Scanner {
    pub(crate) fn new(keys: &DetachKeys) -> Self {
        Self { keys: keys.0.clone(), typed: 0 }
    }

    /// What of it is to be sent now, and whether the keys were typed. What follows them is dropped.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (bytes.to_vec(), false);
        }
        let mut sent = Vec::with_capacity(bytes.len() + self.typed);
        for byte in bytes {
            let mut held = self.keys[..self.typed].to_vec();
            held.push(*byte);
            // The longest end of what is held that the keys begin with.
            let kept = (0..=held.len()).find(|start| self.keys.starts_with(&held[*start..]));
            let kept = kept.unwrap_or(held.len());
            sent.extend_from_slice(&held[..kept]);
            self.typed = held.len() - kept;
            if self.typed == self.keys.len() {
                self.typed = 0;
                return (sent, true);
            }
        }
        (sent, false)
    }

    /// What was held back, at the end of all input.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.keys[..std::mem::take(&mut self.typed)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(keys: &str) -> Scanner {
        Scanner::new(&keys.parse().unwrap())
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        assert_eq!(DEFAULT.parse::<DetachKeys>().unwrap().0, [0x10, 0x11]);
        assert_eq!("ctrl-],a,ctrl-@".parse::<DetachKeys>().unwrap().0, [0x1d, b'a', 0]);
        assert_eq!("none".parse::<DetachKeys>().unwrap(), DetachKeys::default());
        for wrong in ["ctrl-1", "ab", "ctrl-", ",", "ä"] {
            assert!(wrong.parse::<DetachKeys>().unwrap_err().contains("ctrl-p,ctrl-q"), "{wrong}");
        }
    }

    #[test]
    fn the_keys_detach_wherever_they_are_cut() {
        let mut whole = scanner(DEFAULT);
        assert_eq!(whole.scan(b"ls\x10\x11rest"), (b"ls".to_vec(), true));
        let mut cut = scanner(DEFAULT);
        assert_eq!(cut.scan(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(cut.scan(b"\x11"), (Vec::new(), true));
    }

    #[test]
    fn what_only_begins_like_the_keys_is_sent() {
        let mut scanner = scanner(DEFAULT);
        assert_eq!(scanner.scan(b"\x10"), (Vec::new(), false));
        assert_eq!(scanner.scan(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(scanner.scan(b"\x10\x10\x11"), (b"\x10".to_vec(), true));
        assert_eq!(scanner.scan(b"\x10"), (Vec::new(), false));
        assert_eq!(scanner.finish(), b"\x10");
    }

    #[test]
    fn keys_that_repeat_are_found_behind_a_false_start() {
        assert_eq!(scanner("a,a,b").scan(b"aaab"), (b"a".to_vec(), true));
    }

    #[test]
    fn no_keys_never_detach() {
        assert_eq!(scanner("none").scan(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
