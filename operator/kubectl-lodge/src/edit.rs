//! `kubectl lodge edit`: a file of a workspace in the editor here. What somebody else has changed meanwhile is never
//! overwritten: then the edited copy is kept here.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use tempfile::TempDir;
use vm_api::ProblemCode;

use crate::args::ClusterArgs;
use crate::error::Error;
use crate::gateway::Ask;
use crate::place::{RemotePath, last_name};
use crate::remote::Remote;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  kubectl lodge edit ada:/work/notes.txt

  # With another editor
  EDITOR='code --wait' kubectl lodge edit ada:.profile

If the file has changed in the workspace meanwhile, nothing is written, and the edited copy is
kept here. A file that does not exist is made. The editor is that of KUBE_EDITOR, VISUAL or
EDITOR, else vi.";

/// Edit a file of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EditArgs {
    /// Workspace and path; a relative path begins in the home directory
    #[arg(value_name = "NAME:PATH")]
    pub(crate) place: RemotePath,
    /// Command line of the editor; the file is added to it
    #[arg(long, value_name = "COMMAND", env = "KUBE_EDITOR")]
    pub(crate) editor: Option<String>,
}

/// Edits.
pub(crate) async fn run(
    args: EditArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let EditArgs { place, editor } = args;
    let is_said = |text: &String| !text.trim().is_empty();
    let editor = editor.filter(is_said).or_else(|| terminal.editor.clone());
    let (remote, path) = Remote::at(&place, &cluster_args).await?;
    let name = last_name(&path).ok_or_else(|| Error::Usage(format!("{path} is no file")))?;
    let (before, tag) = match remote.ask(Ask::get(remote.route.file(&path)), terminal).await {
        Ok(reply) => {
            let tag = reply.header(&ETAG).map(str::to_owned);
            (Some(reply.bytes().await?), tag)
        }
        Err(error) if error.is(ProblemCode::PathNotFound) => (None, None),
        Err(error) => return Err(place.refused(error)),
    };
    let Some(editor) = editor.or_else(|| terminal.tty.is_some().then(|| "vi".to_owned())) else {
        return Err(Error::Usage(format!(
            "there is no terminal to open vi in: name an editor that needs none (--editor, KUBE_EDITOR, VISUAL or EDITOR), \
             or copy the file with `kubectl lodge cp {}:{path} .`",
            place.workspace
        )));
    };
    let folder = TempDir::with_prefix("kubectl-lodge-")
        .map_err(Error::file(std::env::temp_dir(), "no folder can be made in it"))?;
    let copy = folder.path().join(name);
    std::fs::write(&copy, before.as_deref().unwrap_or_default())
        .map_err(Error::file(&copy, "cannot be written"))?;
    open(&editor, &copy)?;
    let after = std::fs::read(&copy).map_err(Error::file(&copy, "cannot be read"))?;
    let old = before.as_deref();
    if old == Some(&after[..]) || (old.is_none() && after.is_empty()) {
        terminal.print(format!("{path} is unchanged\n").as_bytes())?;
        return Ok(0);
    }
    let ask = Ask::put(format!("{}?parents", remote.route.file(&path))).bytes(Bytes::from(after));
    let ask = match &tag {
        Some(tag) => ask.header(IF_MATCH, tag),
        None => ask.header(IF_NONE_MATCH, "*"),
    };
    match remote.ask(ask, terminal).await {
        Ok(reply) => {
            reply.bytes().await?;
            terminal.print(format!("{path} is written\n").as_bytes())?;
            Ok(0)
        }
        Err(error) => {
            let kept = folder.keep().join(name);
            Err(kept_error(&error, &path, &kept, &place))
        }
    }
}

/// What to say of an edit that was not written.
fn kept_error(error: &Error, path: &str, kept: &Path, place: &RemotePath) -> Error {
    let kept = kept.display();
    let there = format!("{}:{path}", place.workspace);
    Error::Transfer(if error.is(ProblemCode::PreconditionFailed) {
        format!(
            "{path} has changed in the workspace meanwhile, so nothing was written; your copy is kept: compare with `kubectl \
             lodge cat {there} | diff - {kept}`, write it with `kubectl lodge cp {kept} {there}`"
        )
    } else {
        format!("{error}; your copy is kept: write it with `kubectl lodge cp {kept} {there}`")
    })
}

/// Opens a file in the editor and waits until it is closed.
fn open(editor: &str, file: &Path) -> Result<(), Error> {
    // An editor's name may come with arguments; the file is one argument, whatever its name is.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Error::Usage(format!("the editor {editor:?} failed with {status}; nothing was written")))
        }
        Err(error) => Err(Error::Usage(format!("the editor {editor:?} cannot be started: {error}"))),
    }
}
