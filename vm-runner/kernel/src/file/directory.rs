//! An open directory and the list of its entries that its reader sees.

use std::ops::ControlFlow;
use std::sync::Arc;

use vm_abi::{Errno, FileType};
use vm_vfs::{Caller, DirEntry, Location};

use super::{Addressing, File, FileKind};
use crate::mutex::Mutex;
use crate::usage::{Charge, Meter};

/// One entry on its way to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirRecord<'a> {
    /// Reading on from this cookie gives the entries after this one.
    pub next_cookie: u64,
    /// The inode.
    pub ino: u64,
    /// Its type.
    pub file_type: FileType,
    /// Its name.
    pub name: &'a [u8],
}

/// An open directory.
///
/// The entries are listed when reading starts at cookie 0, and stay as they were until it starts anew; so removing
/// entries while reading disturbs nothing.
pub(crate) struct Directory {
    location: Location,
    memory: Arc<Meter>,
    listing: Mutex<Option<Arc<Listing>>>,
}

/// The entries as they were when reading began.
struct Listing {
    entries: Vec<DirEntry>,
    _charge: Charge,
}

/// Entries before those of the list: `.` and `..`.
const DOTS: usize = 2;
/// What an entry costs besides its name.
const ENTRY_COST: usize = size_of::<DirEntry>() + 16;

impl Directory {
    /// The directory at a location, opened.
    pub(crate) fn new(location: Location, memory: &Arc<Meter>) -> Self {
        Self { location, memory: Arc::clone(memory), listing: Mutex::new(None) }
    }

    /// Gives entries to the sink, from a cookie on, until the sink breaks. `.` and `..` come first.
    pub(crate) fn read(
        &self,
        caller: Caller,
        parent_ino: u64,
        cookie: u64,
        sink: &mut dyn FnMut(DirRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let listing = self.listing(caller, cookie)?;
        let dots = [(&b"."[..], self.location.inode().ino()), (b"..", parent_ino)];
        let dots = dots.iter().map(|(name, ino)| (*name, *ino, FileType::Directory));
        let start = usize::try_from(cookie).unwrap_or(usize::MAX);
        // Reading on is as cheap at the end of a long list as at its start.
        let rest = listing.entries.get(start.saturating_sub(DOTS)..).unwrap_or_default();
        let named = rest.iter().map(|entry| (entry.name.as_bytes(), entry.ino, entry.file_type));
        let cookies = cookie.saturating_add(1)..;
        for ((name, ino, file_type), next_cookie) in dots.skip(start).chain(named).zip(cookies) {
            if sink(DirRecord { next_cookie, ino, file_type, name }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn listing(&self, caller: Caller, cookie: u64) -> Result<Arc<Listing>, Errno> {
        let listed =
            if cookie == 0 { self.listing.lock().take().and(None) } else { self.listing.lock().clone() };
        if let Some(listing) = listed {
            return Ok(listing);
        }
        let entries = self.location.inode().read_dir_for(caller)?;
        let cost: usize = entries.iter().map(|entry| entry.name.as_bytes().len() + ENTRY_COST).sum();
        let listing = Arc::new(Listing { entries, _charge: self.memory.take(cost as u64)? });
        *self.listing.lock() = Some(Arc::clone(&listing));
        Ok(listing)
    }
}

impl File for Directory {
    fn kind(&self) -> FileKind {
        FileKind::Directory
    }

    fn addressing(&self) -> Addressing {
        Addressing::Offset
    }

    fn read_at(&self, _offset: u64, _buffers: &mut [std::io::IoSliceMut<'_>]) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn write_at(&self, _offset: u64, _buffers: &[std::io::IoSlice<'_>]) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }
}
