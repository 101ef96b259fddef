//! The structs of WASI preview 1 in guest memory: sizes, offsets, encodings.

use vm_abi::Stat;

use crate::convert::{nanoseconds, wasi_file_type};
use crate::standard::Rights;

/// Bytes of `filestat`.
pub(crate) const FILESTAT_BYTES: usize = 64;
/// Bytes of `fdstat`.
pub(crate) const FDSTAT_BYTES: usize = 24;
/// Bytes of a `dirent` before its name.
pub(crate) const DIRENT_BYTES: usize = 24;
/// Bytes of a `subscription`.
pub(crate) const SUBSCRIPTION_BYTES: u32 = 48;
/// Bytes of an `event`.
pub(crate) const EVENT_BYTES: usize = 32;

/// Rights of preview 1. The kernel checks permissions; libraries only derive access modes from these.
pub(crate) mod rights {
    pub(crate) const READ: u64 = 1 << 1;
    pub(crate) const SEEK: u64 = 1 << 2;
    pub(crate) const TELL: u64 = 1 << 5;
    pub(crate) const WRITE: u64 = 1 << 6;
    /// Cutting a file that is opened.
    pub(crate) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    /// Every right there is.
    pub(crate) const ALL: u64 = 0x3fff_ffff;
    /// What makes no sense for a directory: reading and writing it, seeking, cutting, polling, connections.
    const OF_FILES: u64 = READ | SEEK | TELL | WRITE | 1 << 8 | 1 << 22 | 1 << 27 | 1 << 28 | 1 << 29;
    /// What standard libraries want to be allowed with a directory.
    pub(crate) const OF_DIRECTORIES: u64 = ALL & !OF_FILES;
}

/// Encodes `filestat`.
pub(crate) fn filestat(stat: &Stat) -> [u8; FILESTAT_BYTES] {
    let mut bytes = [0; FILESTAT_BYTES];
    bytes[0..8].copy_from_slice(&stat.dev.to_le_bytes());
    bytes[8..16].copy_from_slice(&stat.ino.to_le_bytes());
    bytes[16] = wasi_file_type(stat.file_type());
    bytes[24..32].copy_from_slice(&stat.nlink.to_le_bytes());
    bytes[32..40].copy_from_slice(&stat.size.to_le_bytes());
    bytes[40..48].copy_from_slice(&nanoseconds(stat.atime).to_le_bytes());
    bytes[48..56].copy_from_slice(&nanoseconds(stat.mtime).to_le_bytes());
    bytes[56..64].copy_from_slice(&nanoseconds(stat.ctime).to_le_bytes());
    bytes
}

/// Encodes `fdstat`.
pub(crate) fn fdstat(file_type: u8, flags: u16, rights: Rights) -> [u8; FDSTAT_BYTES] {
    let mut bytes = [0; FDSTAT_BYTES];
    bytes[0] = file_type;
    bytes[2..4].copy_from_slice(&flags.to_le_bytes());
    bytes[8..16].copy_from_slice(&rights.base.to_le_bytes());
    bytes[16..24].copy_from_slice(&rights.inheriting.to_le_bytes());
    bytes
}

/// Encodes the head of a directory entry.
pub(crate) fn dirent(next_cookie: u64, ino: u64, name_len: u32, file_type: u8) -> [u8; DIRENT_BYTES] {
    let mut bytes = [0; DIRENT_BYTES];
    bytes[0..8].copy_from_slice(&next_cookie.to_le_bytes());
    bytes[8..16].copy_from_slice(&ino.to_le_bytes());
    bytes[16..20].copy_from_slice(&name_len.to_le_bytes());
    bytes[20] = file_type;
    bytes
}

/// Kinds of subscriptions and events.
pub(crate) mod event_type {
    pub(crate) const CLOCK: u8 = 0;
    pub(crate) const FD_READ: u8 = 1;
    pub(crate) const FD_WRITE: u8 = 2;
}

/// Encodes an event.
pub(crate) fn event(
    userdata: [u8; 8],
    errno: u16,
    event_type: u8,
    bytes_ready: u64,
    is_hangup: bool,
) -> [u8; EVENT_BYTES] {
    let mut bytes = [0; EVENT_BYTES];
    bytes[0..8].copy_from_slice(&userdata);
    bytes[8..10].copy_from_slice(&errno.to_le_bytes());
    bytes[10] = event_type;
    bytes[16..24].copy_from_slice(&bytes_ready.to_le_bytes());
    bytes[24] = u8::from(is_hangup);
    bytes
}

#[cfg(test)]
mod tests {
    use vm_abi::{DeviceNumber, FileType, Gid, Mode, Timespec, Uid};

    use super::*;

    #[test]
    fn a_filestat_has_its_fields_where_preview_1_wants_them() {
        let stat = Stat {
            dev: 1,
            ino: 2,
            mode: FileType::Regular.mode_bits() | Mode::new(0o644).bits(),
            nlink: 3,
            uid: Uid(0),
            gid: Gid(0),
            rdev: DeviceNumber::NONE,
            size: 4,
            blocks: 8,
            atime: Timespec::from_secs(5),
            mtime: Timespec::from_secs(6),
            ctime: Timespec::from_secs(7),
        };
        let bytes = filestat(&stat);
        let word = |index: usize| u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap());
        let seconds = 1_000_000_000;
        assert_eq!(
            (0..8).map(word).collect::<Vec<_>>(),
            [1, 2, 4, 3, 4, 5 * seconds, 6 * seconds, 7 * seconds]
        );
    }

    #[test]
    fn an_fdstat_has_both_kinds_of_rights() {
        let bytes = fdstat(4, 1, Rights { base: rights::READ, inheriting: rights::ALL });
        assert_eq!(bytes[..4], [4, 0, 1, 0]);
        assert_eq!(bytes[8], 2);
        assert_eq!(bytes[16..20], [0xff, 0xff, 0xff, 0x3f]);
    }
}
