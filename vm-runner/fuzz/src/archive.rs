//! Tar archives, as a client sends them.

use bytes::Bytes;

// rustfmt would look for its tests beside this file.
#[rustfmt::skip]
#[path = "../../src/vm/server/file/archive/decode.rs"]
#[allow(dead_code, reason = "the runner uses what this does not")]
mod decode;

use decode::{Decoder, Item, Kind};

/// What an archive says, however it was cut: its entries, with their content, and how it ended.
#[derive(Debug, PartialEq)]
struct Told {
    entries: Vec<(decode::Entry, Vec<u8>, bool)>,
    error: Option<String>,
}

/// Reads an archive whole and in pieces.
///
/// # Panics
/// If the two differ, or an entry has another size than it claims.
pub fn archive(data: &[u8]) {
    let mut rest = data;
    let size = usize::from(crate::take(&mut rest)).max(1) * 7;
    let whole = read(rest, rest.len().max(1));
    for (entry, content, is_complete) in &whole.entries {
        assert!(content.len() as u64 <= entry.size, "more content than the entry has");
        assert!(!is_complete || content.len() as u64 == entry.size, "less content than the entry has");
        assert!(entry.mode <= 0o7777 && (entry.kind == Kind::File || entry.size == 0));
    }
    assert_eq!(whole, read(rest, size), "cut into pieces of {size} bytes");
}

fn read(archive: &[u8], size: usize) -> Told {
    let mut decoder = Decoder::default();
    let mut told = Told { entries: Vec::new(), error: None };
    for chunk in archive.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next() {
                Ok(Some(Item::Entry(entry))) => told.entries.push((entry, Vec::new(), false)),
                Ok(Some(Item::Data(data))) => {
                    if let Some((_, content, _)) = told.entries.last_mut() {
                        content.extend_from_slice(&data);
                    }
                }
                Ok(Some(Item::EntryEnd)) => {
                    if let Some((_, _, is_complete)) = told.entries.last_mut() {
                        *is_complete = true;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    told.error = Some(error.to_string());
                    return told;
                }
            }
        }
    }
    told.error = decoder.end().err().map(|error| error.to_string());
    told
}
