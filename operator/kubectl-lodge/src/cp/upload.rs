//! From here to a workspace.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;
use vm_api::{ArchiveResponse, AttributesRequest, FileStat, file_archive};

use super::progress::Progress;
use super::{is_directory, pack};
use crate::error::Error;
use crate::gateway::{Ask, ChunkBody};
use crate::place::join;
use crate::remote::Remote;
use crate::terminal::Terminal;

/// Bytes that are read at once, and how many times that is read ahead.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS: usize = 4;

/// Copies a file, a folder, or standard input (`from` is `None`).
pub(super) async fn run(
    remote: &Remote,
    from: Option<PathBuf>,
    to: String,
    wants_directory: bool,
    terminal: &mut Terminal,
) -> Result<(), Error> {
    let is_into = is_directory(remote, &to, terminal).await? || wants_directory;
    let Some(from) = from else {
        if is_into {
            let text = format!("{to} is a directory: name the file that standard input is to be");
            return Err(Error::Usage(text));
        }
        return standard_input(remote, &to, terminal).await;
    };
    // The one that is named is followed.
    let metadata = std::fs::metadata(&from).map_err(Error::file(&from, "cannot be copied"))?;
    let to = if is_into { join(&to, &own_name(&from)?) } else { to };
    if metadata.is_dir() {
        folder(remote, from, &to, terminal).await
    } else if metadata.is_file() {
        file(remote, from, &metadata, &to, terminal).await
    } else {
        Err(Error::Usage(format!(
            "{} is neither a file nor a folder; give - for standard input",
            from.display()
        )))
    }
}

/// The name under which something goes into a directory.
fn own_name(from: &Path) -> Result<String, Error> {
    let name = match from.file_name() {
        Some(name) => Some(name.to_owned()),
        // `.` and `..` have one too.
        None => {
            from.canonicalize().map_err(Error::file(from, "cannot be found"))?.file_name().map(Into::into)
        }
    };
    name.and_then(|name| name.into_string().ok())
        .ok_or_else(|| Error::Usage(format!("{} has no name: name the destination in full", from.display())))
}

async fn standard_input(remote: &Remote, to: &str, terminal: &mut Terminal) -> Result<(), Error> {
    let progress = Progress::new(to, None);
    let body = ChunkBody::new(terminal.input().into_chunks(), None, Arc::clone(&progress.passed));
    let ask = Ask::put(format!("{}?parents", remote.route.file(to))).chunks(body);
    progress.watch(put(remote, ask, to), terminal).await.map(drop)
}

async fn file(
    remote: &Remote,
    from: PathBuf,
    metadata: &Metadata,
    to: &str,
    terminal: &mut Terminal,
) -> Result<(), Error> {
    let length = metadata.len();
    let file = File::open(&from).map_err(Error::file(&from, "cannot be read"))?;
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || read(file, length, &sender));
    let progress = Progress::new(from.display().to_string(), Some(length));
    let body = ChunkBody::new(chunks, Some(length), Arc::clone(&progress.passed));
    let mode = metadata.permissions().mode() & 0o777;
    let ask = Ask::put(format!("{}?parents&mode={mode:04o}", remote.route.file(to))).chunks(body);
    progress.watch(put(remote, ask, to), terminal).await?;
    let Some(modified) = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()) else {
        return Ok(());
    };
    let times = AttributesRequest { modified: Some(modified.to_string()), ..AttributesRequest::default() };
    remote.ask(Ask::patch(remote.route.file(to)).json(&times), terminal).await?.bytes().await.map(drop)
}

/// Reads exactly what was promised.
fn read(file: File, length: u64, sender: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut left = length;
    let mut file = file.take(length);
    while left > 0 {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        let read = match read {
            Ok(0) => Err(std::io::Error::other("the file was cut shorter while it was read")),
            Ok(count) => Ok(count as u64),
            Err(error) => Err(error),
        };
        let is_failed = read.is_err();
        left = left.saturating_sub(*read.as_ref().unwrap_or(&0));
        if sender.blocking_send(read.map(|_| Bytes::from(chunk))).is_err() || is_failed {
            return;
        }
    }
}

async fn put(remote: &Remote, ask: Ask, to: &str) -> Result<FileStat, Error> {
    match remote.ask_quietly(ask).await {
        Ok(reply) => reply.json().await,
        Err(Error::Unreachable { why, .. }) => {
            Err(Error::Transfer(format!("the transfer broke off, and {to} is as it was, or whole: {why}")))
        }
        Err(error) => Err(error),
    }
}

async fn folder(remote: &Remote, from: PathBuf, to: &str, terminal: &mut Terminal) -> Result<(), Error> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let progress = Progress::new(from.display().to_string(), None);
    let packing = tokio::task::spawn_blocking(move || pack::pack(&from, sender));
    let body = ChunkBody::new(chunks, None, Arc::clone(&progress.passed));
    let route = format!("{}&parents", remote.route.archive(to));
    let ask = Ask::put(route).chunks(body).header(http::header::CONTENT_TYPE, file_archive::MEDIA_TYPE);
    let sent = async { remote.ask_quietly(ask).await?.json::<ArchiveResponse>().await };
    let outcome = progress.watch(sent, terminal).await;
    let packed = packing.await.map_err(|error| Error::Transfer(error.to_string()))?;
    match (outcome, packed) {
        // What went wrong here is why the rest did.
        (_, Err(error)) => Err(error),
        (Err(Error::Unreachable { why, .. }), Ok(_)) => Err(Error::Transfer(format!(
            "the transfer broke off, and a part of the folder may be in {to}: {why}"
        ))),
        (Err(error), Ok(_)) => Err(error),
        (Ok(_), Ok(skipped)) => {
            for path in skipped {
                terminal.tell(&format!("left out, for it is no file: {}", path.display()));
            }
            Ok(())
        }
    }
}
