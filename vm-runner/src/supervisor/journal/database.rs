//! One `state.db`: events and runs of one workspace. Blocks.
//!
//! Every change is a transaction that first compares the epoch in the database with that of whoever writes: a supervisor
//! that was replaced changes nothing any more. What an earlier supervisor left unfinished is settled when a new one opens
//! the database.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
};
use vm_api::run::KEPT_FINISHED;
use vm_api::{Run, RunEnd, VmEvent};

use super::error::Error;
use super::event::{Entry, Page};
use super::{FILE_NAME, schema};

/// Most events that are kept.
const MAX_EVENTS: u64 = 4096;
/// Most bytes of events that are kept.
const MAX_EVENT_BYTES: u64 = 1 << 20;
/// How much more than the most there may be before the oldest go: not one by one.
const SLACK: u64 = 8;
/// Pages of the log of changes after which they go into the database.
const CHECKPOINT_PAGES: u32 = 256;
/// How long somebody else may hold the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Who has a database open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// The supervisor, told apart from all others.
    pub(super) life: &'a str,
    /// The epoch of the workspace's binding to it.
    pub(super) epoch: u64,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    /// The epoch that is known to be in it.
    epoch: u64,
    /// The last id that was given.
    last: u64,
    floor: u64,
    start: u64,
    events: u64,
    bytes: u64,
    /// Whether what was in it when it was opened is on the disk for sure.
    is_durable: bool,
    /// Runs that turned out to be lost when it was opened.
    lost: Vec<Run>,
}

/// What came of beginning a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It was not known, and is now.
    New,
    /// It is known: so it began before.
    Known(Run),
}

impl Database {
    /// Opens or makes the database in a folder, which must be there. A new one gives ids after `start`.
    pub(super) fn open(folder: &Path, owner: Owner<'_>, start: u64) -> Result<Self, Error> {
        if rustix::fs::stat(folder).is_err() {
            return Err(Error::NoFolder);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        let mut connection = Connection::open_with_flags(folder.join(FILE_NAME), flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch(&format!(
            "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-128; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;
             PRAGMA journal_size_limit=1048576; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
        ))?;
        let version = schema::version(&connection)?;
        if version > schema::VERSION {
            return Err(Error::Newer(version));
        }
        if version == 0 {
            // Nothing is in it yet, so nothing needs to be durable: the first run catches up.
            connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL;")?;
        }
        connection.execute_batch("PRAGMA synchronous=NORMAL;")?;
        let lost = {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if version < schema::VERSION {
                schema::migrate(&transaction, version)?;
            }
            let lost = settle(&transaction, owner, start)?;
            transaction.commit()?;
            lost
        };
        let (epoch, start, floor) =
            connection.query_row("SELECT epoch, start, floor FROM meta", [], |row| {
                Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?))
            })?;
        let counts = "SELECT COALESCE(MAX(id), 0), COUNT(*), COALESCE(SUM(LENGTH(data)), 0) FROM event";
        let (newest, events, bytes) = connection
            .query_row(counts, [], |row| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?)))?;
        let last = newest.max(floor).max(start);
        Ok(Self { connection, epoch, last, floor, start, events, bytes, is_durable: false, lost })
    }

    /// Closes it for now: its log of changes stays beside it, so that this costs no waiting for the disk.
    pub(super) fn put_away(self) {
        // If it fails, closing takes longer.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Runs that turned out to be lost when it was opened.
    pub(super) fn take_lost(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.lost)
    }

    /// Adds events. Answers the last id.
    pub(super) fn append(&mut self, epoch: u64, entries: &[Entry]) -> Result<u64, Error> {
        self.change(epoch, |transaction, tally| insert(transaction, tally, entries))?;
        Ok(self.last)
    }

    /// Keeps that a run begins, unless one of its name is known. It is on the disk when this returns.
    pub(super) fn begin_run(&mut self, epoch: u64, run: &Run) -> Result<Begun, Error> {
        if let Some(known) = self.run(&run.name)? {
            return Ok(Begun::Known(known));
        }
        self.connection.execute_batch("PRAGMA synchronous=FULL;")?;
        let result = self.make_durable().and_then(|()| {
            self.change(epoch, |transaction, tally| {
                transaction
                    .prepare_cached("INSERT INTO run (name, started_at, tail) VALUES (?1, ?2, '')")?
                    .execute([&run.name, &run.started_at])?;
                insert(transaction, tally, &[Entry::of_run(run)])
            })
        });
        // If it fails, later changes take longer.
        let _ = self.connection.execute_batch("PRAGMA synchronous=NORMAL;");
        result.map(|()| Begun::New)
    }

    /// Keeps how a run ended. Answers whether others go on.
    pub(super) fn end_run(&mut self, epoch: u64, run: &Run) -> Result<bool, Error> {
        self.change(epoch, |transaction, tally| {
            transaction
                .prepare_cached(
                    "UPDATE run SET finished_at = ?2, outcome = ?3, exit_code = ?4, tail = ?5
                     WHERE name = ?1 AND outcome IS NULL",
                )?
                .execute(params![
                    run.name,
                    run.finished_at,
                    run.end.map(name_of),
                    run.exit_code,
                    run.output_tail
                ])?;
            let kept = i64::try_from(KEPT_FINISHED).unwrap_or(i64::MAX);
            transaction
                .prepare_cached(
                    "DELETE FROM run WHERE outcome IS NOT NULL AND number <=
                     (SELECT number FROM run WHERE outcome IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET ?1)",
                )?
                .execute([kept])?;
            insert(transaction, tally, &[Entry::of_run(run)])
        })?;
        let others = "SELECT EXISTS (SELECT 1 FROM run WHERE outcome IS NULL)";
        Ok(self.connection.query_row(others, [], |row| row.get(0))?)
    }

    /// A run, if it is known.
    pub(super) fn run(&self, name: &str) -> Result<Option<Run>, Error> {
        let mut statement = self.connection.prepare_cached(&format!("{SELECT_RUNS} WHERE name = ?1"))?;
        Ok(statement.query_row([name], run_of).optional()?)
    }

    /// All runs that are known, newest first.
    pub(super) fn runs(&self) -> Result<Vec<Run>, Error> {
        let mut statement = self.connection.prepare_cached(&format!("{SELECT_RUNS} ORDER BY number DESC"))?;
        let runs = statement.query_map([], run_of)?.collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// Events after an id, the oldest first.
    pub(super) fn events(&self, after: u64, most: usize) -> Result<Page, Error> {
        let lost = self.floor.saturating_sub(after.max(self.start));
        let from = after.max(self.floor);
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, data FROM event WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map([signed(from), most], |row| Ok((number(row, 0)?, row.get(1)?)))?;
        Ok(Page { lost, from, last: self.last, items: rows.collect::<Result<_, _>>()? })
    }

    /// Makes durable what was in it when it was opened: nobody has waited for the disk when it was made.
    fn make_durable(&mut self) -> Result<(), Error> {
        if !self.is_durable {
            self.connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))?;
            self.is_durable = true;
        }
        Ok(())
    }

    /// Changes something, if this epoch still may.
    fn change(
        &mut self,
        epoch: u64,
        act: impl FnOnce(&Transaction<'_>, &mut Tally) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut tally =
            Tally { last: self.last, floor: self.floor, events: self.events, bytes: self.bytes, is_up: None };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        check_epoch(&transaction, epoch)?;
        act(&transaction, &mut tally)?;
        tally.prune(&transaction)?;
        if tally.floor != self.floor || epoch != self.epoch || tally.is_up.is_some() {
            transaction
                .prepare_cached("UPDATE meta SET epoch = ?1, floor = ?2, is_up = COALESCE(?3, is_up)")?
                .execute(params![signed(epoch), signed(tally.floor), tally.is_up])?;
        }
        transaction.commit()?;
        self.epoch = epoch;
        Tally { last: self.last, floor: self.floor, events: self.events, bytes: self.bytes, is_up: _ } =
            tally;
        Ok(())
    }
}

/// What a transaction adds up.
struct Tally {
    last: u64,
    floor: u64,
    events: u64,
    bytes: u64,
    is_up: Option<bool>,
}

impl Tally {
    /// Removes the oldest events where there are too many.
    fn prune(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let is_over =
            |events: u64, bytes: u64, most: u64| events > MAX_EVENTS + most || bytes > MAX_EVENT_BYTES;
        if !is_over(self.events, self.bytes, MAX_EVENTS / SLACK) {
            return Ok(());
        }
        let mut statement = transaction.prepare_cached("SELECT id, LENGTH(data) FROM event ORDER BY id")?;
        let mut rows = statement.query([])?;
        while is_over(self.events, self.bytes + MAX_EVENT_BYTES / SLACK, 0)
            && self.events > 1
            && let Some(row) = rows.next()?
        {
            self.floor = number(row, 0)?;
            self.events -= 1;
            self.bytes = self.bytes.saturating_sub(number(row, 1)?);
        }
        transaction.prepare_cached("DELETE FROM event WHERE id <= ?1")?.execute([signed(self.floor)])?;
        Ok(())
    }
}

fn insert(transaction: &Transaction<'_>, tally: &mut Tally, entries: &[Entry]) -> Result<(), Error> {
    let mut replace =
        transaction.prepare_cached("DELETE FROM event WHERE topic = ?1 RETURNING LENGTH(data)")?;
    let mut insert = transaction.prepare_cached("INSERT INTO event (id, topic, data) VALUES (?1, ?2, ?3)")?;
    for entry in entries {
        if let Some(topic) = &entry.topic {
            let replaced = replace.query_row([topic], |row| number(row, 0)).optional()?;
            if let Some(bytes) = replaced {
                tally.events = tally.events.saturating_sub(1);
                tally.bytes = tally.bytes.saturating_sub(bytes);
            }
        }
        tally.last += 1;
        tally.events += 1;
        tally.bytes += entry.data.len() as u64;
        tally.is_up = entry.is_up.or(tally.is_up);
        insert.execute(params![signed(tally.last), entry.topic, entry.data])?;
    }
    Ok(())
}

fn check_epoch(transaction: &Transaction<'_>, ours: u64) -> Result<(), Error> {
    let theirs = transaction.prepare_cached("SELECT epoch FROM meta")?.query_row([], |row| number(row, 0))?;
    if theirs > ours { Err(Error::Stale { theirs, ours }) } else { Ok(()) }
}

/// Makes what another supervisor has left one's own: its runs are lost, its VM is gone.
fn settle(transaction: &Transaction<'_>, owner: Owner<'_>, start: u64) -> Result<Vec<Run>, Error> {
    let Owner { life, epoch } = owner;
    let known = transaction
        .query_row("SELECT life, is_up FROM meta", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
        })
        .optional()?;
    let Some((theirs, was_up)) = known else {
        transaction.execute(
            "INSERT INTO meta VALUES (1, ?1, ?2, FALSE, ?3, ?3)",
            params![signed(epoch), life, signed(start)],
        )?;
        return Ok(Vec::new());
    };
    check_epoch(transaction, epoch)?;
    if theirs == life {
        return Ok(Vec::new());
    }
    let now = jiff::Timestamp::now().to_string();
    let mut lost: Vec<Run> = transaction
        .prepare(&format!("{SELECT_RUNS} WHERE outcome IS NULL ORDER BY number"))?
        .query_map([], run_of)?
        .collect::<Result<_, _>>()?;
    let mut entries = Vec::new();
    for run in &mut lost {
        run.finished_at = Some(now.clone());
        run.end = Some(RunEnd::Lost);
        entries.push(Entry::of_run(run));
    }
    transaction.execute(
        "UPDATE run SET outcome = ?1, finished_at = ?2 WHERE outcome IS NULL",
        [name_of(RunEnd::Lost), &now],
    )?;
    if was_up {
        let message = Some("the runner ended without putting the workspace to sleep".to_owned());
        entries.push(Entry::of(VmEvent::VmShutdown { reason: None, message }));
    }
    // Counted when this is done.
    let newest = "SELECT MAX(COALESCE((SELECT MAX(id) FROM event), 0), floor, start) FROM meta";
    let last = transaction.query_row(newest, [], |row| number(row, 0))?;
    let mut tally = Tally { last, floor: 0, events: 0, bytes: 0, is_up: None };
    insert(transaction, &mut tally, &entries)?;
    transaction
        .execute("UPDATE meta SET epoch = ?1, life = ?2, is_up = FALSE", params![signed(epoch), life])?;
    Ok(lost)
}

const SELECT_RUNS: &str = "SELECT name, started_at, finished_at, outcome, exit_code, tail FROM run";

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let outcome: Option<String> = row.get(3)?;
    Ok(Run {
        name: row.get(0)?,
        started_at: row.get(1)?,
        finished_at: row.get(2)?,
        // A name that is not known is of a newer version, and an end all the same.
        end: outcome.map(|name| ENDS.into_iter().find(|end| name_of(*end) == name).unwrap_or(RunEnd::Lost)),
        exit_code: row.get(4)?,
        output_tail: row.get(5)?,
    })
}

const ENDS: [RunEnd; 5] =
    [RunEnd::Exited, RunEnd::TimedOut, RunEnd::Stopped, RunEnd::NotStarted, RunEnd::Lost];

fn name_of(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Exited => "Exited",
        RunEnd::TimedOut => "TimedOut",
        RunEnd::Stopped => "Stopped",
        RunEnd::NotStarted => "NotStarted",
        RunEnd::Lost => "Lost",
    }
}

/// Numbers are kept as SQLite has them; none of ours is that large.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(index)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, number))
}

#[cfg(test)]
mod tests;
