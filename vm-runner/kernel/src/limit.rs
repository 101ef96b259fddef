//! Which limit it was: limits by name, and who was refused last.
//!
//! An error number alone does not tell: `ENFILE` may mean open files, pipes or sockets. So every refusal is noted, and
//! the host can ask which limit stands behind an error it got, and how often each was hit. What is refused while a program
//! is polled is noted for its command, too (`cpu::Share`): each refusal happens on the thread that polls.

use std::cell::Cell;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use vm_abi::Errno;

/// A limit of [`Limits`](crate::Limits) that refuses something. What only makes programs wait or run slower is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// `max_processes`.
    Processes,
    /// `max_fds`, or what a process has lowered it to.
    Fds,
    /// `max_open_files`.
    OpenFiles,
    /// `max_pipes`.
    Pipes,
    /// `max_pipe_total_bytes`: writers to pipes that are longer than 64 KiB wait.
    PipeBytes,
    /// `max_sockets`.
    Sockets,
    /// `max_socket_total_bytes`: senders to sockets that hold more than 16 KiB wait.
    SocketBytes,
    /// `max_listen_backlog`.
    ListenBacklog,
    /// `max_terminals`.
    Terminals,
    /// `max_args_bytes`.
    Arguments,
    /// `max_file_actions`.
    FileActions,
    /// `max_poll_fds`.
    PollFds,
    /// `max_locks`.
    Locks,
    /// `max_memory_bytes`.
    Memory,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Processes,
        Self::Fds,
        Self::OpenFiles,
        Self::Pipes,
        Self::PipeBytes,
        Self::Sockets,
        Self::SocketBytes,
        Self::ListenBacklog,
        Self::Terminals,
        Self::Arguments,
        Self::FileActions,
        Self::PollFds,
        Self::Locks,
        Self::Memory,
    ];

    /// A word for it, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Fds => "fds",
            Self::OpenFiles => "open_files",
            Self::Pipes => "pipes",
            Self::PipeBytes => "pipe_bytes",
            Self::Sockets => "sockets",
            Self::SocketBytes => "socket_bytes",
            Self::ListenBacklog => "listen_backlog",
            Self::Terminals => "terminals",
            Self::Arguments => "arguments",
            Self::FileActions => "file_actions",
            Self::PollFds => "poll_fds",
            Self::Locks => "locks",
            Self::Memory => "memory",
        }
    }

    /// What a guest sees at the limit.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Processes | Self::PipeBytes => Errno::EAGAIN,
            Self::SocketBytes => Errno::ENOBUFS,
            Self::Fds => Errno::EMFILE,
            Self::OpenFiles | Self::Pipes | Self::Sockets => Errno::ENFILE,
            Self::ListenBacklog => Errno::ECONNREFUSED,
            Self::Terminals => Errno::ENOSPC,
            Self::Arguments | Self::FileActions => Errno::E2BIG,
            Self::PollFds => Errno::EINVAL,
            Self::Locks => Errno::ENOLCK,
            Self::Memory => Errno::ENOMEM,
        }
    }
}

thread_local! {
    /// Limits that were hit in the poll that this thread is in.
    static HIT: Cell<u16> = const { Cell::new(0) };
}

/// The limits that a command has hit.
#[derive(Debug, Default)]
pub(crate) struct Hits(AtomicU16);

impl Hits {
    /// Polls a program and notes which limits it hits.
    pub(crate) fn note_during<T>(&self, poll: impl FnOnce() -> T) -> T {
        HIT.set(0);
        let polled = poll();
        let hit = HIT.take();
        if hit != 0 {
            self.0.fetch_or(hit, Ordering::Relaxed);
        }
        polled
    }

    /// Whether this limit was hit.
    pub(crate) fn has(&self, limit: Limit) -> bool {
        self.0.load(Ordering::Relaxed) & bit(limit) != 0
    }
}

fn bit(limit: Limit) -> u16 {
    1 << limit as u16
}

/// How often each limit was hit, and when last.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    clock: AtomicU64,
    by_limit: [Refused; Limit::ALL.len()],
}

#[derive(Debug, Default)]
struct Refused {
    count: AtomicU64,
    last: AtomicU64,
}

impl Refusals {
    /// A limit was hit; gives what the guest sees.
    pub(crate) fn note(&self, limit: Limit) -> Errno {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(refused) = self.by_limit.get(limit as usize) {
            refused.count.fetch_add(1, Ordering::Relaxed);
            refused.last.fetch_max(now, Ordering::Relaxed);
        }
        HIT.set(HIT.get() | bit(limit));
        limit.errno()
    }

    /// How often a limit was hit.
    pub(crate) fn count(&self, limit: Limit) -> u64 {
        self.by_limit.get(limit as usize).map_or(0, |refused| refused.count.load(Ordering::Relaxed))
    }

    /// The limit that was the last to answer this. One that makes writers wait does not count.
    pub(crate) fn behind(&self, errno: Errno) -> Option<Limit> {
        let last = |limit: &Limit| {
            let refused = self.by_limit.get(*limit as usize)?;
            Some(refused.last.load(Ordering::Relaxed)).filter(|last| *last > 0)
        };
        let candidates =
            Limit::ALL.into_iter().filter(|limit| limit.errno() == errno && *limit != Limit::PipeBytes);
        candidates.filter_map(|limit| Some((last(&limit)?, limit))).max().map(|(_, limit)| limit)
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Errno;

    use super::{Hits, Limit, Refusals};

    #[test]
    fn what_is_refused_in_a_poll_is_noted_for_who_is_polled() {
        let (refusals, one, other) = (Refusals::default(), Hits::default(), Hits::default());
        refusals.note(Limit::Sockets);
        one.note_during(|| refusals.note(Limit::Memory));
        other.note_during(|| ());
        assert!(one.has(Limit::Memory) && !one.has(Limit::Sockets));
        assert!(!other.has(Limit::Memory));
    }

    #[test]
    fn the_last_refusal_of_an_errno_is_told() {
        let refusals = Refusals::default();
        assert_eq!(refusals.behind(Errno::ENFILE), None);
        refusals.note(Limit::Sockets);
        refusals.note(Limit::Memory);
        assert_eq!(refusals.behind(Errno::ENFILE), Some(Limit::Sockets));
        refusals.note(Limit::OpenFiles);
        assert_eq!(refusals.behind(Errno::ENFILE), Some(Limit::OpenFiles));
        assert_eq!(refusals.count(Limit::Sockets), 1);
    }

    #[test]
    fn every_limit_has_its_own_place_and_name() {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index);
        }
        let names: std::collections::BTreeSet<_> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
    }
}
