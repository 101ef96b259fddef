//! The primitives of the BARE encoding that packages use.

use super::ParseError;

/// Reads values from a chunk, front to back.
pub(super) struct Reader<'a> {
    part: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Self { part, rest: bytes }
    }

    pub(super) const fn malformed(&self, what: &'static str) -> ParseError {
        ParseError::Malformed { part: self.part, what }
    }

    /// The schema version that starts a chunk.
    pub(super) fn schema(&mut self, known: &[u16]) -> Result<u16, ParseError> {
        let version = u16::from_le_bytes(self.array()?);
        if known.contains(&version) {
            Ok(version)
        } else {
            Err(ParseError::UnknownVersion { part: self.part, version })
        }
    }

    /// Fails unless everything was read.
    pub(super) const fn finish(&self) -> Result<(), ParseError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("bytes follow the last value")) }
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ParseError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, ParseError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, ParseError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.malformed("a boolean is neither 0 nor 1")),
        }
    }

    /// Unsigned LEB128, at most 64 bits.
    pub(super) fn varuint(&mut self) -> Result<u64, ParseError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number has more than 64 bits"))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, ParseError> {
        let len = self.varuint()?;
        let len = usize::try_from(len).map_err(|_| ParseError::Truncated(self.part))?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed("a text is not UTF-8"))
    }

    pub(super) fn string(&mut self) -> Result<String, ParseError> {
        self.text().map(str::to_owned)
    }

    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Option<T>, ParseError> {
        if self.boolean()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A list. Grows as items are read, never by the count alone, and no item is empty, so the input bounds it.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let count = self.varuint()?;
        if count > self.rest.len() as u64 {
            return Err(ParseError::Truncated(self.part));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// A map, as the list of its pairs.
    pub(super) fn map(&mut self) -> Result<Vec<(String, String)>, ParseError> {
        self.list(|reader| Ok((reader.string()?, reader.string()?)))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ParseError::Truncated(self.part))?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ParseError::Truncated(self.part))?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Reader;

    #[test]
    fn numbers_take_seven_bits_of_each_byte() {
        for (bytes, value) in [
            (&[0][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x80, 1], Some(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None),
            (&[0x80; 12], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(Reader::new("test", bytes).varuint().ok(), value, "{bytes:?}");
        }
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0x7f, 1];
        assert!(Reader::new("test", &bytes).list(Reader::string).is_err());
        assert!(Reader::new("test", &bytes).text().is_err());
    }

    #[test]
    fn texts_booleans_and_ends_are_checked() {
        assert!(Reader::new("test", &[2, 0xff, 0xfe]).text().is_err());
        assert!(Reader::new("test", &[2]).boolean().is_err());
        assert!(Reader::new("test", &[1]).finish().is_err());
        assert_eq!(Reader::new("test", &[1, 2, b'h', b'i']).optional(Reader::string).unwrap().unwrap(), "hi");
    }
}
