//! Finds the files in an `.aospkg` (format 1): as much of the format as it takes to compile what is in it.
//!
//! The file system that mounts packages is `vm_vfs::packagefs`; this crate does not depend on it, and wants the bytes
//! of regular files only.

use std::ops::Range;

const MAGIC: &[u8] = b"\x89AOS\x01\0\0\0";
const SCHEMA: &[u8] = &[1, 0];
const KIND_FILE: u64 = 0;

/// Path (relative to the package) and bytes of every regular file, as ranges of `package`. `None`: not such a package.
pub(super) fn files(package: &[u8]) -> Option<Vec<(String, Range<usize>)>> {
    let mut header = Reader { bytes: package, at: 0 };
    if header.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let manifest_len = header.u32()? as usize;
    let index_len = header.u32()? as usize;
    header.take(manifest_len)?;
    let mut index = Reader { bytes: header.take(index_len)?, at: 0 };
    let contents = header.at..package.len();
    if index.take(SCHEMA.len())? != SCHEMA {
        return None;
    }
    let count = index.varuint()?;
    let mut files = Vec::new();
    for _ in 0..count {
        let (path, kind, range) = entry(&mut index)?;
        if kind != KIND_FILE {
            continue;
        }
        let start = contents.start.checked_add(range.start)?;
        let end = contents.start.checked_add(range.end)?;
        if start > end || end > contents.end {
            return None;
        }
        files.push((path.strip_prefix('/')?.to_owned(), start..end));
    }
    Some(files)
}

fn entry(index: &mut Reader<'_>) -> Option<(String, u64, Range<usize>)> {
    let path = index.string()?;
    let kind = index.varuint()?;
    let offset = usize::try_from(index.u64()?).ok()?;
    let size = usize::try_from(index.u64()?).ok()?;
    let _mode_uid_gid_mtime = index.take(4 + 4 + 4 + 8)?;
    if index.take(1)? == [1] {
        index.string()?;
    }
    let end = if kind == KIND_FILE { offset.checked_add(size)? } else { offset };
    Some((path, kind, offset..end))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn varuint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<String> {
        let len = usize::try_from(self.varuint()?).ok()?;
        String::from_utf8(self.take(len)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(index: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut package = MAGIC.to_vec();
        package.extend(2u32.to_le_bytes());
        package.extend(u32::try_from(index.len()).unwrap().to_le_bytes());
        package.extend(SCHEMA);
        package.extend(index);
        package.extend(contents);
        package
    }

    fn entry(path: &str, kind: u8, offset: u64, size: u64) -> Vec<u8> {
        let mut entry = vec![u8::try_from(path.len()).unwrap()];
        entry.extend(path.as_bytes());
        entry.push(kind);
        entry.extend(offset.to_le_bytes());
        entry.extend(size.to_le_bytes());
        entry.extend([0; 20]);
        entry.push(0);
        entry
    }

    #[test]
    fn regular_files_are_found_with_their_bytes() {
        let index =
            [SCHEMA.to_vec(), vec![3], entry("/", 1, 0, 0), entry("/bin", 1, 9, 0), entry("/bin/x", 0, 2, 3)]
                .concat();
        let package = package(&index, b"..abc.");
        let files = files(&package).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, "bin/x");
        assert_eq!(&package[files[0].1.clone()], b"abc");
    }

    #[test]
    fn a_file_beyond_the_end_and_a_cut_index_are_refused() {
        let beyond = [SCHEMA.to_vec(), vec![1], entry("/x", 0, 2, 5)].concat();
        assert_eq!(files(&package(&beyond, b"..abc.")), None);
        let huge = [SCHEMA.to_vec(), vec![1], entry("/x", 0, u64::MAX, 5)].concat();
        assert_eq!(files(&package(&huge, b"..abc.")), None);
        let cut = [SCHEMA.to_vec(), vec![2], entry("/x", 0, 0, 1)].concat();
        assert_eq!(files(&package(&cut, b"..abc.")), None);
        assert_eq!(files(b"\0asm"), None);
    }
}
