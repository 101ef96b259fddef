//! Changing content: writing, cutting, reserving, punching.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use vm_abi::Errno;

use super::{CHUNK_BYTES, Content, Env, MAX_DATA, MAX_SIZE, SLOT_BYTES, Slot, State, pieces, whole_pages};
use crate::error::VfsResult;
use crate::sqlitefs::chunk::Chunk;
use crate::sqlitefs::memory::Class;

impl Content {
    /// Writes as much as the budget allows; at least one byte, or an error.
    pub(in crate::sqlitefs) fn write(
        &mut self,
        env: &Env<'_>,
        offset: u64,
        bytes: &[u8],
    ) -> VfsResult<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let room = MAX_DATA.saturating_sub(offset);
        if room == 0 {
            return Err(Errno::EFBIG.into());
        }
        let mut written = 0;
        for (chunk, piece) in pieces(offset, room.min(bytes.len() as u64) as usize) {
            let wanted = piece.start + piece.len;
            let granted = match self.reserve(env, chunk, piece.start, wanted) {
                Ok(Some(granted)) => granted,
                Ok(None) => break,
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            };
            let source = &bytes[piece.done..piece.done + granted - piece.start];
            self.modify(env, chunk, |chunk| chunk.write(piece.start, source));
            written = piece.done + source.len();
            self.size = self.size.max(offset + written as u64);
            if granted < wanted {
                break;
            }
        }
        if written == 0 { Err(env.bytes.exhausted()) } else { Ok(written) }
    }

    /// Cuts, or grows by a hole.
    pub(in crate::sqlitefs) fn set_size(&mut self, env: &Env<'_>, size: u64) -> VfsResult<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG.into());
        }
        if size < self.size {
            self.cut_to(env, size)?;
        }
        self.version += 1;
        self.size = size;
        Ok(())
    }

    /// Makes sure that later writes to a range find room.
    pub(in crate::sqlitefs) fn reserve_range(
        &mut self,
        env: &Env<'_>,
        offset: u64,
        len: u64,
    ) -> VfsResult<()> {
        let end = checked_end(offset, len)?.min(self.size);
        if end <= offset {
            return Ok(());
        }
        if end > MAX_DATA {
            return Err(Errno::EFBIG.into());
        }
        // Known before any work is done, so that a range beyond the budget costs none.
        if end - offset > env.bytes.free().saturating_add(self.charged) {
            return Err(env.bytes.exhausted());
        }
        let (first, last) = (offset / CHUNK_BYTES, (end - 1) / CHUNK_BYTES);
        let mut present = self.present(env, first as u32, last as u32 + 1)?.into_iter().peekable();
        for (chunk, piece) in pieces(offset, (end - offset) as usize) {
            while present.next_if(|&(index, _)| index < chunk).is_some() {}
            let len = present.peek().filter(|&&(index, _)| index == chunk).map_or(0, |&(_, len)| len);
            let wanted = piece.start + piece.len;
            if len as usize >= wanted {
                continue;
            }
            if self.reserve(env, chunk, wanted - 1, wanted)? != Some(wanted) {
                return Err(env.bytes.exhausted());
            }
            self.modify(env, chunk, |chunk| chunk.set_len(wanted));
        }
        Ok(())
    }

    /// Makes a range read as zeros and gives back what it took.
    pub(in crate::sqlitefs) fn punch(&mut self, env: &Env<'_>, offset: u64, len: u64) -> VfsResult<()> {
        let end = checked_end(offset, len)?.min(self.size).min(MAX_DATA);
        if end <= offset {
            return Ok(());
        }
        let (first, last) = ((offset / CHUNK_BYTES) as u32, ((end - 1) / CHUNK_BYTES) as u32);
        for (index, len) in self.present(env, first, last + 1)? {
            let base = u64::from(index) * CHUNK_BYTES;
            let from = offset.saturating_sub(base) as usize;
            let to = (end - base).min(CHUNK_BYTES) as usize;
            if from >= len as usize {
                continue;
            }
            if to < len as usize {
                self.load(env, index)?;
                self.modify(env, index, |chunk| chunk.clear(from, to));
            } else if from > 0 {
                self.shorten(env, index, from)?;
            } else {
                self.remove(env, index, len);
            }
        }
        Ok(())
    }

    /// Charges room for a chunk to grow from at most `start` to `wanted`; tells to which length it may, `None` if not
    /// beyond `start`.
    fn reserve(
        &mut self,
        env: &Env<'_>,
        index: u32,
        start: usize,
        wanted: usize,
    ) -> VfsResult<Option<usize>> {
        let len = self.load(env, index)?.map_or(0, Chunk::len);
        if wanted <= len {
            return Ok(Some(wanted));
        }
        let paid = whole_pages(len);
        let granted = env.take_up_to(whole_pages(wanted) - paid);
        let allowed = ((paid + granted) as usize).min(wanted);
        if allowed <= start {
            env.give(granted);
            return Ok(None);
        }
        self.charged += granted;
        Ok(Some(allowed))
    }

    fn cut_to(&mut self, env: &Env<'_>, size: u64) -> VfsResult<()> {
        let boundary = (size.min(MAX_DATA) / CHUNK_BYTES) as u32;
        let kept = (size.min(MAX_DATA) % CHUNK_BYTES) as usize;
        let first = if kept == 0 { boundary } else { boundary + 1 };
        let refund = if first == 0 {
            self.charged
        } else {
            let gone = self.present(env, first, u32::MAX)?;
            gone.into_iter().map(|(_, len)| whole_pages(len as usize)).sum()
        };
        if kept > 0 {
            // Before anything is cut, so that a failure to read it changes nothing.
            self.shorten(env, boundary, kept)?;
        }
        for slot in self.slots.split_off(&first).into_values() {
            env.memory.subtract(slot.state.class(), slot.weight);
        }
        if self.stored_end > first {
            self.cut = Some(self.cut.unwrap_or(u32::MAX).min(first));
            self.stored_end = first;
        }
        self.charged -= refund.min(self.charged);
        env.give(refund);
        Ok(())
    }

    /// Cuts a chunk to at most this length, which is not 0.
    fn shorten(&mut self, env: &Env<'_>, index: u32, len: usize) -> VfsResult<()> {
        let old = self.load(env, index)?.map_or(0, Chunk::len);
        if len < old {
            self.modify(env, index, |chunk| chunk.set_len(len));
            let refund = whole_pages(old) - whole_pages(len);
            self.charged -= refund.min(self.charged);
            env.give(refund);
        }
        Ok(())
    }

    /// Makes a chunk of this length a hole.
    fn remove(&mut self, env: &Env<'_>, index: u32, len: u32) {
        self.remove_slot(env.memory, index);
        if index < self.stored_end {
            // The database does not know yet.
            let slot = Slot {
                chunk: None,
                state: State::Dirty,
                weight: SLOT_BYTES,
                is_used: AtomicBool::new(false),
                is_offered: false,
            };
            env.memory.add(Class::Dirty, slot.weight);
            self.slots.insert(index, slot);
        }
        let refund = whole_pages(len as usize);
        self.charged -= refund.min(self.charged);
        env.give(refund);
        self.version += 1;
    }

    /// Changes a chunk that is in memory or missing. A batch that is being written keeps what it had.
    fn modify(&mut self, env: &Env<'_>, index: u32, change: impl FnOnce(&mut Chunk)) {
        let slot = self.slots.entry(index).or_insert_with(|| {
            env.memory.add(Class::Dirty, SLOT_BYTES);
            Slot {
                chunk: None,
                state: State::Dirty,
                weight: SLOT_BYTES,
                is_used: AtomicBool::new(false),
                is_offered: false,
            }
        });
        let chunk = Arc::make_mut(slot.chunk.get_or_insert_default());
        change(chunk);
        env.memory.subtract(slot.state.class(), slot.weight);
        slot.state = State::Dirty;
        slot.weight = SLOT_BYTES + chunk.weight();
        env.memory.add(Class::Dirty, slot.weight);
        *slot.is_used.get_mut() = true;
        self.version += 1;
    }
}

fn checked_end(offset: u64, len: u64) -> VfsResult<u64> {
    offset.checked_add(len).filter(|&end| end <= MAX_SIZE).ok_or_else(|| Errno::EFBIG.into())
}
