//! Finding data and holes.

use super::{CHUNK_BYTES, Chunk, Content, Env, MAX_DATA};
use crate::error::VfsResult;
use crate::inode::Extent;

/// How many chunks are asked for at a time.
const WINDOW: u32 = 1024;

impl Content {
    /// The next offset of data, or of a hole, at or after `offset`; `None` if there is none before the end.
    pub(in crate::sqlitefs) fn seek(
        &self,
        env: &Env<'_>,
        offset: u64,
        extent: Extent,
    ) -> VfsResult<Option<u64>> {
        if offset >= self.size {
            return Ok(None);
        }
        match extent {
            Extent::Data => self.next_data(env, offset),
            Extent::Hole => Ok(Some(self.next_hole(env, offset)?.min(self.size))),
        }
    }

    /// Positions and lengths of the chunks from one position to before another.
    pub(super) fn present(&self, env: &Env<'_>, from: u32, to: u32) -> VfsResult<Vec<(u32, u32)>> {
        let database_end = self.database_end().min(to);
        let mut found = if from < database_end {
            env.database.read(|turn| turn.chunk_lens(env.ino, from, database_end, u32::MAX))?
        } else {
            Vec::new()
        };
        found.retain(|(index, _)| !self.slots.contains_key(index));
        let in_memory = self.slots.range(from..to.max(from));
        found.extend(in_memory.filter_map(|(&index, slot)| Some((index, slot.chunk.as_ref()?.len() as u32))));
        found.sort_unstable();
        Ok(found)
    }

    fn next_data(&self, env: &Env<'_>, offset: u64) -> VfsResult<Option<u64>> {
        if offset >= MAX_DATA {
            return Ok(None);
        }
        let mut from = (offset / CHUNK_BYTES) as u32;
        while let Some((index, len)) = self.next_present(env, from)? {
            let base = u64::from(index) * CHUNK_BYTES;
            if base + u64::from(len) > offset {
                return Ok(Some(base.max(offset)));
            }
            from = index + 1;
        }
        Ok(None)
    }

    fn next_hole(&self, env: &Env<'_>, offset: u64) -> VfsResult<u64> {
        let mut at = offset;
        while at < self.size.min(MAX_DATA) {
            let first = (at / CHUNK_BYTES) as u32;
            let mut window = self.present(env, first, first + WINDOW)?.into_iter().peekable();
            for index in first..first + WINDOW {
                let len = window.next_if(|&(present, _)| present == index).map_or(0, |(_, len)| len);
                let end = u64::from(index) * CHUNK_BYTES + u64::from(len);
                if end <= at {
                    return Ok(at);
                }
                at = end;
                if u64::from(len) != CHUNK_BYTES {
                    return Ok(at);
                }
            }
        }
        Ok(at)
    }

    /// Position and length of the first chunk at or after a position.
    fn next_present(&self, env: &Env<'_>, from: u32) -> VfsResult<Option<(u32, u32)>> {
        let in_memory =
            self.slots.range(from..).find_map(|(&index, slot)| Some((index, slot.chunk.as_ref()?)));
        let in_memory = in_memory.map(|(index, chunk)| (index, Chunk::len(chunk) as u32));
        let database_end = self.database_end().min(in_memory.map_or(u32::MAX, |(index, _)| index));
        let mut from = from;
        while from < database_end {
            let found = env.database.read(|turn| turn.chunk_lens(env.ino, from, database_end, WINDOW))?;
            let Some(&(last, _)) = found.last() else { break };
            if let Some(next) = found.into_iter().find(|(index, _)| !self.slots.contains_key(index)) {
                return Ok(Some(next));
            }
            from = last + 1;
        }
        Ok(in_memory)
    }
}
