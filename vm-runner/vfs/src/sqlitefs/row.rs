//! An inode as the database keeps it.

use rusqlite::{Row, params};
use vm_abi::{DeviceNumber, FileType, Gid, Mode, Timespec, Uid};

use super::database::{Turn, invalid, natural};
use crate::path::{Name, NameBuf};

/// One row of the table of inodes.
#[derive(Clone, Debug)]
pub(super) struct InodeRow {
    pub(super) ino: u64,
    pub(super) file_type: FileType,
    pub(super) mode: Mode,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) nlink: u64,
    pub(super) rdev: DeviceNumber,
    /// In bytes; of a directory the number of its entries.
    pub(super) size: u64,
    /// What the content takes of the budget.
    pub(super) content_bytes: u64,
    /// What the extended attributes take of the budget.
    pub(super) xattr_bytes: u64,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    /// Where a directory hangs; `None` for the root, removed ones and what is no directory.
    pub(super) place: Option<(u64, NameBuf)>,
    /// Where a symbolic link points.
    pub(super) target: Option<Vec<u8>>,
}

impl InodeRow {
    pub(super) const SELECT: &'static str =
        "SELECT ino, kind, mode, uid, gid, nlink, rdev, size, content_bytes,
        xattr_bytes, atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec, parent, name, target
        FROM inode WHERE ino = ?1";
    const PUT: &'static str = "INSERT OR REPLACE INTO inode
        (ino, kind, mode, uid, gid, nlink, rdev, size, content_bytes, xattr_bytes, atime, atime_nsec, mtime,
         mtime_nsec, ctime, ctime_nsec, parent, name, target)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let small =
            |at: usize| u32::try_from(natural(row, at)?).map_err(|_| invalid(at, "a number too large"));
        let time = |at: usize| {
            Timespec::new(row.get(at)?, small(at + 1)?).ok_or_else(|| invalid(at + 1, "no valid time"))
        };
        let file_type =
            FileType::from_mode_bits(small(1)?).ok_or_else(|| invalid(1, "a type that no file can have"))?;
        let parent: Option<i64> = row.get(16)?;
        let name = row.get_ref(17)?.as_blob_or_null()?.map(Name::new).transpose();
        let name = name.map_err(|_| invalid(17, "a name that no file can have"))?;
        Ok(Self {
            ino: natural(row, 0)?,
            file_type,
            mode: Mode::new(small(2)?),
            uid: Uid(small(3)?),
            gid: Gid(small(4)?),
            nlink: natural(row, 5)?,
            rdev: DeviceNumber(row.get::<_, i64>(6)? as u64),
            size: natural(row, 7)?,
            content_bytes: natural(row, 8)?,
            xattr_bytes: natural(row, 9)?,
            atime: time(10)?,
            mtime: time(12)?,
            ctime: time(14)?,
            place: parent.zip(name).map(|(parent, name)| (parent as u64, name.to_owned())),
            target: row.get(18)?,
        })
    }

    pub(super) fn write(&self, turn: &Turn<'_>) -> rusqlite::Result<()> {
        let place = self.place.as_ref();
        turn.statement(Self::PUT)?.execute(params![
            self.ino as i64,
            self.file_type.mode_bits(),
            self.mode.bits(),
            self.uid.0,
            self.gid.0,
            self.nlink as i64,
            self.rdev.0 as i64,
            self.size as i64,
            self.content_bytes as i64,
            self.xattr_bytes as i64,
            self.atime.sec,
            self.atime.nsec,
            self.mtime.sec,
            self.mtime.nsec,
            self.ctime.sec,
            self.ctime.nsec,
            place.map(|(parent, _)| *parent as i64),
            place.map(|(_, name)| name.as_bytes()),
            self.target.as_deref(),
        ])?;
        Ok(())
    }
}
