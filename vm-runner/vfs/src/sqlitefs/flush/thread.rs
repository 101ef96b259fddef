//! The flusher thread: it writes what has waited long enough, and keeps the database tidy.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Durability, Failure, State};
use crate::sqlitefs::Shared;
use crate::sqlitefs::database::PAGE_BYTES;

/// How long the flusher sleeps at least between two looks whether there is something to do.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// How long nothing must have happened before memory and space are given back.
const REST_AFTER: Duration = Duration::from_secs(2);
/// How long a batch may be only with the host's kernel, if nobody wanted it to be durable.
const SETTLE_AFTER: Duration = Duration::from_secs(5);
/// How much free space the database may keep: this much, or a quarter of it.
const FREE_BYTES: u64 = 8 << 20;
/// How long SQLite's log may stay while nothing happens.
const RESTING_LOG_BYTES: u64 = 1 << 20;
/// How many pages are given back at a time.
const VACUUM_PAGES: u64 = 512;

/// How far giving back has come since the last change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    NotYet,
    Begun,
    Done,
}

/// What the flusher does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Write,
    EmptyLog,
    ExtendLog,
    Rest,
    Stop,
}

impl Shared {
    /// Writes batches until told to stop.
    pub(in crate::sqlitefs) fn run_flusher(&self) {
        let mut rest = Rest::NotYet;
        let mut settled = Instant::now();
        loop {
            match self.wait_for_task(rest) {
                Task::Stop => break,
                Task::Write => {
                    self.flush(Durability::Committed);
                    rest = Rest::NotYet;
                    if settled.elapsed() >= SETTLE_AFTER {
                        self.settle();
                        settled = Instant::now();
                    }
                }
                Task::EmptyLog => {
                    self.empty_log("PASSIVE");
                    if rest == Rest::Done {
                        // The log's file is still as long as it was.
                        rest = Rest::NotYet;
                    }
                }
                Task::ExtendLog => self.extend_log(),
                Task::Rest => {
                    self.settle();
                    if self.flush.lock().log_bytes >= RESTING_LOG_BYTES || self.database.is_log_long() {
                        self.empty_log("TRUNCATE");
                    }
                    let has_more = self.exclusively(|| self.give_back());
                    rest = if has_more { Rest::Begun } else { Rest::Done };
                }
            }
        }
    }

    /// Ends the flusher thread, when it next looks.
    pub(in crate::sqlitefs) fn stop_flusher(&self) {
        self.flush.lock().is_stopping = true;
        self.flush.wake.notify_all();
        self.flush.written.notify_all();
    }

    /// Makes room in the log before somebody waits for it. Others may commit while the disk is busy with it.
    fn extend_log(&self) {
        let committed = {
            let mut state = self.flush.lock();
            state.is_log_short = false;
            state.committed
        };
        if self.exclusively(|| self.database.extend_log(self.tuning.log_room_bytes)) {
            self.sync_committed(committed);
        }
    }

    fn empty_log(&self, mode: &str) {
        self.flush.lock().log_bytes = 0;
        self.exclusively(|| self.checkpoint(mode));
    }

    /// Moves SQLite's log into the database. A failure shows at the next batch.
    pub(in crate::sqlitefs) fn checkpoint(&self, mode: &str) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let _ = self.database.read(|turn| turn.connection()?.query_row(&sql, [], |_| Ok(())));
    }

    fn wait_for_task(&self, rest: Rest) -> Task {
        let flush = &self.flush;
        let mut state = flush.lock();
        let mut rest_at = Instant::now() + if rest == Rest::Begun { Duration::ZERO } else { REST_AFTER };
        let mut retry_at = None;
        let mut begun = state.begun;
        loop {
            if state.is_stopping {
                return Task::Stop;
            }
            let is_usable = !matches!(state.failure, Some(Failure::Broken(_) | Failure::Closed));
            if is_usable && state.log_bytes >= self.tuning.log_bytes {
                return Task::EmptyLog;
            }
            if is_usable && state.is_log_short {
                return Task::ExtendLog;
            }
            let now = Instant::now();
            if begun != state.begun {
                // Somebody else wrote a batch.
                begun = state.begun;
                rest_at = now + REST_AFTER;
            }
            let timeout = if is_usable && (self.has_work() || state.failed.is_some()) {
                // What failed is tried again a while after that.
                let write_at = if state.failed.is_some() {
                    *retry_at.get_or_insert(now + self.tuning.flush_interval)
                } else {
                    retry_at = None;
                    flush.work.since() + self.tuning.flush_interval
                };
                if now >= write_at || (state.is_urgent && state.failed.is_none()) {
                    return Task::Write;
                }
                Some(write_at - now)
            } else if is_usable && now < rest_at {
                // While files are in use it looks now and then, so that nobody has to wake it.
                Some((rest_at - now).min(self.tuning.flush_interval.max(LOOK_AFTER)))
            } else if is_usable && rest != Rest::Done {
                return Task::Rest;
            } else {
                None
            };
            let looks_in_time = timeout.is_some_and(|timeout| timeout <= self.tuning.flush_interval);
            if is_usable && !looks_in_time && !flush.work.fall_asleep() {
                continue;
            }
            state = self.doze(state, timeout);
            flush.work.wake_up();
        }
    }

    fn doze<'a>(
        &self,
        state: std::sync::MutexGuard<'a, State>,
        timeout: Option<Duration>,
    ) -> std::sync::MutexGuard<'a, State> {
        let wake = &self.flush.wake;
        match timeout {
            None => wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Gives memory and some free space back to the host; tells whether there is more to give.
    fn give_back(&self) -> bool {
        let vacuum = self.database.read(|turn| {
            let connection = turn.connection()?;
            let number = |name: &str| {
                connection.pragma_query_value(None, name, |row| crate::sqlitefs::database::natural(row, 0))
            };
            let (free, all) = (number("freelist_count")?, number("page_count")?);
            let has_more = free * PAGE_BYTES >= FREE_BYTES && free >= all / 4;
            if has_more {
                // One step a page; `execute_batch` would take only the first.
                let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
                let mut steps = vacuum.query([])?;
                while steps.next()?.is_some() {}
            }
            connection.execute_batch("PRAGMA shrink_memory")?;
            Ok(has_more)
        });
        let has_more = vacuum.unwrap_or(false);
        if has_more {
            self.flush.lock().log_bytes += VACUUM_PAGES * PAGE_BYTES;
        }
        has_more
    }
}
