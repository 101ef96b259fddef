//! What the supervisor remembers of each workspace: what happened, and which runs began.
//!
//! ```text
//!  runs, collectors of events ──jobs──▶ one of a few threads ──▶ DATA/<uid>/state.db
//! ```
//! A workspace's jobs go to one thread, in order; nothing on the way of a request waits for the disk. A workspace in which
//! nothing ever ran has no database, and one that sleeps has none open. Nothing of a command is kept but its name and the
//! end of its output: no environment, no input. What cannot be kept is logged and costs the workspace nothing else; only a
//! run that cannot be remembered is not begun.
//!
//! `DATA/.runs/<uid>` exists while runs of a workspace go on, so that the next supervisor finds those that it has to
//! declare lost without opening anything else.

mod database;
mod error;
mod event;
mod schema;
mod shelf;

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use std::{io, thread};

use rustix::fs::{CWD, Mode, OFlags};
use tokio::sync::oneshot;
use vm_api::Run;

pub(crate) use self::database::Begun;
pub(crate) use self::error::Error;
pub(crate) use self::event::{Entry, Page};
use self::shelf::{Shelf, remove_if_there};
use super::uid::Uid;

/// The database, in the folder of its workspace.
const FILE_NAME: &str = "state.db";
/// A damaged one.
const DAMAGED_NAME: &str = "state.db.damaged";
/// Folder of the marks of workspaces that have runs going on, in the data folder.
const RUNS: &str = ".runs";

/// Threads: one that waits for the disk does not hold up all workspaces.
const THREADS: usize = 4;
/// Jobs that may wait for one of them.
const QUEUE_LENGTH: usize = 4096;
/// How often a thread looks for what it may close.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&mut Shelf) + Send>;

/// The memory of a supervisor. Clones are the same; the threads end with the last one.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    threads: std::sync::Arc<[SyncSender<Job>]>,
}

impl Journal {
    /// Starts the threads. `root` is the data folder.
    pub(crate) fn start(root: &Path) -> io::Result<Self> {
        let marks = root.join(RUNS);
        match rustix::fs::mkdir(&marks, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Two supervisors never begin in the same nanosecond with the same number.
        let pid = rustix::process::getpid().as_raw_nonzero();
        let life = format!("{}-{pid}", jiff::Timestamp::now().as_nanosecond());
        let threads = (0..THREADS)
            .map(|index| {
                let (jobs, inbox) = sync_channel(QUEUE_LENGTH);
                let shelf = Shelf::new(root.to_owned(), life.clone());
                thread::Builder::new().name(format!("journal-{index}")).spawn(|| work(shelf, inbox))?;
                Ok(jobs)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// Adds events of a workspace. Answers the id of the last.
    pub(crate) async fn append(&self, uid: &Uid, epoch: u64, entries: Vec<Entry>) -> Result<u64, Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| shelf.with(&name, epoch, |database| database.append(epoch, &entries)))
            .await
    }

    /// Events of a workspace after an id.
    pub(crate) async fn events(&self, uid: &Uid, epoch: u64, after: u64, most: usize) -> Result<Page, Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| {
            let page = shelf.with_existing(&name, epoch, |database| database.events(after, most))?;
            Ok(page.unwrap_or_default())
        })
        .await
    }

    /// Remembers that a run begins, unless one of its name is known. It is on the disk when this returns.
    pub(crate) async fn begin_run(&self, uid: &Uid, epoch: u64, run: Run) -> Result<Begun, Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| {
            let mark = mark(shelf.root(), &name);
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(CWD, &mark, flags, Mode::RUSR | Mode::WUSR)?);
            shelf.with(&name, epoch, |database| database.begin_run(epoch, &run))
        })
        .await
    }

    /// Remembers how a run ended.
    pub(crate) async fn end_run(&self, uid: &Uid, epoch: u64, run: Run) -> Result<(), Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| {
            let others_go_on = shelf.with(&name, epoch, |database| database.end_run(epoch, &run))?;
            if others_go_on { Ok(()) } else { Ok(remove_if_there(&mark(shelf.root(), &name))?) }
        })
        .await
    }

    /// A run, if it is known.
    pub(crate) async fn run(&self, uid: &Uid, epoch: u64, run: &str) -> Result<Option<Run>, Error> {
        let (name, run) = (uid.clone(), run.to_owned());
        self.ask(uid, move |shelf| {
            Ok(shelf.with_existing(&name, epoch, |database| database.run(&run))?.flatten())
        })
        .await
    }

    /// All runs that are known, newest first.
    pub(crate) async fn runs(&self, uid: &Uid, epoch: u64) -> Result<Vec<Run>, Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| {
            Ok(shelf.with_existing(&name, epoch, |database| database.runs())?.unwrap_or_default())
        })
        .await
    }

    /// Declares lost what an earlier supervisor left going on. Answers the runs that are lost.
    pub(crate) async fn settle(&self, uid: &Uid, epoch: u64) -> Result<Vec<Run>, Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| {
            let lost = shelf.with_existing(&name, epoch, |database| Ok(database.take_lost()))?;
            remove_if_there(&mark(shelf.root(), &name))?;
            Ok(lost.unwrap_or_default())
        })
        .await
    }

    /// Forgets a workspace that is deleted.
    pub(crate) async fn forget(&self, uid: &Uid) -> Result<(), Error> {
        let name = uid.clone();
        self.ask(uid, move |shelf| {
            shelf.forget(&name);
            Ok(remove_if_there(&mark(shelf.root(), &name))?)
        })
        .await
    }

    /// Waits until everything is done that was asked for before.
    pub(crate) async fn flush(&self) {
        for index in 0..self.threads.len() {
            let (reply, answer) = oneshot::channel();
            let job: Job = Box::new(move |_| {
                let _ = reply.send(());
            });
            if self.threads[index].try_send(job).is_ok() {
                // A thread that has ended has nothing left to do.
                let _ = answer.await;
            }
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        uid: &Uid,
        act: impl FnOnce(&mut Shelf) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |shelf| drop(reply.send(act(shelf))));
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(uid);
        let thread = usize::try_from(hash % THREADS as u64).unwrap_or_default();
        self.threads[thread].try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Closed,
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Does jobs until nobody can ask for any.
fn work(mut shelf: Shelf, inbox: Receiver<Job>) {
    loop {
        // With nothing open there is nothing to look after.
        let job = match shelf.is_empty() {
            true => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => inbox.recv_timeout(TIDY_INTERVAL),
        };
        match job {
            Ok(job) => job(&mut shelf),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shelf.tidy();
    }
}

fn mark(root: &Path, uid: &Uid) -> PathBuf {
    root.join(RUNS).join(uid.as_str())
}

#[cfg(test)]
mod tests;
