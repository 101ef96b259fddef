//! From a workspace to here.

use std::fs::{FileTimes, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use http::header::CONTENT_LENGTH;
use jiff::Timestamp;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use vm_api::{FileStat, FileType, route};

use super::is_directory;
use super::progress::Progress;
use super::unpack::unpack;
use crate::error::Error;
use crate::gateway::{Ask, Reply};
use crate::place::last_name;
use crate::remote::Remote;
use crate::terminal::Terminal;

/// Chunks that are read ahead.
const CHUNKS: usize = 16;

/// Copies a file or a folder to a path here, or to standard output (`to` is `None`).
pub(super) async fn run(
    remote: &Remote,
    from: String,
    to: Option<PathBuf>,
    exclude: &[String],
    terminal: &mut Terminal,
) -> Result<(), Error> {
    let stat: FileStat = remote.document(Ask::get(remote.route.stat(&from)), terminal).await?;
    let (is_folder, source) = match stat.file_type {
        FileType::Directory => (true, from.clone()),
        // What is named is followed.
        FileType::Symlink if is_directory(remote, &from, terminal).await? => {
            (true, format!("{}/.", from.trim_end_matches('/')))
        }
        _ => (false, from.clone()),
    };
    let ask =
        Ask::get(if is_folder { archive(remote, &source, exclude) } else { remote.route.file(&source) });
    let Some(to) = to else {
        let reply = remote.ask(ask, terminal).await?;
        return to_standard_output(reply, terminal).await;
    };
    let to = destination(to, &from)?;
    if is_folder {
        let reply = remote.ask(ask, terminal).await?;
        return folder(reply, &from, to, terminal).await;
    }
    let reply = remote.ask(ask, terminal).await?;
    // A link's own mode and time are not its file's.
    let stat = (stat.file_type != FileType::Symlink).then_some(stat);
    file(reply, stat, &from, &to, terminal).await
}

fn archive(remote: &Remote, path: &str, exclude: &[String]) -> String {
    let patterns: String = exclude
        .iter()
        .map(|pattern| format!("&exclude={}", route::encode_guest_path(pattern.as_bytes())))
        .collect();
    format!("{}{patterns}", remote.route.archive(path))
}

/// Where it goes: into what is a directory, under its own name.
fn destination(to: PathBuf, from: &str) -> Result<PathBuf, Error> {
    let wants_directory = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !to.is_dir() && !wants_directory {
        return Ok(to);
    }
    let name = last_name(from).ok_or_else(|| {
        Error::Usage(format!("{from} has no name: name the destination in full, and one that is new"))
    })?;
    Ok(to.join(name))
}

async fn to_standard_output(mut reply: Reply, terminal: &mut Terminal) -> Result<(), Error> {
    while let Some(chunk) = reply.chunk().await? {
        terminal.print(&chunk)?;
    }
    Ok(())
}

/// Writes a file beside its place, and puts it there when it is whole.
async fn file(
    mut reply: Reply,
    stat: Option<FileStat>,
    from: &str,
    to: &Path,
    terminal: &mut Terminal,
) -> Result<(), Error> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if to.as_os_str().as_encoded_bytes().contains(&b'/') {
        super::make_folder(folder)?;
    }
    let mut part = NamedTempFile::with_prefix_in(".lodge-download-", folder)
        .map_err(Error::file(folder, "no file can be made in it"))?;
    let length = reply.header(&CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let progress = Progress::new(from, length);
    let receiving = async {
        while let Some(chunk) = reply.chunk().await.map_err(broken)? {
            part.write_all(&chunk).map_err(Error::file(to, "cannot be written"))?;
            progress.passed.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    progress.watch(receiving, terminal).await?;
    let failed = |error| Error::file(to, "cannot be put in its place")(error);
    let mode =
        stat.as_ref().and_then(|stat| u32::from_str_radix(&stat.mode, 8).ok()).unwrap_or(0o644) & 0o777;
    part.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    if let Some(time) = stat.and_then(|stat| stat.modified.parse::<Timestamp>().ok()) {
        let times = FileTimes::new().set_modified(SystemTime::from(time));
        part.as_file().set_times(times).map_err(failed)?;
    }
    part.persist(to).map_err(|error| failed(error.error))?;
    Ok(())
}

fn broken(error: Error) -> Error {
    match error {
        Error::Unreachable { why, .. } => {
            Error::Transfer(format!("the transfer broke off, and nothing was changed here: {why}"))
        }
        error => error,
    }
}

async fn folder(mut reply: Reply, from: &str, to: PathBuf, terminal: &mut Terminal) -> Result<(), Error> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let progress = Progress::new(from, None);
    let mut unpacking = tokio::task::spawn_blocking(move || unpack(chunks, &to));
    let receiving = async {
        while let Some(chunk) = reply.chunk().await? {
            progress.passed.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if sender.send(chunk).await.is_err() {
                // Whoever unpacks has ended, and says why.
                break;
            }
        }
        drop(sender);
        Ok(())
    };
    let received = progress.watch(receiving, terminal).await;
    let unpacked = (&mut unpacking).await.map_err(|error| Error::Transfer(error.to_string()))?;
    if let Err(Error::Unreachable { why, .. }) = received {
        return Err(Error::Transfer(format!(
            "the transfer broke off, and a part of the folder is here: {why}"
        )));
    }
    received?;
    for name in unpacked? {
        terminal.tell(&format!("left out, for it is no file: {name}"));
    }
    Ok(())
}
