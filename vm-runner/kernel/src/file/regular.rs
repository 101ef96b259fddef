//! A regular file that is open: reads go to its inode, writes through its location, so that watchers hear of them.

use std::io::{IoSlice, IoSliceMut};

use vm_abi::Errno;
use vm_vfs::Location;

use super::{Addressing, File, FileKind, total_len};

/// An open regular file.
pub(crate) struct RegularFile {
    location: Location,
}

impl RegularFile {
    /// The file at a location, opened.
    pub(crate) const fn new(location: Location) -> Self {
        Self { location }
    }
}

impl File for RegularFile {
    fn kind(&self) -> FileKind {
        FileKind::Regular
    }

    fn addressing(&self) -> Addressing {
        Addressing::Offset
    }

    fn read_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let mut done = 0;
        for buffer in buffers.iter_mut().filter(|buffer| !buffer.is_empty()) {
            let count = match self.location.inode().read_at(offset + done as u64, buffer) {
                Ok(count) => count,
                Err(error) if done == 0 => return Err(error.errno()),
                Err(_) => break,
            };
            done += count;
            if count < buffer.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut done = 0;
        for buffer in buffers.iter().filter(|buffer| !buffer.is_empty()) {
            let at = offset.checked_add(done as u64).ok_or(Errno::EFBIG)?;
            let count = match self.location.write_at(at, buffer) {
                Ok(count) => count,
                Err(error) if done == 0 => return Err(error.errno()),
                Err(_) => break,
            };
            done += count;
            if count < buffer.len() {
                break;
            }
        }
        Ok(done)
    }

    fn append(&self, buffers: &[IoSlice<'_>]) -> Result<(usize, u64), Errno> {
        let mut filled = buffers.iter().filter(|buffer| !buffer.is_empty());
        let (first, second) = (filled.next(), filled.next());
        let Some(first) = first else {
            return Ok((0, self.location.inode().stat()?.size));
        };
        // One call, so that the pieces stay together.
        let appended = match second {
            None => self.location.append(first)?,
            Some(_) => self.location.append(&joined(buffers))?,
        };
        Ok((appended.written, appended.end))
    }
}

fn joined(buffers: &[IoSlice<'_>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(total_len(buffers));
    buffers.iter().for_each(|buffer| all.extend_from_slice(buffer));
    all
}
