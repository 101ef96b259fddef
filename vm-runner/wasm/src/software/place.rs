#![expect(
    clippy::disallowed_methods,
    reason = "the software build and the compiled modules are host files; nothing of a guest reaches this file"
)]
//! The host files of the software folder: reading, and putting files in place so that a half-written one is never seen.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::file("read", path))
}

/// Bytes of a file, or `None` when there is none.
pub(crate) fn size_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Names of the files in a folder; none when the folder is missing.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes a folder and those above it.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// Removes a file or a folder with everything in it, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(Error::file("remove", path))
}

/// Writes a file at once: under another name first, renamed when it is complete.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = partial_name(path);
    let written = File::create(&partial).and_then(|mut file| file.write_all(bytes));
    written.map_err(Error::file("write", &partial))?;
    fs::rename(&partial, path).map_err(Error::file("write", path))
}

/// Puts the file `from` in place as `to`: as a second name of the same file, or as a copy where that is not possible.
pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    let partial = partial_name(to);
    remove(&partial)?;
    if fs::hard_link(from, &partial).is_err() {
        fs::copy(from, &partial).map_err(Error::file("copy", from))?;
    }
    fs::rename(&partial, to).map_err(Error::file("write", to))?;
    // Renaming onto another name of the same file leaves both.
    remove(&partial)
}

/// Holds the folder for one build; another build waits until the returned file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    file.lock().map_err(Error::file("lock", &path))?;
    Ok(file)
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_leaves_no_partial_one_behind() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a"), b"1").unwrap();
        link_or_copy(&folder.path().join("a"), &folder.path().join("b")).unwrap();
        link_or_copy(&folder.path().join("a"), &folder.path().join("b")).unwrap();
        assert_eq!(names_in(folder.path()).unwrap(), ["a", "b"]);
        assert_eq!(read(&folder.path().join("b")).unwrap(), b"1");
    }

    #[test]
    fn a_missing_folder_has_no_files() {
        assert!(names_in(Path::new("/nonexistent/folder")).unwrap().is_empty());
    }
}
