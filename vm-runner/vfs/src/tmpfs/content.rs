//! The bytes of a file, sparse.
//!
//! Content is kept in chunks of [`CHUNK_BYTES`]; a missing chunk is a hole. A chunk holds only its bytes up to the
//! last one written, so a small file takes little; it grows geometrically, so appending is linear. The budget is
//! charged for each chunk in whole pages.
//!
//! Invariants: no chunk starts at or after `size`; no chunk reaches beyond it; bytes of a chunk after its end are zero.

use std::collections::BTreeMap;

use vm_abi::Errno;

use crate::budget::Budget;
use crate::error::VfsResult;
use crate::inode::Extent;
use crate::piece::pieces;

/// The unit in which the budget is charged.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The unit in which content is kept.
const CHUNK_BYTES: u64 = 64 * 1024;
/// The largest size of a file (`EFBIG`): offsets are signed in the guest.
const MAX_SIZE: u64 = i64::MAX as u64;

#[derive(Default)]
pub(super) struct Content {
    size: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
    charged: u64,
}

impl Content {
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// What the budget was charged, in bytes.
    pub(super) const fn charged(&self) -> u64 {
        self.charged
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let available = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..available];
        for piece in pieces(offset, available, CHUNK_BYTES) {
            let target = &mut buffer[piece.done..piece.done + piece.len];
            let stored = self.chunks.get(&piece.chunk).and_then(|chunk| chunk.get(piece.start..));
            let stored = stored.unwrap_or_default();
            let stored = &stored[..stored.len().min(piece.len)];
            target[..stored.len()].copy_from_slice(stored);
            target[stored.len()..].fill(0);
        }
        available
    }

    /// Writes as much as the budget allows; at least one byte, or an error.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], budget: &Budget) -> VfsResult<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let room = MAX_SIZE.saturating_sub(offset);
        if room == 0 {
            return Err(Errno::EFBIG.into());
        }
        let len = room.min(bytes.len() as u64) as usize;
        let mut written = 0;
        for piece in pieces(offset, len, CHUNK_BYTES) {
            let wanted = piece.start + piece.len;
            let Some(granted) = self.reserve(piece.chunk, piece.start, wanted, budget) else { break };
            let fits = granted - piece.start;
            let chunk = self.chunks.entry(piece.chunk).or_default();
            let source = &bytes[piece.done..piece.done + fits];
            if piece.start == chunk.len() {
                chunk.extend_from_slice(source);
            } else {
                if chunk.len() < piece.start + fits {
                    chunk.resize(piece.start + fits, 0);
                }
                chunk[piece.start..piece.start + fits].copy_from_slice(source);
            }
            written = piece.done + fits;
            if granted < wanted {
                break;
            }
        }
        if written == 0 {
            return Err(budget.exhausted());
        }
        self.size = self.size.max(offset + written as u64);
        Ok(written)
    }

    /// Cuts, or grows by a hole.
    pub(super) fn set_size(&mut self, size: u64, budget: &Budget) -> VfsResult<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG.into());
        }
        if size < self.size {
            self.cut(size, budget);
        }
        self.size = size;
        Ok(())
    }

    /// Makes sure that later writes to a range find room.
    pub(super) fn reserve_range(&mut self, offset: u64, len: u64, budget: &Budget) -> VfsResult<()> {
        let end = checked_end(offset, len)?.min(self.size);
        // Known before any work is done, so that a range beyond the budget costs none.
        if end.saturating_sub(offset) > budget.free().saturating_add(self.charged) {
            return Err(budget.exhausted());
        }
        for piece in pieces(offset, end.saturating_sub(offset) as usize, CHUNK_BYTES) {
            let wanted = piece.start + piece.len;
            if self.reserve(piece.chunk, piece.start, wanted, budget) != Some(wanted) {
                return Err(budget.exhausted());
            }
            let chunk = self.chunks.entry(piece.chunk).or_default();
            if chunk.len() < wanted {
                chunk.resize(wanted, 0);
            }
        }
        Ok(())
    }

    /// Makes a range read as zeros and gives back what it took.
    pub(super) fn punch(&mut self, offset: u64, len: u64, budget: &Budget) -> VfsResult<()> {
        let end = checked_end(offset, len)?.min(self.size);
        if end <= offset {
            return Ok(());
        }
        let touched: Vec<u64> = self
            .chunks
            .range(offset / CHUNK_BYTES..=(end - 1) / CHUNK_BYTES)
            .map(|(&index, _)| index)
            .collect();
        for index in touched {
            let base = index * CHUNK_BYTES;
            let from = offset.saturating_sub(base) as usize;
            let to = (end - base).min(CHUNK_BYTES) as usize;
            let Some(chunk) = self.chunks.get_mut(&index) else { continue };
            if to >= chunk.len() {
                self.shorten(index, from, budget);
            } else {
                chunk[from..to].fill(0);
            }
        }
        Ok(())
    }

    /// The next offset of data, or of a hole, at or after `offset`; `None` if there is none before the end.
    pub(super) fn seek(&self, offset: u64, extent: Extent) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        match extent {
            Extent::Data => {
                let later = self.chunks.range(offset / CHUNK_BYTES..);
                later
                    .map(|(&index, chunk)| (index * CHUNK_BYTES, chunk.len() as u64))
                    .find(|&(base, len)| base + len > offset)
                    .map(|(base, _)| base.max(offset))
            }
            Extent::Hole => {
                let mut at = offset;
                while let Some(chunk) = self.chunks.get(&(at / CHUNK_BYTES)) {
                    let end = at / CHUNK_BYTES * CHUNK_BYTES + chunk.len() as u64;
                    if end <= at {
                        break;
                    }
                    at = end;
                    if chunk.len() as u64 != CHUNK_BYTES {
                        break;
                    }
                }
                Some(at.min(self.size))
            }
        }
    }

    /// Charges and reserves room for a chunk to grow from at most `start` to `wanted`; tells to which length it may,
    /// `None` if not beyond `start`.
    fn reserve(&mut self, index: u64, start: usize, wanted: usize, budget: &Budget) -> Option<usize> {
        let len = self.chunks.get(&index).map_or(0, Vec::len);
        if wanted <= len {
            return Some(wanted);
        }
        let paid = whole_pages(len);
        let missing = whole_pages(wanted) - paid;
        let granted = budget.take_up_to(missing, PAGE_BYTES);
        let allowed = ((paid + granted) as usize).min(wanted);
        if allowed <= start {
            budget.give(granted);
            return None;
        }
        self.charged += granted;
        let chunk = self.chunks.entry(index).or_default();
        chunk.reserve_exact(grown_capacity(allowed, chunk.capacity()) - len);
        Some(allowed)
    }

    fn cut(&mut self, size: u64, budget: &Budget) {
        let boundary = size / CHUNK_BYTES;
        let gone = self.chunks.split_off(&(boundary + 1));
        let refund: u64 = gone.values().map(|chunk| whole_pages(chunk.len())).sum();
        self.charged -= refund;
        budget.give(refund);
        self.shorten(boundary, (size - boundary * CHUNK_BYTES) as usize, budget);
    }

    fn shorten(&mut self, index: u64, len: usize, budget: &Budget) {
        let Some(chunk) = self.chunks.get_mut(&index) else { return };
        let refund = whole_pages(chunk.len()).saturating_sub(whole_pages(len));
        if len == 0 {
            self.chunks.remove(&index);
        } else if len < chunk.len() {
            chunk.truncate(len);
            chunk.shrink_to(grown_capacity(len, 0));
        }
        self.charged -= refund;
        budget.give(refund);
    }
}

fn checked_end(offset: u64, len: u64) -> VfsResult<u64> {
    offset.checked_add(len).filter(|&end| end <= MAX_SIZE).ok_or_else(|| Errno::EFBIG.into())
}

const fn whole_pages(len: usize) -> u64 {
    (len as u64).next_multiple_of(PAGE_BYTES)
}

/// A quarter more than needed, in whole pages; below a page the next power of two.
fn grown_capacity(needed: usize, current: usize) -> usize {
    if needed <= current {
        return current;
    }
    if needed as u64 <= PAGE_BYTES {
        return needed.next_power_of_two();
    }
    let roomy = whole_pages(needed + needed / 4);
    roomy.min(CHUNK_BYTES) as usize
}

#[cfg(test)]
mod tests {
    use vm_abi::Errno;

    use super::{Budget, CHUNK_BYTES, Content, MAX_SIZE, PAGE_BYTES};
    use crate::inode::Extent;

    fn budget() -> Budget {
        Budget::new(1 << 30, 0, "test bytes")
    }

    fn read_all(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0xaa; content.size() as usize];
        assert_eq!(content.read(0, &mut bytes), bytes.len());
        bytes
    }

    #[test]
    fn writes_anywhere_read_back_with_zeros_between() {
        let budget = budget();
        let mut content = Content::default();
        let offsets = [0, 3, CHUNK_BYTES - 2, 5 * CHUNK_BYTES + 17, 2 * CHUNK_BYTES];
        let mut expected = vec![0; 5 * CHUNK_BYTES as usize + 22];
        for (index, offset) in offsets.into_iter().enumerate() {
            let bytes = [index as u8 + 1; 5];
            assert_eq!(content.write(offset, &bytes, &budget).unwrap(), 5);
            expected[offset as usize..offset as usize + 5].copy_from_slice(&bytes);
        }
        assert_eq!(read_all(&content), expected);
        assert_eq!(content.read(content.size(), &mut [0; 4]), 0);
        assert_eq!(content.read(u64::MAX, &mut [0; 4]), 0);
    }

    #[test]
    fn a_hole_takes_no_space() {
        let budget = budget();
        let mut content = Content::default();
        content.write(1 << 40, b"x", &budget).unwrap();
        assert_eq!(content.charged(), PAGE_BYTES);
        content.set_size(1 << 50, &budget).unwrap();
        assert_eq!(content.charged(), PAGE_BYTES);
        assert_eq!(content.seek(0, Extent::Data), Some(1 << 40));
        assert_eq!(content.seek(0, Extent::Hole), Some(0));
        assert_eq!(content.seek(1 << 40, Extent::Hole), Some((1 << 40) + 1));
        assert_eq!(content.seek((1 << 40) + 1, Extent::Data), None);
    }

    #[test]
    fn what_is_cut_off_reads_as_zeros_when_the_file_grows_again() {
        let budget = budget();
        let mut content = Content::default();
        content.write(0, &[7; 3 * CHUNK_BYTES as usize], &budget).unwrap();
        content.set_size(10, &budget).unwrap();
        content.set_size(20, &budget).unwrap();
        assert_eq!(read_all(&content), [&[7; 10][..], &[0; 10]].concat());
        assert_eq!(content.charged(), PAGE_BYTES);
        content.set_size(0, &budget).unwrap();
        assert_eq!(content.charged(), 0);
        assert_eq!(budget.free(), budget.max());
    }

    #[test]
    fn a_write_takes_what_the_budget_allows_and_then_fails() {
        let budget = Budget::new(3 * PAGE_BYTES, 0, "test bytes");
        let mut content = Content::default();
        assert_eq!(
            content.write(100, &[1; 5 * PAGE_BYTES as usize], &budget).unwrap() as u64,
            3 * PAGE_BYTES - 100
        );
        let error = content.write(content.size(), b"x", &budget).unwrap_err();
        assert_eq!((error.errno(), error.hit_limit()), (Errno::ENOSPC, Some("test bytes")));
        assert_eq!(content.write(0, b"overwriting needs no space", &budget).unwrap(), 26);
        assert_eq!(content.charged(), 3 * PAGE_BYTES);
    }

    #[test]
    fn a_failed_write_behind_a_gap_takes_nothing() {
        let budget = Budget::new(PAGE_BYTES, 0, "test bytes");
        let mut content = Content::default();
        assert_eq!(content.write(CHUNK_BYTES - 1, b"x", &budget).unwrap_err(), Errno::ENOSPC);
        assert_eq!((content.charged(), budget.free(), content.size()), (0, PAGE_BYTES, 0));
    }

    #[test]
    fn sizes_beyond_a_signed_offset_are_too_big() {
        let budget = budget();
        let mut content = Content::default();
        assert_eq!(content.set_size(MAX_SIZE + 1, &budget).unwrap_err(), Errno::EFBIG);
        assert_eq!(content.write(MAX_SIZE, b"x", &budget).unwrap_err(), Errno::EFBIG);
        assert_eq!(content.write(MAX_SIZE - 1, b"xy", &budget).unwrap(), 1);
        assert_eq!(content.reserve_range(u64::MAX, 2, &budget).unwrap_err(), Errno::EFBIG);
    }

    #[test]
    fn punching_gives_space_back_and_leaves_the_rest() {
        let budget = budget();
        let mut content = Content::default();
        content.write(0, &[7; 3 * CHUNK_BYTES as usize], &budget).unwrap();
        content.punch(10, 2 * CHUNK_BYTES, &budget).unwrap();
        let bytes = read_all(&content);
        assert!(bytes[..10].iter().all(|&byte| byte == 7));
        assert!(bytes[10..2 * CHUNK_BYTES as usize + 10].iter().all(|&byte| byte == 0));
        assert!(bytes[2 * CHUNK_BYTES as usize + 10..].iter().all(|&byte| byte == 7));
        assert_eq!(content.charged(), PAGE_BYTES + CHUNK_BYTES);
        content.punch(0, i64::MAX as u64, &budget).unwrap();
        assert_eq!((content.charged(), content.size()), (0, 3 * CHUNK_BYTES));
    }

    #[test]
    fn reserved_space_is_there_when_the_budget_is_spent_elsewhere() {
        let budget = Budget::new(4 * PAGE_BYTES, 0, "test bytes");
        let (mut kept, mut other) = (Content::default(), Content::default());
        kept.set_size(2 * PAGE_BYTES, &budget).unwrap();
        kept.reserve_range(0, 2 * PAGE_BYTES, &budget).unwrap();
        assert_eq!(other.write(0, &[1; 5 * PAGE_BYTES as usize], &budget).unwrap() as u64, 2 * PAGE_BYTES);
        assert_eq!(kept.write(0, &[2; 2 * PAGE_BYTES as usize], &budget).unwrap() as u64, 2 * PAGE_BYTES);
        kept.set_size(1 << 60, &budget).unwrap();
        assert_eq!(kept.reserve_range(0, 1 << 60, &budget).unwrap_err(), Errno::ENOSPC);
    }

    #[test]
    fn appending_a_hundred_megabytes_copies_linearly() {
        let budget = budget();
        let mut content = Content::default();
        let block = [9; 1000];
        for _ in 0..100_000 {
            let end = content.size();
            content.write(end, &block, &budget).unwrap();
        }
        assert_eq!(content.size(), 100_000_000);
        assert!(content.chunks.values().all(|chunk| chunk.capacity() as u64 <= CHUNK_BYTES));
        assert!(content.charged() < 100_000_000 + CHUNK_BYTES);
    }
}
