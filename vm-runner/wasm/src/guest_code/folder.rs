#![expect(
    clippy::disallowed_methods,
    reason = "host-facing: the folder in which a vm process keeps the code it compiled; no guest path reaches this file"
)]
//! The folder of compiled guest programs, from which the next boot of the same workspace maps them.
//!
//! A file's name says everything about it: the module, the engine it was compiled for, and the hash of what is in it. So
//! a file that was written in part, or changed, is told from a whole one and compiled again; nothing needs to be synced.
//!
//! The folder is in the same domain of trust as the vm process that uses it: only that process may write there, and the
//! code in it runs with that process's rights. Whoever took over a vm process could leave code there for the next one of
//! the same workspace, as they could in the workspace's files; it must never be shared between workspaces, and nobody
//! else may load from it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::engine::hex;

/// Ends the names of the files.
const EXTENSION: &str = ".cwasm";
/// Ends the names of files that are being written.
const PARTIAL: &str = ".partial";
/// Digits of the hash of a file's content in its name.
const CHECK_DIGITS: usize = 32;
/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Files that are looked at when the folder is opened.
const MAX_FILES: usize = 4096;

/// Where to keep compiled guest programs, and how much of them.
#[derive(Clone, Debug)]
pub struct GuestCodeCache {
    folder: PathBuf,
    max_bytes: u64,
}

impl GuestCodeCache {
    /// Keeps at most `max_bytes` in `folder`, which is made when it is first needed. Only one process may use it.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { folder: folder.into(), max_bytes }
    }
}

/// The folder, opened for one engine.
pub(super) struct CodeFolder {
    folder: PathBuf,
    max_bytes: u64,
    fingerprint: String,
    /// By the module they are of.
    files: HashMap<String, Kept>,
}

struct Kept {
    name: String,
    bytes: u64,
    last_use: SystemTime,
    /// Whether this process has seen that the content is what the name says.
    is_checked: bool,
}

impl CodeFolder {
    /// Looks at what is there, and removes what this engine cannot use.
    pub(super) fn open(cache: GuestCodeCache, fingerprint: &str) -> Self {
        let GuestCodeCache { folder, max_bytes } = cache;
        let mut opened =
            Self { folder, max_bytes, fingerprint: fingerprint.to_owned(), files: HashMap::new() };
        match opened.list() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let folder = opened.folder.display();
                tracing::warn!(%folder, %error, "compiled programs of the last time are not used");
            }
        }
        opened.make_room(0);
        opened
    }

    /// The file with this module's code, if it is there and whole.
    pub(super) fn find(&mut self, module: &str) -> Option<PathBuf> {
        let kept = self.files.get_mut(module)?;
        let path = self.folder.join(&kept.name);
        kept.last_use = SystemTime::now();
        if kept.is_checked {
            return Some(path);
        }
        if hash_of(&path).is_ok_and(|hash| kept.name == file_name(module, &self.fingerprint, hash)) {
            kept.is_checked = true;
            // Only the order in which files are removed depends on it.
            let _stale =
                File::options().write(true).open(&path).and_then(|file| file.set_modified(kept.last_use));
            return Some(path);
        }
        tracing::warn!(path = %path.display(), "a compiled program is damaged and is compiled again");
        self.remove(module);
        None
    }

    /// Keeps a module's code. `None` if that is not possible; then it has to be kept in memory.
    pub(super) fn put(&mut self, module: &str, code: &[u8]) -> Option<PathBuf> {
        let bytes = code.len() as u64;
        if bytes > self.max_bytes {
            return None;
        }
        self.make_room(bytes);
        let name = file_name(module, &self.fingerprint, Sha256::new_with_prefix(code));
        let path = self.folder.join(&name);
        match self.write(&path, code) {
            Ok(()) => {
                let kept = Kept { name, bytes, last_use: SystemTime::now(), is_checked: true };
                self.files.insert(module.to_owned(), kept);
                Some(path)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled program is kept in memory only");
                None
            }
        }
    }

    /// Forgets a module's code.
    pub(super) fn remove(&mut self, module: &str) {
        if let Some(kept) = self.files.remove(module) {
            remove(&self.folder.join(kept.name));
        }
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        // A locked down vm process may make no folder: there it was made for it.
        if !self.folder.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let written = File::create(&partial)
            .and_then(|mut file| file.write_all(code))
            .and_then(|()| fs::rename(&partial, path));
        written.inspect_err(|_| remove(&partial))
    }

    fn list(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)?.take(MAX_FILES) {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = entry.metadata()?;
            match self.module_of(&name) {
                Some(module) if metadata.is_file() => {
                    let last_use = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    let kept = Kept { name, bytes: metadata.len(), last_use, is_checked: false };
                    if let Some(other) = self.files.insert(module, kept) {
                        remove(&self.folder.join(other.name));
                    }
                }
                // Of another engine, or unfinished. What is not ours stays.
                _ if name.ends_with(EXTENSION) || name.ends_with(PARTIAL) => remove(&entry.path()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Which module a file is of, if it is for this engine.
    fn module_of(&self, name: &str) -> Option<String> {
        let mut parts = name.strip_suffix(EXTENSION)?.split('-');
        let (module, fingerprint, check) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = parts.next().is_none()
            && module.len() == 64
            && fingerprint == self.fingerprint
            && check.len() == CHECK_DIGITS;
        is_ours.then(|| module.to_owned())
    }

    /// Removes the files used least recently until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) {
        let mut used: u64 = self.files.values().map(|kept| kept.bytes).sum();
        while used.saturating_add(bytes) > self.max_bytes {
            let oldest =
                self.files.iter().min_by_key(|(_, kept)| kept.last_use).map(|(module, _)| module.clone());
            let Some(oldest) = oldest else { return };
            used = used.saturating_sub(self.files.get(&oldest).map_or(0, |kept| kept.bytes));
            self.remove(&oldest);
        }
    }
}

/// Hashes a file piece by piece: compiled programs can be larger than what a VM has to spare.
fn hash_of(path: &Path) -> io::Result<Sha256> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash),
            count => hash.update(&piece[..count]),
        }
    }
}

fn file_name(module: &str, fingerprint: &str, hash: Sha256) -> String {
    let mut check = hex(&hash.finalize());
    check.truncate(CHECK_DIGITS);
    format!("{module}-{fingerprint}-{check}{EXTENSION}")
}

/// Removes a file. One that stays is replaced or found out later.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a file in the folder of compiled programs stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn open(folder: &Path, max_bytes: u64, fingerprint: &str) -> CodeFolder {
        CodeFolder::open(GuestCodeCache::new(folder.join("cwasm"), max_bytes), fingerprint)
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder.join("cwasm")).map_or(0, Iterator::count)
    }

    #[test]
    fn what_one_boot_kept_the_next_one_finds() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path(), 100, "f").find(A).is_none());
        let path = open(folder.path(), 100, "f").put(A, b"code").unwrap();
        let mut again = open(folder.path(), 100, "f");
        assert_eq!(again.find(A), Some(path.clone()));
        assert_eq!(fs::read(path).unwrap(), b"code");
        assert!(again.find(B).is_none());
    }

    #[test]
    fn code_of_another_engine_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 100, "f").put(A, b"code").unwrap();
        assert!(open(folder.path(), 100, "g").find(A).is_none());
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_torn_or_changed_file_is_not_used() {
        for damage in [&b"cod"[..], b"", b"evil", b"code and more"] {
            let folder = tempfile::tempdir().unwrap();
            let path = open(folder.path(), 100, "f").put(A, b"code").unwrap();
            fs::write(&path, damage).unwrap();
            let mut again = open(folder.path(), 100, "f");
            assert!(again.find(A).is_none());
            assert!(!path.exists());
            assert!(again.put(A, b"code").is_some());
        }
    }

    #[test]
    fn a_large_file_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let code: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let path = open(folder.path(), 1 << 30, "f").put(A, &code).unwrap();
        assert!(open(folder.path(), 1 << 30, "f").find(A).is_some());
        let last = code.len() as u64 - 1;
        let file = File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"!", last).unwrap();
        assert!(open(folder.path(), 1 << 30, "f").find(A).is_none());
    }

    #[test]
    fn unfinished_files_are_removed_and_foreign_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = open(folder.path(), 100, "f").put(A, b"code").unwrap();
        fs::write(path.with_extension("cwasm.partial"), b"co").unwrap();
        fs::write(folder.path().join("cwasm/notes"), b"").unwrap();
        assert!(open(folder.path(), 100, "f").find(A).is_some());
        assert_eq!(files(folder.path()), 2);
    }

    #[test]
    fn the_file_used_least_recently_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = open(folder.path(), 10, "f");
        opened.put(A, b"1234").unwrap();
        opened.put(B, b"12345").unwrap();
        assert!(opened.find(A).is_some());
        let third = "c".repeat(64);
        opened.put(&third, b"123").unwrap();
        assert!(opened.find(B).is_none());
        assert!(opened.find(A).is_some() && opened.find(&third).is_some());
        assert!(opened.put(B, b"12345678901").is_none(), "larger than the folder may be");
        assert_eq!(files(folder.path()), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_made_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cwasm"), b"a file").unwrap();
        assert!(open(folder.path(), 100, "f").put(A, b"code").is_none());
    }
}
