//! An archive of a workspace, put into a folder here.
//!
//! The archive is somebody else's. Nothing leads out of the folder: absolute names and `..` are refused, and so is an entry
//! behind a symbolic link, whether the archive brought the link or it was there. Neither owners nor the set-id bits of
//! modes are taken over, and no devices, pipes or sockets.

use std::ffi::OsStr;
use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
use tar::{Archive, Entry, EntryType};
use tokio::sync::mpsc;

use crate::error::Error;

/// Permission bits that are taken over.
const MODE_BITS: u32 = 0o777;

/// Extracts an archive that comes through a channel into `top`, and tells what was left out.
pub(super) fn unpack(chunks: mpsc::Receiver<Bytes>, top: &Path) -> Result<Vec<String>, Error> {
    let mut extraction = Extraction { top, skipped: Vec::new(), directories: Vec::new() };
    super::make_folder(top)?;
    let mut archive = Archive::new(ChunkReader { chunks, current: Bytes::new() });
    let broken = |error: io::Error| Error::Archive(error.to_string());
    let mut extract_all = || {
        for entry in archive.entries().map_err(broken)? {
            extraction.extract(&mut entry.map_err(broken)?)?;
        }
        Ok(())
    };
    let outcome: Result<(), Error> = extract_all();
    let Extraction { skipped, directories, .. } = extraction;
    // The innermost first: a directory that may not be searched hides what is in it, and every new entry changes the time
    // of its directory.
    for (path, mode, modified) in directories.into_iter().rev() {
        let set =
            fs::set_permissions(&path, Permissions::from_mode(mode)).and_then(|()| set_time(&path, modified));
        // One that belongs to somebody else keeps what it has.
        match set {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied && outcome.is_ok() => {
                return Err(Error::file(path, "cannot get its mode and time")(error));
            }
            _ => {}
        }
    }
    outcome.map(|()| skipped)
}

struct Extraction<'a> {
    top: &'a Path,
    skipped: Vec<String>,
    /// With what they get when nothing is put into them any more.
    directories: Vec<(PathBuf, u32, SystemTime)>,
}

impl Extraction<'_> {
    fn extract<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), Error> {
        let name = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&name).into_owned();
        let names = names(&name).map_err(|why| Error::Archive(format!("the entry {shown:?} {why}")))?;
        let modified = modified(entry);
        let mode = entry.header().mode().unwrap_or(0o644) & MODE_BITS;
        let kind = entry.header().entry_type();
        let Some((last, above)) = names.split_last() else {
            if kind == EntryType::Directory {
                self.directories.push((self.top.to_owned(), mode, modified));
            }
            return Ok(());
        };
        let directory = self.descend(above, &shown)?;
        let path = directory.join(last);
        let failed = |error| Error::file(&path, "cannot be written")(error);
        match kind {
            EntryType::Directory => {
                self.descend(&names, &shown)?;
                self.directories.push((path, mode, modified));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                make_room(&path).map_err(failed)?;
                write(entry, &path, mode, modified).map_err(failed)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                make_room(&path).map_err(failed)?;
                symlink(OsStr::from_bytes(&target), &path).map_err(failed)?;
                set_time(&path, modified).map_err(failed)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target_names = self::names(&target)
                    .map_err(|why| Error::Archive(format!("the entry {shown:?} is a link to what {why}")))?;
                let Some((last, above)) = target_names.split_last() else {
                    return Err(Error::Archive(format!("the entry {shown:?} is a link to nothing")));
                };
                let source = self.descend(above, &shown)?.join(last);
                make_room(&path).map_err(failed)?;
                fs::hard_link(source, &path).map_err(failed)?;
            }
            _ => self.skipped.push(shown),
        }
        Ok(())
    }

    /// The directory below the top with these names, made where it is missing; no link is followed.
    fn descend(&self, names: &[&OsStr], shown: &str) -> Result<PathBuf, Error> {
        let mut at = self.top.to_owned();
        for name in names {
            at.push(name);
            match fs::symlink_metadata(&at) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.file_type().is_symlink() => {
                    let link = at.display();
                    return Err(Error::Archive(format!(
                        "the entry {shown:?} lies behind the symbolic link {link}"
                    )));
                }
                Ok(_) => {
                    return Err(Error::file(at, "cannot be entered")(io::ErrorKind::NotADirectory.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir(&at).map_err(Error::file(&at, "cannot be made"))?;
                }
                Err(error) => return Err(Error::file(at, "cannot be entered")(error)),
            }
        }
        Ok(at)
    }
}

/// The names of a path, if it stays below where it begins.
fn names(path: &[u8]) -> Result<Vec<&OsStr>, &'static str> {
    match path {
        [] => return Err("has no name"),
        [b'/', ..] => return Err("has an absolute name"),
        _ if path.contains(&0) => return Err("has a NUL in its name"),
        _ => {}
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err("has .. in its name"),
            name => names.push(OsStr::from_bytes(name)),
        }
    }
    Ok(names)
}

/// Removes what is in an entry's place, but no directory.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn write<R: Read>(entry: &mut Entry<'_, R>, path: &Path, mode: u32, modified: SystemTime) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let size = entry.size();
    if io::copy(entry, &mut file)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_times(FileTimes::new().set_modified(modified))
}

/// Sets the time of a path itself, which may be a link.
fn set_time(path: &Path, modified: SystemTime) -> io::Result<()> {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or_default(),
            tv_nsec: since.subsec_nanos().into(),
        },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
}

/// When an entry was changed, as exactly as it says.
fn modified<R: Read>(entry: &mut Entry<'_, R>) -> SystemTime {
    let exact = entry.pax_extensions().ok().flatten().and_then(|extensions| {
        let found = extensions.flatten().find(|extension| extension.key_bytes() == b"mtime")?;
        parse_time(found.value().ok()?)
    });
    exact.unwrap_or_else(|| {
        let seconds = Duration::from_secs(entry.header().mtime().unwrap_or_default());
        UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH)
    })
}

/// Seconds with a fraction, as pax writes them.
fn parse_time(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let time = Duration::new(seconds.parse().ok()?, digits.parse().ok()?);
    UNIX_EPOCH.checked_add(time)
}

/// Reads what comes through a channel.
struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current[..count]);
        self.current.advance(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry whose name no builder would write.
    fn raw(name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_mtime(7);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn extract(entries: &[Vec<u8>], top: &Path) -> Result<Vec<String>, Error> {
        let (sender, chunks) = mpsc::channel(4);
        let bytes = [entries.concat(), vec![0; 1024]].concat();
        sender.blocking_send(Bytes::from(bytes)).unwrap();
        drop(sender);
        unpack(chunks, top)
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        for name in [&b"../x"[..], b"/tmp/x", b"a/../../x", b"a/.."] {
            let error = extract(&[raw(name, EntryType::Regular, b"", b"evil")], &top).unwrap_err();
            assert!(matches!(error, Error::Archive(_)), "{error}");
        }
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn nothing_is_written_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (top, outside) = (folder.path().join("top"), folder.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let link = raw(b"link", EntryType::Symlink, b"../outside", b"");
        let behind = raw(b"link/x", EntryType::Regular, b"", b"evil");
        let error = extract(&[link.clone(), behind], &top).unwrap_err().to_string();
        assert!(error.contains("behind the symbolic link"), "{error}");
        let directory = raw(b"link/sub/", EntryType::Directory, b"", b"");
        assert!(extract(&[link.clone(), directory], &top).is_err());
        let hard = raw(b"hard", EntryType::Link, b"link/x", b"");
        assert!(extract(&[link.clone(), hard], &top).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // A file replaces a link and is not written through it.
        fs::write(outside.join("kept"), "kept").unwrap();
        let link = raw(b"x", EntryType::Symlink, b"../outside/kept", b"");
        extract(&[link, raw(b"x", EntryType::Regular, b"", b"new")], &top).unwrap();
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(top.join("x")).unwrap(), "new");
    }

    #[test]
    fn a_hard_link_cannot_name_what_is_outside() {
        let folder = tempfile::tempdir().unwrap();
        for target in [&b"/etc/passwd"[..], b"../x"] {
            let error = extract(&[raw(b"hard", EntryType::Link, target, b"")], folder.path()).unwrap_err();
            assert!(error.to_string().contains("is a link to what"), "{error}");
        }
    }

    #[test]
    fn modes_lose_what_would_give_rights_and_times_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [
            raw(b"./", EntryType::Directory, b"", b""),
            raw(b"d/", EntryType::Directory, b"", b""),
            raw(b"d/f", EntryType::Regular, b"", b"abc"),
            raw(b"pipe", EntryType::Fifo, b"", b""),
        ];
        assert_eq!(extract(&entries, folder.path()).unwrap(), ["pipe"]);
        for name in ["d", "d/f", ""] {
            let found = fs::metadata(folder.path().join(name)).unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, 0o755, "{name}");
            assert_eq!(found.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(7), "{name}");
        }
    }

    #[test]
    fn an_archive_that_is_cut_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, chunks) = mpsc::channel(4);
        let mut bytes = raw(b"f", EntryType::Regular, b"", &[1; 2000]);
        bytes.truncate(1000);
        sender.blocking_send(Bytes::from(bytes)).unwrap();
        drop(sender);
        assert!(unpack(chunks, folder.path()).is_err());
    }

    #[test]
    fn times_have_fractions() {
        assert_eq!(parse_time("7.5").unwrap(), UNIX_EPOCH + Duration::from_millis(7500));
        assert_eq!(parse_time("7").unwrap(), UNIX_EPOCH + Duration::from_secs(7));
        assert!(parse_time("-1").is_none() && parse_time("x").is_none());
    }
}
