//! The package format `.aospkg`, format 1: header, manifest, index, content.
//!
//! ```text
//! 0   4  magic 89 41 4F 53      8   4  u32 manifest length       16  manifest chunk
//! 4   2  u16 format = 1         12  4  u32 index length          ..  index chunk
//! 6   2  u16 flags = 0                                           ..  content, to the end of the file
//! ```
//!
//! All integers are little-endian. Manifest and index each start with a `u16` schema version, followed by a value in
//! the BARE encoding that uses up its chunk. Index offsets count from the start of the content, which is an
//! uncompressed tar archive; its headers are never read.
//!
//! Pure: bytes in, values out. No bytes make it panic, and what it allocates is bounded by the length of its input.

mod bare;
mod index;
mod manifest;

use std::ops::Range;

use thiserror::Error;

use bare::Reader;
pub use index::{IndexBody, IndexEntry};
pub use manifest::{Agent, Command, ManPage, Manifest, ProvidedFile, Provides};

const MAGIC: [u8; 4] = [0x89, 0x41, 0x4f, 0x53];
const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
/// The longest manifest that is read.
const MAX_MANIFEST_BYTES: usize = 1 << 20;
/// The longest index that is read.
const MAX_INDEX_BYTES: usize = 64 << 20;

/// A package's parts, decoded and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What the package says about itself.
    pub manifest: Manifest,
    /// Its tree: ascending by path, each parent before its children, the root left out.
    pub entries: Vec<IndexEntry>,
    /// Where in the file the content lies, to which the entries' offsets are relative.
    pub content: Range<usize>,
}

/// Why bytes are no package.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The file does not start as a package.
    #[error("not an .aospkg file: the magic number is missing")]
    NotAPackage,
    /// A version this parser does not know.
    #[error("{part} has version {version}, which this runner does not know; update the runner")]
    UnknownVersion {
        /// Header, manifest or index.
        part: &'static str,
        /// The version found.
        version: u16,
    },
    /// The header has flags.
    #[error("the header has unknown flags {0:#06x}; update the runner")]
    UnknownFlags(u16),
    /// Something ends too early.
    #[error("the package is cut off in its {0}")]
    Truncated(&'static str),
    /// A part is longer than what is read.
    #[error("the {part} has {len} bytes, above the limit of {max}")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A value is not encoded as it must be.
    #[error("malformed {part}: {what}")]
    Malformed {
        /// Manifest or index.
        part: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// An entry of the index cannot be served.
    #[error("index entry {path:?}: {what}")]
    BadEntry {
        /// Its path.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Reads a package's manifest and index.
///
/// # Errors
/// If the bytes are not a whole, consistent package of a known version.
pub fn parse(bytes: &[u8]) -> Result<Package, ParseError> {
    let header: &[u8; HEADER_BYTES] = match bytes.first_chunk() {
        Some(header) if header.starts_with(&MAGIC) => header,
        Some(_) => return Err(ParseError::NotAPackage),
        None if bytes.starts_with(&MAGIC) => return Err(ParseError::Truncated("header")),
        None => return Err(ParseError::NotAPackage),
    };
    let version = u16::from_le_bytes([header[4], header[5]]);
    if version != FORMAT_VERSION {
        return Err(ParseError::UnknownVersion { part: "header", version });
    }
    let flags = u16::from_le_bytes([header[6], header[7]]);
    if flags != 0 {
        return Err(ParseError::UnknownFlags(flags));
    }
    let manifest_len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let index_len = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    let (manifest, rest) = take_chunk(&bytes[HEADER_BYTES..], "manifest", manifest_len, MAX_MANIFEST_BYTES)?;
    let (index, content) = take_chunk(rest, "index", index_len, MAX_INDEX_BYTES)?;
    Ok(Package {
        manifest: manifest::decode(&mut Reader::new("manifest", manifest))?,
        entries: index::decode(&mut Reader::new("index", index), content.len() as u64)?,
        content: bytes.len() - content.len()..bytes.len(),
    })
}

fn take_chunk<'a>(
    bytes: &'a [u8],
    part: &'static str,
    len: usize,
    max: usize,
) -> Result<(&'a [u8], &'a [u8]), ParseError> {
    if len > max {
        return Err(ParseError::TooLong { part, len, max });
    }
    bytes.split_at_checked(len).ok_or(ParseError::Truncated(part))
}

#[cfg(test)]
pub(crate) mod tests;
