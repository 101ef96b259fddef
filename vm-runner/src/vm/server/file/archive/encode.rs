//! The headers of a tar archive: ustar, with a pax header before it for what ustar cannot say.

use tar::{EntryType, Header};
use vm_abi::{DeviceNumber, Stat, Timespec};

use super::decode::padded;

/// Longest name and link of a plain header.
const MAX_NAME_BYTES: usize = 100;
/// Largest user and group number of a plain header.
const MAX_ID: u32 = 0o7_777_777;
/// Largest size of a plain header.
const MAX_SIZE: u64 = 0o77_777_777_777;

/// What to write a header for.
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: EntryType,
    pub(super) stat: &'a Stat,
    /// Where a link points.
    pub(super) link: &'a [u8],
    /// Bytes of content that follow.
    pub(super) size: u64,
}

/// Appends the header blocks of an entry.
pub(super) fn header(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let Entry { name, kind, stat, link, size } = entry;
    let mut pax = Vec::new();
    if name.len() > MAX_NAME_BYTES {
        record(&mut pax, "path", name);
    }
    if link.len() > MAX_NAME_BYTES {
        record(&mut pax, "linkpath", link);
    }
    if *size > MAX_SIZE {
        record(&mut pax, "size", size.to_string().as_bytes());
    }
    for (key, id) in [("uid", stat.uid.0), ("gid", stat.gid.0)] {
        if id > MAX_ID {
            record(&mut pax, key, id.to_string().as_bytes());
        }
    }
    if stat.mtime.nsec != 0 || stat.mtime.sec < 0 {
        record(&mut pax, "mtime", time(stat.mtime).as_bytes());
    }
    if !pax.is_empty() {
        let mut head = plain(b"./PaxHeaders/entry", EntryType::XHeader, stat, b"", pax.len() as u64);
        head.set_mode(0o644);
        head.set_cksum();
        out.extend_from_slice(head.as_bytes());
        pad(&mut pax);
        out.append(&mut pax);
    }
    out.extend_from_slice(plain(name, *kind, stat, link, *size).as_bytes());
}

/// Appends the end of an archive.
pub(super) fn end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * super::decode::BLOCK_BYTES, 0);
}

/// Fills up to whole blocks.
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(padded(out.len()), 0);
}

fn plain(name: &[u8], kind: EntryType, stat: &Stat, link: &[u8], size: u64) -> Header {
    let mut header = Header::new_ustar();
    let bytes = header.as_mut_bytes();
    let length = name.len().min(MAX_NAME_BYTES);
    bytes[..length].copy_from_slice(&name[..length]);
    let length = link.len().min(MAX_NAME_BYTES);
    bytes[157..157 + length].copy_from_slice(&link[..length]);
    header.set_entry_type(kind);
    header.set_mode(stat.mode & 0o7777);
    header.set_uid(u64::from(stat.uid.0.min(MAX_ID)));
    header.set_gid(u64::from(stat.gid.0.min(MAX_ID)));
    header.set_size(size.min(MAX_SIZE));
    header.set_mtime(u64::try_from(stat.mtime.sec).unwrap_or_default().min(MAX_SIZE));
    if matches!(kind, EntryType::Char | EntryType::Block) {
        let DeviceNumber { .. } = stat.rdev;
        // A ustar header takes both.
        let _ = header.set_device_major(stat.rdev.major());
        let _ = header.set_device_minor(stat.rdev.minor());
    }
    header.set_cksum();
    header
}

/// Appends a record `length key=value\n`; the length counts itself.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest;
    loop {
        let with_digits = rest + length.to_string().len();
        if with_digits == length {
            break;
        }
        length = with_digits;
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn time(time: Timespec) -> String {
    let Timespec { sec, nsec } = time;
    if sec < 0 && nsec > 0 {
        // A quarter before 1970 is -0.25, and not -1 and three quarters.
        let (sec, nsec) = (sec + 1, 1_000_000_000 - nsec);
        let sign = if sec == 0 { "-" } else { "" };
        return format!("{sign}{sec}.{nsec:09}");
    }
    format!("{sec}.{nsec:09}")
}
