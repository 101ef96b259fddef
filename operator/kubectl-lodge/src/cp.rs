//! `kubectl lodge cp`: files and folders between here and a workspace, both ways, streamed.
//!
//! ```text
//!  file    PUT or GET files/PATH      at its place at once or not at all, on both sides
//!  folder  PUT or GET files:archive   a tar archive that is never held anywhere
//! ```
//! Modes and times are kept; owners are those of who writes.

mod download;
mod pack;
mod progress;
mod unpack;
mod upload;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vm_api::{FileStat, ProblemCode};

use crate::args::ClusterArgs;
use crate::error::Error;
use crate::gateway::Ask;
use crate::place::{Place, RemotePath};
use crate::remote::Remote;
use crate::signals::until_signal;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  # A file into the home directory, and under another name
  kubectl lodge cp notes.txt ada:
  kubectl lodge cp notes.txt ada:/work/today.txt

  # A folder, both ways
  kubectl lodge cp ./project ada:/work
  kubectl lodge cp ada:/work/project ./project

  # Without some of it (from a workspace)
  kubectl lodge cp ada:/work/project . --exclude node_modules --exclude .git

  # From standard input, to standard output; a folder comes out as a tar archive
  pg_dump db | kubectl lodge cp - ada:/work/db.sql
  kubectl lodge cp ada:/work - | tar tv

  # In another namespace
  kubectl lodge cp team-b/ada:/work/report.pdf .

Into what is a directory already, it goes under its own name; a destination that ends with / is a
directory. A file replaces what was there at once or not at all. A folder is merged, entry by
entry; what a transfer that fails has brought stays. Modes and times are kept. Symbolic links are
copied as links, but for the one that is named itself. A workspace that sleeps is not woken for
copying from it.";

/// Copy files and folders from and to workspaces
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CpArgs {
    /// From where: PATH, NAME:PATH, or - for standard input
    #[arg(value_name = "FROM")]
    from: Place,
    /// To where: PATH, NAME:PATH, or - for standard output
    #[arg(value_name = "TO")]
    to: Place,
    /// Leave out what matches, when a folder is copied from a workspace (repeatable)
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Show no progress
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Copies.
pub(crate) async fn run(
    args: CpArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let CpArgs { from, to, exclude, quiet } = args;
    if quiet {
        terminal.is_watched = false;
    }
    until_signal(async {
        match (from, to) {
            (Place::There(from), to @ (Place::Here(_) | Place::Standard)) => {
                let (remote, path) = Remote::at(&from, &cluster_args).await?;
                download::run(&remote, path, here(to), &exclude, terminal).await
            }
            (from @ (Place::Here(_) | Place::Standard), Place::There(to)) => {
                if !exclude.is_empty() {
                    return Err(Error::Usage("--exclude is for copying from a workspace".to_owned()));
                }
                let (remote, path) = Remote::at(&to, &cluster_args).await?;
                upload::run(&remote, here(from), path, is_directory_wanted(&to), terminal).await
            }
            (Place::There(_), Place::There(_)) => Err(Error::Usage(
                "one of FROM and TO must be here; within a workspace use `kubectl lodge exec NAME -- cp`"
                    .to_owned(),
            )),
            (Place::Here(_) | Place::Standard, Place::Here(_) | Place::Standard) => Err(Error::Usage(
                "one of FROM and TO must be in a workspace: NAME:PATH, such as ada:/work".to_owned(),
            )),
        }
    })
    .await?;
    Ok(0)
}

fn here(place: Place) -> Option<PathBuf> {
    match place {
        Place::Here(path) => Some(path),
        Place::Standard | Place::There(_) => None,
    }
}

fn is_directory_wanted(to: &RemotePath) -> bool {
    to.path.is_empty() || to.path.ends_with('/')
}

/// Whether there is a directory at a path of the workspace, behind links too.
async fn is_directory(remote: &Remote, path: &str, terminal: &mut Terminal) -> Result<bool, Error> {
    let inside = format!("{}/.", path.trim_end_matches('/'));
    match remote.document::<FileStat>(Ask::get(remote.route.stat(&inside)), terminal).await {
        Ok(_) => Ok(true),
        Err(error) if error.is(ProblemCode::NotADirectory) || error.is(ProblemCode::PathNotFound) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Makes a folder here, with those above it.
fn make_folder(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Error::Usage(format!(
            "{} cannot be a folder: it, or one above it, is a file; name another destination",
            folder.display()
        )),
        _ => Error::file(folder, "cannot be made")(error),
    })
}
