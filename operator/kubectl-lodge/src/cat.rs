//! `kubectl lodge cat`: the content of files of a workspace, byte by byte. Wakes nothing.

use crate::args::ClusterArgs;
use crate::error::Error;
use crate::gateway::Ask;
use crate::place::RemotePath;
use crate::remote::Remote;
use crate::signals::until_signal;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  kubectl lodge cat ada:/work/notes.txt

  # In the home directory; several, one after the other
  kubectl lodge cat ada:.profile ada:notes.txt

  # Compare a file of two workspaces
  diff <(kubectl lodge cat ada:/work/Makefile) <(kubectl lodge cat bob:/work/Makefile)

A workspace that sleeps is not woken.";

/// Print files of a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CatArgs {
    /// Workspace and path; a relative path begins in the home directory
    #[arg(value_name = "NAME:PATH", required = true)]
    pub(crate) places: Vec<RemotePath>,
}

/// Prints.
pub(crate) async fn run(
    args: CatArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let CatArgs { places } = args;
    until_signal(async {
        for place in &places {
            let (remote, path) = Remote::at(place, &cluster_args).await?;
            let reply = remote.ask(Ask::get(remote.route.file(&path)), terminal).await;
            let mut reply = reply.map_err(|error| place.refused(error))?;
            while let Some(chunk) = reply.chunk().await? {
                terminal.print(&chunk)?;
            }
        }
        Ok(0)
    })
    .await
}
