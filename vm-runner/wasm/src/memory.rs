//! Guest memory: the only place that turns a guest's pointers into bytes.
//!
//! A pointer is checked against the memory's size before anything else happens; a bad one is `EFAULT`. Slices borrow
//! the instance, so the guest cannot run, grow its memory or see a half-written result while one exists.

use std::ops::Range;

use vm_abi::Errno;

/// Most buffers of one `readv` or `writev`; more are `EINVAL`, as on Linux.
const MAX_BUFFERS: u32 = 1024;
/// Bytes of one `(pointer, length)` pair.
const BUFFER_BYTES: u32 = 8;

/// The linear memory of a guest that waits in a host call.
pub(crate) struct GuestMemory<'a> {
    bytes: &'a mut [u8],
}

/// The buffers of a vectored call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Buffers {
    /// At most one of them is not empty.
    One(Range<usize>),
    /// Several.
    Many(Vec<Range<usize>>),
}

impl<'a> GuestMemory<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes }
    }

    /// `EFAULT` unless `len` bytes at `pointer` are memory.
    pub(crate) fn check(&self, pointer: u32, len: u32) -> Result<(), Errno> {
        self.range(pointer, len).map(drop)
    }

    /// Bytes to read from.
    pub(crate) fn bytes(&self, pointer: u32, len: u32) -> Result<&[u8], Errno> {
        let range = self.range(pointer, len)?;
        self.bytes.get(range).ok_or(Errno::EFAULT)
    }

    /// Bytes to write to.
    pub(crate) fn bytes_mut(&mut self, pointer: u32, len: u32) -> Result<&mut [u8], Errno> {
        let range = self.range(pointer, len)?;
        self.bytes.get_mut(range).ok_or(Errno::EFAULT)
    }

    /// Bytes of a range that [`Self::buffers`] returned.
    pub(crate) fn buffer(&self, range: Range<usize>) -> Result<&[u8], Errno> {
        self.bytes.get(range).ok_or(Errno::EFAULT)
    }

    /// Bytes of a range that [`Self::buffers`] returned.
    pub(crate) fn buffer_mut(&mut self, range: Range<usize>) -> Result<&mut [u8], Errno> {
        self.bytes.get_mut(range).ok_or(Errno::EFAULT)
    }

    pub(crate) fn u32(&self, pointer: u32) -> Result<u32, Errno> {
        self.array(pointer).map(u32::from_le_bytes)
    }

    pub(crate) fn put_u8(&mut self, pointer: u32, value: u8) -> Result<(), Errno> {
        self.put(pointer, &[value])
    }

    pub(crate) fn put_u16(&mut self, pointer: u32, value: u16) -> Result<(), Errno> {
        self.put(pointer, &value.to_le_bytes())
    }

    pub(crate) fn put_u32(&mut self, pointer: u32, value: u32) -> Result<(), Errno> {
        self.put(pointer, &value.to_le_bytes())
    }

    pub(crate) fn put_u64(&mut self, pointer: u32, value: u64) -> Result<(), Errno> {
        self.put(pointer, &value.to_le_bytes())
    }

    /// Writes `value` at `pointer`.
    pub(crate) fn put(&mut self, pointer: u32, value: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(value.len()).map_err(|_| Errno::EFAULT)?;
        self.bytes_mut(pointer, len)?.copy_from_slice(value);
        Ok(())
    }

    /// The values of an array of `count` 32-bit integers.
    pub(crate) fn u32_array(&self, pointer: u32, count: u32) -> Result<Vec<u32>, Errno> {
        let bytes = self.bytes(pointer, count.checked_mul(4).ok_or(Errno::EFAULT)?)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values.iter().copied().map(u32::from_le_bytes).collect())
    }

    /// The buffers of a vectored call, all of them checked.
    pub(crate) fn buffers(&self, pointer: u32, count: u32) -> Result<Buffers, Errno> {
        if count > MAX_BUFFERS {
            return Err(Errno::EINVAL);
        }
        let (pairs, _) = self.bytes(pointer, count * BUFFER_BYTES)?.as_chunks::<4>();
        let mut used = Vec::new();
        let mut first = 0..0;
        for pair in pairs.chunks_exact(2) {
            let range = self.range(u32::from_le_bytes(pair[0]), u32::from_le_bytes(pair[1]))?;
            if range.is_empty() {
                continue;
            }
            if first.is_empty() {
                first = range;
                continue;
            }
            if used.is_empty() {
                used.push(first.clone());
            }
            used.push(range);
        }
        Ok(if used.is_empty() { Buffers::One(first) } else { Buffers::Many(used) })
    }

    fn range(&self, pointer: u32, len: u32) -> Result<Range<usize>, Errno> {
        let start = pointer as usize;
        let end = start + len as usize;
        if end > self.bytes.len() { Err(Errno::EFAULT) } else { Ok(start..end) }
    }

    fn array<const N: usize>(&self, pointer: u32) -> Result<[u8; N], Errno> {
        let start = pointer as usize;
        self.bytes.get(start..start + N).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EFAULT)
    }
}

/// The strings of a block: each ends with a NUL, which may be missing after the last.
pub(crate) fn strings(block: &[u8]) -> Vec<Vec<u8>> {
    let block = block.strip_suffix(b"\0").unwrap_or(block);
    if block.is_empty() {
        return Vec::new();
    }
    block.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_beyond_the_end_faults() {
        let mut bytes = [0; 16];
        let mut memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.check(16, 0), Ok(()));
        assert_eq!(memory.check(16, 1), Err(Errno::EFAULT));
        assert_eq!(memory.check(u32::MAX, u32::MAX), Err(Errno::EFAULT));
        assert_eq!(memory.put_u32(13, 1), Err(Errno::EFAULT));
        assert_eq!(memory.u32(12), Ok(0));
        assert_eq!(memory.u32_array(0, u32::MAX), Err(Errno::EFAULT));
    }

    #[test]
    fn empty_buffers_are_left_out() {
        let mut bytes = vec![0; 64];
        let mut memory = GuestMemory::new(&mut bytes);
        for (index, value) in [40, 0, 41, 2, 0, 0, 50, 3].into_iter().enumerate() {
            memory.put_u32(4 * u32::try_from(index).unwrap(), value).unwrap();
        }
        assert_eq!(memory.buffers(0, 1), Ok(Buffers::One(0..0)));
        assert_eq!(memory.buffers(0, 3), Ok(Buffers::One(41..43)));
        assert_eq!(memory.buffers(0, 4), Ok(Buffers::Many(vec![41..43, 50..53])));
        assert_eq!(memory.buffers(0, 1025), Err(Errno::EINVAL));
        assert_eq!(memory.buffers(60, 1), Err(Errno::EFAULT));
    }

    #[test]
    fn a_buffer_beyond_the_end_faults_even_behind_a_good_one() {
        let mut bytes = vec![0; 32];
        let mut memory = GuestMemory::new(&mut bytes);
        for (index, value) in [0, 4, 31, 2].into_iter().enumerate() {
            memory.put_u32(4 * u32::try_from(index).unwrap(), value).unwrap();
        }
        assert_eq!(memory.buffers(0, 2), Err(Errno::EFAULT));
    }

    #[test]
    fn the_last_string_of_a_block_may_lack_its_nul() {
        assert_eq!(strings(b""), Vec::<Vec<u8>>::new());
        assert_eq!(strings(b"a\0\0b\0"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert_eq!(strings(b"a\0b"), [b"a".to_vec(), b"b".to_vec()]);
    }
}
