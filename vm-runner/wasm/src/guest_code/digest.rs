//! Which content a program file has, without hashing a file twice that did not change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use vm_abi::{Errno, Stat, Timespec};
use vm_kernel::driver::ProgramImage;

use super::MAX_MODULE_BYTES;
use crate::module_cache::Sha256Digest;

/// Files whose hashes are remembered.
const MAX_KNOWN: usize = 256;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How old a change must be to be told from the next one by its time alone.
const SETTLED: Duration = Duration::from_millis(100);

/// The hashes of files that were looked at.
#[derive(Default)]
pub(crate) struct Digests {
    /// Guarded by itself; a leaf in the lock order.
    known: Mutex<HashMap<Version, Sha256Digest>>,
}

/// A file as it was at some time.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Version {
    dev: u64,
    ino: u64,
    size: u64,
    modified: u64,
    changed: u64,
}

impl Digests {
    /// The hash of a program.
    ///
    /// # Errors
    /// `EFBIG` if it is too large to be compiled; what reading answers.
    pub(crate) fn of(&self, image: &ProgramImage) -> Result<Sha256Digest, Errno> {
        let stat = image.stat()?;
        if stat.size > MAX_MODULE_BYTES as u64 {
            tracing::warn!(
                program = %String::from_utf8_lossy(image.path()),
                bytes = stat.size,
                limit_bytes = MAX_MODULE_BYTES,
                "the program is larger than any that is compiled for a guest"
            );
            return Err(Errno::EFBIG);
        }
        if let Some(sha256) = image.content_id() {
            return Ok(sha256);
        }
        let version = Version::of(&stat);
        if let Some(sha256) = self.known().get(&version) {
            return Ok(*sha256);
        }
        let sha256 = hash(image, stat.size)?;
        if is_settled(stat.ctime, SystemTime::now()) {
            let mut known = self.known();
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(version, sha256);
        }
        Ok(sha256)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Version, Sha256Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.dev,
            ino: stat.ino,
            size: stat.size,
            modified: stat.mtime.as_nanos(),
            changed: stat.ctime.as_nanos(),
        }
    }
}

/// Whether the next change of a file will have another time, however coarse the clock of its file system is.
fn is_settled(changed: Timespec, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_nanos(changed.as_nanos()).saturating_add(SETTLED) < now
}

fn hash(image: &ProgramImage, size: u64) -> Result<Sha256Digest, Errno> {
    if let Some(content) = image.map() {
        return Ok(Sha256::digest(&content[..]).into());
    }
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES)).max(1)];
    let mut offset = 0;
    // A file that grows under this is read as far as it went when it was asked for its size.
    while offset < size {
        let wanted = chunk.len().min(usize::try_from(size - offset).unwrap_or(usize::MAX));
        match image.read_at(offset, &mut chunk[..wanted])? {
            0 => break,
            count => {
                hasher.update(&chunk[..count]);
                offset += count as u64;
            }
        }
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_changed_is_hashed_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert!(is_settled(Timespec::from_secs(999), now));
        assert!(!is_settled(Timespec::from_secs(1000), now));
        assert!(!is_settled(Timespec::from_secs(2000), now));
        assert!(!is_settled(Timespec::from_nanos(999_950_000_000), now));
    }
}
