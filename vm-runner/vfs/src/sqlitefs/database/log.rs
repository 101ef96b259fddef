//! SQLite's log as a file: made durable, and kept longer than what is in it.
//!
//! When a sync finds that the file has become longer, the disk is waited for twice: for the content, and for the journal
//! of the host's file system, which notes the new length and blocks. So zeros are put behind the log's end before
//! commits get there, which then only replace them. To SQLite they are no part of the log: each valid frame
//! repeats the log's salt. What an earlier round of the log left behind the end is told from it in the same way.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, Mode, OFlags};

use super::{Database, FILE_NAME, LOG_SUFFIX, PAGE_BYTES, natural, open_file};

/// Before the first frame.
const HEADER_BYTES: u64 = 32;
/// Besides a frame's page.
const FRAME_BYTES: u64 = 24;
/// A log that takes up less is in nobody's way.
const SMALL_BYTES: u64 = 256 << 10;
/// By how much a short log becomes longer, and a long one.
const STEPS_BYTES: (u64, u64) = (1 << 20, 4 << 20);
/// A disk with more free space than this has plenty: twice what a log may have.
const PLENTY_BYTES: u64 = 256 << 20;
/// What the log's file may take up while nothing happens. While much is written it keeps its length, for making it longer
/// costs more than replacing what is in it.
const RESTING_FILE_BYTES: u64 = 16 << 20;
/// From where on a log is a long one.
const LONG_BYTES: u64 = 2 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Database {
    /// Makes all that was committed durable.
    pub(in crate::sqlitefs) fn sync_log(&self) -> rustix::io::Result<()> {
        rustix::fs::fdatasync(self.log()?)?;
        if !self.is_folder_synced.load(Ordering::Relaxed) {
            if let Some(file) = self.new_file.get() {
                rustix::fs::fdatasync(file)?;
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
            rustix::fs::fsync(rustix::fs::openat(CWD, &self.folder, flags, Mode::empty())?)?;
            self.is_folder_synced.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether there is less than this room for the next commits before they make the log longer. Whatever goes wrong here
    /// is no reason to do it, nor is a disk with little space.
    pub(in crate::sqlitefs) fn is_log_short(&self, room_bytes: u64) -> bool {
        let extent = || Some((self.log_used()?, self.log_len().ok()?));
        !self.is_log_stuck.load(Ordering::Relaxed)
            && extent().is_some_and(|(used, len)| used.saturating_add(room_bytes) > len)
            && self.free_bytes() > PLENTY_BYTES
    }

    /// Whether the log's file is longer than it needs to be while nothing happens, whatever is in it.
    pub(in crate::sqlitefs) fn is_log_long(&self) -> bool {
        self.log_len().is_ok_and(|len| len > RESTING_FILE_BYTES)
    }

    /// Whether the disk has little more space than the log takes up. Moved into the database in time, the log gives its
    /// place back; on a full disk that may be impossible.
    pub(in crate::sqlitefs) fn is_log_in_the_way(&self) -> bool {
        let free = self.free_bytes();
        free < PLENTY_BYTES && self.log_len().is_ok_and(|len| len > SMALL_BYTES && len * 2 > free)
    }

    /// What the disk has left. Much, if it does not tell.
    fn free_bytes(&self) -> u64 {
        let disk = self.log().and_then(rustix::fs::fstatvfs);
        disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Makes the log's file longer. Nothing may be committed meanwhile. Tells whether there is something to sync.
    pub(in crate::sqlitefs) fn extend_log(&self, room_bytes: u64) -> bool {
        // Somebody may have done it meanwhile, or the log has begun anew.
        if !self.is_log_short(room_bytes) {
            return false;
        }
        let Some(used) = self.log_used() else { return false };
        let extended = self.log().and_then(|log| {
            let len = self.log_len()?;
            let step = if used < LONG_BYTES { STEPS_BYTES.0 } else { STEPS_BYTES.1 };
            write_zeros(log, len.max(used), used + step).inspect_err(|_| {
                // What was the last of the disk's space is better left to those who have something to write.
                let _ = rustix::fs::ftruncate(log, len);
            })
        });
        self.is_log_stuck.store(extended.is_err(), Ordering::Relaxed);
        extended.is_ok()
    }

    /// How many bytes of the log SQLite uses.
    pub(in crate::sqlitefs) fn log_used(&self) -> Option<u64> {
        let turn = self.turn();
        let mut statement = turn.statement("PRAGMA wal_checkpoint(NOOP)").ok()?;
        let frames = statement.query_row([], |row| natural(row, 1)).ok()?;
        Some(HEADER_BYTES + frames * (PAGE_BYTES + FRAME_BYTES))
    }

    fn log_len(&self) -> rustix::io::Result<u64> {
        Ok(rustix::fs::fstat(self.log()?)?.st_size.unsigned_abs())
    }

    fn log(&self) -> rustix::io::Result<&OwnedFd> {
        match self.log.get() {
            Some(log) => Ok(log),
            None => {
                let opened = open_file(&self.folder.join(format!("{FILE_NAME}{LOG_SUFFIX}")))?;
                Ok(self.log.get_or_init(|| opened))
            }
        }
    }
}

fn write_zeros(file: &OwnedFd, from: u64, to: u64) -> rustix::io::Result<()> {
    let mut at = from;
    while at < to {
        let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        at += rustix::io::pwrite(file, &ZEROS[..count], at)? as u64;
    }
    Ok(())
}
