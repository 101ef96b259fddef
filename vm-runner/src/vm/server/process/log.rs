//! What a process has written, as far as it is kept: a ring of bytes with positions.
//!
//! One side pushes, any number of [`LogReader`]s follow, each at its own position. A ring that is full waits for readers
//! that get on, but not for ever: one that makes no progress for [`PATIENCE`] is counted out, and what it has not read is
//! dropped. Without readers the oldest bytes are dropped at once. So a guest never blocks because nobody reads, and a
//! reader that comes late is told what it missed.
//!
//! Must never know JSON, HTTP or the kernel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use vm_api::{OutputState, ProcessExit};

use crate::vm::buffers::Held;

/// How long a full ring waits for a reader that makes no progress.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes that a reader gets at once.
const MAX_PIECE_BYTES: usize = 64 << 10;
/// What a run of bytes of one stream costs beside its bytes.
const RUN_BYTES: usize = size_of::<Run>();
/// What a ring may hold in any case, however much others hold.
const MIN_BYTES: usize = 16 << 10;
/// Most readers at once.
const MAX_READERS: usize = 64;

/// Which stream a byte was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Stdout,
    Stderr,
}

/// What a process has written, as far as it is kept.
#[derive(Debug)]
pub(crate) struct Log {
    /// Guarded by itself; a leaf in the lock order.
    ring: Mutex<Ring>,
    /// Tells readers that there is more.
    grown: watch::Sender<()>,
    /// Tells the writer that a reader has got on.
    progress: Notify,
    /// How many readers there are.
    readers: watch::Sender<usize>,
}

#[derive(Debug)]
struct Ring {
    bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    /// Position of the first byte.
    first: u64,
    most_bytes: usize,
    held: Held,
    exit: Option<ProcessExit>,
    readers: BTreeMap<u64, ReaderState>,
    next_reader: u64,
}

/// Bytes of one stream.
#[derive(Clone, Copy, Debug)]
struct Run {
    stream: StreamKind,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct ReaderState {
    position: u64,
    /// Whether it is waited for.
    is_followed: bool,
}

/// What a reader finds at its position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Bytes of one stream.
    Bytes(StreamKind, Vec<u8>),
    /// So many bytes are gone.
    Lost(u64),
    /// The end of all output.
    Exited(ProcessExit),
}

/// Why a log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing was ever written there; the end is here.
    Beyond(u64),
    /// There are so many readers already.
    TooManyReaders(usize),
}

/// What became of a piece of output.
enum Appended {
    /// So many bytes are in.
    Taken(usize),
    /// A reader has to get on first.
    Full,
    /// The share does not grow any more.
    NoMemory,
}

impl Log {
    /// An empty log that keeps at most so many bytes, as far as `held` grows.
    pub(crate) fn new(most_bytes: usize, held: Held) -> Self {
        let ring = Ring {
            bytes: VecDeque::new(),
            runs: VecDeque::new(),
            first: 0,
            most_bytes: most_bytes.max(MIN_BYTES),
            held,
            exit: None,
            readers: BTreeMap::new(),
            next_reader: 0,
        };
        Self {
            ring: Mutex::new(ring),
            grown: watch::Sender::new(()),
            progress: Notify::new(),
            readers: watch::Sender::new(0),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what `pending` holds and empties it. Cancelling loses nothing. When memory is short, `make_room` is asked
    /// to free some; it says whether it did.
    pub(crate) async fn push(
        &self,
        stream: StreamKind,
        pending: &mut bytes::Bytes,
        make_room: impl Fn() -> bool,
    ) {
        let mut is_short = false;
        while !pending.is_empty() {
            let appended = self.ring().append(stream, pending, is_short);
            match appended {
                Appended::Taken(count) => {
                    let _ = pending.split_to(count);
                    self.grown.send_replace(());
                }
                Appended::NoMemory => is_short = !make_room(),
                Appended::Full => {
                    if tokio::time::timeout(PATIENCE, self.progress.notified()).await.is_err() {
                        self.ring().give_up_on_readers();
                    }
                }
            }
        }
    }

    /// Notes how the process ended: nothing comes after.
    pub(crate) fn end(&self, exit: ProcessExit) {
        self.ring().exit = Some(exit);
        self.grown.send_replace(());
    }

    /// How the process ended, if it has.
    pub(crate) fn exit(&self) -> Option<ProcessExit> {
        self.ring().exit.clone()
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait_end(&self) -> ProcessExit {
        let mut grown = self.grown.subscribe();
        loop {
            if let Some(exit) = self.exit() {
                return exit;
            }
            if grown.changed().await.is_err() {
                return ProcessExit::default();
            }
        }
    }

    /// What is kept.
    pub(crate) fn state(&self) -> OutputState {
        let ring = self.ring();
        OutputState { first: ring.first, end: ring.end() }
    }

    /// How many readers there are.
    pub(crate) fn reader_count(&self) -> usize {
        *self.readers.borrow()
    }

    /// Tells when the number of readers changes.
    pub(crate) fn watch_readers(&self) -> watch::Receiver<usize> {
        self.readers.subscribe()
    }

    /// Begins to read after this position.
    pub(crate) fn read_after(self: &Arc<Self>, position: u64) -> Result<LogReader, Refusal> {
        let grown = self.grown.subscribe();
        let mut ring = self.ring();
        if position > ring.last_seq() {
            return Err(Refusal::Beyond(ring.last_seq()));
        }
        if ring.readers.len() >= MAX_READERS {
            return Err(Refusal::TooManyReaders(MAX_READERS));
        }
        let id = ring.next_reader;
        ring.next_reader += 1;
        ring.readers.insert(id, ReaderState { position, is_followed: true });
        drop(ring);
        self.readers.send_modify(|count| *count += 1);
        Ok(LogReader { log: Arc::clone(self), id, position, grown })
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    /// The position behind everything, the exit included.
    fn last_seq(&self) -> u64 {
        self.end() + u64::from(self.exit.is_some())
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.runs.len() * RUN_BYTES
    }

    fn append(&mut self, stream: StreamKind, bytes: &[u8], is_short: bool) -> Appended {
        let wanted = bytes.len().min(MAX_PIECE_BYTES);
        let needed = (self.cost() + RUN_BYTES + wanted).min(self.most_bytes);
        if needed > MIN_BYTES && !self.held.try_grow_to(needed) && !is_short {
            return Appended::NoMemory;
        }
        let most = self.held.bytes().clamp(MIN_BYTES, self.most_bytes);
        // A new run may be needed.
        let piece = wanted.min(most - RUN_BYTES);
        self.drop_oldest((self.cost() + RUN_BYTES + piece).saturating_sub(most));
        let count = piece.min(most.saturating_sub(self.cost() + RUN_BYTES));
        if count == 0 {
            return Appended::Full;
        }
        self.bytes.extend(&bytes[..count]);
        match self.runs.back_mut() {
            Some(last) if last.stream == stream => last.len += count,
            Some(_) | None => self.runs.push_back(Run { stream, len: count }),
        }
        Appended::Taken(count)
    }

    /// Drops the oldest bytes until so much is free, except what a reader is waited for to read.
    fn drop_oldest(&mut self, excess: usize) {
        let followed = self.readers.values().filter(|reader| reader.is_followed);
        let needed_from = followed.map(|reader| reader.position).min().unwrap_or(u64::MAX);
        let mut droppable = usize::try_from(needed_from.saturating_sub(self.first))
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        let mut excess = excess;
        while excess > 0 && droppable > 0 {
            let Some(run) = self.runs.front_mut() else { return };
            let count = run.len.min(excess).min(droppable);
            run.len -= count;
            let is_gone = run.len == 0;
            self.bytes.drain(..count);
            self.first += count as u64;
            droppable -= count;
            excess = excess.saturating_sub(count);
            if is_gone {
                self.runs.pop_front();
                excess = excess.saturating_sub(RUN_BYTES);
            }
        }
    }

    fn give_up_on_readers(&mut self) {
        let end = self.end();
        self.readers.values_mut().filter(|reader| reader.position < end).for_each(|r| r.is_followed = false);
    }

    fn piece_at(&self, position: u64) -> Option<Piece> {
        if position < self.first {
            return Some(Piece::Lost(self.first - position));
        }
        let offset = usize::try_from(position - self.first).unwrap_or(usize::MAX);
        let mut rest = offset;
        for run in &self.runs {
            if rest < run.len {
                let len = (run.len - rest).min(MAX_PIECE_BYTES);
                let bytes = self.bytes.range(offset..offset + len).copied().collect();
                return Some(Piece::Bytes(run.stream, bytes));
            }
            rest -= run.len;
        }
        // Behind the exit there is nothing.
        let exit = self.exit.as_ref().filter(|_| rest == 0)?;
        Some(Piece::Exited(exit.clone()))
    }
}

/// Follows a log. Dropping it lets the log go on without.
#[derive(Debug)]
pub(crate) struct LogReader {
    log: Arc<Log>,
    id: u64,
    position: u64,
    grown: watch::Receiver<()>,
}

impl LogReader {
    /// Where it is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether there is nothing more to come.
    pub(crate) fn is_at_end(&self) -> bool {
        let ring = self.log.ring();
        ring.exit.is_some() && self.position >= ring.last_seq()
    }

    /// What is at the position, without waiting and without going on.
    pub(crate) fn peek(&mut self) -> Option<Piece> {
        self.grown.mark_unchanged();
        self.log.ring().piece_at(self.position)
    }

    /// Goes on by so many positions.
    pub(crate) fn advance(&mut self, count: u64) {
        self.position += count;
        let state = ReaderState { position: self.position, is_followed: true };
        self.log.ring().readers.insert(self.id, state);
        self.log.progress.notify_one();
    }

    /// Waits until there may be more than at the last [`peek`](Self::peek). Cancelling loses nothing.
    pub(crate) async fn grown(&mut self) {
        // The sender lives as long as this does.
        let _ = self.grown.changed().await;
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.log.ring().readers.remove(&self.id);
        self.log.progress.notify_one();
        self.log.readers.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::vm::buffers::Buffers;

    const NEVER: fn() -> bool = || false;

    fn log(most_bytes: usize) -> Arc<Log> {
        Arc::new(Log::new(most_bytes, Buffers::new(64 << 20).hold()))
    }

    async fn push(log: &Log, stream: StreamKind, bytes: &[u8]) {
        log.push(stream, &mut Bytes::copy_from_slice(bytes), NEVER).await;
    }

    fn read_all(reader: &mut LogReader) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(piece) = reader.peek() {
            reader.advance(match &piece {
                Piece::Bytes(_, bytes) => bytes.len() as u64,
                Piece::Lost(count) => *count,
                Piece::Exited(_) => 1,
            });
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn streams_keep_their_order_and_the_exit_comes_last() {
        let log = log(1 << 20);
        push(&log, StreamKind::Stdout, b"a").await;
        push(&log, StreamKind::Stderr, b"b").await;
        push(&log, StreamKind::Stdout, b"c").await;
        push(&log, StreamKind::Stdout, b"d").await;
        log.end(ProcessExit::default());
        let mut reader = log.read_after(0).unwrap();
        let expected = [
            Piece::Bytes(StreamKind::Stdout, b"a".to_vec()),
            Piece::Bytes(StreamKind::Stderr, b"b".to_vec()),
            Piece::Bytes(StreamKind::Stdout, b"cd".to_vec()),
            Piece::Exited(ProcessExit::default()),
        ];
        assert_eq!(read_all(&mut reader), expected);
        assert!(reader.is_at_end());
        let mut later = log.read_after(3).unwrap();
        assert_eq!(read_all(&mut later)[0], Piece::Bytes(StreamKind::Stdout, b"d".to_vec()));
        assert_eq!(read_all(&mut log.read_after(5).unwrap()), []);
        assert_eq!(log.read_after(6).unwrap_err(), Refusal::Beyond(5));
    }

    #[tokio::test]
    async fn nobody_reading_drops_the_oldest_and_tells_how_much() {
        let log = log(MIN_BYTES);
        for letter in [b'a', b'b', b'c'] {
            push(&log, StreamKind::Stdout, &vec![letter; MIN_BYTES / 2]).await;
        }
        let OutputState { first, end } = log.state();
        assert_eq!(end, 3 * MIN_BYTES as u64 / 2);
        assert!(end - first <= MIN_BYTES as u64 && first > 0);
        let mut reader = log.read_after(0).unwrap();
        let pieces = read_all(&mut reader);
        assert_eq!(pieces[0], Piece::Lost(first));
        assert!(
            matches!(&pieces[1], Piece::Bytes(_, bytes) if bytes.ends_with(b"c") && bytes.len() as u64 == end - first)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_gets_on_misses_nothing() {
        let log = log(MIN_BYTES);
        let mut reader = log.read_after(0).unwrap();
        let all: Vec<u8> = (0..20 * MIN_BYTES).map(|index| (index / 7) as u8).collect();
        let write = push(&log, StreamKind::Stdout, &all);
        let read = async {
            let mut seen = Vec::new();
            while seen.len() < all.len() {
                match reader.peek() {
                    Some(Piece::Bytes(_, bytes)) => {
                        reader.advance(bytes.len() as u64);
                        seen.extend(bytes);
                        tokio::time::sleep(PATIENCE / 2).await;
                    }
                    Some(other) => panic!("{other:?}"),
                    None => reader.grown().await,
                }
            }
            seen
        };
        let ((), seen) = tokio::join!(write, read);
        assert!(seen == all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_get_on_is_not_waited_for_for_ever() {
        let log = log(MIN_BYTES);
        let mut stuck = log.read_after(0).unwrap();
        let started = tokio::time::Instant::now();
        push(&log, StreamKind::Stdout, &vec![0; 20 * MIN_BYTES]).await;
        assert_eq!(started.elapsed(), PATIENCE);
        assert!(matches!(stuck.peek(), Some(Piece::Lost(_))));
    }

    #[tokio::test]
    async fn memory_that_others_hold_is_asked_for_and_done_without() {
        let buffers = Buffers::new(1 << 20);
        let mut others = buffers.hold();
        assert!(others.try_grow_to(1 << 20));
        let log = Log::new(1 << 20, buffers.hold());
        log.push(StreamKind::Stdout, &mut Bytes::from(vec![0; 1 << 20]), NEVER).await;
        assert!(log.state().end - log.state().first <= MIN_BYTES as u64);
        let others = Mutex::new(Some(others));
        let free = || others.lock().unwrap().take().is_some();
        log.push(StreamKind::Stdout, &mut Bytes::from(vec![0; 512 << 10]), free).await;
        assert!(log.state().end - log.state().first >= 512 << 10);
    }

    #[tokio::test]
    async fn there_are_only_so_many_readers() {
        let log = log(1);
        let readers: Vec<_> = (0..MAX_READERS).map(|_| log.read_after(0).unwrap()).collect();
        assert_eq!(log.read_after(0).unwrap_err(), Refusal::TooManyReaders(MAX_READERS));
        assert_eq!(log.reader_count(), MAX_READERS);
        drop(readers);
        assert!(log.read_after(0).is_ok());
    }
}
