//! Software packages: the whole file, and its parts behind a header that fits.

use vm_vfs::aospkg::{IndexBody, parse};

#[path = "../../wasm/src/software/package_file.rs"]
mod package_file;

/// Reads a package file.
///
/// # Panics
/// If an entry lies outside of the content, entries are out of order, or the builder of the software folder, which has a
/// reader of its own, finds other files.
pub fn package(data: &[u8]) {
    let found = package_file::files(data);
    for (_, range) in found.iter().flatten() {
        assert!(data.get(range.clone()).is_some(), "the builder's range leads out of the package");
    }
    let Ok(package) = parse(data) else { return };
    assert!(package.content.end == data.len() && package.content.start <= data.len());
    let content = &data[package.content.clone()];
    let mut files = Vec::new();
    for (entry, next) in package.entries.iter().zip(package.entries.iter().skip(1)) {
        assert!(entry.path < next.path, "{} is not before {}", entry.path, next.path);
    }
    for entry in &package.entries {
        if let IndexBody::File(range) = &entry.body {
            assert!(content.get(range.clone()).is_some(), "{} leads out of the content", entry.path);
            let range = package.content.start + range.start..package.content.start + range.end;
            files.push((entry.path.to_string().trim_start_matches('/').to_owned(), range));
        }
    }
    assert_eq!(found, Some(files), "the two readers differ");
}

/// Reads a package made of a manifest and an index, with the header that belongs to them.
///
/// # Panics
/// As [`package`].
pub fn package_parts(data: &[u8]) {
    let mut rest = data;
    let manifest_len = usize::from(crate::take(&mut rest)) * 4;
    let content_len = usize::from(crate::take(&mut rest));
    let manifest = crate::take_bytes(&mut rest, manifest_len);
    let index_len = rest.len().saturating_sub(content_len);
    let index = crate::take_bytes(&mut rest, index_len);
    let mut file = b"\x89AOS\x01\0\0\0".to_vec();
    for part in [manifest, index] {
        file.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    for part in [manifest, index, rest] {
        file.extend_from_slice(part);
    }
    package(&file);
}
