//! Tar archives, byte by byte: chunks in, entries and their content out. Knows no file and does no I/O.
//!
//! Understood are the formats ustar, pax and GNU's, with names of any length and bytes. Refused with a reason are sparse
//! entries, volumes of several parts, and compression.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use tar::{EntryType, Header};
use vm_abi::Timespec;

/// The unit of an archive.
pub(super) const BLOCK_BYTES: usize = 512;
/// Most bytes of a pax header or a long name.
const MAX_META_BYTES: u64 = 1 << 20;
/// Most bytes of an entry: no file is larger.
const MAX_CONTENT_BYTES: u64 = i64::MAX as u64;

/// Why an archive cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("this is no tar archive: the header at byte {0} has a wrong checksum")]
    Checksum(u64),
    #[error("the archive is compressed with {0}; send it uncompressed")]
    Compressed(&'static str),
    #[error("the header at byte {offset}: {field} is no number")]
    Number { offset: u64, field: &'static str },
    #[error("the pax header at byte {0} is malformed")]
    Pax(u64),
    #[error("a name or pax header at byte {0} is longer than {MAX_META_BYTES} bytes")]
    MetaTooLong(u64),
    #[error("{0} is sparse; make the archive without --sparse")]
    Sparse(String),
    #[error("{name} is an entry of type {kind:?}, which cannot be extracted")]
    Kind { name: String, kind: char },
    #[error("the archive ends at byte {0}, in the middle of an entry")]
    Truncated(u64),
}

/// An entry, before its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Bytes of content that follow.
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: Timespec,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// Points to this.
    Symlink(Vec<u8>),
    /// Another name of this entry.
    HardLink(Vec<u8>),
    Fifo,
    /// Major and minor number.
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// A piece of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Entry(Entry),
    /// The next bytes of the content of the entry before.
    Data(Bytes),
    /// All content of the entry was told.
    EntryEnd,
}

/// Reads an archive.
#[derive(Default)]
pub(super) struct Decoder {
    input: BytesMut,
    state: State,
    /// Bytes read so far.
    offset: u64,
    /// What a pax header or a long name says about the next entry.
    next: Overrides,
}

#[derive(Default)]
enum State {
    #[default]
    Header,
    Content {
        left: u64,
        padding: usize,
    },
    /// Content that nobody needs.
    Skip {
        left: u64,
    },
    /// A pax header or a long name.
    Meta {
        kind: Meta,
        size: usize,
    },
    /// After the last entry; what follows does not matter.
    End,
}

#[derive(Clone, Copy)]
enum Meta {
    Pax,
    LongName,
    LongLink,
}

#[derive(Default, PartialEq)]
struct Overrides {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Timespec>,
    is_sparse: bool,
}

impl Decoder {
    /// Takes the next bytes of the archive.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.input.is_empty() {
            self.input = BytesMut::from(chunk);
        } else {
            self.input.extend_from_slice(&chunk);
        }
    }

    /// The next piece; `None` if more bytes are needed for it.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            match self.state {
                State::End => {
                    self.input.clear();
                    return Ok(None);
                }
                State::Content { left: 0, padding } => {
                    let Some(_) = self.split(padding) else { return Ok(None) };
                    self.state = State::Header;
                    return Ok(Some(Item::EntryEnd));
                }
                State::Content { left, padding } => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
                    let Some(data) = self.split(most).filter(|data| !data.is_empty()) else {
                        return Ok(None);
                    };
                    self.state = State::Content { left: left - data.len() as u64, padding };
                    return Ok(Some(Item::Data(data.freeze())));
                }
                State::Skip { left: 0 } => self.state = State::Header,
                State::Skip { left } => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
                    let Some(data) = self.split(most).filter(|data| !data.is_empty()) else {
                        return Ok(None);
                    };
                    self.state = State::Skip { left: left - data.len() as u64 };
                }
                State::Meta { kind, size } => {
                    let offset = self.offset;
                    let Some(mut data) = self.split(padded(size)) else { return Ok(None) };
                    data.truncate(size);
                    self.state = State::Header;
                    self.meta(kind, &data).ok_or(Error::Pax(offset))?;
                }
                State::Header => {
                    let offset = self.offset;
                    let Some(block) = self.split(BLOCK_BYTES) else { return Ok(None) };
                    if let Some(entry) = self.header(&block, offset)? {
                        return Ok(Some(Item::Entry(entry)));
                    }
                }
            }
        }
    }

    /// There is nothing more: fails if something is missing.
    pub(super) fn end(&self) -> Result<(), Error> {
        // An archive that ends between two entries without its two empty blocks is complete as far as anybody can tell.
        match self.state {
            State::End => Ok(()),
            State::Header
                if self.input.is_empty() && self.offset > 0 && self.next == Overrides::default() =>
            {
                Ok(())
            }
            _ => Err(Error::Truncated(self.offset + self.input.len() as u64)),
        }
    }

    fn split(&mut self, length: usize) -> Option<BytesMut> {
        if self.input.len() < length {
            return None;
        }
        self.offset += length as u64;
        Some(self.input.split_to(length))
    }

    /// Reads a header block; `None` if it is not that of an entry.
    fn header(&mut self, block: &[u8], offset: u64) -> Result<Option<Entry>, Error> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(None);
        }
        let header = Header::from_byte_slice(block);
        if offset == 0
            && let Some(name) = compression(block)
        {
            return Err(Error::Compressed(name));
        }
        if header.cksum().ok() != Some(checksum(block)) {
            return Err(Error::Checksum(offset));
        }
        let number = |field, place: Range<usize>, result: std::io::Result<u64>| match result {
            // Programs that have nothing to say leave a field empty.
            Err(_) if is_blank(&block[place]) => Ok(0),
            result => result.map_err(|_| Error::Number { offset, field }),
        };
        let size = number("size", 124..136, header.entry_size())?;
        let kind = header.entry_type();
        let meta = match kind {
            EntryType::XHeader => Some(Meta::Pax),
            EntryType::GNULongName => Some(Meta::LongName),
            EntryType::GNULongLink => Some(Meta::LongLink),
            _ => None,
        };
        if let Some(kind) = meta {
            if size > MAX_META_BYTES {
                return Err(Error::MetaTooLong(offset));
            }
            self.state = State::Meta { kind, size: usize::try_from(size).unwrap_or_default() };
            return Ok(None);
        }
        if kind == EntryType::XGlobalHeader {
            self.state = State::Skip { left: padded_u64(size) };
            return Ok(None);
        }
        let over = std::mem::take(&mut self.next);
        let name = over.path.unwrap_or_else(|| header.path_bytes().into_owned());
        if over.is_sparse || kind == EntryType::GNUSparse {
            return Err(Error::Sparse(shown(&name)));
        }
        let kind = kind_of(header, over.link, &name)?;
        // Others have no content, whatever their header says; some programs write the target's size there.
        let size = if kind == Kind::File { over.size.unwrap_or(size) } else { 0 };
        if size > MAX_CONTENT_BYTES {
            return Err(Error::Number { offset, field: "size" });
        }
        let padding = padded_u64(size) - size;
        self.state = State::Content { left: size, padding: usize::try_from(padding).unwrap_or_default() };
        let mtime = match mtime_before_1970(block) {
            Some(seconds) => Timespec::from_secs(seconds),
            None => {
                let seconds = number("mtime", 136..148, header.mtime())?;
                Timespec::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
            }
        };
        Ok(Some(Entry {
            kind,
            size,
            mode: u32::try_from(number("mode", 100..108, header.mode().map(u64::from))? & 0o7777)
                .unwrap_or_default(),
            uid: over.uid.map_or_else(|| number("uid", 108..116, header.uid()), Ok)?,
            gid: over.gid.map_or_else(|| number("gid", 116..124, header.gid()), Ok)?,
            mtime: over.mtime.unwrap_or(mtime),
            name,
        }))
    }

    fn meta(&mut self, kind: Meta, data: &[u8]) -> Option<()> {
        let text = || data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match kind {
            Meta::LongName => self.next.path = Some(text()),
            Meta::LongLink => self.next.link = Some(text()),
            Meta::Pax => {
                let mut rest = data;
                while !rest.is_empty() {
                    let (key, value, after) = pax_record(rest)?;
                    self.next.set(key, value)?;
                    rest = after;
                }
            }
        }
        Some(())
    }
}

/// What an entry of this name is; `link` is its target if that was said before it.
fn kind_of(header: &Header, link: Option<Vec<u8>>, name: &[u8]) -> Result<Kind, Error> {
    let link = || {
        let short = || header.link_name_bytes().map(std::borrow::Cow::into_owned);
        link.or_else(short).unwrap_or_default()
    };
    let device = || {
        let major = header.device_major().ok().flatten().unwrap_or_default();
        (major, header.device_minor().ok().flatten().unwrap_or_default())
    };
    Ok(match header.entry_type() {
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link()),
        EntryType::Link => Kind::HardLink(link()),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::CharDevice(device().0, device().1),
        EntryType::Block => Kind::BlockDevice(device().0, device().1),
        other => return Err(Error::Kind { name: shown(name), kind: char::from(other.as_byte()) }),
    })
}

/// A name as an error tells it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

impl Overrides {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(pax_time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
            _ => {}
        }
        Some(())
    }
}

/// One record `length key=value\n`: its key, its value, and what follows. The length counts all of it.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// Seconds since 1970 with a fraction, such as `-1.25`.
fn pax_time(value: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = seconds.starts_with('-');
    let sec: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nsec: u32 = digits.parse().ok()?;
    if is_negative && nsec > 0 {
        return Timespec::new(sec.checked_sub(1)?, 1_000_000_000 - nsec);
    }
    Timespec::new(sec, nsec)
}

/// GNU's way to write what octal digits cannot: a negative number, in binary.
fn mtime_before_1970(block: &[u8]) -> Option<i64> {
    let field = block.get(136..148)?;
    let low = field.get(4..)?.try_into().ok()?;
    (field[0] == 0xff).then(|| i64::from_be_bytes(low))
}

fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

fn checksum(block: &[u8]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

fn compression(block: &[u8]) -> Option<&'static str> {
    let magics: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")];
    magics.iter().find(|(magic, _)| block.starts_with(magic)).map(|(_, name)| *name)
}

/// A size rounded up to whole blocks.
pub(super) fn padded(size: usize) -> usize {
    size.saturating_add(BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES
}

fn padded_u64(size: u64) -> u64 {
    let block = BLOCK_BYTES as u64;
    size.saturating_add(block - 1) / block * block
}

#[cfg(test)]
mod tests;
