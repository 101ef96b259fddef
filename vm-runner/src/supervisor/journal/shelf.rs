//! The databases that one thread has open: few, and none for long.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::database::{Database, Owner};
use super::error::Error;
use super::{DAMAGED_NAME, FILE_NAME};
use crate::supervisor::state_dir;
use crate::supervisor::uid::Uid;

/// Most databases that one thread has open.
const MAX_OPEN: usize = 32;
/// How long one that nobody needs stays open.
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// The open databases of one thread.
#[derive(Debug)]
pub(super) struct Shelf {
    root: PathBuf,
    life: String,
    open: HashMap<Uid, Open>,
}

#[derive(Debug)]
struct Open {
    database: Database,
    used: Instant,
}

impl Shelf {
    pub(super) fn new(root: PathBuf, life: String) -> Self {
        Self { root, life, open: HashMap::new() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Does something with a database, which is made if need be. A damaged one is put aside, and it is done with a new one.
    pub(super) fn with<T>(
        &mut self,
        uid: &Uid,
        epoch: u64,
        mut act: impl FnMut(&mut Database) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let folder = self.root.join(uid.as_str());
        // Whoever has it now may not have opened the database yet.
        state_dir::check_epoch(&folder, epoch)?;
        let error = match self.database(uid, epoch, 0).and_then(&mut act) {
            Err(_) if rustix::fs::stat(&folder).is_err() => {
                // Deleted meanwhile, under an open database.
                self.open.remove(uid);
                return Err(Error::NoFolder);
            }
            Err(error) if error.is_damage() => error,
            result => return result,
        };
        self.open.remove(uid);
        let aside = put_aside(&folder)?;
        tracing::error!(
            workspace = %uid, %error, aside = %aside.display(),
            "its events and runs are damaged; they were put aside, and new ones begin"
        );
        // Ids go on from one that is greater than any before.
        let start = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        self.database(uid, epoch, start).and_then(act)
    }

    /// Does something with a database, if there is one.
    pub(super) fn with_existing<T>(
        &mut self,
        uid: &Uid,
        epoch: u64,
        act: impl FnMut(&mut Database) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let is_there = self.open.contains_key(uid)
            || rustix::fs::stat(self.root.join(uid.as_str()).join(FILE_NAME)).is_ok();
        if is_there { self.with(uid, epoch, act).map(Some) } else { Ok(None) }
    }

    /// Closes a database.
    pub(super) fn forget(&mut self, uid: &Uid) {
        self.open.remove(uid);
    }

    /// Closes what nobody needs any more.
    pub(super) fn tidy(&mut self) {
        self.open.retain(|_, open| open.used.elapsed() < IDLE_AFTER);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn database(&mut self, uid: &Uid, epoch: u64, start: u64) -> Result<&mut Database, Error> {
        let now = Instant::now();
        if !self.open.contains_key(uid) {
            self.make_room();
            let owner = Owner { life: &self.life, epoch };
            let database = Database::open(&self.root.join(uid.as_str()), owner, start)?;
            self.open.insert(uid.clone(), Open { database, used: now });
        }
        // It is there: put in just now, or before.
        let open = self.open.get_mut(uid).ok_or(Error::NoFolder)?;
        open.used = now;
        Ok(&mut open.database)
    }

    fn make_room(&mut self) {
        while self.open.len() >= MAX_OPEN {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(uid, _)| uid.clone());
            let Some(open) = oldest.and_then(|uid| self.open.remove(&uid)) else { return };
            open.database.put_away();
        }
    }
}

/// Puts a damaged database aside, where it can be looked at until the next one is damaged.
fn put_aside(folder: &Path) -> Result<PathBuf, Error> {
    let aside = folder.join(DAMAGED_NAME);
    for suffix in ["-wal", "-shm"] {
        let name = |name: &str| folder.join(format!("{name}{suffix}"));
        match rustix::fs::rename(name(FILE_NAME), name(DAMAGED_NAME)) {
            Err(Errno::NOENT) => remove_if_there(&name(DAMAGED_NAME))?,
            result => result?,
        }
    }
    match rustix::fs::rename(folder.join(FILE_NAME), &aside) {
        Err(Errno::NOENT) => {}
        result => result?,
    }
    Ok(aside)
}

/// Removes a file that may be there.
pub(super) fn remove_if_there(path: &Path) -> Result<(), Errno> {
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
