//! What a socket has received and nobody has read yet.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

use vm_abi::Errno;

use super::address::SocketAddress;
use super::{MessageFlags, Received};
use crate::file::fd_table::Slot;
use crate::file::{total_len, total_room};
use crate::usage::Charge;

/// What a message costs besides its bytes, so that empty ones are not free.
const MESSAGE_COST: usize = 64;
/// What an inbox may hold whatever others hold.
const GUARANTEED_COST: usize = 16 << 10;
/// Growth is charged in steps of this.
const CHARGE_STEP: usize = 16 << 10;

/// Whether messages keep apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundaries {
    /// Bytes run together; only files that come along keep them apart.
    None,
    /// One read, one message.
    Messages,
}

/// Received messages, bounded.
pub(super) struct Inbox {
    boundaries: Boundaries,
    messages: VecDeque<Message>,
    cost: usize,
    limit: usize,
    charge: Charge,
    has_ended: bool,
    is_closed: bool,
    error: Option<Errno>,
}

/// A message, or a stretch of a stream.
pub(super) struct Message {
    bytes: VecDeque<u8>,
    from: Option<SocketAddress>,
    rights: Vec<Slot>,
}

impl Inbox {
    /// An empty one, whose content beyond what it may hold anyway is charged.
    pub(super) fn new(boundaries: Boundaries, limit: usize, charge: Charge) -> Self {
        Self {
            boundaries,
            messages: VecDeque::new(),
            cost: 0,
            limit,
            charge,
            has_ended: false,
            is_closed: false,
            error: None,
        }
    }

    /// Whether a read would not block.
    pub(super) fn is_readable(&self) -> bool {
        !self.messages.is_empty() || self.has_ended || self.error.is_some()
    }

    /// Whether a write to it would not block.
    pub(super) fn is_writable(&mut self) -> bool {
        let before = self.charge.amount();
        let is_writable = self.is_closed || self.make_room(1) > 0;
        self.charge.shrink_to(before);
        is_writable
    }

    /// Whether nobody reads it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether an error waits to be told.
    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Something went wrong; the reader is told once.
    pub(super) fn fail(&mut self, error: Errno) {
        self.error = Some(error);
    }

    pub(super) fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// Nobody reads it any more; gives what was not read.
    pub(super) fn close(&mut self) -> VecDeque<Message> {
        self.is_closed = true;
        self.cost = 0;
        self.give_back();
        std::mem::take(&mut self.messages)
    }

    /// How much more may come in, up to `wanted`; charges for growth.
    fn make_room(&mut self, wanted: usize) -> usize {
        let target = self.cost.saturating_add(wanted).min(self.limit);
        self.charge.grow_towards(charge_for(target), CHARGE_STEP as u64);
        let charged = usize::try_from(self.charge.amount()).unwrap_or(usize::MAX);
        let allowed = GUARANTEED_COST.saturating_add(charged).min(self.limit);
        allowed.saturating_sub(self.cost).min(wanted)
    }

    fn give_back(&mut self) {
        self.charge.shrink_to(charge_for(self.cost));
    }

    /// Takes what somebody sends: of a stream as much as fits, of messages all or nothing.
    ///
    /// `EPIPE` if nobody reads it, `EAGAIN` without room, `EMSGSIZE` for a message that never fits, `ENOBUFS` for one
    /// that does not fit for now although the inbox is empty.
    pub(super) fn accept(
        &mut self,
        buffers: &[IoSlice<'_>],
        rights: &mut Vec<Slot>,
        from: Option<SocketAddress>,
    ) -> Result<usize, Errno> {
        if self.is_closed {
            return Err(Errno::EPIPE);
        }
        let total = total_len(buffers);
        let cost = total.saturating_add(MESSAGE_COST);
        if self.boundaries == Boundaries::Messages && cost > self.limit {
            return Err(Errno::EMSGSIZE);
        }
        if self.boundaries == Boundaries::None && total == 0 {
            return Ok(0);
        }
        let room = self.make_room(cost);
        match self.boundaries {
            Boundaries::Messages if room < cost && self.messages.is_empty() => return Err(Errno::ENOBUFS),
            Boundaries::Messages if room < cost => return Err(Errno::EAGAIN),
            Boundaries::None if room == 0 => return Err(Errno::EAGAIN),
            Boundaries::Messages | Boundaries::None => {}
        }
        let mut left = total.min(room);
        let taken = left;
        let joins = self.boundaries == Boundaries::None && rights.is_empty();
        if !joins || self.messages.back().is_none() {
            self.cost += MESSAGE_COST;
            self.messages.push_back(Message { bytes: VecDeque::new(), from, rights: std::mem::take(rights) });
        }
        self.cost += taken;
        if let Some(message) = self.messages.back_mut() {
            for buffer in buffers {
                let part = &buffer[..buffer.len().min(left)];
                message.bytes.extend(part);
                left -= part.len();
            }
        }
        Ok(taken)
    }

    /// Gives the next bytes, or the next message. 0 bytes at the end.
    pub(super) fn receive(
        &mut self,
        buffers: &mut [IoSliceMut<'_>],
        flags: MessageFlags,
    ) -> Result<Received, Errno> {
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        if self.messages.is_empty() {
            return if self.has_ended { Ok(Received::default()) } else { Err(Errno::EAGAIN) };
        }
        match self.boundaries {
            Boundaries::None => Ok(self.receive_bytes(buffers, flags)),
            Boundaries::Messages => Ok(self.receive_message(buffers, flags)),
        }
    }

    fn receive_message(&mut self, buffers: &mut [IoSliceMut<'_>], flags: MessageFlags) -> Received {
        let Some(message) = self.messages.front_mut() else {
            return Received::default();
        };
        let len = copy_out(&message.bytes, buffers, 0);
        let mut received = Received {
            len,
            message_len: message.bytes.len(),
            from: message.from.clone(),
            rights: Vec::new(),
        };
        if !flags.contains(MessageFlags::PEEK) {
            received.rights = std::mem::take(&mut message.rights);
            self.cost = self.cost.saturating_sub(message.bytes.len() + MESSAGE_COST);
            self.messages.pop_front();
            self.give_back();
        }
        received
    }

    /// Reads on over stretches of the stream, but not into one that files came with.
    fn receive_bytes(&mut self, buffers: &mut [IoSliceMut<'_>], flags: MessageFlags) -> Received {
        let wanted = total_room(buffers);
        let mut received = Received::default();
        if flags.contains(MessageFlags::PEEK) {
            if let Some(message) = self.messages.front() {
                received.len = copy_out(&message.bytes, buffers, 0);
            }
            received.message_len = received.len;
            return received;
        }
        while received.len < wanted {
            let Some(message) = self.messages.front_mut() else { break };
            if received.len > 0 && !message.rights.is_empty() {
                break;
            }
            received.rights.append(&mut message.rights);
            let count = copy_out(&message.bytes, buffers, received.len);
            message.bytes.drain(..count);
            received.len += count;
            self.cost = self.cost.saturating_sub(count);
            if message.bytes.is_empty() {
                self.cost = self.cost.saturating_sub(MESSAGE_COST);
                self.messages.pop_front();
            }
        }
        self.give_back();
        received.message_len = received.len;
        received
    }
}

/// What holding so much is charged.
fn charge_for(cost: usize) -> u64 {
    (cost.saturating_sub(GUARANTEED_COST).div_ceil(CHARGE_STEP) * CHARGE_STEP) as u64
}

/// Copies bytes into the buffers, leaving the first `skip` bytes of those alone; tells how many.
fn copy_out(bytes: &VecDeque<u8>, buffers: &mut [IoSliceMut<'_>], skip: usize) -> usize {
    let (mut skip, mut copied) = (skip, 0);
    let (front, back) = bytes.as_slices();
    for buffer in buffers {
        let passed = skip.min(buffer.len());
        skip -= passed;
        let mut target = &mut buffer[passed..];
        for source in [front.get(copied..), back.get(copied.saturating_sub(front.len())..)] {
            let source = source.unwrap_or_default();
            let count = source.len().min(target.len());
            target[..count].copy_from_slice(&source[..count]);
            target = &mut target[count..];
            copied += count;
        }
    }
    copied
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, IoSliceMut};

    use vm_abi::Errno;

    use super::{Boundaries, CHARGE_STEP, GUARANTEED_COST, Inbox, MESSAGE_COST};
    use crate::limit::Limit;
    use crate::socket::MessageFlags;
    use crate::usage::Meter;

    fn inbox(boundaries: Boundaries, limit: usize) -> Inbox {
        let meter = Meter::new(Limit::SocketBytes, 1 << 20, &Default::default());
        Inbox::new(boundaries, limit, meter.empty_charge())
    }

    fn send(inbox: &mut Inbox, bytes: &[u8]) -> Result<usize, Errno> {
        inbox.accept(&[IoSlice::new(bytes)], &mut Vec::new(), None)
    }

    fn receive(inbox: &mut Inbox, len: usize, flags: MessageFlags) -> Result<(String, usize), Errno> {
        let mut buffer = vec![0; len];
        let received = inbox.receive(&mut [IoSliceMut::new(&mut buffer)], flags)?;
        buffer.truncate(received.len);
        Ok((String::from_utf8(buffer).unwrap(), received.message_len))
    }

    #[test]
    fn a_stream_runs_together_and_messages_do_not() {
        let none = MessageFlags::empty();
        let mut stream = inbox(Boundaries::None, 1000);
        let mut messages = inbox(Boundaries::Messages, 1000);
        for inbox in [&mut stream, &mut messages] {
            send(inbox, b"one").unwrap();
            send(inbox, b"two").unwrap();
        }
        assert_eq!(receive(&mut stream, 4, MessageFlags::PEEK), Ok(("onet".into(), 4)));
        assert_eq!(receive(&mut stream, 9, none), Ok(("onetwo".into(), 6)));
        assert_eq!(receive(&mut messages, 2, MessageFlags::PEEK), Ok(("on".into(), 3)));
        assert_eq!(receive(&mut messages, 2, none), Ok(("on".into(), 3)));
        assert_eq!(receive(&mut messages, 9, none), Ok(("two".into(), 3)));
        assert_eq!(receive(&mut messages, 9, none), Err(Errno::EAGAIN));
        messages.end();
        assert_eq!(receive(&mut messages, 9, none), Ok((String::new(), 0)));
    }

    #[test]
    fn a_full_inbox_takes_nothing_and_empty_messages_fill_it_too() {
        let mut stream = inbox(Boundaries::None, 100);
        assert_eq!(send(&mut stream, &[0; 300]), Ok(100));
        assert_eq!(send(&mut stream, &[0; 1]), Err(Errno::EAGAIN));
        let mut messages = inbox(Boundaries::Messages, 2 * MESSAGE_COST);
        assert_eq!(send(&mut messages, &[0; 200]), Err(Errno::EMSGSIZE));
        assert_eq!(send(&mut messages, b""), Ok(0));
        assert_eq!(send(&mut messages, b""), Ok(0));
        assert_eq!(send(&mut messages, b""), Err(Errno::EAGAIN));
        messages.close();
        assert_eq!(send(&mut messages, b""), Err(Errno::EPIPE));
    }
    #[test]
    fn growth_is_charged_and_given_back_and_an_empty_inbox_never_waits_for_others() {
        let meter = Meter::new(Limit::SocketBytes, CHARGE_STEP as u64, &Default::default());
        let mut stream = Inbox::new(Boundaries::None, 1 << 20, meter.empty_charge());
        let all = GUARANTEED_COST + CHARGE_STEP;
        assert_eq!(send(&mut stream, &vec![0; 2 * all]), Ok(all - MESSAGE_COST + MESSAGE_COST));
        assert_eq!(meter.used(), CHARGE_STEP as u64);
        let mut messages = Inbox::new(Boundaries::Messages, 1 << 20, meter.empty_charge());
        assert_eq!(send(&mut messages, &vec![0; all]), Err(Errno::ENOBUFS));
        assert_eq!(send(&mut messages, b"small"), Ok(5));
        assert_eq!(send(&mut messages, &vec![0; all]), Err(Errno::EAGAIN));
        receive(&mut stream, all, MessageFlags::empty()).unwrap();
        assert_eq!(meter.used(), 0);
        assert_eq!(send(&mut messages, &vec![0; CHARGE_STEP]), Ok(CHARGE_STEP));
        messages.close();
        assert_eq!(meter.used(), 0);
    }
}
