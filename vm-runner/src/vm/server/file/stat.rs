//! `?stat`: what a path is.

use vm_abi::{FileType, Stat, Timespec};
use vm_api::{FileStat, Problem, route};
use vm_vfs::{Follow, Location};

use super::Target;
use super::condition::etag;
use super::made_up::is_made_up;

/// The attributes of the target; a symbolic link is not followed.
pub(super) fn stat(target: &Target<'_>) -> Result<FileStat, Problem> {
    target.act(|walk, path| {
        let found = walk.resolve_with(path, Follow::No)?;
        let stat = found.stat()?;
        let link = if stat.file_type().is_symlink() { Some(walk.read_link(path)?) } else { None };
        Ok(describe_found(path, &found, &stat, link))
    })
}

/// The document about what was found at a path.
pub(super) fn describe_found(path: &[u8], found: &Location, stat: &Stat, link: Option<Vec<u8>>) -> FileStat {
    let mut document = describe(path, stat, link);
    if is_made_up(found) {
        document.etag = None;
    }
    document
}

/// The document about a path.
pub(super) fn describe(path: &[u8], stat: &Stat, link: Option<Vec<u8>>) -> FileStat {
    let (path, path_encoded) = wire_path(path);
    let (target, target_encoded) = link.map_or((None, None), |link| {
        let (text, encoded) = wire_path(&link);
        (Some(text), encoded)
    });
    FileStat {
        path,
        path_encoded,
        file_type: wire_type(stat.file_type()),
        size: stat.size,
        mode: format!("{:04o}", stat.mode & 0o7777),
        uid: stat.uid.0,
        gid: stat.gid.0,
        links: stat.nlink,
        inode: stat.ino,
        modified: rfc3339(stat.mtime),
        changed: rfc3339(stat.ctime),
        accessed: rfc3339(stat.atime),
        target,
        target_encoded,
        etag: stat.file_type().is_regular().then(|| etag(stat)),
    }
}

/// A path as text, and percent-encoded if the text is not exact.
pub(super) fn wire_path(path: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(path).into_owned(), Some(route::encode_guest_path(path))),
    }
}

pub(super) fn wire_type(file_type: FileType) -> vm_api::FileType {
    match file_type {
        FileType::Directory => vm_api::FileType::Directory,
        FileType::Symlink => vm_api::FileType::Symlink,
        FileType::Fifo => vm_api::FileType::Fifo,
        FileType::Socket => vm_api::FileType::Socket,
        FileType::CharDevice => vm_api::FileType::CharDevice,
        FileType::BlockDevice => vm_api::FileType::BlockDevice,
        FileType::Regular => vm_api::FileType::File,
    }
}

pub(super) fn timestamp(time: Timespec) -> jiff::Timestamp {
    let nanos = i32::try_from(time.nsec).unwrap_or_default();
    jiff::Timestamp::new(time.sec, nanos).unwrap_or_default()
}

fn rfc3339(time: Timespec) -> String {
    timestamp(time).to_string()
}
