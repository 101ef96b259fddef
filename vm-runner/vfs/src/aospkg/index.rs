//! The tree of a package: its index chunk.

use std::ops::Range;

use vm_abi::{FileType, Mode};

use super::ParseError;
use super::bare::Reader;
use crate::path::{MAX_PATH_BYTES, VPath};

/// A file, directory or link of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its path, from the package's root.
    pub path: VPath,
    /// What it is.
    pub body: IndexBody,
    /// Permission bits.
    pub mode: Mode,
    /// Time of the last change, in seconds since the epoch.
    pub mtime: i64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexBody {
    /// Bytes, at this range of the content.
    File(Range<usize>),
    /// A directory.
    Directory,
    /// A symbolic link to this path.
    Symlink(String),
}

const SCHEMA: u16 = 1;

/// Decodes and checks the whole index. Owners are read over: they are those of the machine that built the package.
pub(super) fn decode(reader: &mut Reader<'_>, content_len: u64) -> Result<Vec<IndexEntry>, ParseError> {
    reader.schema(&[SCHEMA])?;
    let mut is_first = true;
    let mut entries: Vec<IndexEntry> = Vec::new();
    let mut last_path = "";
    reader.list(|reader| {
        let raw = RawEntry::read(reader)?;
        if std::mem::take(&mut is_first) {
            last_path = raw.path;
            return raw.check_root();
        }
        if raw.path.as_bytes() <= last_path.as_bytes() {
            return Err(raw.bad("is out of order or there twice"));
        }
        last_path = raw.path;
        let entry = raw.check(content_len)?;
        check_parent(&entries, &raw)?;
        entries.push(entry);
        Ok(())
    })?;
    if is_first {
        return Err(reader.malformed("it has no entry for the root directory"));
    }
    reader.finish()?;
    Ok(entries)
}

/// An entry as it is encoded.
struct RawEntry<'a> {
    path: &'a str,
    kind: u64,
    offset: u64,
    size: u64,
    mode: u32,
    mtime: i64,
    link_target: Option<&'a str>,
}

impl<'a> RawEntry<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let path = reader.text()?;
        let kind = reader.varuint()?;
        let offset = reader.u64()?;
        let size = reader.u64()?;
        let mode = reader.u32()?;
        let _owner = (reader.u32()?, reader.u32()?);
        let mtime = reader.i64()?;
        let link_target = reader.optional(Reader::text)?;
        Ok(Self { path, kind, offset, size, mode, mtime, link_target })
    }

    fn bad(&self, what: &'static str) -> ParseError {
        ParseError::BadEntry { path: self.path.to_owned(), what }
    }

    fn check_root(&self) -> Result<(), ParseError> {
        if self.path == "/" && self.kind == 1 {
            Ok(())
        } else {
            Err(self.bad("is the first entry but not the root directory"))
        }
    }

    fn check(&self, content_len: u64) -> Result<IndexEntry, ParseError> {
        let path = VPath::new(self.path.as_bytes()).map_err(|_| self.bad("is no absolute, normal path"))?;
        if path.as_bytes() != self.path.as_bytes() {
            return Err(self.bad("is no absolute, normal path"));
        }
        let (body, file_type) = match self.kind {
            0 => (IndexBody::File(self.range(content_len)?), FileType::Regular),
            1 => (IndexBody::Directory, FileType::Directory),
            2 => (IndexBody::Symlink(self.target()?), FileType::Symlink),
            _ => return Err(self.bad("is of an unknown kind")),
        };
        if FileType::from_mode_bits(self.mode) != Some(file_type) {
            return Err(self.bad("has a mode of another type"));
        }
        Ok(IndexEntry { path, body, mode: Mode::new(self.mode), mtime: self.mtime })
    }

    fn range(&self, content_len: u64) -> Result<Range<usize>, ParseError> {
        let end = self.offset.checked_add(self.size).filter(|&end| end <= content_len);
        match (usize::try_from(self.offset), end.map(usize::try_from)) {
            (Ok(start), Some(Ok(end))) => Ok(start..end),
            (Ok(_) | Err(_), Some(Ok(_) | Err(_)) | None) => Err(self.bad("lies outside of the content")),
        }
    }

    fn target(&self) -> Result<String, ParseError> {
        match self.link_target {
            Some(target) if !target.is_empty() && target.len() < MAX_PATH_BYTES && !target.contains('\0') => {
                Ok(target.to_owned())
            }
            Some(_) | None => Err(self.bad("is a link without a usable target")),
        }
    }
}

/// The entry's directory must have come before it.
fn check_parent(entries: &[IndexEntry], raw: &RawEntry<'_>) -> Result<(), ParseError> {
    let slash = raw.path.rfind('/').unwrap_or(0);
    if slash == 0 {
        return Ok(());
    }
    let parent = &raw.path.as_bytes()[..slash];
    let found = entries.binary_search_by(|entry| entry.path.as_bytes().cmp(parent));
    match found.map(|position| &entries[position].body) {
        Ok(IndexBody::Directory) => Ok(()),
        Ok(IndexBody::File(_) | IndexBody::Symlink(_)) => {
            Err(raw.bad("is below something that is no directory"))
        }
        Err(_) => Err(raw.bad("has no directory above it")),
    }
}
