//! A folder as a tar archive, entry by entry, in a thread of its own.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use crate::error::Error;

/// Bytes that are gathered before they are sent.
const CHUNK_BYTES: usize = 256 << 10;

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// Writes the archive of everything below `top`, and tells what was left out. A failure ends the archive, so that the
/// other side notices it too; that the other side has ended it is no failure here.
pub(super) fn pack(top: &Path, sender: Sender) -> Result<Vec<PathBuf>, Error> {
    let mut builder = Builder::new(ChunkWriter { sender: sender.clone(), buffer: Vec::new() });
    let mut skipped = Vec::new();
    let packed = add_all(&mut builder, top, &mut skipped);
    let outcome = packed.and_then(|()| {
        builder.into_inner().and_then(|mut writer| writer.flush()).map_err(Error::file(top, "cannot be sent"))
    });
    match outcome {
        Ok(()) => Ok(skipped),
        Err(Error::File { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => Ok(skipped),
        Err(error) => {
            // Nobody may be there to hear it.
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            Err(error)
        }
    }
}

fn add_all(builder: &mut Builder<ChunkWriter>, top: &Path, skipped: &mut Vec<PathBuf>) -> Result<(), Error> {
    let mut next = vec![PathBuf::new()];
    while let Some(below) = next.pop() {
        let path = top.join(&below);
        // The folder that is named is followed; what is in it is not.
        let is_top = below.as_os_str().is_empty();
        let metadata = if is_top { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let metadata = metadata.map_err(Error::file(&path, "cannot be read"))?;
        let kind = metadata.file_type();
        if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
            skipped.push(path);
            continue;
        }
        let name = if is_top { PathBuf::from(".") } else { below.clone() };
        add(builder, &path, &name, &metadata).map_err(Error::file(&path, "cannot be read"))?;
        if kind.is_dir() {
            let mut names = fs::read_dir(&path)
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
                })
                .map_err(Error::file(&path, "cannot be listed"))?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            next.extend(names.iter().map(|name| below.join(name)));
        }
    }
    Ok(())
}

fn add(builder: &mut Builder<ChunkWriter>, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o777);
    // Whoever unpacks it owns it.
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header.set_size(0);
    let time = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    if metadata.mtime() >= 0 {
        builder.append_pax_extensions([("mtime", time.as_bytes())])?;
    }
    let kind = metadata.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        return builder.append_data(&mut header, directory_name(name), io::empty());
    }
    if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        return builder.append_link(&mut header, name, fs::read_link(path)?);
    }
    header.set_entry_type(EntryType::Regular);
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    header.set_size(length);
    let mut content = Exactly { file: file.take(length), left: length };
    builder.append_data(&mut header, name, &mut content)
}

/// A directory's name ends with a slash.
fn directory_name(name: &Path) -> PathBuf {
    let mut bytes = name.as_os_str().as_bytes().to_vec();
    bytes.push(b'/');
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes).to_owned())
}

/// A file of the length that was promised.
struct Exactly {
    file: io::Take<File>,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("the file was cut shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Sends what is written.
struct ChunkWriter {
    sender: Sender,
    buffer: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
