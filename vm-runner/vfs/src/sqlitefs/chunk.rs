//! A piece of a file's content.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// How long a chunk can be; files are cut at multiples of it.
pub(super) const CHUNK_BYTES: u64 = 32 * 1024;

/// The first bytes of a chunk; what follows them up to [`CHUNK_BYTES`] is a hole.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Bytes(Vec<u8>),
    /// So many zeros, reserved but never written. They are kept as a number.
    Zeros(u32),
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Chunk {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(len) => *len as usize,
        }
    }

    /// How much memory it takes.
    pub(super) const fn weight(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.capacity() as u64,
            Self::Zeros(_) => 0,
        }
    }

    /// Reads from a position; zeros after the end.
    pub(super) fn read(&self, start: usize, target: &mut [u8]) {
        let stored: &[u8] = match self {
            Self::Bytes(bytes) => bytes.get(start..).unwrap_or_default(),
            Self::Zeros(_) => &[],
        };
        let stored = &stored[..stored.len().min(target.len())];
        target[..stored.len()].copy_from_slice(stored);
        target[stored.len()..].fill(0);
    }

    /// Writes at a position; the caller has seen to it that the end lies within [`CHUNK_BYTES`].
    pub(super) fn write(&mut self, start: usize, source: &[u8]) {
        if let Self::Zeros(len) = self {
            *self = Self::Bytes(vec![0; *len as usize]);
        }
        let Self::Bytes(bytes) = self else { return };
        let end = start + source.len();
        if end > bytes.capacity() {
            bytes.reserve_exact(roomy(end) - bytes.len());
        }
        if start == bytes.len() {
            bytes.extend_from_slice(source);
            return;
        }
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(source);
    }

    /// Makes a range zeros, which lies within the chunk's bytes.
    pub(super) fn clear(&mut self, from: usize, to: usize) {
        if let Self::Bytes(bytes) = self
            && let Some(range) = bytes.get_mut(from..to)
        {
            range.fill(0);
        }
    }

    /// Shortens, or grows by zeros.
    pub(super) fn set_len(&mut self, len: usize) {
        match self {
            Self::Zeros(zeros) => *zeros = len as u32,
            Self::Bytes(bytes) if bytes.is_empty() => *self = Self::Zeros(len as u32),
            Self::Bytes(bytes) => {
                bytes.resize(len, 0);
                bytes.shrink_to(roomy(len));
            }
        }
    }

    /// What the database has; `None` if no chunk can be that long.
    pub(super) fn from_stored(value: ValueRef<'_>) -> Option<Self> {
        let chunk = match value {
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
            ValueRef::Integer(len) => Self::Zeros(u32::try_from(len).ok()?),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) => return None,
        };
        (chunk.len() as u64 <= CHUNK_BYTES).then_some(chunk)
    }
}

impl ToSql for Chunk {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Zeros(len) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*len))),
        })
    }
}

/// Room for this many bytes and some more, so that appending is linear.
fn roomy(len: usize) -> usize {
    let room = if len <= 4096 { len.next_power_of_two() } else { (len + len / 4).next_multiple_of(4096) };
    room.min(CHUNK_BYTES as usize).max(len)
}
