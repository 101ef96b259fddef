//! Files in a database: the persistent layer of a workspace.
//!
//! One folder, one file `fs.db` in it (and SQLite's log beside it). Everything happens in memory first: what was
//! touched stays there as long as there is room for it, what was changed until it has been written. Changes are written
//! in batches, one transaction each, which hold everything up to one instant. After a crash of the process the files
//! are as they were at some instant, at most [`Tuning::flush_interval`] and the writing of one batch ago; after a crash
//! of the host at most five seconds more. `sync` returns when everything up to now is on the disk.
//!
//! The database belongs to one owner at a time, by SQLite's lock and by an epoch, which only grows.
//!
//! Limits: bytes (content in whole pages, link targets, attributes) and names; both give `ENOSPC`, and the error names
//! the limit. Unlinked files live on while somebody holds them; those that a crash leaves are removed at the next
//! opening. Times of reads are not kept (as with `noatime`). A file holds at most 8 TiB of data.
//!
//! What it must never know: paths of the guest, processes, and the layers that an overlay puts below it.
//!
//! # Lock order
//!
//! 1. `Shared::gate` — shared by whoever changes anything, exclusively while a batch is collected.
//! 2. `Shared::tree` — by whoever changes directories; so only one locks more than one directory.
//! 3. A directory's entries, then a file's content, then a node's attributes.
//! 4. The connection (`database::Turn`).
//! 5. Leaves: the table of nodes, the registry of unnamed files, the state and the queue of flushing, candidates.
//!
//! While a batch is written only the connection is locked, and that in turns; so what is in memory can be read and
//! changed meanwhile. What is not in memory is read with nothing locked but the connection, and taken in only if
//! nothing has changed since.

mod attributes;
mod batch;
mod chunk;
mod content;
mod database;
mod directory;
mod flush;
mod fsck;
mod inode;
mod memory;
mod node;
mod open_error;
mod row;
mod schema;
mod table;
mod tree;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use vm_abi::{Errno, Mode, Timespec};

use crate::budget::Budget;
use crate::error::VfsResult;
use crate::file_system::{FileClock, FileSystem, StatFs};
use crate::inode::{Inode, Owner};
use batch::Gone;
use database::{Database, Summary};
use flush::{Flush, Unnamed};
use memory::Memory;
use node::Node;
use table::{Found, Table};

pub use fsck::{FsckOptions, FsckReport, check_file};
pub use open_error::OpenError;

/// How a [`SqliteFs`] is opened.
#[derive(Clone)]
pub struct SqliteFsOptions {
    /// Where the database is. The folder is there; nothing else is put into it.
    pub folder: PathBuf,
    /// The owner's number: a database that has seen a later owner is refused.
    pub epoch: u64,
    /// How much content, link targets and attributes may take (`ENOSPC`).
    pub max_bytes: u64,
    /// How many names and inodes there may be (`ENOSPC`).
    pub max_inodes: u64,
    /// Permissions of the root directory, if the database is new.
    pub root_mode: Mode,
    /// Owner of the root directory, if the database is new.
    pub root_owner: Owner,
    /// The time for time stamps.
    pub clock: Arc<dyn FileClock>,
    /// Trade-offs; the defaults suit a workspace.
    pub tuning: Tuning,
}

/// What is traded for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How much content may be kept in memory though the database has it.
    pub cache_bytes: u64,
    /// How many inodes may be kept in memory though the database has them. Two entries of a directory count as one.
    pub cache_inodes: u64,
    /// How much content may wait to be written; writers wait while it is more.
    pub dirty_bytes: u64,
    /// How long a change waits to be written.
    pub flush_interval: Duration,
    /// How long SQLite's log becomes before it is emptied, about.
    pub log_bytes: u64,
    /// How much longer the log's file is than the log, at least, where syncs are wanted; 0: not at all.
    pub log_room_bytes: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            cache_inodes: 16 * 1024,
            dirty_bytes: 32 << 20,
            flush_interval: Duration::from_secs(1),
            log_bytes: 128 << 20,
            log_room_bytes: 256 << 10,
        }
    }
}

/// Files in a database.
pub struct SqliteFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// What all nodes of one file system share.
struct Shared {
    clock: Arc<dyn FileClock>,
    tuning: Tuning,
    bytes: Budget,
    inodes: Budget,
    next_ino: AtomicU64,
    memory: Memory,
    /// Held shared by whatever changes anything, exclusively by whoever collects what has changed.
    gate: RwLock<()>,
    /// Held by whatever changes the tree.
    tree: Mutex<()>,
    table: Table,
    unnamed: Mutex<Unnamed>,
    flush: Flush,
    database: Database,
}

impl SqliteFs {
    /// Opens the database of a folder, or makes one. Waits up to 5 seconds for a previous owner to let go of it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: SqliteFsOptions) -> Result<Arc<Self>, OpenError> {
        let SqliteFsOptions { folder, epoch, max_bytes, max_inodes, root_mode, root_owner, clock, tuning } =
            options;
        let database = Database::open(&folder, epoch)?;
        let (Summary { counters, largest_ino, .. }, orphans) = {
            let turn = database.turn();
            let summary = turn.summary()?;
            (summary, if summary.has_orphans { orphans(&turn)? } else { Vec::new() })
        };
        let shared = Arc::new(Shared {
            clock,
            tuning,
            bytes: Budget::new(max_bytes, counters.used_bytes, "sqlitefs bytes"),
            inodes: Budget::new(max_inodes.max(1), counters.used_inodes, "sqlitefs inodes"),
            next_ino: AtomicU64::new(largest_ino + 1),
            memory: Memory::default(),
            gate: RwLock::new(()),
            tree: Mutex::new(()),
            table: Table::default(),
            unnamed: Mutex::default(),
            flush: Flush::default(),
            database,
        });
        shared.bury_orphans(orphans);
        let root = if largest_ino == 0 {
            shared.make_root(root_mode, root_owner)
        } else {
            shared.node(schema::ROOT_INO).ok().filter(|root| root.kind().is_directory())
        };
        let root = root.ok_or_else(|| OpenError::corrupt("it has no root directory"))?;
        let worker = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("sqlitefs-flush".to_owned())
            .spawn(move || worker.run_flusher())
            .map_err(|source| OpenError::Io { path: folder, source })?;
        Ok(Arc::new(Self { shared, root, flusher: Mutex::new(Some(flusher)) }))
    }

    /// Makes everything durable, puts SQLite's log away and closes the database. After that every change fails, and
    /// so does reading what is not in memory. Closing again does nothing.
    ///
    /// # Errors
    /// `EIO` or `ENOSPC` if something could not be written; closed it is in any case.
    pub fn close(&self) -> VfsResult<()> {
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(flusher) = flusher else { return Ok(()) };
        self.shared.stop_flusher();
        // A flusher that panicked left what it had not written; the sync below does that.
        let _ = flusher.join();
        let mut synced = self.shared.sync();
        // What nobody holds any more may take more than one batch to remove.
        while synced.is_ok() && self.shared.has_work() {
            synced = self.shared.sync();
        }
        self.shared.refuse_all();
        if synced.is_ok() {
            self.shared.exclusively(|| self.shared.checkpoint("TRUNCATE"));
        }
        let closed = self.shared.database.close();
        self.shared.table.clear();
        synced.and(closed)
    }

    /// Closes the database without writing what it does not have, and removes its files: what was in them never counted.
    pub fn discard(&self) {
        let flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(flusher) = flusher else { return };
        self.shared.stop_flusher();
        let _ = flusher.join();
        self.shared.refuse_all();
        self.shared.database.discard();
        self.shared.table.clear();
    }

    /// Changes the limits. What is there stays, even if it is more.
    pub fn set_limits(&self, max_bytes: u64, max_inodes: u64) {
        self.shared.bytes.set_max(max_bytes);
        self.shared.inodes.set_max(max_inodes);
    }

    /// Looks for damage. Everything is written before; meanwhile nothing is, and what is not in memory waits.
    #[must_use]
    pub fn check(&self, options: FsckOptions) -> FsckReport {
        if let Err(error) = self.shared.sync() {
            return FsckReport::of_problem(format!("what is in memory cannot be written: {error}"));
        }
        self.shared.exclusively(|| {
            let turn = self.shared.database.turn();
            match turn.connection() {
                Ok(connection) => fsck::check(connection, options),
                Err(_) => FsckReport::of_problem("the file system is closed".to_owned()),
            }
        })
    }

    /// What was first found to be wrong with the database while it was used, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.shared.database.fault().map(str::to_owned)
    }
}

impl FileSystem for SqliteFs {
    fn kind(&self) -> &'static str {
        "sqlitefs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as Arc<dyn Inode>
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        let Shared { bytes, inodes, .. } = &*self.shared;
        Ok(StatFs {
            total_bytes: bytes.max(),
            free_bytes: bytes.free(),
            total_inodes: inodes.max(),
            free_inodes: inodes.free(),
            block_bytes: content::PAGE_BYTES,
        })
    }

    fn sync(&self) -> VfsResult<()> {
        self.shared.sync()
    }
}

/// What was not written is written now; whoever wants to know whether that worked calls [`SqliteFs::close`] before.
impl Drop for SqliteFs {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// Files that a crash left without a name.
fn orphans(turn: &database::Turn<'_>) -> rusqlite::Result<Vec<Gone>> {
    turn.orphans()?.into_iter().map(|ino| Ok(Gone { ino, chunks_end: turn.chunks_end(ino)? })).collect()
}

impl Shared {
    fn now(&self) -> Timespec {
        self.clock.now()
    }

    /// The node of an inode number.
    fn node(self: &Arc<Self>, ino: u64) -> VfsResult<Arc<Node>> {
        match self.table.find(ino) {
            Found::Node(node) => {
                node.use_it();
                return Ok(node);
            }
            Found::Gone => return Err(Errno::ENOENT.into()),
            Found::Unknown => {}
        }
        let node = {
            // Nothing is written meanwhile, so what is read is not out of date when it is entered.
            let turn = self.database.turn();
            match self.table.find(ino) {
                Found::Node(node) => return Ok(node),
                Found::Gone => return Err(Errno::ENOENT.into()),
                Found::Unknown => {}
            }
            let row = turn.inode(ino).map_err(|error| self.database.errno(&error))?.ok_or(Errno::ENOENT)?;
            if row.nlink == 0 {
                return Err(Errno::EIO.into());
            }
            let node = Node::stored(self, row);
            self.table.add(&node);
            node
        };
        self.trim();
        Ok(node)
    }

    /// Lets go of what is too much. The caller holds no lock of a node.
    fn trim(&self) {
        for _ in 0..TRIM_STEPS {
            if self.memory.clean_bytes() <= self.tuning.cache_bytes {
                break;
            }
            let Some((ino, index)) = self.memory.candidate() else { break };
            if let Found::Node(node) = self.table.find(ino)
                && node.evict(index) == content::Eviction::Later
            {
                self.memory.offer(ino, index);
            }
        }
        for _ in 0..TRIM_STEPS {
            if !self.memory.has_stale_candidates() {
                break;
            }
            let Some((ino, index)) = self.memory.candidate() else { break };
            if let Found::Node(node) = self.table.find(ino)
                && node.is_offered(index)
            {
                self.memory.offer(ino, index);
            }
        }
        if self.has_many_nodes() {
            self.table.shrink();
        }
    }

    /// Lets go of all that is too much, after a batch has made it possible. What is in use gets its second chance.
    fn trim_all(&self) {
        let candidates = self.memory.candidates() + self.table.len();
        for _ in 0..=candidates / TRIM_STEPS * 2 {
            if self.memory.clean_bytes() <= self.tuning.cache_bytes && !self.has_many_nodes() {
                break;
            }
            self.trim();
        }
    }

    fn has_many_nodes(&self) -> bool {
        self.table.len() as u64 + self.memory.entries() / 2 > self.tuning.cache_inodes
    }

    fn make_root(self: &Arc<Self>, mode: Mode, owner: Owner) -> Option<Arc<Node>> {
        let kind = crate::inode::NodeKind::Directory;
        let root = Node::create(self, kind, (mode, owner), 2, directory::Place::Root).ok()?;
        self.table.add(&root);
        Some(root)
    }
}

/// How many chunks are asked to go at a time.
const TRIM_STEPS: usize = 64;

#[cfg(test)]
mod tests;
