//! The bytes inside a pipe.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{GUARANTEED_BYTES, PipeSpace};
use crate::usage::Charge;

/// The smallest and largest piece of memory taken at once.
const MIN_PIECE_BYTES: usize = 4 << 10;
const MAX_PIECE_BYTES: usize = 64 << 10;
/// Growth is charged in steps of this.
const CHARGE_STEP_BYTES: usize = 64 << 10;

/// A queue of bytes that grows by pieces and never moves what it holds.
pub(super) struct Buffer {
    full: VecDeque<Bytes>,
    /// What was written last; more is appended here.
    tail: BytesMut,
    len: usize,
    capacity: usize,
    charge: Charge,
}

impl Buffer {
    /// An empty buffer.
    pub(super) fn new(space: PipeSpace) -> Self {
        let PipeSpace { capacity_bytes, meter } = space;
        Self {
            full: VecDeque::new(),
            tail: BytesMut::new(),
            len: 0,
            capacity: capacity_bytes,
            charge: meter.empty_charge(),
        }
    }

    /// How many bytes are inside.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many more bytes may come in, up to `wanted`; charges for growth.
    pub(super) fn make_room(&mut self, wanted: usize) -> usize {
        let target = self.len.saturating_add(wanted).min(self.capacity);
        self.charge.grow_towards(charge_for(target), CHARGE_STEP_BYTES as u64);
        self.allowed().saturating_sub(self.len).min(wanted)
    }

    /// Whether so many bytes may come in.
    pub(super) fn has_room(&mut self, wanted: usize) -> bool {
        let before = self.charge.amount();
        let has_room = self.make_room(wanted) >= wanted.min(self.capacity);
        self.charge.shrink_to(before);
        has_room
    }

    /// Appends at most `room` bytes; tells how many.
    pub(super) fn write(&mut self, buffers: &[IoSlice<'_>], room: usize) -> usize {
        let mut left = room;
        for buffer in buffers {
            let part = &buffer[..buffer.len().min(left)];
            self.append(part);
            left -= part.len();
        }
        room - left
    }

    /// Takes the oldest bytes into the buffers; tells how many.
    pub(super) fn read(&mut self, buffers: &mut [IoSliceMut<'_>]) -> usize {
        let before = self.len;
        for buffer in buffers {
            let mut filled = 0;
            while filled < buffer.len() && self.len > 0 {
                filled += self.copy_front(&mut buffer[filled..]);
            }
        }
        self.give_back();
        before - self.len
    }

    /// Takes the oldest bytes as they are stored.
    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        let chunk = self.full.pop_front().unwrap_or_else(|| self.tail.split().freeze());
        self.len -= chunk.len();
        self.give_back();
        (!chunk.is_empty()).then_some(chunk)
    }

    /// Appends bytes without copying them.
    pub(super) fn push_chunk(&mut self, chunk: Bytes) {
        if !self.tail.is_empty() {
            self.full.push_back(self.tail.split().freeze());
        }
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.full.push_back(chunk);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.full.clear();
        self.tail = BytesMut::new();
        self.len = 0;
        self.give_back();
    }

    fn allowed(&self) -> usize {
        let charged = usize::try_from(self.charge.amount()).unwrap_or(usize::MAX);
        GUARANTEED_BYTES.saturating_add(charged).min(self.capacity)
    }

    fn append(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            if self.tail.is_empty() {
                self.tail.reserve(bytes.len().clamp(MIN_PIECE_BYTES, MAX_PIECE_BYTES));
            }
            let free = self.tail.capacity() - self.tail.len();
            let (now, later) = bytes.split_at(bytes.len().min(free));
            self.tail.put_slice(now);
            bytes = later;
            if !bytes.is_empty() {
                self.full.push_back(std::mem::take(&mut self.tail).freeze());
            }
        }
    }

    fn copy_front(&mut self, target: &mut [u8]) -> usize {
        let count = match self.full.front_mut() {
            Some(front) => {
                let count = front.len().min(target.len());
                front.copy_to_slice(&mut target[..count]);
                if front.is_empty() {
                    self.full.pop_front();
                }
                count
            }
            None => {
                let count = self.tail.len().min(target.len());
                self.tail.copy_to_slice(&mut target[..count]);
                count
            }
        };
        self.len -= count;
        count
    }

    fn give_back(&mut self) {
        self.charge.shrink_to(charge_for(self.len));
        if self.len == 0 && self.tail.capacity() > MIN_PIECE_BYTES {
            self.tail = BytesMut::new();
        }
    }
}

/// What holding so many bytes costs.
fn charge_for(len: usize) -> u64 {
    (len.saturating_sub(GUARANTEED_BYTES).div_ceil(CHARGE_STEP_BYTES) * CHARGE_STEP_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, IoSliceMut};

    use bytes::Bytes;

    use super::{Buffer, GUARANTEED_BYTES};
    use crate::limit::Limit;
    use crate::pipe::PipeSpace;
    use crate::usage::Meter;

    fn buffer(capacity_bytes: usize, total: u64) -> Buffer {
        Buffer::new(PipeSpace {
            capacity_bytes,
            meter: Meter::new(Limit::PipeBytes, total, &Default::default()),
        })
    }

    fn write(buffer: &mut Buffer, bytes: &[u8]) -> usize {
        let room = buffer.make_room(bytes.len());
        buffer.write(&[IoSlice::new(bytes)], room)
    }

    fn read(buffer: &mut Buffer, len: usize) -> Vec<u8> {
        let mut target = vec![0; len];
        let count = buffer.read(&mut [IoSliceMut::new(&mut target)]);
        target.truncate(count);
        target
    }

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        let mut buffer = buffer(1 << 20, 1 << 20);
        let all: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        assert_eq!(write(&mut buffer, &all[..3]), 3);
        buffer.push_chunk(Bytes::copy_from_slice(&all[3..10]));
        assert_eq!(write(&mut buffer, &all[10..]), all.len() - 10);
        let mut out = read(&mut buffer, 5);
        out.extend(buffer.take_chunk().unwrap());
        while let Some(chunk) = buffer.take_chunk() {
            out.extend(chunk);
        }
        assert_eq!(out, all);
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn what_one_pipe_cannot_have_another_still_gets_when_it_is_given_back() {
        let meter = Meter::new(Limit::PipeBytes, 64 << 10, &Default::default());
        let space = || PipeSpace { capacity_bytes: 1 << 20, meter: std::sync::Arc::clone(&meter) };
        let (mut first, mut second) = (Buffer::new(space()), Buffer::new(space()));
        let much = vec![1; 1 << 20];
        assert_eq!(write(&mut first, &much), 2 * GUARANTEED_BYTES);
        assert_eq!(write(&mut second, &much), GUARANTEED_BYTES);
        assert!(!second.has_room(1));
        first.clear();
        assert_eq!(meter.used(), 0);
        assert!(second.has_room(1));
        assert_eq!(write(&mut second, &much), GUARANTEED_BYTES);
    }

    #[test]
    fn a_pipe_never_holds_more_than_its_capacity() {
        let mut buffer = buffer(100, 1 << 20);
        assert_eq!(write(&mut buffer, &[0; 200]), 100);
        assert_eq!(write(&mut buffer, &[0; 1]), 0);
    }
}
