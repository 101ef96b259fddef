//! The connection to the database, and everything that is read through it. SQLite's log as a file is in `log`.
//!
//! There is one connection; it holds the database's lock for as long as it lives, so nobody else reads or writes the
//! file. Whoever reads waits for a turn with the connection; the writer of a batch gives it away between the pieces of
//! its work, so that a read never waits for a whole batch. Those reads see a batch half written, which does not
//! matter: they ask only for what is not in memory, and no batch writes anything that is not.

mod log;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, Row};
use rustix::fs::{CWD, Mode, OFlags};
use vm_abi::{Errno, FileType};

use super::chunk::Chunk;
use super::open_error::OpenError;
use super::row::InodeRow;
use super::schema::{self, chunk_id, chunk_place};
use crate::error::VfsResult;
use crate::path::{Name, NameBuf};

/// The file in a workspace's folder.
const FILE_NAME: &str = "fs.db";
/// Of the name of SQLite's log.
const LOG_SUFFIX: &str = "-wal";
/// How long a previous owner may take to die.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many statements are kept compiled.
const STATEMENTS: usize = 32;
/// Of a new database; also what SQLite's own log is counted in.
pub(super) const PAGE_BYTES: u64 = 8192;
/// SQLite's own bound on its log, in case that ours is not reached first.
const AUTOCHECKPOINT_PAGES: u64 = (256 << 20) / PAGE_BYTES;

/// An entry of a directory, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) ino: u64,
    pub(super) file_type: FileType,
}

/// What the database's one row about itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) used_bytes: u64,
    pub(super) used_inodes: u64,
}

/// What has to be known before the first file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) counters: Counters,
    /// The largest inode number that was ever used, of those that still are.
    pub(super) largest_ino: u64,
    /// Whether a crash left files without a name.
    pub(super) has_orphans: bool,
}

pub(super) struct Database {
    /// `None` when closed.
    connection: Mutex<Option<Connection>>,
    /// How many wait for the connection besides the writer.
    waiting: AtomicUsize,
    folder: PathBuf,
    log: OnceLock<OwnedFd>,
    /// Whether there was no room to make the log longer.
    is_log_stuck: AtomicBool,
    /// A database that was made now: synced together with the folder, when something has to be durable. Stays open, for
    /// closing it would give up the lock that SQLite holds on the file (POSIX ties record locks to the process).
    new_file: OnceLock<OwnedFd>,
    /// Whether the names of the files are durable.
    is_folder_synced: AtomicBool,
    /// The first thing that was found to be wrong with the database.
    fault: OnceLock<String>,
}

/// A turn with the connection.
///
/// `None` only while it is given away.
pub(super) struct Turn<'a>(Option<MutexGuard<'a, Option<Connection>>>);

impl<'a> Turn<'a> {
    /// The connection.
    pub(super) fn connection(&self) -> rusqlite::Result<&Connection> {
        self.0.as_ref().and_then(|guard| guard.as_ref()).ok_or(rusqlite::Error::InvalidQuery)
    }

    /// Lets those who wait go first.
    pub(super) fn give_way(&mut self, database: &'a Database) {
        if database.waiting.load(Ordering::Relaxed) > 0 {
            self.0 = None;
            *self = database.last_turn();
        }
    }

    pub(super) fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection()?.prepare_cached(sql)
    }
}

/// Opens a database file without looking at what is in it.
fn connect(path: &Path) -> Result<Connection, OpenError> {
    let is_new = match rustix::fs::stat(path) {
        Ok(stat) => stat.st_size == 0,
        Err(rustix::io::Errno::NOENT) => true,
        Err(errno) => return Err(OpenError::Io { path: path.to_owned(), source: errno.into() }),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if is_new {
        // Before the first table is made; later they would change nothing.
        connection
            .execute_batch(&format!("PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL;"))?;
    }
    // As `PRAGMA trusted_schema` and `foreign_keys`, without a statement to be made.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.execute_batch(&format!(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-1024;
         PRAGMA cell_size_check=ON; PRAGMA journal_size_limit=-1;
         PRAGMA wal_autocheckpoint={AUTOCHECKPOINT_PAGES};"
    ))?;
    Ok(connection)
}

fn open_file(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a database that shall only be looked at. Nobody else may have it open; it is left as it is.
pub(super) fn open_to_check(path: &Path) -> Result<Connection, OpenError> {
    rustix::fs::stat(path).map_err(|errno| OpenError::Io { path: path.to_owned(), source: errno.into() })?;
    let connection = connect(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if schema::version(&connection, schema::STEPS)? == 0 {
        return Err(OpenError::corrupt("it is empty"));
    }
    Ok(connection)
}

/// The epoch of the last owner. `None` if there was none: whoever made the database was killed before it said so.
fn stored_epoch(connection: &Connection) -> Result<Option<u64>, OpenError> {
    let epoch = "SELECT epoch FROM meta WHERE id = 1";
    if let Some(epoch) = connection.query_row(epoch, [], |row| row.get::<_, i64>(0)).optional()? {
        return Ok(Some(epoch as u64));
    }
    let has_files = "SELECT EXISTS (SELECT 1 FROM inode) OR EXISTS (SELECT 1 FROM chunk)";
    if connection.query_row(has_files, [], |row| row.get(0))? {
        return Err(OpenError::corrupt("it does not tell its epoch"));
    }
    Ok(None)
}

impl Database {
    /// Opens or makes the database of a folder for the owner of this epoch. A new one has no root directory yet.
    pub(super) fn open(folder: &Path, epoch: u64) -> Result<Self, OpenError> {
        // A process that was killed may have left what it had not made durable.
        let log = rustix::fs::stat(folder.join(format!("{FILE_NAME}{LOG_SUFFIX}")));
        let has_log = log.is_ok_and(|log| log.st_size > 0);
        let connection = connect(&folder.join(FILE_NAME))?;
        let version = schema::version(&connection, schema::STEPS)?;
        let stored_epoch = if version == 0 {
            // Nothing is in it yet, so nothing needs to be durable: the first sync catches up.
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            None
        } else {
            stored_epoch(&connection)?
        };
        if let Some(theirs) = stored_epoch.filter(|&theirs| theirs > epoch) {
            return Err(OpenError::StaleEpoch { theirs, ours: epoch });
        }
        let database = Self {
            connection: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            folder: folder.to_owned(),
            log: OnceLock::new(),
            is_log_stuck: AtomicBool::new(false),
            new_file: OnceLock::new(),
            is_folder_synced: AtomicBool::new(false),
            fault: OnceLock::new(),
        };
        if stored_epoch != Some(epoch) {
            if stored_epoch.is_none() {
                schema::migrate(&connection, version, schema::STEPS)?;
                connection.execute("INSERT INTO meta VALUES (1, ?1, 0, 0)", [epoch as i64])?;
            } else {
                connection.execute("UPDATE meta SET epoch = ?1 WHERE id = 1", [epoch as i64])?;
            }
        }
        if stored_epoch.is_none() {
            let file = open_file(&folder.join(FILE_NAME))
                .map_err(|source| OpenError::Io { path: folder.to_owned(), source: source.into() })?;
            database.new_file.get_or_init(|| file);
        } else if stored_epoch != Some(epoch) || has_log {
            database
                .sync_log()
                .map_err(|source| OpenError::Io { path: folder.to_owned(), source: source.into() })?;
        }
        if stored_epoch.is_some() {
            schema::migrate(&connection, version, schema::STEPS)?;
        }
        *database.lock() = Some(connection);
        Ok(database)
    }

    /// A turn with the connection, for something short.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(Some(self.lock()));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }

    /// The writer's turn: it lets everybody else go first.
    pub(super) fn last_turn(&self) -> Turn<'_> {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        Turn(Some(self.lock()))
    }

    /// Reads something, with the error number for what goes wrong.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Turn<'_>) -> rusqlite::Result<T>) -> VfsResult<T> {
        read(&self.turn()).map_err(|error| self.errno(&error).into())
    }

    /// Closes the connection, and removes everything.
    pub(super) fn discard(&self) {
        let Some(connection) = self.lock().take() else { return };
        // What cannot be removed is in the way of nobody.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        drop(connection);
        for suffix in ["", LOG_SUFFIX] {
            let _ = rustix::fs::unlink(self.folder.join(format!("{FILE_NAME}{suffix}")));
        }
    }

    /// Closes the connection; everything after that fails.
    pub(super) fn close(&self) -> VfsResult<()> {
        let Some(connection) = self.lock().take() else { return Ok(()) };
        connection.close().map_err(|(_, error)| self.errno(&error).into())
    }

    /// The error number that a guest sees, and a note of what was found to be wrong.
    pub(super) fn errno(&self, error: &rusqlite::Error) -> Errno {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Errno::ENOSPC,
            Some(ErrorCode::OutOfMemory) => Errno::ENOMEM,
            Some(_) | None => {
                let _ = self.fault.set(error.to_string());
                Errno::EIO
            }
        }
    }

    /// The first thing that was found to be wrong with the database, if any.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// ---- what is read ----

impl Turn<'_> {
    /// One statement, because every boot waits for it.
    pub(super) fn summary(&self) -> rusqlite::Result<Summary> {
        let sql = "SELECT used_bytes, used_inodes, (SELECT coalesce(max(ino), 0) FROM inode),
                   EXISTS (SELECT 1 FROM orphan) FROM meta WHERE id = 1";
        self.connection()?.query_row(sql, [], |row| {
            Ok(Summary {
                counters: Counters { used_bytes: natural(row, 0)?, used_inodes: natural(row, 1)? },
                largest_ino: natural(row, 2)?,
                has_orphans: row.get(3)?,
            })
        })
    }

    pub(super) fn orphans(&self) -> rusqlite::Result<Vec<u64>> {
        self.statement("SELECT ino FROM orphan")?.query_map([], |row| natural(row, 0))?.collect()
    }

    /// Behind the last chunk of a file.
    pub(super) fn chunks_end(&self, ino: u64) -> rusqlite::Result<u32> {
        let mut statement = self.statement("SELECT max(id) FROM chunk WHERE id >= ?1 AND id < ?2")?;
        let range = (chunk_id(ino, 0), chunk_id(ino + 1, 0));
        let last: Option<i64> = statement.query_row(range, |row| row.get(0))?;
        Ok(last.map_or(0, |id| chunk_place(id).1 + 1))
    }

    pub(super) fn inode(&self, ino: u64) -> rusqlite::Result<Option<InodeRow>> {
        self.statement(InodeRow::SELECT)?.query_row([ino as i64], InodeRow::read).optional()
    }

    pub(super) fn entry(&self, parent: u64, name: Name<'_>) -> rusqlite::Result<Option<Entry>> {
        let mut statement = self.statement("SELECT ino, kind FROM dirent WHERE parent = ?1 AND name = ?2")?;
        statement.query_row((parent as i64, name.as_bytes()), |row| entry(row, 0)).optional()
    }

    pub(super) fn entries(&self, parent: u64) -> rusqlite::Result<Vec<(NameBuf, Entry)>> {
        let mut statement = self.statement("SELECT ino, kind, name FROM dirent WHERE parent = ?1")?;
        let rows = statement.query_map([parent as i64], |row| {
            let name = row.get_ref(2)?.as_blob()?;
            let name = Name::new(name).map_err(|_| invalid(2, "a name that no file can have"))?;
            Ok((name.to_owned(), entry(row, 0)?))
        })?;
        rows.collect()
    }

    pub(super) fn xattrs(&self, ino: u64) -> rusqlite::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut statement = self.statement("SELECT name, value FROM xattr WHERE ino = ?1")?;
        statement.query_map([ino as i64], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    pub(super) fn chunk(&self, ino: u64, index: u32) -> rusqlite::Result<Option<Chunk>> {
        let mut statement = self.statement("SELECT data FROM chunk WHERE id = ?1")?;
        let chunk = |row: &Row<'_>| {
            Chunk::from_stored(row.get_ref(0)?).ok_or_else(|| invalid(0, "a chunk that is too long"))
        };
        statement.query_row([chunk_id(ino, index)], chunk).optional()
    }

    /// Positions and lengths of the chunks from one position to before another, at most so many.
    pub(super) fn chunk_lens(
        &self,
        ino: u64,
        from: u32,
        to: u32,
        limit: u32,
    ) -> rusqlite::Result<Vec<(u32, u32)>> {
        let mut statement = self.statement(
            "SELECT id, CASE typeof(data) WHEN 'blob' THEN length(data) ELSE data END
             FROM chunk WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
        )?;
        let range = (chunk_id(ino, from), chunk_id(ino, 0) + i64::from(to), limit);
        let rows = statement.query_map(range, |row| Ok((chunk_place(row.get(0)?).1, row.get(1)?)))?;
        rows.collect()
    }
}

fn entry(row: &Row<'_>, at: usize) -> rusqlite::Result<Entry> {
    let file_type = u32::try_from(natural(row, at + 1)?).ok().and_then(FileType::from_mode_bits);
    Ok(Entry {
        ino: natural(row, at)?,
        file_type: file_type.ok_or_else(|| invalid(at + 1, "a type that no file can have"))?,
    })
}

/// A number that cannot be negative.
pub(super) fn natural(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(at)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, number))
}

/// A value that cannot be right.
pub(super) fn invalid(at: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Blob, what.into())
}
