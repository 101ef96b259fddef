//! What a batch writes: everything that changed up to one instant, in one transaction.

use std::sync::{Arc, Weak};

use rusqlite::ErrorCode;

use super::chunk::Chunk;
use super::content::ContentChange;
use super::database::{Counters, Database, Entry, Turn};
use super::node::Node;
use super::row::InodeRow;
use super::schema::chunk_id;
use crate::path::NameBuf;

/// How many chunks of a removed file one batch removes: a huge file goes bit by bit, so that nobody waits for it.
const CHUNKS_PER_REMOVAL: u32 = 4096;
/// How much is written between two looks whether somebody else wants the connection.
const BYTES_PER_TURN: u64 = 512 * 1024;
/// What a row counts besides its content.
const ROW_BYTES: u64 = 256;

/// Everything that changed since the batch before.
pub(super) struct Batch {
    /// Counts up from 1.
    pub(super) number: u64,
    pub(super) changes: Vec<(Weak<Node>, NodeChange)>,
    pub(super) removals: Vec<Removal>,
    pub(super) counters: Counters,
}

/// What changed of one node.
pub(super) struct NodeChange {
    ino: u64,
    pub(super) row: Option<InodeRow>,
    /// Whether it becomes an orphan, or ceases to be one.
    pub(super) orphan: Option<bool>,
    /// Entries of a directory; `None` is one that is removed.
    pub(super) entries: Vec<(NameBuf, Option<Entry>)>,
    /// All extended attributes, if one of them changed.
    pub(super) xattrs: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    pub(super) content: ContentChange,
}

/// A file that nobody can reach any more, but that the database has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) ino: u64,
    /// It has chunks only before this position.
    pub(super) chunks_end: u32,
}

/// A step of removing a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal {
    pub(super) ino: u64,
    /// Chunks from here on go.
    chunks_from: u32,
    /// Whether it is the last step.
    pub(super) is_last: bool,
}

impl Gone {
    /// The next step of removing it, and what is left to remove after that.
    pub(super) fn step(self) -> (Removal, Option<Self>) {
        let Self { ino, chunks_end } = self;
        // The end may be unknown; then it is far behind the last chunk, and all go at once.
        let chunks_from =
            if chunks_end == u32::MAX { 0 } else { chunks_end.saturating_sub(CHUNKS_PER_REMOVAL) };
        let left = (chunks_from > 0).then_some(Self { ino, chunks_end: chunks_from });
        (Removal { ino, chunks_from, is_last: left.is_none() }, left)
    }
}

impl NodeChange {
    pub(super) fn new(ino: u64) -> Self {
        let content = ContentChange::default();
        Self { ino, row: None, orphan: None, entries: Vec::new(), xattrs: None, content }
    }

    pub(super) const fn ino(&self) -> u64 {
        self.ino
    }
}

impl Batch {
    /// Whether it would change nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.removals.is_empty()
    }

    /// Writes and commits all of it, or nothing; tells about how much that was.
    pub(super) fn write(&self, database: &Database) -> rusqlite::Result<u64> {
        database.last_turn().statement("BEGIN IMMEDIATE")?.execute([])?;
        let written = self.write_all(database);
        let turn = database.last_turn();
        let connection = turn.connection()?;
        let result = written.and_then(|bytes| turn.statement("COMMIT")?.execute([]).map(|_| bytes));
        if result.is_err() && !connection.is_autocommit() {
            // The first error tells more than a second one would.
            let _ = connection.execute_batch("ROLLBACK");
        }
        result
    }

    fn write_all(&self, database: &Database) -> rusqlite::Result<u64> {
        let mut writer = Writer { database, turn: database.last_turn(), bytes: 0, turn_bytes: 0 };
        let Counters { used_bytes, used_inodes } = self.counters;
        writer.run(
            "UPDATE meta SET used_bytes = ?1, used_inodes = ?2 WHERE id = 1",
            (used_bytes as i64, used_inodes as i64),
        )?;
        for (_, change) in &self.changes {
            writer.write_node(change)?;
        }
        for removal in &self.removals {
            writer.remove(*removal)?;
        }
        Ok(writer.bytes)
    }
}

struct Writer<'a> {
    database: &'a Database,
    turn: Turn<'a>,
    bytes: u64,
    /// Of these, how many in this turn.
    turn_bytes: u64,
}

impl Writer<'_> {
    fn write_node(&mut self, change: &NodeChange) -> rusqlite::Result<()> {
        let NodeChange { ino, row, orphan, entries, xattrs, content } = change;
        let id = *ino as i64;
        if let Some(row) = row {
            row.write(&self.turn)?;
            self.count(ROW_BYTES)?;
        }
        match orphan {
            Some(true) => self.run("INSERT OR REPLACE INTO orphan(ino) VALUES (?1)", [id])?,
            Some(false) => self.run("DELETE FROM orphan WHERE ino = ?1", [id])?,
            None => {}
        }
        for (name, entry) in entries {
            match entry {
                Some(Entry { ino, file_type }) => self.run(
                    "INSERT OR REPLACE INTO dirent(parent, name, ino, kind) VALUES (?1, ?2, ?3, ?4)",
                    (id, name.as_bytes(), *ino as i64, file_type.mode_bits()),
                )?,
                None => {
                    self.run("DELETE FROM dirent WHERE parent = ?1 AND name = ?2", (id, name.as_bytes()))?;
                }
            }
        }
        if let Some(xattrs) = xattrs {
            self.run("DELETE FROM xattr WHERE ino = ?1", [id])?;
            for (name, value) in xattrs {
                self.run("INSERT INTO xattr(ino, name, value) VALUES (?1, ?2, ?3)", (id, name, value))?;
                self.count(value.len() as u64)?;
            }
        }
        self.write_content(*ino, content)
    }

    fn write_content(&mut self, ino: u64, content: &ContentChange) -> rusqlite::Result<()> {
        if let Some(from) = content.cut {
            self.cut(ino, from)?;
        }
        for (index, chunk) in &content.chunks {
            let id = chunk_id(ino, *index);
            match chunk {
                Some(chunk) => {
                    let chunk: &Arc<Chunk> = chunk;
                    self.run("INSERT OR REPLACE INTO chunk(id, data) VALUES (?1, ?2)", (id, &**chunk))?;
                    self.count(chunk.weight())?;
                }
                None => self.run("DELETE FROM chunk WHERE id = ?1", [id])?,
            }
        }
        Ok(())
    }

    fn remove(&mut self, removal: Removal) -> rusqlite::Result<()> {
        let Removal { ino, chunks_from, is_last } = removal;
        let id = ino as i64;
        if !is_last {
            self.run("UPDATE inode SET nlink = 0 WHERE ino = ?1", [id])?;
            self.run("INSERT OR REPLACE INTO orphan(ino) VALUES (?1)", [id])?;
            return self.cut(ino, chunks_from);
        }
        self.cut(ino, chunks_from)?;
        self.run("DELETE FROM xattr WHERE ino = ?1", [id])?;
        // A directory that is gone no longer tells which entries it lost before.
        self.run("DELETE FROM dirent WHERE parent = ?1", [id])?;
        self.run("DELETE FROM inode WHERE ino = ?1", [id])?;
        self.run("DELETE FROM orphan WHERE ino = ?1", [id])
    }

    /// Removes all chunks of a file at and after a position.
    fn cut(&mut self, ino: u64, from: u32) -> rusqlite::Result<()> {
        let range = (chunk_id(ino, from), chunk_id(ino + 1, 0));
        self.run("DELETE FROM chunk WHERE id >= ?1 AND id < ?2", range)
    }

    fn run(&mut self, sql: &str, parameters: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.turn.statement(sql)?.execute(parameters)?;
        self.count(ROW_BYTES)
    }

    /// Counts what was written, and lets others have the connection now and then.
    fn count(&mut self, bytes: u64) -> rusqlite::Result<()> {
        self.bytes += bytes;
        self.turn_bytes += bytes;
        if self.turn_bytes < BYTES_PER_TURN {
            return Ok(());
        }
        self.turn_bytes = 0;
        self.turn.give_way(self.database);
        // An error in somebody else's turn can end the transaction; what follows would then be committed bit by bit.
        if self.turn.connection()?.is_autocommit() {
            let aborted = rusqlite::ffi::Error { code: ErrorCode::OperationAborted, extended_code: 4 };
            return Err(rusqlite::Error::SqliteFailure(aborted, None));
        }
        Ok(())
    }
}
