//! The content of read-only files without copying it: mappings, and identities by hash.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The SHA-256 of a file's content.
///
/// A file that claims one never changes its content while it claims it. A driver finds precompiled code by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub [u8; 32]);

impl ContentId {
    /// The identity of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The identity written as 64 hexadecimal digits; `None` if the text is anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(Self(bytes))
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

/// The whole content of a file that never changes, in memory and without a copy. Cheap to clone.
#[derive(Clone)]
pub struct Mapping {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Mapping {
    /// All of these bytes.
    #[must_use]
    pub fn new(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        let range = 0..bytes.as_ref().as_ref().len();
        Self { bytes, range }
    }

    /// A part of this mapping, sharing its bytes; `None` if the range exceeds it.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Option<Self> {
        let start = self.range.start.checked_add(offset)?;
        let end = start.checked_add(len)?;
        (end <= self.range.end).then(|| Self { bytes: Arc::clone(&self.bytes), range: start..end })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.as_ref().as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ContentId, Mapping};

    #[test]
    fn an_identity_survives_the_way_through_its_text() {
        let id = ContentId::of(b"abc");
        assert_eq!(id.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(ContentId::from_hex(&id.to_string()), Some(id));
        assert_eq!(ContentId::from_hex("ba78"), None);
        assert_eq!(ContentId::from_hex(&"g".repeat(64)), None);
    }

    #[test]
    fn a_slice_of_a_mapping_stays_within_it() {
        let whole = Mapping::new(Arc::new(b"0123456789".to_vec()));
        let part = whole.slice(2, 5).unwrap();
        assert_eq!(&*part, b"23456");
        assert_eq!(&*part.slice(1, 2).unwrap(), b"34");
        assert!(part.slice(1, 5).is_none());
        assert!(whole.slice(usize::MAX, 2).is_none());
        assert_eq!(whole.slice(10, 0).unwrap().len(), 0);
    }
}
