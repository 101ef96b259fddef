//! The bytes of a file, sparse, as far as they are in memory.
//!
//! Content is kept in chunks; a missing chunk is a hole. A chunk that is not in memory is in the database, unless it
//! is known that the database has, or will have, none: at and after `stored_end`, and at and after a cut that is not
//! yet written. The budget is charged for each chunk in whole pages.
//!
//! Invariants: no chunk starts at or after `size`; no chunk reaches beyond it; bytes of a chunk after its end are
//! zero. A slot that is not clean stays in memory until a batch with it has been committed.

mod change;
mod seek;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vm_abi::Errno;

use super::chunk::{CHUNK_BYTES, Chunk};
use super::database::Database;
use super::memory::{Class, Memory, SLOT_BYTES};
use super::schema::CHUNK_INDEX_BITS;
use crate::budget::Budget;
use crate::error::VfsResult;
use crate::piece::{self, Piece};

/// The unit in which the budget is charged.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The largest size of a file (`EFBIG`): offsets are signed in the guest.
const MAX_SIZE: u64 = i64::MAX as u64;
/// The first offset at which nothing can be stored (`EFBIG`): 8 TiB.
const MAX_DATA: u64 = CHUNK_BYTES << CHUNK_INDEX_BITS;

#[derive(Default)]
pub(super) struct Content {
    size: u64,
    charged: u64,
    slots: BTreeMap<u32, Slot>,
    /// The database has no chunk at or after this position.
    stored_end: u32,
    /// Chunks at and after this position are removed from the database by the next batch.
    cut: Option<u32>,
    /// Chunks at and after this position are removed from the database by the batch that is being written.
    cut_in_flight: Option<u32>,
    /// Advances with every change of what is known here, so that somebody who read the database meanwhile notices.
    version: u64,
}

struct Slot {
    /// `None` is a hole.
    chunk: Option<Arc<Chunk>>,
    state: State,
    /// What memory was charged for it.
    weight: u64,
    /// Whether it was read since it was last asked to go.
    is_used: AtomicBool,
    /// Whether it is among the candidates to go.
    is_offered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The database has it.
    Clean,
    /// The next batch writes it.
    Dirty,
    /// The batch that is being written has it.
    Flushing,
}

impl State {
    const fn class(self) -> Class {
        match self {
            Self::Clean => Class::Clean,
            Self::Dirty | Self::Flushing => Class::Dirty,
        }
    }
}

/// Where a content gets from and gives to.
pub(super) struct Env<'a> {
    pub(super) ino: u64,
    pub(super) database: &'a Database,
    pub(super) bytes: &'a Budget,
    pub(super) memory: &'a Memory,
    /// What the file in all was charged.
    pub(super) charge: &'a AtomicU64,
}

/// What a batch writes of a content: first the cut, then the chunks; `None` is a chunk to be removed.
#[derive(Default)]
pub(super) struct ContentChange {
    pub(super) cut: Option<u32>,
    pub(super) chunks: Vec<(u32, Option<Arc<Chunk>>)>,
}

/// A chunk that is neither in memory nor known to be missing.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) index: u32,
    /// How much was read before it.
    pub(super) done: usize,
}

/// What happened to a chunk that was asked to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// It is gone, or no longer a candidate.
    Done,
    /// It was used; it may be asked again.
    Later,
}

impl Content {
    /// The content of a file in the database.
    pub(super) fn stored(size: u64, charged: u64) -> Self {
        let stored_end = size.min(MAX_DATA).div_ceil(CHUNK_BYTES) as u32;
        Self { size, charged, stored_end, ..Self::default() }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// What the budget was charged, in bytes.
    pub(super) const fn charged(&self) -> u64 {
        self.charged
    }

    /// The database, or a batch on its way there, has chunks only before this position; a cut that no batch has taken
    /// yet leaves more, but only of a file that stays.
    pub(super) fn stored_end(&self) -> u32 {
        if self.cut.is_some() { u32::MAX } else { self.stored_end }
    }

    /// See [`Self::offer`].
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Reads, if all that is read is known.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Unknown> {
        let available = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..available];
        let stored = MAX_DATA.saturating_sub(offset).min(available as u64) as usize;
        for (index, piece) in pieces(offset, stored) {
            let target = &mut buffer[piece.done..piece.done + piece.len];
            match self.find(index) {
                Ok(Some(chunk)) => chunk.read(piece.start, target),
                Ok(None) => target.fill(0),
                Err(unknown) => return Err(Unknown { done: piece.done, ..unknown }),
            }
        }
        buffer[stored..].fill(0);
        Ok(available)
    }

    /// Reads, and gets what is not known from the database.
    pub(super) fn read_loading(&mut self, env: &Env<'_>, offset: u64, buffer: &mut [u8]) -> VfsResult<usize> {
        let len = MAX_DATA.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        for (index, piece) in pieces(offset, len) {
            self.load(env, index)?;
            let part = &mut buffer[piece.done..piece.done + piece.len];
            let read = self.read(offset + piece.done as u64, part).map_err(|_| Errno::EIO)?;
            done += read;
            if read < piece.len {
                break;
            }
        }
        Ok(done)
    }

    /// The first chunk of a range that has to be read from the database.
    pub(super) fn first_unknown(&self, offset: u64, len: usize) -> Option<u32> {
        let len = MAX_DATA.saturating_sub(offset).min(len as u64) as usize;
        pieces(offset, len).map(|(index, _)| index).find(|&index| self.find(index).is_err())
    }

    /// Takes in a chunk that was read from the database when this was at `version`, unless it has changed since.
    pub(super) fn offer(&mut self, env: &Env<'_>, version: u64, index: u32, chunk: Option<Chunk>) {
        if self.version == version && self.find(index).is_err() {
            self.put_clean(env, index, chunk);
        }
    }

    /// What the next batch writes. It stays in memory until [`committed`](Self::committed).
    pub(super) fn collect(&mut self) -> ContentChange {
        let cut = self.cut.take();
        self.cut_in_flight = cut;
        let mut chunks = Vec::new();
        for (&index, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.state == State::Dirty) {
            slot.state = State::Flushing;
            chunks.push((index, slot.chunk.as_ref().map(Arc::clone)));
            if slot.chunk.is_some() {
                self.stored_end = self.stored_end.max(index + 1);
            }
        }
        ContentChange { cut, chunks }
    }

    /// The batch with these chunks is in the database.
    pub(super) fn committed(&mut self, env: &Env<'_>, indices: impl Iterator<Item = u32>) {
        self.cut_in_flight = None;
        self.version += 1;
        for index in indices {
            let Some(slot) = self.slots.get_mut(&index) else { continue };
            if slot.state != State::Flushing {
                continue;
            }
            env.memory.subtract(Class::Dirty, slot.weight);
            env.memory.add(Class::Clean, slot.weight);
            slot.state = State::Clean;
            if !slot.is_offered {
                slot.is_offered = true;
                env.memory.offer(env.ino, index);
            }
        }
    }

    /// Lets a clean chunk go, if it was not used.
    pub(super) fn evict(&mut self, memory: &Memory, index: u32) -> Eviction {
        let Some(slot) = self.slots.get_mut(&index) else { return Eviction::Done };
        if slot.state != State::Clean {
            slot.is_offered = false;
            return Eviction::Done;
        }
        if slot.is_used.swap(false, Ordering::Relaxed) {
            return Eviction::Later;
        }
        self.remove_slot(memory, index);
        Eviction::Done
    }

    /// Whether a chunk is among the candidates to go.
    pub(super) fn is_offered(&self, index: u32) -> bool {
        self.slots.get(&index).is_some_and(|slot| slot.is_offered)
    }

    /// Lets go of everything, because the file's node goes.
    pub(super) fn drop_all(&mut self, memory: &Memory) {
        for slot in std::mem::take(&mut self.slots).into_values() {
            memory.subtract(slot.state.class(), slot.weight);
        }
    }

    /// The chunk at a position; `None` is a hole.
    fn find(&self, index: u32) -> Result<Option<&Chunk>, Unknown> {
        match self.slots.get(&index) {
            Some(slot) => {
                slot.is_used.store(true, Ordering::Relaxed);
                Ok(slot.chunk.as_deref())
            }
            None if index >= self.database_end() => Ok(None),
            None => Err(Unknown { index, done: 0 }),
        }
    }

    /// Chunks that are not in memory are holes from here on.
    fn database_end(&self) -> u32 {
        let cut = self.cut.unwrap_or(u32::MAX).min(self.cut_in_flight.unwrap_or(u32::MAX));
        self.stored_end.min(cut)
    }

    /// The chunk at a position, read from the database if need be.
    fn load(&mut self, env: &Env<'_>, index: u32) -> VfsResult<Option<&Chunk>> {
        if self.find(index).is_err() {
            let chunk = env.database.read(|turn| turn.chunk(env.ino, index))?;
            self.put_clean(env, index, chunk);
        }
        self.find(index).map_err(|_| Errno::EIO.into())
    }

    fn put_clean(&mut self, env: &Env<'_>, index: u32, chunk: Option<Chunk>) {
        let weight = SLOT_BYTES + chunk.as_ref().map_or(0, Chunk::weight);
        env.memory.add(Class::Clean, weight);
        env.memory.offer(env.ino, index);
        let chunk = chunk.map(Arc::new);
        let slot =
            Slot { chunk, state: State::Clean, weight, is_used: AtomicBool::new(true), is_offered: true };
        self.slots.insert(index, slot);
    }

    fn remove_slot(&mut self, memory: &Memory, index: u32) {
        if let Some(slot) = self.slots.remove(&index) {
            memory.subtract(slot.state.class(), slot.weight);
        }
        if self.slots.is_empty() {
            self.slots = BTreeMap::new();
        }
    }
}

impl Env<'_> {
    /// Charges as many whole pages of an amount as are free; tells how much that is.
    fn take_up_to(&self, amount: u64) -> u64 {
        let granted = self.bytes.take_up_to(amount, PAGE_BYTES);
        self.charge.fetch_add(granted, Ordering::Relaxed);
        granted
    }

    /// Charges all of an amount or fails with `ENOSPC`.
    pub(super) fn take(&self, amount: u64) -> VfsResult<()> {
        self.bytes.take(amount)?;
        self.charge.fetch_add(amount, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn give(&self, amount: u64) {
        self.bytes.give(amount);
        self.charge.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// The pieces of a range that ends within [`MAX_DATA`], each with its chunk's index.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u32, Piece)> {
    piece::pieces(offset, len, CHUNK_BYTES).map(|piece| (piece.chunk as u32, piece))
}

/// What a chunk of this length is charged.
pub(super) const fn whole_pages(len: usize) -> u64 {
    (len as u64).next_multiple_of(PAGE_BYTES)
}
